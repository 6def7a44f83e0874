"""Activations by name, as configured objects and as layers, beside Keras in float64."""

import numpy as np
import pytest

from parity_tests.porting import check, normal, randomize
from torchbp.port import from_keras, load
from torchbp.port.config import UnsupportedError

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]

NAMES = [
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish",
    "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign",
    "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink",
    "threshold",
]  # fmt: skip
ROUNDED = {"gelu", "leaky_relu"}  # TensorFlow rounds a constant of theirs to float32
KINKS = np.array([-30.0, -6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0, 21.0, 30.0])
SHAPES = [(6,), (5, 4), (4, 3, 6), (3, 4, 2, 4)]


@pytest.fixture(scope="module")
def keras(keras_float64):
    return keras_float64


def bounds_of(name):
    return {"forward": 1e-7, "gradient": 1e-7} if name in ROUNDED else {}


def moved(keras, x):
    """The same numbers, which the port has with the channels at 1."""
    if not 2 < len(x.shape) < 5:
        return x
    return getattr(keras.layers, f"AveragePooling{len(x.shape) - 2}D")(1)(x)


def check_layer(keras, layer, shape, values=None, **bounds):
    x = keras.Input(shape)
    model = keras.Model(x, layer(moved(keras, x)))
    values = normal(3, *shape) if values is None else values
    return check(randomize(model), values, training=False, **bounds)


def test_there_is_no_other_name(keras):
    from keras.src import activations

    assert sorted(activations.ALL_OBJECTS_DICT) == sorted(NAMES)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"threshold"}))
def test_name(keras, name):
    for shape in SHAPES:
        check_layer(keras, keras.layers.Activation(name), shape, **bounds_of(name))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"threshold"}))
def test_name_at_its_kinks(keras, name):
    if name == "sparsemax":
        values = np.array([KINKS / 30.0, np.ones(12), np.eye(12)[3]])
    elif name in ("exponential", "softmax", "log_softmax"):
        values = KINKS[None] / 10.0
    else:
        values = KINKS[None]
    check_layer(keras, keras.layers.Activation(name), (12,), values, **bounds_of(name))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"threshold", "glu"}))
