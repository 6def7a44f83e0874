"""Masks in ports, beside Keras in float64: what makes them, passes them, takes and drops them."""

import numpy as np
import pytest

from parity_tests.porting import check, normal, randomize
from torchbp.port import from_keras, load
from torchbp.port.config import UnsupportedError

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]

# one row with a hole, one that starts late, one that ends early, one without a gap
IDS = np.array([[3, 0, 2, 5, 1], [0, 0, 1, 2, 4], [4, 1, 0, 0, 0], [1, 2, 3, 4, 5]])
OTHER_IDS = np.array([[0, 1, 2, 0, 0], [1, 0, 3, 0, 1], [0, 2, 3, 0, 0], [2, 1, 1, 0, 0]])


@pytest.fixture(scope="module")
def keras(keras_float64):
    return keras_float64


def words(keras, **options):
    inputs = keras.Input((5,), dtype="int32")
    return inputs, keras.layers.Embedding(7, 4, mask_zero=True, **options)(inputs)


def shown(keras, x):
    """Where a mask shows that a call names, one that only the values have, and the values."""
    L = keras.layers
    return [L.GlobalAveragePooling1D()(x), L.Multiply()([x, x]), x]


def of_layer(keras, make):
    inputs, x = words(keras)
    return randomize(keras.Model(inputs, shown(keras, make(keras.layers)(x))))


PASSING = {
    "dense": lambda of: of.Dense(3),
    "dense with softmax": lambda of: of.Dense(3, activation="softmax"),
    "activation": lambda of: of.Activation("tanh"),
    "relu": lambda of: of.ReLU(),
    "leaky relu": lambda of: of.LeakyReLU(0.25),
    "elu": lambda of: of.ELU(),
    "dropout": lambda of: of.Dropout(0.0),
    "spatial dropout": lambda of: of.SpatialDropout1D(0.0),
    "alpha dropout": lambda of: of.AlphaDropout(0.0),
    "layer norm": lambda of: of.LayerNormalization(),
    "group norm": lambda of: of.GroupNormalization(2),
    "rescaling": lambda of: of.Rescaling(2.0),
    "identity": lambda of: of.Identity(),
    "activity": lambda of: of.ActivityRegularization(),
}
DROPPING = {
    "convolution": lambda of: of.Conv1D(3, 2, padding="same"),
    "separable convolution": lambda of: of.SeparableConv1D(3, 2),
    "pooling": lambda of: of.MaxPooling1D(1),
    "upsampling": lambda of: of.UpSampling1D(2),
    "padding": lambda of: of.ZeroPadding1D(1),
    "reshape": lambda of: of.Reshape((5, 4)),
    "permute": lambda of: of.Permute((2, 1)),
    "function": lambda of: lambda x: x * 2.0,
}


@pytest.mark.parametrize("name", [*PASSING, *DROPPING])
def test_layers_pass_a_mask_or_drop_it(keras, name):
    model = of_layer(keras, (PASSING | DROPPING)[name])
    [pool] = [x for x in model.layers if "Global" in type(x).__name__]
    mask = pool._inbound_nodes[0].arguments.kwargs.get("mask")
    assert (mask is not None) == (name in PASSING)  # as Keras has it
    check(model, IDS)


def test_masks_in_words_of_unknown_number(keras):
    inputs = keras.Input((None,))
    x = keras.layers.Embedding(7, 4, mask_zero=True)(inputs)
    check(randomize(keras.Model(inputs, shown(keras, x))), IDS.astype(float))


@pytest.mark.parametrize("value", [0.0, 0.5, -1.0])
@pytest.mark.parametrize("length", [5, None])
def test_masking(keras, value, length):
    inputs = keras.Input((length, 4))
    model = keras.Model(inputs, shown(keras, keras.layers.Masking(value)(inputs)))
    x = normal(4, 5, 4)
    x[IDS == 0] = value
    x[3, :, 0] = value  # one of the features is not enough
    check(model, x)


def test_masking_takes_its_value_in_float32(keras):
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, keras.layers.Masking(0.1)(inputs))
    x = normal(4, 5, 4)
    x[IDS == 0], x[3] = np.float32(0.1), 0.1
    check(model, x)


def test_masking_after_a_mask_makes_a_new_one(keras):
    inputs, x = words(keras)
    x = keras.layers.Masking()(keras.layers.ReLU()(x))
    model = randomize(keras.Model(inputs, shown(keras, x)))
    check(model, IDS)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_global_average_pooling_of_what_counts(keras, keepdims, data_format):
    x, mask = keras.Input((4, 5)), keras.Input((4,), dtype="bool")
    if data_format == "channels_first":
        mask = keras.Input((5,), dtype="bool")
    pool = keras.layers.GlobalAveragePooling1D(data_format=data_format, keepdims=keepdims)
    model = keras.Model([x, mask], pool(x, mask=mask))
    shown = IDS if data_format == "channels_first" else IDS[:, :4]
    check(model, normal(4, 4, 5), shown != 0)


