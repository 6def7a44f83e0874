"""Ports of attention beside Keras in float64: masks, heads of any size, files, what is refused."""

import numpy as np
import pytest
import torch

from parity_tests.porting import check, close, normal, randomize
from torchbp.port import from_keras, load, to_keras
from torchbp.port.config import UnsupportedError

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]

QUERY, VALUE, KEY = (5, 6), (4, 3), (4, 7)  # steps and features
LENGTHS = {"query": 5, "value": 4}
# TensorFlow rounds 1 / sqrt(key_dim) to float32 unless it is a power of two
ROUNDED = {"forward": 1e-7, "gradient": 1e-7}


@pytest.fixture(scope="module")
def keras(keras_float64):
    return keras_float64


def ids(count, steps, seed=0):
    """Indices of a table of ten; zero, which is masked, at the end of all rows but the third."""
    found = np.random.default_rng(seed).integers(1, 10, (count, steps))
    for row, keep in enumerate((steps - 1, 2, steps)[:count]):
        found[row, keep:] = 0
    return found


def attention_model(keras, layer, *shapes, **kwargs):
    inputs = [keras.Input(shape) for shape in shapes]
    return randomize(keras.Model(inputs, layer(*inputs, **kwargs)))


MULTI_HEAD = [
    {},
    {"value_dim": 5},
    {"use_bias": False},
    {"output_shape": 8},
    {"output_shape": (8,), "value_dim": 2, "use_bias": False},
    {"attention_axes": 1},
    {"sliding_window": 2},
    {"use_gate": True, "value_dim": 3},
]
CALLS = [
    {},
    {"use_causal_mask": True},
    {"return_attention_scores": True},
    {"use_causal_mask": True, "return_attention_scores": True},
]


@pytest.mark.parametrize("call", CALLS[::3], ids=str)
@pytest.mark.parametrize("options", MULTI_HEAD, ids=str)
def test_attention_of_a_sequence_to_another(keras, options, call):
    layer = keras.layers.MultiHeadAttention(3, 4, **options)
    model = attention_model(keras, layer, QUERY, VALUE, KEY, **call)
    check(model, normal(2, *QUERY), normal(2, *VALUE), normal(2, *KEY))


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_attention_of_a_sequence_to_itself(keras, call):
    x = keras.Input(QUERY)
    model = randomize(keras.Model(x, keras.layers.MultiHeadAttention(2, 4)(x, x, **call)), seed=3)
    check(model, normal(2, *QUERY))


def test_scale_that_tensorflow_rounds(keras):
    layer = keras.layers.MultiHeadAttention(2, 3)
    model = attention_model(keras, layer, QUERY, VALUE)
    check(model, normal(2, *QUERY), normal(2, *VALUE), **ROUNDED)


def masked_inputs(keras, names):
    """Sequences of 5 and 4 steps, those named with a mask; and what to feed them with."""
    inputs, tensors, fed = [], {}, []
    for name, steps in LENGTHS.items():
        if name in names:
            inputs.append(keras.Input((steps,), dtype="int32"))
            tensors[name] = keras.layers.Embedding(10, 6, mask_zero=True)(inputs[-1])
            fed.append(ids(3, steps, seed=steps))
        else:
            inputs.append(keras.Input((steps, 6)))
            tensors[name] = inputs[-1]
            fed.append(normal(3, steps, 6))
    return inputs, tensors["query"], tensors["value"], fed


MASKED = [("query",), ("value",), ("query", "value")]
LAYERS = [
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 4}),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 4, "sliding_window": 2}),
    ("GroupQueryAttention", {"head_dim": 4, "num_query_heads": 2, "num_key_value_heads": 1}),
]


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("masked", MASKED, ids=str)
@pytest.mark.parametrize(("name", "options"), LAYERS, ids=str)
def test_masks_that_the_sequences_have(keras, name, options, masked, call):
    inputs, query, value, fed = masked_inputs(keras, masked)
    result = getattr(keras.layers, name)(**options)(query, value, **call)
    outputs = list(result) if isinstance(result, (list, tuple)) else [result]
    outputs[0] = keras.layers.GlobalAveragePooling1D()(outputs[0])  # of the steps of its mask
    check(randomize(keras.Model(inputs, outputs)), *fed)


def test_mask_of_a_key(keras):
    a, b, c = keras.Input((5, 6)), keras.Input((4, 6)), keras.Input((4,), dtype="int32")
    key = keras.layers.Embedding(10, 6, mask_zero=True)(c)
    y = keras.layers.MultiHeadAttention(2, 4)(a, b, key)
    check(randomize(keras.Model([a, b, c], y)), normal(3, 5, 6), normal(3, 4, 6), ids(3, 4))


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize(
    ("shape", "dtype"), [((5, 4), "bool"), ((1, 4), "int32"), ((2, 5, 4), "bool")], ids=str
)
@pytest.mark.parametrize(("name", "options"), LAYERS, ids=str)
def test_mask_as_an_argument(keras, name, options, shape, dtype, call):
    """The first queries may see nothing at all: the mean of all, or zero beside the scores."""
    a, b, m = keras.Input((5, 6)), keras.Input((4, 6)), keras.Input(shape, dtype=dtype)
    y = getattr(keras.layers, name)(**options)(a, b, attention_mask=m, **call)
    mask = np.random.default_rng(0).integers(0, 2, (3, *shape))
    mask[:, ..., 0, :] = 0
    model = randomize(keras.Model([a, b, m], y))
    check(model, normal(3, 5, 6), normal(3, 4, 6), mask.astype(dtype))