def test_argument_of_a_layer(keras, name):
    for layer, shape in [
        (keras.layers.Dense(4, activation=name), (3,)),
        (keras.layers.Dense(4, activation=name), (5, 3)),
        (keras.layers.Conv2D(4, 2, activation=name), (5, 4, 3)),
    ]:
        check_layer(keras, layer, shape, **bounds_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_function_as_argument(keras, name):
    if name == "threshold":
        return
    function = getattr(keras.activations, name, None)
    if function is not None:
        layer = keras.layers.Activation(function)
        check_layer(keras, layer, (4, 3, 6), **bounds_of(name))


NO_TENSORS_OF_GRAPHS = {"threshold", "mish", "hard_silu", "hard_swish", "sparsemax"}  # in Keras


@pytest.mark.parametrize("name", sorted(set(NAMES) - NO_TENSORS_OF_GRAPHS))
def test_function_in_a_graph(keras, name):
    function = getattr(keras.activations, name, None)
    if function is not None:
        check_layer(keras, function, (4, 3, 6), **bounds_of(name))


def test_threshold_is_no_function_of_one_argument(keras):
    x = keras.Input((4,))
    layer = keras.layers.Activation("linear")
    model = keras.Model(x, layer(x))
    layer.activation = keras.activations.threshold
    with pytest.raises(UnsupportedError, match="threshold"):
        from_keras(model)


RELUS = [
    {}, {"max_value": 6}, {"max_value": 3.0}, {"max_value": 1}, {"negative_slope": 0.25},
    {"threshold": 1.0}, {"threshold": -1.0}, {"threshold": 0.5, "max_value": 3.0},
    {"threshold": 1.0, "max_value": 6.0}, {"negative_slope": 0.25, "max_value": 3.0},
    {"negative_slope": 0.25, "max_value": 6.0}, {"negative_slope": 0.5, "threshold": 1.0},
    {"negative_slope": 0.5, "threshold": 1.0, "max_value": 3.0},
    {"negative_slope": 0.125, "threshold": 0.5, "max_value": 6.0}, {"max_value": 0.0},
]  # fmt: skip


@pytest.mark.parametrize("options", RELUS, ids=str)
def test_relu(keras, options):
    if options.get("threshold", 0.0) >= 0.0:  # else the function only
        for shape in SHAPES:
            check_layer(keras, keras.layers.ReLU(**options), shape)
        check_layer(keras, keras.layers.ReLU(**options), (12,), KINKS[None])
    check_layer(keras, lambda x: keras.activations.relu(x, **options), (12,), KINKS[None])


OTHERS = [
    ("LeakyReLU", {}),
    ("LeakyReLU", {"negative_slope": 0.125}),
    ("ELU", {}),
    ("ELU", {"alpha": 0.5}),
    ("Softmax", {}),
    ("Softmax", {"axis": 1}),
    ("Softmax", {"axis": (-1,)}),
]


@pytest.mark.parametrize(("name", "options"), OTHERS, ids=str)
def test_layer(keras, name, options):
    bounds = bounds_of("leaky_relu") if name == "LeakyReLU" else {}
    for shape in SHAPES:
        check_layer(keras, getattr(keras.layers, name)(**options), shape, **bounds)
    check_layer(keras, getattr(keras.layers, name)(**options), (12,), KINKS[None] / 10, **bounds)


@pytest.mark.parametrize("axis", [(1, 2), (-1, 1), (1, 2, 3), (3, 2)], ids=str)
def test_softmax_of_several_axes(keras, axis):
    check_layer(keras, keras.layers.Softmax(axis=axis), (4, 3, 6))


@pytest.mark.parametrize("axis", [-1, 1, (1, 2)], ids=str)
@pytest.mark.parametrize("shape", [(5, 4), (1, 4), (4,)], ids=str)
def test_softmax_with_a_mask(keras, axis, shape):
    x, mask = keras.Input((5, 4)), keras.Input(shape, dtype="bool")
    given = keras.ops.expand_dims(mask, 1) if len(shape) == 1 else mask
    y = keras.layers.Softmax(axis=axis)(moved(keras, x), mask=given)
    marks = np.random.default_rng(0).random((3, *shape)) > 0.4
    marks[0] = False
    check(keras.Model([x, mask], y), normal(3, 5, 4), marks, training=False)


OBJECTS = [
    ("ReLU", {"max_value": 3.0, "negative_slope": 0.25}),
    ("ReLU", {"max_value": 6}),
    ("LeakyReLU", {"negative_slope": 0.25}),
    ("ELU", {"alpha": 0.5}),
    ("Softmax", {"axis": 1}),
    ("Softmax", {"axis": (1, 2)}),
    ("Activation", {"activation": "tanh"}),
]


@pytest.mark.parametrize(("name", "options"), OBJECTS, ids=str)
def test_layer_as_activation(keras, name, options):
    def make():
        return getattr(keras.layers, name)(**options)

    check_layer(keras, keras.layers.Dense(4, activation=make()), (5, 3))
    check_layer(keras, keras.layers.Conv2D(4, 2, activation=make()), (5, 4, 3))
    check_layer(keras, keras.layers.Activation(make()), (4, 3, 6))


def test_other_objects_are_refused(keras):
    @keras.saving.register_keras_serializable("own")
    def doubled(x):
        return 2.0 * x

    for activation in (doubled, keras.layers.PReLU(), keras.layers.Dropout(0.5)):
        x = keras.Input((4,))
        model = keras.Model(x, keras.layers.Dense(3, activation=activation)(x))
        with pytest.raises(UnsupportedError, match="activation="):
            from_keras(model)


def test_axis_that_is_none_is_refused(keras):
    x = keras.Input((4,))
    layer = keras.layers.Softmax()
    model = keras.Model(x, layer(x))
    for axis in (None, 2, [1, -1], [], "1"):
        layer.axis = axis
        with pytest.raises(UnsupportedError, match="axis"):
            from_keras(model)


def test_vector_in_torchs_order(keras):
    x = keras.Input((4, 3))
    vector = keras.layers.Flatten()(keras.layers.AveragePooling1D(1)(x))
    outputs = [keras.layers.Activation(name)(vector) for name in ("glu", "softmax", "sparsemax")]
    check(keras.Model(x, outputs), normal(3, 4, 3), training=False)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_file(keras, suffix, tmp_path):
    x = keras.Input((4, 4, 3))
    y = x
    for activation in ("celu", "hard_silu", "sparsemax", keras.layers.ReLU(max_value=3.0)):
        y = keras.layers.Conv2D(4, 1, activation=activation)(y)
    y = keras.layers.ReLU(max_value=2.0, threshold=0.5)(y)
    y = keras.layers.Softmax(axis=(1, 2))(keras.layers.LeakyReLU(0.25)(y))
    model = randomize(keras.Model(x, y))
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    check(model, normal(3, 4, 4, 3), ported=load(path, "last"), training=False)
