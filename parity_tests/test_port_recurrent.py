"""Ports of recurrent layers beside Keras in float64: masks with holes, states, both directions."""

import copy

import numpy as np
import pytest
import torch

from parity_tests.porting import check, normal, randomize
from torchbp import layers
from torchbp.graph.structure import leaves
from torchbp.port import from_keras, load, to_keras
from torchbp.port.architecture import architecture_of
from torchbp.port.build import build
from torchbp.port.config import UnsupportedError
from torchbp.port.model import fill
from torchbp.port.ported import keras_arrays

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]

N, T, D, H = 5, 6, 4, 3
# right, left, a hole, nothing counts, all counts
MASK = np.array(
    [[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 0, 1, 1, 0], [0] * 6, [1] * 6], dtype=bool
)
CLASSES = ["LSTM", "GRU", "SimpleRNN"]
NUM_STATES = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}


@pytest.fixture(scope="module")
def keras(keras_float64):
    return keras_float64


def of_layer(keras, layer, masked=False, states=0, length=T):
    """A model of a layer, its inputs, and arrays for these."""
    x = keras.Input((length, D))
    mask = [keras.Input((length,), dtype="bool")] if masked else []
    first = [keras.Input((H,)) for _ in range(states)]
    kwargs = {"mask": mask[0]} if masked else {}
    if states:
        kwargs["initial_state"] = first if states > 1 else first[0]
    model = randomize(keras.Model([x, *mask, *first], layer(x, **kwargs)))
    arrays = [normal(N, H, seed=seed) for seed in range(states)]
    return model, [normal(N, T, D), *([MASK] if masked else []), *arrays]


def check_layer(keras, layer, **options):
    model, arrays = of_layer(keras, layer, **options)
    return check(model, *arrays)


RETURNS = [
    {},
    {"return_sequences": True},
    {"return_state": True},
    {"return_sequences": True, "return_state": True},
]


@pytest.mark.parametrize("options", RETURNS, ids=str)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("with_states", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_layer(keras, name, with_states, masked, backwards, options):
    layer = getattr(keras.layers, name)(H, go_backwards=backwards, **options)
    states = NUM_STATES[name] if with_states else 0
    check_layer(keras, layer, masked=masked, states=states)


ARGUMENTS = [
    {"use_bias": False},
    {"activation": "relu"},
    {"activation": None},
    {"activation": "softsign", "use_bias": False},
    {"activation": "softmax"},
    {"zero_output_for_mask": True},
    {"zero_output_for_mask": True, "go_backwards": True},
    {"unroll": True},
    {"unroll": True, "go_backwards": True},
    {"unroll": True, "zero_output_for_mask": True},
    {"implementation": 1},
]


@pytest.mark.parametrize("options", ARGUMENTS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_arguments(keras, name, masked, options):
    if name == "SimpleRNN":
        options = {k: v for k, v in options.items() if k != "implementation"}
    layer = getattr(keras.layers, name)(H, return_sequences=True, return_state=True, **options)
    check_layer(keras, layer, masked=masked)
    if "zero_output_for_mask" in options:
        check_layer(keras, getattr(keras.layers, name)(H, **options), masked=masked)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("activation", ["hard_sigmoid", "relu", None, "softsign"])
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_recurrent_activation(keras, name, activation, masked):
    layer = getattr(keras.layers, name)(H, recurrent_activation=activation, return_sequences=True)
    check_layer(keras, layer, masked=masked)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_gru_whose_reset_gate_comes_before(keras, masked, bias, backwards):
    options = {"reset_after": False, "use_bias": bias, "go_backwards": backwards}
    check_layer(keras, keras.layers.GRU(H, return_sequences=True, **options), masked=masked)
    check_layer(keras, keras.layers.GRU(H, return_state=True, **options), masked=masked, states=1)


def test_configured_activation(keras):
    layer = keras.layers.LSTM(H, activation=keras.layers.LeakyReLU(negative_slope=0.25))
    check_layer(keras, layer)


@pytest.mark.parametrize("name", CLASSES)
def test_unknown_length(keras, name):
    layer = getattr(keras.layers, name)(H, return_sequences=True, activation="softsign")
    check_layer(keras, layer, masked=True, length=None)
    check_layer(keras, getattr(keras.layers, name)(H), masked=True, length=None)
    ported = check_layer(keras, getattr(keras.layers, name)(H), length=None)
    assert ported(torch.zeros(2, 9, D, dtype=torch.float64)).shape == (2, H)


MODES = [("concat", options) for options in RETURNS] + [(None, options) for options in RETURNS[1:]]
MODES += [("sum", RETURNS[1]), ("ave", RETURNS[2]), ("mul", RETURNS[3]), ("mul", RETURNS[0])]


@pytest.mark.parametrize(("mode", "options"), MODES, ids=str)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_bidirectional(keras, name, masked, options, mode):
    layer = keras.layers.Bidirectional(getattr(keras.layers, name)(H, **options), merge_mode=mode)
    check_layer(keras, layer, masked=masked)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_bidirectional_with_first_states(keras, name, masked):
    inner = getattr(keras.layers, name)(H, return_sequences=True, return_state=True)
    layer = keras.layers.Bidirectional(inner)
    check_layer(keras, layer, masked=masked, states=2 * NUM_STATES[name])


@pytest.mark.parametrize("masked", [False, True])
def test_bidirectional_with_another_layer_backwards(keras, masked):
    L = keras.layers
    back = L.LSTM(2, activation="relu", go_backwards=True, return_sequences=True)
    layer = L.Bidirectional(L.GRU(H, return_sequences=True), backward_layer=back)
    check_layer(keras, layer, masked=masked)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [{"use_bias": False}, {"activation": "softsign"}], ids=str)
@pytest.mark.parametrize("name", CLASSES)
def test_bidirectional_arguments(keras, name, options, masked):
    inner = getattr(keras.layers, name)(H, return_sequences=True, **options)
    check_layer(keras, keras.layers.Bidirectional(inner), masked=masked)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [*RETURNS, {"go_backwards": True}], ids=str)