def test_mask_as_an_argument_and_of_the_sequences(keras):
    inputs, query, value, fed = masked_inputs(keras, ("query", "value"))
    mask = keras.Input((5, 4), dtype="bool")
    y = keras.layers.MultiHeadAttention(2, 4)(query, value, attention_mask=mask)
    given = np.random.default_rng(1).integers(0, 2, (3, 5, 4)).astype(bool)
    check(randomize(keras.Model([*inputs, mask], y)), *fed, given)


def test_a_sum_with_the_attention_has_no_mask(keras):
    """Attention takes the mask off its input, so that Add finds one of its two without."""
    ids_in = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(10, 6, mask_zero=True)(ids_in)
    y = keras.layers.Add()([x, keras.layers.MultiHeadAttention(2, 4)(x, x)])
    y = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(y))
    check(randomize(keras.Model(ids_in, y)), ids(3, 5))


def test_the_mask_is_there_before_and_gone_afterwards(keras):
    ids_in = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(10, 6, mask_zero=True)(ids_in)
    before = keras.layers.GlobalAveragePooling1D(keepdims=True)(x)
    y = keras.layers.MultiHeadAttention(2, 4)(before, x)
    z = keras.layers.MultiHeadAttention(2, 4)(y, x)  # which sees all
    check(randomize(keras.Model(ids_in, z)), ids(3, 5))


def test_grouped_attention_leaves_the_mask_on_its_input(keras):
    ids_in = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(10, 6, mask_zero=True)(ids_in)
    y = keras.layers.GroupQueryAttention(4, 2, 1)(x, x)
    y = keras.layers.GlobalAveragePooling1D()(keras.layers.Add()([x, y]))
    check(randomize(keras.Model(ids_in, y)), ids(3, 5))


def unclear(keras, kind):
    ids_in = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(10, 6, mask_zero=True)(ids_in)
    if kind == "beside":  # may run before or after
        y = keras.layers.MultiHeadAttention(2, 4)(x, x)
        return keras.Model(ids_in, [y, keras.layers.GlobalAveragePooling1D()(x)])
    y = keras.layers.Dropout(0.5)(x)  # the same tensor in evaluation
    z = keras.layers.MultiHeadAttention(2, 4)(y, y)
    return keras.Model(ids_in, keras.layers.Add()([x, z]))


@pytest.mark.parametrize("kind", ["beside", "dropout"])
def test_refuses_a_mask_that_another_layer_may_find_or_not(keras, kind):
    with pytest.raises(UnsupportedError, match="takes off"):
        from_keras(unclear(keras, kind))


GROUPED = [
    {"num_query_heads": 4, "num_key_value_heads": 2},
    {"num_query_heads": 4, "num_key_value_heads": 4, "use_bias": False},
    {"num_query_heads": 3, "num_key_value_heads": 1, "use_gate": True},
    {"num_query_heads": 2, "num_key_value_heads": 1, "sliding_window": 3},
]


@pytest.mark.parametrize("call", CALLS[::3], ids=str)
@pytest.mark.parametrize("options", GROUPED, ids=str)
def test_heads_that_share_keys_and_values(keras, options, call):
    layer = keras.layers.GroupQueryAttention(4, **options)
    model = attention_model(keras, layer, (5, 6), (4, 6), (4, 6), **call)
    check(model, normal(2, 5, 6), normal(2, 4, 6), normal(2, 4, 6, seed=1))


SCORES = [
    ("Attention", {}),
    ("Attention", {"use_scale": True}),
    ("Attention", {"score_mode": "concat"}),
    ("Attention", {"score_mode": "concat", "use_scale": True}),
    ("AdditiveAttention", {}),
    ("AdditiveAttention", {"use_scale": False}),
]


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize(("name", "options"), SCORES, ids=str)
def test_attention_by_scores(keras, name, options, call):
    layer = getattr(keras.layers, name)(**options)
    a, b, c = keras.Input((5, 6)), keras.Input((4, 3)), keras.Input((4, 6))
    model = randomize(keras.Model([a, b, c], layer([a, b, c], **call)))
    check(model, normal(2, 5, 6), normal(2, 4, 3), normal(2, 4, 6))
    model = randomize(keras.Model([a, c], layer([a, c], **call)))
    check(model, normal(2, 5, 6), normal(2, 4, 6))


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("masked", MASKED, ids=str)
@pytest.mark.parametrize("name", ["Attention", "AdditiveAttention"])
def test_attention_by_scores_of_masked_sequences(keras, name, masked, call):
    inputs, query, value, fed = masked_inputs(keras, masked)
    result = getattr(keras.layers, name)()([query, value], **call)
    outputs = list(result) if isinstance(result, (list, tuple)) else [result]
    outputs.append(keras.layers.GlobalAveragePooling1D()(outputs[0]))
    check(randomize(keras.Model(inputs, outputs)), *fed)