MERGES = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"]


@pytest.mark.parametrize("masked", [(True, True), (True, False), (False, True)], ids=str)
@pytest.mark.parametrize("name", MERGES)
def test_merging_of_masked_sequences(keras, name, masked):
    inputs = [keras.Input((5,), dtype="int32") for _ in masked]
    values = [
        keras.layers.Embedding(7, 4, mask_zero=zero)(x)
        for x, zero in zip(inputs, masked, strict=True)
    ]
    merged = getattr(keras.layers, name)()(values)
    check(randomize(keras.Model(inputs, shown(keras, merged))), IDS, OTHER_IDS)


@pytest.mark.parametrize("name", [n for n in MERGES if n != "Subtract"])
def test_merging_of_three_sequences(keras, name):
    inputs = [keras.Input((5,), dtype="int32") for _ in range(3)]
    make = keras.layers.Embedding
    values = [
        make(7, 4, mask_zero=zero)(x) for x, zero in zip(inputs, (True, False, True), strict=True)
    ]
    merged = getattr(keras.layers, name)()(values)
    model = randomize(keras.Model(inputs, shown(keras, merged)))
    check(model, IDS, OTHER_IDS, IDS[::-1].copy())


@pytest.mark.parametrize("masked", [(True, True), (True, False)], ids=str)
def test_concatenation_along_the_steps(keras, masked):
    inputs = [keras.Input((5,), dtype="int32") for _ in masked]
    values = [
        keras.layers.Embedding(7, 4, mask_zero=zero)(x)
        for x, zero in zip(inputs, masked, strict=True)
    ]
    merged = keras.layers.Concatenate(axis=1)(values)
    check(randomize(keras.Model(inputs, shown(keras, merged))), IDS, OTHER_IDS)


@pytest.mark.parametrize("name", ["Maximum", "Minimum"])
def test_the_first_of_two_equal_numbers_gets_the_gradient(keras, name):
    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([a, b], getattr(keras.layers, name)()([a, b]))
    x = normal(3, 4)
    check(model, x, np.where(x > 0, x, 2 * x))


DOTS = [
    ((4,), (4,), {"axes": 1}),
    ((4,), (4,), {"axes": -1, "normalize": True}),
    ((3, 4), (5, 4), {"axes": 2}),
    ((3, 4), (5, 4), {"axes": (2, -1), "normalize": True}),
    ((3, 4), (4, 5), {"axes": (2, 1)}),
    ((3, 4), (3, 5), {"axes": 1}),
    ((4,), (3, 4), {"axes": (1, 2)}),
    ((3, 4), (4,), {"axes": -1}),
    ((2, 3, 4), (4, 5), {"axes": (3, 1)}),
    ((2, 3, 4), (5, 3, 6), {"axes": 2}),
]


@pytest.mark.parametrize(("first", "second", "options"), DOTS, ids=str)
def test_dot(keras, first, second, options):
    a, b = keras.Input(first), keras.Input(second)
    model = keras.Model([a, b], keras.layers.Dot(**options)([a, b]))
    check(model, normal(3, *first), normal(3, *second, seed=1))


def test_dot_of_images_within_a_network(keras):
    inputs = keras.Input((6, 5, 3))
    a = keras.layers.Conv2D(4, 3)(inputs)
    b = keras.layers.Conv2D(2, 3)(inputs)
    model = randomize(keras.Model(inputs, keras.layers.Dot(axes=1)([a, b])))
    check(model, normal(3, 6, 5, 3))


def test_dot_drops_a_mask(keras):
    inputs, x = words(keras)
    x = keras.layers.Dot(axes=(2, 2))([x, x])
    check(randomize(keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(x))), IDS)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_masked_model_from_a_file(keras, suffix, tmp_path):
    inputs, x = words(keras)
    x = keras.layers.Concatenate()([x, keras.layers.Dense(3)(x)])
    model = randomize(keras.Model(inputs, shown(keras, x)))
    model.save(tmp_path / f"model.{suffix}")
    check(model, IDS, ported=load(tmp_path / f"model.{suffix}", channels="last"))


def test_a_sequential_masked_model_from_a_file(keras, tmp_path):
    L = keras.layers
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            L.Embedding(7, 4, mask_zero=True),
            L.Dense(3),
            L.GlobalAveragePooling1D(),
        ]
    )
    randomize(model)
    model.save(tmp_path / "model.keras")
    check(model, IDS, ported=load(tmp_path / "model.keras"))