@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "SimpleRNNCell"])
def test_recurrence_of_a_cell(keras, name, options, masked):
    cell = getattr(keras.layers, name)(H)
    check_layer(keras, keras.layers.RNN(cell, **options), masked=masked)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [*RETURNS, {"zero_output_for_mask": True}], ids=str)
def test_stack_of_cells(keras, options, masked):
    L = keras.layers
    cells = [L.LSTMCell(H), L.GRUCell(2, reset_after=False), L.SimpleRNNCell(4), L.LSTMCell(3)]
    check_layer(keras, L.RNN(cells, **options), masked=masked)


def test_stack_of_cells_with_first_states(keras):
    L = keras.layers
    x, h, c, s = keras.Input((T, D)), *(keras.Input((H,)) for _ in range(3))
    layer = L.RNN([L.LSTMCell(H), L.GRUCell(H)], return_state=True)
    model = randomize(keras.Model([x, h, c, s], layer(x, initial_state=[[h, c], [s]])))
    check(model, normal(N, T, D), *(normal(N, H, seed=seed) for seed in range(3)))


WORDS = np.array([[3, 0, 2, 5, 1], [0, 0, 1, 2, 4], [4, 1, 0, 0, 0], [0] * 5, [1, 2, 3, 4, 5]])


def encoder_and_decoder(keras):
    """The states of one sequence start another."""
    L = keras.layers
    source, target = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    x = L.Embedding(7, 4, mask_zero=True)(source)
    x = L.Bidirectional(L.GRU(2, return_sequences=True))(x)
    _, *states = L.LSTM(H, return_state=True)(x)
    y = L.Embedding(7, 4, mask_zero=True)(target)
    y, *_ = L.LSTM(H, return_sequences=True, return_state=True)(y, initial_state=states)
    y = L.GRU(2, return_sequences=True)(y)
    return randomize(keras.Model([source, target], [L.Dense(3)(y), L.LSTM(2)(y)]))


def test_masks_and_states_through_a_network(keras):
    check(encoder_and_decoder(keras), WORDS, WORDS[::-1].copy())