def one_of_each(keras):
    a, b = keras.Input((5, 6), name="a"), keras.Input((4, 6), name="b")
    layers = keras.layers
    x = layers.MultiHeadAttention(2, 4, value_dim=3, use_gate=True)(a, b)
    x = layers.MultiHeadAttention(2, 4, use_bias=False)(x, x)
    x = layers.GroupQueryAttention(4, 4, 2)(x, b)
    x = layers.GroupQueryAttention(4, 4, 2, use_gate=True)(x, b)
    x = layers.Attention(use_scale=True, score_mode="concat")([x, b])
    return randomize(keras.Model([a, b], layers.AdditiveAttention()([x, b])))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files_and_the_way_back(keras, tmp_path, suffix):
    model = one_of_each(keras)
    path = tmp_path / f"model{suffix}"
    model.save(path)
    arrays = normal(2, 5, 6), normal(2, 4, 6)
    ported = load(path)
    with torch.no_grad():
        found = ported.eval()(*map(torch.from_numpy, arrays))
    close(found, model(list(arrays)), 1e-12, "output of the file")
    other = keras.models.clone_model(model)
    to_keras(ported, other)
    close(other(list(arrays)), model(list(arrays)), 1e-15, "output of the way back")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MultiHeadAttention", {"num_heads": 2, "key_dim": 4}),
        ("GroupQueryAttention", {"head_dim": 4, "num_query_heads": 2, "num_key_value_heads": 1}),
    ],
)
@pytest.mark.parametrize("scores", [False, True])
def test_dropout_is_of_the_weights_and_of_training_alone(keras, name, options, scores):
    """A query that sees nothing finds zero, and one out of four kept finds four times as much."""
    a, m = keras.Input((5, 6)), keras.Input((5, 5), dtype="bool")
    layer = getattr(keras.layers, name)(**options, dropout=0.75)
    y = layer(a, a, attention_mask=m, return_attention_scores=scores)
    model = randomize(keras.Model([a, m], y))
    mask = np.ones((1, 5, 5), bool)
    mask[:, 0] = False
    ported = check(model, normal(1, 5, 6), mask, training=False)
    arrays = torch.from_numpy(normal(1, 5, 6)), torch.from_numpy(mask)
    with torch.no_grad():
        first = (lambda found: found[0]) if scores else (lambda found: found)
        expected = first(ported.eval()(*arrays))
        ported.train()
        draws = torch.stack([first(ported(*arrays)) for _ in range(4000)])
    assert draws.std(0)[:, 1:].min() > 0
    assert torch.equal(draws[0, :, 0], expected[:, 0])
    error = (draws.mean(0) - expected) / (draws.std(0) / 4000**0.5 + 1e-12)
    assert error.abs().max() < 5


def test_dropout_of_scores(keras):
    a = keras.Input((5, 6))
    model = keras.Model(a, keras.layers.Attention(dropout=0.5)([a, a]))
    ported = check(model, normal(1, 5, 6), training=False)
    x = torch.from_numpy(normal(1, 5, 6))
    draws = torch.stack([ported.train()(x) for _ in range(4000)])
    error = (draws.mean(0) - ported.eval()(x)) / (draws.std(0) / 4000**0.5 + 1e-12)
    assert error.abs().max() < 5


REFUSED = [
    ("MultiHeadAttention", {"output_shape": (2, 3)}, [(5, 6)], {}, "output_shape"),
    ("MultiHeadAttention", {"attention_axes": (2,)}, [(3, 5, 6)], {}, "attention_axes"),
    ("MultiHeadAttention", {"dropout": 1.0}, [(5, 6)], {}, "dropout"),
]


@pytest.mark.parametrize(("name", "options", "shapes", "call", "reason"), REFUSED, ids=str)
def test_refuses_what_has_no_counterpart(keras, name, options, shapes, call, reason):
    inputs = [keras.Input(shape) for shape in shapes]
    layer = getattr(keras.layers, name)(num_heads=2, key_dim=4, **options)
    model = keras.Model(inputs, layer(*inputs, *inputs, **call))
    with pytest.raises(UnsupportedError, match=reason):
        from_keras(model)


def test_refuses_a_mask_of_heads_beside_those_of_the_sequences(keras):
    inputs, query, value, _ = masked_inputs(keras, ("value",))
    mask = keras.Input((2, 5, 4), dtype="bool")
    y = keras.layers.MultiHeadAttention(2, 4)(query, value, attention_mask=mask)
    with pytest.raises(UnsupportedError, match="attention_mask of 4 axes"):
        from_keras(keras.Model([*inputs, mask], y))