def refused(keras, model, match):
    with pytest.raises(UnsupportedError, match=match):
        from_keras(model, check=False)


def test_a_mask_that_does_not_fit_is_refused(keras):
    x, y = keras.Input((5, 4)), keras.Input((3, 5, 4))
    merged = keras.layers.Add()([keras.layers.Masking()(x), y])
    refused(keras, keras.Model([x, y], merged), "different numbers of axes")


def test_masking_of_a_strange_value_is_refused(keras):
    x = keras.Input((5, 4))
    model = keras.Model(x, keras.layers.Masking(mask_value=np.inf)(x))
    refused(keras, model, "mask_value")


def with_a_masked_encoder(keras, after):
    inputs, x = words(keras)
    encoder = keras.Model(inputs, keras.layers.Dense(3)(x), name="encoder")
    outer = keras.Input((5,), dtype="int32")
    return randomize(keras.Model(outer, after(keras.layers)(encoder(outer))))


def test_a_mask_that_comes_out_of_a_model_may_be_dropped(keras):
    check(with_a_masked_encoder(keras, lambda of: of.Flatten()), IDS)
    check(with_a_masked_encoder(keras, lambda of: of.Dense(2)), IDS)


AFTER = {
    "pooled": lambda of, x: of.GlobalAveragePooling1D()(x),
    "recurrent": lambda of, x: of.LSTM(2)(x),
    "merged": lambda of, x: of.GlobalAveragePooling1D()(of.Multiply()([x, x])),
    "named": lambda of, x: of.GRU(2, return_sequences=True)(x, mask=None),
}


@pytest.mark.parametrize("name", AFTER)
def test_a_mask_comes_out_of_a_model(keras, name):
    port = check(with_a_masked_encoder(keras, lambda of: lambda x: AFTER[name](of, x)), IDS)
    assert not [key for key in port.state_dict() if "mask" in key]


@pytest.mark.parametrize("passing", [True, False])
def test_a_mask_goes_into_a_model_and_comes_out(keras, passing):
    of, given = keras.layers, keras.Input((5, 4))
    x = of.LSTM(3, return_sequences=True)(of.Dense(4)(given))
    if not passing:
        x = of.Conv1D(3, 2, padding="same")(x)
    inner = keras.Model(given, x, name="inner")
    outer, x = words(keras)
    x = of.GlobalAveragePooling1D()(inner(of.Dense(4)(inner(x))) if passing else inner(x))
    check(randomize(keras.Model(outer, x)), IDS)


def test_masks_go_through_models_of_several_inputs(keras):
    of = keras.layers
    left, right = keras.Input((5, 4), name="left"), keras.Input((5, 4), name="right")
    both = {"sum": of.Add()([left, right]), "last": of.GRU(3)(right)}
    inner = keras.Model({"a": left, "b": right}, both, name="inner")
    outer, x = words(keras)
    plain = keras.Input((5, 4))
    found = inner({"b": x, "a": plain})
    model = keras.Model([outer, plain], [of.GlobalAveragePooling1D()(found["sum"]), found["last"]])
    check(randomize(model), IDS, normal(len(IDS), 5, 4))


def test_masks_go_through_a_chain_in_a_model_in_a_model(keras):
    of = keras.layers
    chain = [
        keras.Input((None, 4)),
        of.Dense(3),
        of.Dropout(0.0),
        of.LSTM(3, return_sequences=True),
    ]
    inner = keras.Input((None,), dtype="int32")
    x = keras.Sequential(chain, name="chain")(of.Embedding(7, 4, mask_zero=True)(inner))
    encoder = keras.Model(inner, x, name="encoder")
    outer = keras.Input((None,), dtype="int32")
    check(randomize(keras.Model(outer, of.GRU(2)(encoder(outer)))), IDS)


def test_a_mask_that_attention_within_a_model_takes_off_is_refused(keras):
    of, given = keras.layers, keras.Input((5, 4))
    inner = keras.Model(given, of.MultiHeadAttention(1, 2)(given, given), name="inner")
    outer, x = words(keras)
    refused(keras, keras.Model(outer, inner(x)), "goes into a model within the model")


def test_calls_of_one_model_with_a_mask_and_without_are_refused(keras):
    of, given = keras.layers, keras.Input((5, 4))
    inner = keras.Model(given, of.GRU(2)(given), name="inner")
    outer, x = words(keras)
    plain = keras.Input((5, 4))
    refused(keras, keras.Model([outer, plain], inner(x) + inner(plain)), "with masks and without")