def stacked(keras):
    L = keras.layers
    x = keras.Input((T, D))
    cells = [L.SimpleRNNCell(4), L.LSTMCell(H), L.GRUCell(4), L.LSTMCell(3)]
    y = L.Bidirectional(L.LSTM(H, return_sequences=True, activation="softsign"))(x)
    return randomize(keras.Model(x, L.RNN(cells)(L.GRU(4, return_sequences=True)(y))))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_model_from_a_file(keras, suffix, tmp_path):
    for number, (model, arrays) in enumerate(
        [(encoder_and_decoder(keras), [WORDS] * 2), (stacked(keras), [normal(N, T, D)])]
    ):
        path = tmp_path / f"model{number}.{suffix}"
        model.save(path)
        check(model, *arrays, ported=load(path, channels="last"))


def test_weights_go_back_to_keras(keras):
    model = stacked(keras)
    ported, weights = from_keras(model), model.get_weights()
    randomize(model, seed=1)
    to_keras(ported, model)
    for back, first in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(back, first)


def test_standard_layers_are_those_of_torch(keras):
    L = keras.layers
    x = keras.Input((T, D))
    y = L.LSTM(H, return_sequences=True, name="a")(x)
    y = L.Bidirectional(L.GRU(H, return_sequences=True), name="b")(y)
    ported = from_keras(keras.Model(x, L.SimpleRNN(H, name="c")(y)))
    assert [type(m) for m in ported.children()] == [layers.LSTM, layers.GRU, layers.RNN]
    assert ported.a.bidirectional is False
    assert ported.b.bidirectional is True
    assert ported.c.last_output is True


@pytest.mark.parametrize("options", [{}, {"activation": "softsign"}], ids=str)
@pytest.mark.parametrize("name", CLASSES)
def test_a_masked_port_is_copied_and_exported(keras, name, options):
    layer = getattr(keras.layers, name)(H, **options)
    model, arrays = of_layer(keras, layer, masked=True)
    ported = from_keras(model).eval()
    inputs = [torch.from_numpy(array) for array in arrays]
    expected = ported(*inputs)
    torch.testing.assert_close(copy.deepcopy(ported)(*inputs), expected)
    exported = torch.export.export(ported, tuple(inputs))
    torch.testing.assert_close(exported.module()(*inputs), expected)


DROPS = [
    {"dropout": 0.4},
    {"recurrent_dropout": 0.4},
    {"dropout": 0.3, "recurrent_dropout": 0.4, "return_sequences": True},
]


@pytest.mark.parametrize("options", DROPS, ids=str)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_dropout_is_nothing_in_inference(keras, name, masked, both, options):
    layer = getattr(keras.layers, name)(H, **options)
    layer = keras.layers.Bidirectional(layer) if both else layer
    model, arrays = of_layer(keras, layer, masked=masked)
    ported = check(model, *arrays, training=False)
    inputs = [torch.from_numpy(array) for array in arrays]
    drawn = [next(leaves(ported.train()(*inputs))) for _ in range(2)]
    assert not torch.equal(*drawn)


def in_training(keras, name, **options):
    """A layer whose outputs tell what was dropped, at every step."""
    keras.utils.set_random_seed(0)
    layer = getattr(keras.layers, name)(H, return_sequences=True, **options)
    x = keras.Input((T, D))
    model = randomize(keras.Model(x, layer(x)))
    return model, from_keras(model, check=False).train()


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}], ids=str)
@pytest.mark.parametrize("name", CLASSES)
def test_dropout_has_the_distribution_of_keras(keras, name, options):
    model, ported = in_training(keras, name, **options)
    count = 6000
    x = np.broadcast_to(normal(1, T, D), (count, T, D)).copy()
    theirs = model(x, training=True).numpy()
    torch.manual_seed(0)
    ours = ported(torch.from_numpy(x)).detach().numpy()
    for step in (0, T - 1):
        spread = theirs[:, step].std(0)
        error = np.abs(ours[:, step].mean(0) - theirs[:, step].mean(0))
        assert (error <= 6 * spread / np.sqrt(count / 2) + 1e-12).all()
        np.testing.assert_allclose(ours[:, step].std(0), spread, rtol=0.1, atol=1e-12)
        both = [np.unique(np.round(y[:, step], 9), axis=0) for y in (ours, theirs)]
        if step == 0:  # few values: those of the subsets that are dropped
            small, large = sorted(both, key=len)
            known = {tuple(row) for row in large}
            assert all(tuple(row) in known for row in small) or len(large) > count / 4


CONV_LSTMS = [
    (1, {}),
    (1, {"go_backwards": True, "return_sequences": True, "strides": 2}),
    (2, {"padding": "same", "return_sequences": True, "return_state": True}),
    (2, {"strides": 2, "padding": "same", "use_bias": False, "activation": "relu"}),
    (2, {"dilation_rate": 2, "recurrent_activation": "hard_sigmoid"}),
    (2, {"return_sequences": True, "zero_output_for_mask": True}),
    (3, {"padding": "same", "return_sequences": True}),
]
IMAGE_SIZES = {1: (7,), 2: (7, 6), 3: (5, 6, 5)}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("num_dims", "options"), CONV_LSTMS, ids=str)
def test_convolutional_lstm(keras, num_dims, options, masked):
    layer = getattr(keras.layers, f"ConvLSTM{num_dims}D")(3, 3 if num_dims < 3 else 2, **options)
    shape = (4, *IMAGE_SIZES[num_dims], 2)
    x, mask = keras.Input(shape), keras.Input((4,), dtype="bool")
    y = layer(x, mask=mask) if masked else layer(x)
    model = randomize(keras.Model([x, mask] if masked else x, y))
    check(model, normal(3, *shape), *([MASK[1:4, :4]] if masked else []))


def video(keras):
    """A network of videos: each step's picture, then the steps."""
    L = keras.layers
    x = keras.Input((4, 8, 8, 2))
    y = L.ConvLSTM2D(3, 3, padding="same", return_sequences=True)(x)
    y, *states = L.ConvLSTM2D(3, 3, padding="same", return_sequences=True, return_state=True)(y)
    y = L.ConvLSTM2D(3, 3, padding="same", return_sequences=True)(y, initial_state=states)
    y = L.TimeDistributed(L.Conv2D(4, 3, activation="relu"))(y)
    y = L.TimeDistributed(L.MaxPooling2D())(y)
    y = L.TimeDistributed(L.Flatten())(y)
    y = L.TimeDistributed(L.Dense(5, activation="softmax"))(y)
    return randomize(keras.Model(x, L.LSTM(3)(y)))


def test_a_network_of_videos(keras):
    check(video(keras), normal(2, 4, 8, 8, 2))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_network_of_videos_from_a_file(keras, suffix, tmp_path):
    model = video(keras)
    model.save(tmp_path / f"model.{suffix}")
    ported = load(tmp_path / f"model.{suffix}", channels="last")
    check(model, normal(2, 4, 8, 8, 2), ported=ported)


def test_dropout_of_a_convolutional_lstm(keras):
    keras.utils.set_random_seed(0)
    x = keras.Input((4, 7, 6, 2))
    layer = keras.layers.ConvLSTM2D(3, 3, dropout=0.4, recurrent_dropout=0.3)
    model = randomize(keras.Model(x, layer(x)))
    array = normal(400, 4, 7, 6, 2)
    array[:] = array[:1]
    ported = check(model, array[:3], training=False).train()
    torch.manual_seed(0)
    theirs, ours = model(array, training=True).numpy(), ported(torch.from_numpy(array))
    spread = theirs.std(0)
    error = np.abs(ours.detach().numpy().mean(0) - theirs.mean(0))
    assert (error <= 6 * spread / np.sqrt(len(array) / 2)).all()
    assert (spread > 0).all()


STEPS = {
    "dense": (lambda of: of.Dense(3, activation="softmax"), (D,)),
    "activation": (lambda of: of.Activation("softmax"), (D,)),
    "dropout": (lambda of: of.Dropout(0.0), (D,)),
    "layer norm": (lambda of: of.LayerNormalization(), (D,)),
    "convolution": (lambda of: of.Conv1D(3, 2, activation="relu"), (5, 2)),
    "separable": (lambda of: of.SeparableConv2D(3, 2), (5, 4, 2)),
    "transposed": (lambda of: of.Conv2DTranspose(3, 2, strides=2), (5, 4, 2)),
    "pooling": (lambda of: of.AveragePooling2D(2), (5, 4, 2)),
    "global pooling": (lambda of: of.GlobalMaxPooling2D(), (5, 4, 2)),
    "group norm": (lambda of: of.GroupNormalization(2), (5, 4, 2)),
    "flatten": (lambda of: of.Flatten(), (5, 4, 2)),
    "reshape": (lambda of: of.Reshape((2, 20)), (5, 4, 2)),
    "repeat": (lambda of: of.RepeatVector(3), (D,)),
    "recurrence": (lambda of: of.LSTM(3), (5, 2)),
    "both ways": (lambda of: of.Bidirectional(of.GRU(3, return_sequences=True)), (5, 2)),
    "twice": (lambda of: of.TimeDistributed(of.Dense(3)), (5, 2)),
}


@pytest.mark.parametrize("length", [4, None])
@pytest.mark.parametrize("name", STEPS)
def test_a_layer_for_each_step(keras, name, length):
    make, shape = STEPS[name]
    x = keras.Input((length, *shape))
    y = keras.layers.TimeDistributed(make(keras.layers))(x)
    check(randomize(keras.Model(x, y)), normal(2, 4, *shape))


def test_a_layer_for_each_step_passes_a_mask(keras):
    L = keras.layers
    x = keras.Input((5,), dtype="int32")
    y = L.Embedding(7, 4, mask_zero=True)(x)
    y = L.TimeDistributed(L.LayerNormalization())(L.TimeDistributed(L.Dense(3))(y))
    check(randomize(keras.Model(x, L.LSTM(2, return_sequences=True)(y))), WORDS)


def test_a_shared_layer_for_each_step(keras):
    L = keras.layers
    x, y = keras.Input((4, 5, 2)), keras.Input((3, 5, 2))
    shared = L.TimeDistributed(L.Conv1D(3, 2))
    model = randomize(keras.Model([x, y], [shared(x), shared(y)]))
    check(model, normal(2, 4, 5, 2), normal(2, 3, 5, 2))


@pytest.mark.parametrize("frozen", ["layer", "all"])
def test_a_frozen_layer_for_each_step(keras, frozen):
    layer = keras.layers.TimeDistributed(keras.layers.Dense(3))
    x = keras.Input((4, D))
    model = randomize(keras.Model(x, layer(x)))
    (layer.layer if frozen == "layer" else layer).trainable = False
    ported = from_keras(model)
    assert not any(p.requires_grad for p in ported.parameters())


EACH_STEP_REFUSED = {
    "statistics": (lambda of: of.BatchNormalization(), "BatchNormalization"),
    "states": (lambda of: of.LSTM(3, return_state=True), "several tensors"),
    "function": (lambda of: of.Lambda(lambda x: x), "Lambda"),
}


@pytest.mark.parametrize("name", EACH_STEP_REFUSED)
def test_what_is_refused_for_each_step(keras, name):
    make, match = EACH_STEP_REFUSED[name]
    layer = make(keras.layers)
    shape = (4, 5, 2)
    x = keras.Input(shape)
    if name == "states":  # Keras cannot call it either
        spec = keras.layers.TimeDistributed(keras.layers.LSTM(3))
        model = keras.Model(x, spec(x))
        spec.layer.return_state = True
    else:
        model = keras.Model(x, keras.layers.TimeDistributed(layer)(x))
    refused(model, match)


def test_a_layer_within_of_another_dtype_is_refused(keras):
    x = keras.Input((4, D))
    layer = keras.layers.TimeDistributed(keras.layers.Dense(3, dtype="mixed_float16"))
    refused(keras.Model(x, layer(x)), "another dtype")


def refused(model, match):
    with pytest.raises(UnsupportedError, match=match):
        from_keras(model, check=False)


def test_states_that_are_kept_are_refused(keras):
    x = keras.Input(batch_shape=(2, T, D))
    refused(keras.Model(x, keras.layers.LSTM(H, stateful=True)(x)), "stateful")


def test_dropping_all_is_refused(keras):
    x = keras.Input((T, D))
    refused(keras.Model(x, keras.layers.SimpleRNN(H, dropout=1.0)(x)), "dropout")


def test_an_unrolled_loop_with_a_mask_backwards_is_refused(keras):
    inner = keras.layers.LSTM(H, return_sequences=True, unroll=True)
    model, _ = of_layer(keras, keras.layers.Bidirectional(inner), masked=True)
    refused(model, "unroll")


def test_a_cell_of_your_own_is_refused(keras):
    class Own(keras.layers.SimpleRNNCell):
        pass

    x = keras.Input((T, D))
    refused(keras.Model(x, keras.layers.RNN(Own(H))(x)), "Own")


def test_a_cell_that_is_frozen_alone_is_refused(keras):
    x = keras.Input((T, D))
    layer = keras.layers.RNN(keras.layers.LSTMCell(H))
    model = keras.Model(x, layer(x))
    layer.cell.trainable = False
    refused(model, "frozen")


def test_a_frozen_layer_stays_frozen(keras):
    layer = keras.layers.Bidirectional(keras.layers.LSTM(H))
    model, arrays = of_layer(keras, layer, masked=True)
    layer.trainable = False
    check(model, *arrays)


def of_tf_keras(class_name, options, states):
    """A configuration as tf.keras 2 has it, with the first states in a list with the sequence."""
    names = ["x", "h", "c"][: 1 + states]
    shapes = [[None, T, D], [None, H], [None, H]]
    layers = [
        {
            "class_name": "InputLayer",
            "config": {"batch_input_shape": shape, "dtype": "float64", "name": name},
            "name": name,
            "inbound_nodes": [],
        }
        for name, shape in zip(names, shapes, strict=False)
    ]
    layer = {
        "class_name": class_name,
        "config": {"name": "layer", "dtype": "float64", **options},
        "name": "layer",
        "inbound_nodes": [[[name, 0, 0, {}] for name in names]],
    }
    inputs = [[name, 0, 0] for name in names]
    config = {"name": "model", "layers": [*layers, layer], "input_layers": inputs}
    return {"class_name": "Functional", "config": config | {"output_layers": [["layer", 0, 0]]}}


OLD = {"time_major": False, "implementation": 2, "stateful": False, "units": H, "unroll": False}


@pytest.mark.parametrize("name", CLASSES)
def test_configuration_of_tf_keras(keras, name):
    x, *first = keras.Input((T, D)), *(keras.Input((H,)) for _ in range(NUM_STATES[name]))
    layer = getattr(keras.layers, name)(H, name="layer")
    model = randomize(keras.Model([x, *first], layer(x, initial_state=first)))
    built = build(architecture_of(of_tf_keras(name, OLD, len(first)), "old"), "last")
    fill(built, keras_arrays(model), "old")
    arrays = [normal(N, T, D), *(normal(N, H, seed=seed) for seed in range(len(first)))]
    check(model, *arrays, ported=built.model)


def test_bidirectional_of_tf_keras_makes_its_second_layer(keras):
    x = keras.Input((T, D))
    layer = keras.layers.Bidirectional(keras.layers.GRU(H), name="layer")
    model = randomize(keras.Model(x, layer(x)))
    inner = {"class_name": "GRU", "config": {"name": "gru", **OLD}}
    config = of_tf_keras("Bidirectional", {"layer": inner, "merge_mode": "concat"}, 0)
    built = build(architecture_of(config, "old"), "last")
    fill(built, keras_arrays(model), "old")
    check(model, normal(N, T, D), ported=built.model)


@pytest.mark.parametrize("options", [{"time_major": True}, {"stateful": True}], ids=str)
def test_what_tf_keras_has_beside_is_refused(options):
    config = of_tf_keras("LSTM", OLD | options, 0)
    with pytest.raises(UnsupportedError, match=next(iter(options))):
        build(architecture_of(config, "old"))


def test_masks_that_no_call_names(keras):
    L = keras.layers
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            L.Embedding(7, 4, mask_zero=True),
            L.Bidirectional(L.LSTM(3, return_sequences=True)),
            L.GRU(3, return_sequences=True, activation="softsign"),
            L.SimpleRNN(3),
            L.BatchNormalization(),  # would be refused with a mask
            L.Dense(2),
        ]
    )
    check(randomize(model), WORDS)


@pytest.mark.parametrize("name", CLASSES)
def test_first_states_hide_a_mask_from_the_layer_that_passes_it_on(keras, name):
    L = keras.layers
    x = keras.Input((5,), dtype="int32")
    first = [keras.Input((H,)) for _ in range(NUM_STATES[name])]
    y = L.Embedding(7, 4, mask_zero=True)(x)
    y = getattr(L, name)(H, return_sequences=True)(y, initial_state=first)
    model = randomize(keras.Model([x, *first], [y, L.Multiply()([y, y])]))
    check(model, WORDS, *(normal(5, H, seed=seed) for seed in range(len(first))))
