"""Functions of Keras's in a graph, beside their ports, in float64."""

import numpy as np
import pytest
import torch

from parity_tests.porting import check, normal, randomize
from torchbp.graph.structure import leaves
from torchbp.port import from_keras, load
from torchbp.port.config import UnsupportedError

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]

VECTOR, SEQUENCE, IMAGE = (6,), (5, 4), (6, 5, 4)
ROUNDED = 1e-7  # TensorFlow rounds a constant of the function to float32
RESIZED = 2e-6  # TensorFlow resizes images in float32


@pytest.fixture(scope="module")
def keras(keras_float64):
    return keras_float64


def moved(keras, x):
    """The same numbers, which the port has in torch's order: channels at 1, or so flattened."""
    if len(x.shape) == 2:
        cells = keras.layers.Reshape((2, x.shape[1] // 2))(x)
        cells = keras.layers.UpSampling1D(1)(cells)
        return keras.layers.Flatten()(keras.layers.AveragePooling1D(1)(cells))
    if len(x.shape) > 4:
        return x
    return getattr(keras.layers, f"AveragePooling{len(x.shape) - 2}D")(1)(x)


def graph(keras, function, shapes, which=(), dtype=None):
    """A model of a function; that has a gradient to each input in any case."""
    inputs = [keras.Input(shape, dtype=dtype) for shape in shapes]
    args = [moved(keras, x) if i in which else x for i, x in enumerate(inputs)]
    result = function(*args)
    outputs = list(result) if isinstance(result, list | tuple) else [result]
    if dtype is None:
        outputs = [keras.ops.cast(y, "float64") if y.dtype == "bool" else y for y in outputs]
        outputs += [keras.layers.Activation("tanh")(x) for x in inputs]
    else:  # a layer, which has the model's float
        outputs += [keras.layers.Embedding(4 if dtype == "int32" else 128, 1)(x) for x in inputs]
    return keras.Model(inputs, outputs)


def check_function(keras, function, *shapes, values=None, orders=True, **bounds):
    """Equal with the axes of all inputs, of the first and of none of them in torch's order."""
    given = values or [normal(3, *shape, seed=seed) for seed, shape in enumerate(shapes)]
    places = range(len(shapes))
    for which in {(), (0,), tuple(places)} if orders else {()}:
        model = graph(keras, function, shapes, which)
        ported = from_keras(model, channels="last", check=False)  # which is what we do here
        check(model, *given, ported=ported, training=False, **bounds)


def positive(*shape):
    return np.abs(normal(*shape)) + 0.1


def small(*shape):
    return np.tanh(normal(*shape)) * 0.9


OF_EACH = {
    "absolute": normal, "arccos": small, "arccosh": lambda *s: positive(*s) + 1.0,
    "arcsin": small, "arcsinh": normal, "arctan": normal, "arctanh": small, "ceil": normal,
    "cos": normal, "cosh": normal, "deg2rad": normal, "rad2deg": normal, "exp": normal,
    "exp2": normal, "expm1": normal, "fabs": normal, "floor": normal, "log": positive,
    "log10": positive, "log1p": positive, "log2": positive, "negative": normal, "round": normal,
    "sign": normal, "sin": normal, "sinc": normal, "sinh": normal, "sqrt": positive,
    "square": normal, "tan": small, "tanh": normal, "trunc": normal, "reciprocal": positive,
    "rsqrt": positive, "erf": normal, "erfinv": small, "copy": normal,
    "isfinite": normal, "isnan": normal, "isinf": normal, "ones_like": normal,
    "zeros_like": normal, "stop_gradient": normal, "logical_not": normal, "cbrt": positive,
    "nan_to_num": normal, "erfc": normal, "isneginf": normal, "isposinf": normal,
}  # fmt: skip


@pytest.mark.parametrize("name", OF_EACH)
def test_function_of_each_number(keras, name):
    if not hasattr(keras.ops, name):
        pytest.skip("not in this Keras")
    for shape in (VECTOR, IMAGE):
        values = [OF_EACH[name](3, *shape)]
        check_function(keras, getattr(keras.ops, name), shape, values=values)


NN = [
    ("relu", {}), ("relu6", {}), ("sigmoid", {}), ("sparse_sigmoid", {}), ("softplus", {}),
    ("softsign", {}), ("sparse_plus", {}), ("silu", {}), ("log_sigmoid", {}), ("hard_sigmoid", {}),
    ("hard_silu", {}), ("selu", {}), ("tanh_shrink", {}), ("hard_tanh", {}), ("soft_shrink", {}),
    ("soft_shrink", {"threshold": 1.0}), ("hard_shrink", {"threshold": 0.5}), ("squareplus", {}),
    ("squareplus", {"b": 1}), ("threshold", {"threshold": 0.5, "default_value": -2.0}),
    ("elu", {}), ("elu", {"alpha": 0.5}), ("celu", {}), ("celu", {"alpha": 2.0}),
    ("softmax", {}), ("softmax", {"axis": 1}), ("log_softmax", {}), ("log_softmax", {"axis": 1}),
    ("glu", {}), ("sparsemax", {}), ("round", {"decimals": 1}), ("clip", {"x_min": -1, "x_max": 1}),
    ("leaky_relu", {}), ("gelu", {}), ("gelu", {"approximate": False}), ("cast", {"dtype": "bool"}),
    ("full_like", {"fill_value": 2.5}), ("normalize", {}), ("normalize", {"axis": 1}),
    ("normalize", {"order": 1}), ("normalize", {"order": 3, "epsilon": 0.1}),
]  # fmt: skip
KINKS = np.array([-6.0, -3.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0, 6.0, 30.0, -30.0])


@pytest.mark.parametrize(("name", "options"), NN, ids=str)
def test_function_for_networks(keras, name, options):
    def function(x):
        return getattr(keras.ops, name)(x, **options)

    bound = ROUNDED if name in ("gelu", "leaky_relu") else None
    bounds = {"forward": bound, "gradient": bound} if bound else {}
    for shape in (VECTOR, SEQUENCE, IMAGE):
        check_function(keras, function, shape, **bounds)
    if name not in ("normalize", "sparsemax", "round"):
        check(graph(keras, function, [(12,)]), KINKS[None], training=False, **bounds)


BINARY = [
    "add", "subtract", "multiply", "true_divide", "divide", "divide_no_nan", "maximum", "minimum",
    "power", "floor_divide", "mod", "equal", "not_equal", "greater", "greater_equal", "less",
    "less_equal", "logical_and", "logical_or", "logical_xor", "arctan2", "hypot", "logaddexp",
]  # fmt: skip
PAIRS = [
    (IMAGE, IMAGE), (IMAGE, (1, 1, 4)), ((6, 5, 1), IMAGE), (IMAGE, (5, 4)), (SEQUENCE, SEQUENCE),
    (SEQUENCE, (1, 4)), (SEQUENCE, (5, 1)), (VECTOR, VECTOR), (VECTOR, (1,)),
]  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_function_of_two_tensors(keras, name):
    for a, b in PAIRS:
        if (a, b) == (IMAGE, (5, 4)):
            continue  # (N, 6, 5, 4) and (N, 5, 4) do not broadcast
        values = [positive(3, *shape) for shape in (a, b)]
        even = all(s[0] % 2 == 0 for s in (a, b) if len(s) == 1)
        check_function(keras, getattr(keras.ops, name), a, b, values=values, orders=even)


@pytest.mark.parametrize("name", BINARY)
def test_function_of_a_tensor_and_a_number(keras, name):
    if name.startswith("logical") or name == "hypot":  # of tensors only
        return
    function = getattr(keras.ops, name)
    # TensorFlow rounds the number to float32 for these three
    for number in (2, 0.25 if name in ("mod", "arctan2", "logaddexp") else 0.3):
        for shape in (VECTOR, IMAGE):
            values = [positive(3, *shape)]
            check_function(keras, lambda x, n=number: function(x, n), shape, values=values)
            check_function(keras, lambda x, n=number: function(n, x), shape, values=values)


CONSTANTS = [(4,), (1, 4), (5, 1), (5, 4), (1, 1, 4), (6, 5, 4), (1, 6, 5, 4), (1, 1, 1, 1), (1,)]


@pytest.mark.parametrize("name", ["add", "multiply", "subtract", "maximum", "power", "greater"])
@pytest.mark.parametrize("shape", CONSTANTS, ids=str)
def test_function_of_a_tensor_and_an_array(keras, name, shape):
    function, array = getattr(keras.ops, name), positive(*shape)
    values = [positive(3, *IMAGE)]

    def first(x):
        return function(x, array)

    if not (name == "add" and shape == (5, 1)):  # see below
        check_function(keras, first, IMAGE, values=values)
    check_function(keras, lambda x: function(array, x), IMAGE, values=values)
    check_function(
        keras, lambda x: function(keras.ops.convert_to_tensor(array), x), IMAGE, values=values
    )


def test_arrays_with_vectors_and_sequences(keras):
    per_feature, per_step = normal(6), normal(5, 1)
    check_function(keras, lambda x: x * per_feature + 1.0, VECTOR)
    check_function(keras, lambda x: x + normal(1, 6), VECTOR)
    check_function(keras, lambda x: x * normal(2, 1, 6), VECTOR)
    check_function(keras, lambda x: keras.ops.multiply(per_step, x), SEQUENCE)
    check_function(keras, lambda x: x + np.arange(4), SEQUENCE)
    check_function(keras, lambda x: x * np.float32(3.0) - np.float64(0.1), SEQUENCE)


def test_python_operators(keras):
    def function(x, y):
        return -(abs(x) ** 2) + x / 3 - 2 / (1.5 + y * y) + (x > y) * 1.0 - x // 2 + x % 3

    check_function(keras, function, SEQUENCE, SEQUENCE)


def test_equal_numbers_share_no_gradient(keras):
    values = [np.array([[1.0, 2.0, 0.0]]), np.array([[1.0, 1.0, 0.0]])]
    for name in ("maximum", "minimum"):
        function = getattr(keras.ops, name)
        check(graph(keras, function, [(3,), (3,)]), *values, training=False)
        check(graph(keras, lambda x, f=function: f(x, 0), [(3,)]), values[0], training=False)
        check(graph(keras, lambda x, f=function: f(0, x), [(3,)]), values[0], training=False)


def test_exponents_of_numbers_that_are_not_positive(keras):
    base, exponent = np.array([[-2.0, 0.0, 3.0]]), np.array([[2.0, 2.0, 1.5]])
    check(graph(keras, keras.ops.power, [(3,), (3,)]), base, exponent, training=False)


def test_sum_that_tensorflow_mistakes_for_one_with_a_bias_is_refused(keras):
    for function, shape in [
        (lambda x: x + normal(5, 1), (6, 5, 5)),
        (lambda x: x + normal(4, 1), (6, 4, 4)),
        (lambda x: x + normal(1, 1, 1, 5), (6, 5)),
    ]:
        with pytest.raises(UnsupportedError, match="bias"):
            from_keras(graph(keras, function, [shape]))


WHERE = [
    lambda ops, x, y: ops.where(x > 0, x, y),
    lambda ops, x, y: ops.where(x > y, x, -1.0),
    lambda ops, x, y: ops.where(x > 0, 1.0, 0.0),
    lambda ops, x, y: ops.where(x > 0, 1, 0) * 1.0,
    lambda ops, x, y: ops.where(np.array([True, False, True, False]), x, y),
    lambda ops, x, y: ops.where(ops.logical_and(x > 0, y > 0), 2, x),
]


@pytest.mark.parametrize("number", range(len(WHERE)))
def test_where(keras, number):
    check_function(keras, lambda x, y: WHERE[number](keras.ops, x, y), IMAGE, IMAGE)


REDUCTIONS = [
    "mean", "sum", "max", "min", "amax", "amin", "prod", "std", "var", "logsumexp", "all", "any",
    "ptp",
]  # fmt: skip
AXES = [None, 0, 1, -1, (1, 2), (0, 3), (-1, 1), (1, 2, 3)]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES, ids=str)
def test_reduction(keras, axis, keepdims):
    for name in REDUCTIONS:
        if not hasattr(keras.ops, name):
            continue
        function = getattr(keras.ops, name)
        check_function(keras, lambda x, f=function: f(x, axis=axis, keepdims=keepdims), IMAGE)


def test_reduction_of_vectors_and_sequences(keras):
    for name in ("mean", "sum", "max", "argmax"):
        function = getattr(keras.ops, name)
        for axis in (None, 0, 1, -1):
            for shape in (VECTOR, SEQUENCE):
                check_function(keras, lambda x, f=function, a=axis: f(x, axis=a), shape)


def test_rank_falls_to_a_vector(keras):
    check_function(keras, lambda x: keras.ops.mean(x, axis=1) * 2.0 + np.arange(4.0), SEQUENCE)
    check_function(keras, lambda x: x / keras.ops.sum(x * x, axis=-1, keepdims=True), SEQUENCE)


def test_number_of_a_whole_tensor(keras):
    for shape in (VECTOR, IMAGE):
        check_function(keras, lambda x: (x - keras.ops.mean(x)) / keras.ops.std(x), shape)


def test_tied_maxima_share_the_gradient(keras):
    values = np.array([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    for name in ("max", "min", "argmax", "argmin", "logsumexp"):
        function = getattr(keras.ops, name)
        model = graph(keras, lambda x, f=function: f(x, axis=-1), [(3,)])
        check(model, values, training=False)


def test_places_of_extremes(keras):
    for name in ("argmax", "argmin"):
        for options in ({}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"keepdims": True}):
            function = getattr(keras.ops, name)
            check_function(keras, lambda x, f=function, o=options: f(x, **o), IMAGE)
    signs = np.array([[0.0, -0.0, 0.0], [-0.0, 0.0, -0.0]])
    for name in ("argmax", "argmin"):
        function = getattr(keras.ops, name)
        check(graph(keras, lambda x, f=function: f(x, axis=1), [(3,)]), signs, training=False)


OTHER_REDUCTIONS = [
    lambda ops, x: ops.count_nonzero(ops.relu(x), axis=(1, 2)),
    lambda ops, x: ops.average(x, axis=-1),
    lambda ops, x: ops.moments(x, axes=(1, 2)),
    lambda ops, x: ops.moments(x, axes=(0, 1, 2), keepdims=True),
    lambda ops, x: ops.cumsum(x, axis=1),
    lambda ops, x: ops.cumsum(x, axis=-1),
    lambda ops, x: ops.cumsum(x),
    lambda ops, x: ops.cumprod(x, axis=2),
    lambda ops, x: ops.norm(x, axis=-1),
    lambda ops, x: ops.norm(x, axis=1, ord=1, keepdims=True),
    lambda ops, x: ops.norm(x, axis=1, ord=3),
    lambda ops, x: ops.norm(x, axis=2, ord=float("inf")),
    lambda ops, x: ops.norm(x, axis=2, ord=float("-inf")),
    lambda ops, x: ops.norm(x, axis=(1, 2), ord="fro"),
]


@pytest.mark.parametrize("number", range(len(OTHER_REDUCTIONS)))
def test_other_reduction(keras, number):
    check_function(keras, lambda x: OTHER_REDUCTIONS[number](keras.ops, x), IMAGE)


def test_norm_of_all_numbers_of_a_vector(keras):
    check_function(keras, keras.ops.norm, VECTOR)


ITEMS = (
    np.s_[:, 1:-1, ..., None, 0],
    np.s_[..., 0],
    np.s_[:, 0],
    np.s_[0],
    np.s_[None,],
    np.s_[1:,],
    np.s_[..., :2],
    np.s_[:, ::-1],
    np.s_[:, 3:0:-1, ..., ::-2],
    np.s_[:, :, ::2, 1:3],
    np.s_[:, -2:, -1],
    np.s_[:, 100:2:-1],
    np.s_[..., -1, :],
    np.s_[:, None, :, 2, None],
    np.s_[:, -3:100, 1:2, -1:],
    np.s_[:, 4::-2],
    np.s_[...,],
)


@pytest.mark.parametrize("key", ITEMS, ids=str)
def test_item(keras, key):
    check_function(keras, lambda x: x[key], IMAGE)


@pytest.mark.parametrize("key", [np.s_[:, :2], np.s_[:, 1::2], np.s_[..., None], np.s_[:, 3]])
def test_item_of_a_vector(keras, key):
    check_function(keras, lambda x: x[key], VECTOR)


SHAPES = [
    lambda ops, x: ops.reshape(x, (-1, 30, 4)),
    lambda ops, x: ops.reshape(x, (-1, 20)),
    lambda ops, x: ops.reshape(x, (3, -1)),
    lambda ops, x: ops.ravel(x),
    lambda ops, x: ops.transpose(x, (0, 3, 1, 2)),
    lambda ops, x: ops.transpose(x, (0, 2, 1, -1)),
    lambda ops, x: ops.transpose(x),
    lambda ops, x: ops.swapaxes(x, 1, -1),
    lambda ops, x: ops.moveaxis(x, 1, -1),
    lambda ops, x: ops.moveaxis(x, (1, 2), (-1, 1)),
    lambda ops, x: ops.expand_dims(x, 1),
    lambda ops, x: ops.expand_dims(x, (-1, 1)),
    lambda ops, x: ops.squeeze(ops.mean(x, axis=(1, 3), keepdims=True), axis=(1, 3)),
    lambda ops, x: ops.squeeze(ops.mean(x, axis=1, keepdims=True), 1),
    lambda ops, x: ops.broadcast_to(ops.mean(x, axis=0), (2, 3, 6, 5, 4)),
    lambda ops, x: ops.stack([x, 2 * x], axis=1),
    lambda ops, x: ops.stack([x, 2 * x, x], axis=-1),
    lambda ops, x: ops.concatenate([x, x * x], axis=-1),
    lambda ops, x: ops.concatenate([x, x * x], axis=1),
    lambda ops, x: ops.concatenate([x, normal(1, 6, 5, 4)], axis=0),
    lambda ops, x: ops.concatenate([x, x > 0], axis=-1),
    lambda ops, x: ops.hstack([x, x]),
    lambda ops, x: ops.split(x, 2, axis=-1),
    lambda ops, x: ops.split(x, [1, 3], axis=1),
    lambda ops, x: ops.split(x, 3, axis=1)[1] * 2.0,
    lambda ops, x: ops.unstack(x, axis=-1),
    lambda ops, x: ops.unstack(x, axis=1)[2:4],
    lambda ops, x: ops.tile(x, (1, 2, 1, 3)),
    lambda ops, x: ops.tile(x, (2, 1)),
    lambda ops, x: ops.tile(x, 2),
    lambda ops, x: ops.tile(x, (2, 1, 1, 1, 1)),
    lambda ops, x: ops.repeat(x, 2, axis=1),
    lambda ops, x: ops.repeat(x, 3, axis=-1),
    lambda ops, x: ops.repeat(x, 2),
    lambda ops, x: ops.roll(x, 2, axis=1),
    lambda ops, x: ops.roll(x, (1, -2), axis=(1, 3)),
    lambda ops, x: ops.roll(x, 3),
    lambda ops, x: ops.flip(x, axis=1),
    lambda ops, x: ops.flip(x, axis=(1, -1)),
    lambda ops, x: ops.flip(x),
    lambda ops, x: ops.fliplr(x),
    lambda ops, x: ops.flipud(x),
    lambda ops, x: ops.convert_to_tensor(x) * 2.0,
    lambda ops, x: ops.pad(x, [[0, 0], [1, 2], [0, 3], [1, 0]]),
    lambda ops, x: ops.pad(x, [[0, 0], [1, 2], [0, 3], [1, 0]], constant_values=2.5),
    lambda ops, x: ops.pad(x, [[0, 0], [1, 2], [0, 3], [1, 0]], mode="reflect"),
    lambda ops, x: ops.pad(x, [[0, 0], [1, 2], [0, 3], [1, 0]], mode="symmetric"),
    lambda ops, x: ops.take(x, 1, axis=1),
    lambda ops, x: ops.take(x, [2, 0, -1], axis=-1),
    lambda ops, x: ops.take(x, np.array([[2, 0], [1, 1]]), axis=2),
    lambda ops, x: ops.take(x, ops.argmax(ops.mean(x, axis=(2, 3)), axis=-1), axis=1),
    lambda ops, x: ops.take_along_axis(x, ops.argsort(x, axis=1), axis=1),
    lambda ops, x: ops.take_along_axis(x, np.array([[[[0, -1, 1]]]]), axis=-1),
    lambda ops, x: ops.sort(x, axis=1),
    lambda ops, x: ops.sort(x),
    lambda ops, x: ops.argsort(x, axis=-1),
    lambda ops, x: ops.top_k(x, 2),
    lambda ops, x: ops.diff(x, axis=1),
    lambda ops, x: ops.diff(x, n=2),
    lambda ops, x: ops.diagonal(x, axis1=1, axis2=2),
    lambda ops, x: ops.tril(x),
    lambda ops, x: ops.triu(x, k=1),
    lambda ops, x: ops.nn.depth_to_space(x, 2),
    lambda ops, x: ops.nn.space_to_depth(x[:, :, :4], 2),
]


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_shape(keras, number):
    check_function(keras, lambda x: SHAPES[number](keras.ops, x), IMAGE)


OF_VECTORS = [
    lambda ops, x: ops.reshape(x, (-1, 2, 3)),
    lambda ops, x: ops.expand_dims(x, 1),
    lambda ops, x: ops.stack([x, x], axis=1),
    lambda ops, x: ops.concatenate([x, x], axis=1),
    lambda ops, x: ops.split(x, 3, axis=1),
    lambda ops, x: ops.unstack(x, axis=1),
    lambda ops, x: ops.tile(x, (1, 2)),
    lambda ops, x: ops.repeat(x, 2, axis=1),
    lambda ops, x: ops.roll(x, 2, axis=1),
    lambda ops, x: ops.flip(x, axis=1),
    lambda ops, x: ops.pad(x, [[0, 0], [1, 2]]),
    lambda ops, x: ops.cumsum(x, axis=1),
    lambda ops, x: ops.argmax(x, axis=1),
    lambda ops, x: ops.sort(x),
    lambda ops, x: ops.top_k(x, 3),
    lambda ops, x: ops.glu(x),
    lambda ops, x: ops.softmax(x) + ops.log_softmax(x) * ops.mean(x, axis=1, keepdims=True),
]


@pytest.mark.parametrize("number", range(len(OF_VECTORS)))
def test_shape_of_a_vector(keras, number):
    check_function(keras, lambda x: OF_VECTORS[number](keras.ops, x), VECTOR)


def test_equal_numbers_are_sorted_in_their_order(keras):
    values = np.array([[2.0, 1.0, 2.0, 1.0, 0.0, 2.0]])
    for function in (keras.ops.argsort, lambda x: keras.ops.top_k(x, 4), keras.ops.sort):
        check(graph(keras, function, [(6,)]), values, training=False)


PRODUCTS = [
    (lambda ops, x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))), SEQUENCE, SEQUENCE),
    (lambda ops, x, y: x @ normal(4, 3) + y, SEQUENCE, (5, 3)),
    (lambda ops, x, y: ops.matmul(x, y), IMAGE, (6, 4, 3)),
    (lambda ops, x, y: ops.matmul(x, y[0]), VECTOR, (6,)),
    (lambda ops, x, y: ops.matmul(normal(2, 5), x) * ops.sum(y), SEQUENCE, VECTOR),
    (lambda ops, x, y: ops.dot(x, normal(4, 7)), SEQUENCE, VECTOR),
    (lambda ops, x, y: ops.dot(x, y), SEQUENCE, (4, 3)),
    (lambda ops, x, y: ops.tensordot(x, normal(4, 2), axes=1), IMAGE, VECTOR),
    (lambda ops, x, y: ops.tensordot(x, normal(5, 4, 2), axes=[[2, 3], [0, 1]]), IMAGE, VECTOR),
    (lambda ops, x, y: ops.tensordot(x, y, axes=[[0], [0]]), SEQUENCE, VECTOR),
    (lambda ops, x, y: ops.einsum("bij,bkj->bik", x, y), SEQUENCE, (3, 4)),
    (lambda ops, x, y: ops.einsum("bhwc,cd->bhwd", x, normal(4, 3)), IMAGE, VECTOR),
    (lambda ops, x, y: ops.einsum("...c,c->...", x, normal(4)), IMAGE, VECTOR),
    (lambda ops, x, y: ops.einsum("abc->acb", x), SEQUENCE, VECTOR),
    (lambda ops, x, y: ops.einsum("bij,bij->b", x, y), SEQUENCE, SEQUENCE),
    (lambda ops, x, y: ops.inner(x, normal(2, 4)), SEQUENCE, VECTOR),
    (lambda ops, x, y: ops.outer(x[0], y[0]), VECTOR, VECTOR),
]


@pytest.mark.parametrize("number", range(len(PRODUCTS)))
def test_product(keras, number):
    function, *shapes = PRODUCTS[number]
    check_function(keras, lambda x, y: function(keras.ops, x, y), *shapes)


POOLS = [
    ("max_pool", {"pool_size": 2}, IMAGE),
    ("max_pool", {"pool_size": 3, "strides": 2, "padding": "same"}, IMAGE),
    ("average_pool", {"pool_size": (2, 3), "strides": 1, "padding": "same"}, IMAGE),
    ("average_pool", {"pool_size": 2}, SEQUENCE),
    ("max_pool", {"pool_size": 2, "data_format": "channels_first"}, IMAGE),
    ("average_pool", {"pool_size": 2, "data_format": "channels_last"}, IMAGE),
]


@pytest.mark.parametrize(("name", "options", "shape"), POOLS, ids=str)
def test_pooling(keras, name, options, shape):
    check_function(keras, lambda x: getattr(keras.ops, name)(x, **options), shape)


RESIZES = [
    {"size": (9, 11)},
    {"size": (9, 11), "data_format": "channels_last"},
    {"size": (7, 3), "data_format": "channels_first"},
    {"size": (3, 4)},
    {"size": (9, 3), "interpolation": "nearest"},
    {"size": (4, 11), "interpolation": "nearest"},
]


@pytest.mark.parametrize("options", RESIZES, ids=str)
def test_resize(keras, options):
    bounds = {"forward": RESIZED, "gradient": RESIZED}
    check_function(keras, lambda x: keras.ops.image.resize(x, **options), IMAGE, **bounds)


OF_INTS = [
    lambda ops, x: x + 1,
    lambda ops, x: x * x - 2,
    lambda ops, x: x / 2,
    lambda ops, x: x // 2,
    lambda ops, x: x % 3,
    lambda ops, x: x * 0.5,
    lambda ops, x: x + np.array([0.5, 1.0, 2.0, 3.0]),
    lambda ops, x: x + np.array([1, 2, 3, 4]),
    lambda ops, x: ops.maximum(x, 2),
    lambda ops, x: ops.not_equal(x, 0),
    lambda ops, x: ops.cast(ops.not_equal(x, 0), "float64") * 2.0,
    lambda ops, x: ops.mean(x, axis=-1),
    lambda ops, x: ops.sum(x, axis=1),
    lambda ops, x: ops.sum(x > 1, axis=1),
    lambda ops, x: ops.max(x, axis=1),
    lambda ops, x: ops.max(x > 1, axis=1),
    lambda ops, x: ops.var(x, axis=1),
    lambda ops, x: ops.argmax(x, axis=1),
    lambda ops, x: ops.prod(x, axis=1),
    lambda ops, x: ops.one_hot(x, 4, dtype="float64"),
    lambda ops, x: ops.one_hot(x, 4, axis=1, dtype="int32"),
    lambda ops, x: ops.one_hot(x, 3, dtype="bool"),
    lambda ops, x: ops.exp(x),
    lambda ops, x: ops.sqrt(x),
    lambda ops, x: ops.floor(x),
    lambda ops, x: ops.abs(-x),
    lambda ops, x: ops.square(x),
    lambda ops, x: ops.sign(x),
    lambda ops, x: ops.clip(x, 1, 2),
    lambda ops, x: ops.cumsum(x, axis=1),
    lambda ops, x: ops.where(x > 1, x, 0),
    lambda ops, x: ops.where(x > 1, x, 0.5),
    lambda ops, x: ops.relu(x),
    lambda ops, x: ops.sort(x),
    lambda ops, x: ops.logical_and(x > 0, x < 3),
    lambda ops, x: (x > 0) * 1,
    lambda ops, x: (x > 0) * 2.5,
    lambda ops, x: ops.cast(x, "bool"),
    lambda ops, x: ops.norm(x, axis=-1),
    lambda ops, x: ops.arctan2(x, 2),
    lambda ops, x: ops.concatenate([x, x * 0.5], axis=-1),
    lambda ops, x: ops.full_like(x, 3),
    lambda ops, x: ops.power(x, 2),
    lambda ops, x: ops.take(ops.mean(x) * normal(4, 2), x, axis=0),
    lambda ops, x: ops.equal(x, 1.5),
    lambda ops, x: ops.pad(x, [[0, 0], [1, 1]], constant_values=7),
]


@pytest.mark.parametrize("number", range(len(OF_INTS)))
def test_ints_are_equal_or_refused(keras, number):
    model = graph(keras, lambda x: OF_INTS[number](keras.ops, x), [(4,)], dtype="int32")
    values = np.array([[0, 1, 2, 3], [3, 3, 0, 1]], "int32")
    ours = from_keras(model, channels="last")(torch.from_numpy(values).long())
    theirs = model(values)
    for a, b in zip(leaves(ours), leaves(theirs), strict=True):
        assert a.dtype.is_floating_point == b.dtype.is_floating
        assert (a.dtype is torch.bool) == (b.dtype.name == "bool")
        assert tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(a.detach().double().numpy(), b.numpy().astype(float), 1e-12)


def test_arithmetic_with_few_bits_is_refused(keras):
    for dtype in ("uint8", "int8", "int16"):
        with pytest.raises(UnsupportedError, match=dtype):
            from_keras(graph(keras, lambda x: x * 2, [(4,)], dtype=dtype))
    model = graph(keras, lambda x: keras.ops.cast(x, "float64") / 255.0, [(4,)], dtype="uint8")
    expected, _ = leaves(model(np.array([[0, 5, 100, 127]], "uint8")))
    result, _ = leaves(from_keras(model)(torch.tensor([[0, 5, 100, 127]])))
    np.testing.assert_allclose(result.detach(), expected, 1e-13)


REFUSED = {
    "cast to few bits": lambda ops, x: ops.cast(x, "uint8"),
    "another dtype of the model": lambda ops, x: ops.cast(x, "float32"),
    "fft": lambda ops, x: ops.fft((x, x)),
    "weights": lambda ops, x: ops.average(x, weights=x),
    "matrix norm": lambda ops, x: ops.norm(x, ord="nuc", axis=(1, 2)),
    "initial": lambda ops, x: ops.max(x, initial=0.0),
    "repeats": lambda ops, x: ops.repeat(x, [1, 2, 1, 1], axis=-1),
    "bicubic": lambda ops, x: ops.image.resize(x, (3, 3), interpolation="bicubic"),
    "crop": lambda ops, x: ops.image.resize(x, (3, 3), crop_to_aspect_ratio=True),
    "fill": lambda ops, x: ops.full_like(x, np.ones(4)),
    "softmax of all": lambda ops, x: ops.softmax(x, axis=None),
    "many parts": lambda ops, x: ops.split(ops.repeat(x, 1 << 17, axis=1), 1 << 17, axis=1)[0],
    "many classes": lambda ops, x: ops.one_hot(ops.cast(x, "int32"), 1 << 26),
    "mask alone": lambda ops, x: ops.nonzero(x),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(keras, name):
    layered = keras.layers.Dense(4)
    model = graph(keras, lambda x: REFUSED[name](keras.ops, layered(x)), [IMAGE])
    with pytest.raises(UnsupportedError):
        from_keras(model)


@pytest.mark.parametrize("is_function", [False, True])
def test_functions_drop_a_mask_and_layers_pass_it(keras, is_function):
    x = keras.Input((5, 4))
    y = keras.layers.Masking()(x)
    if is_function:
        y = keras.activations.relu(y, max_value=2.0) * 2.0
    else:
        y = keras.layers.ReLU(max_value=2.0)(y)
    model = keras.Model(x, keras.layers.GlobalAveragePooling1D()(y))
    values = normal(3, 5, 4)
    values[:, 3:] = 0.0
    check(model, values, training=False)


def block(keras):
    """A model with the functions that real models have."""
    ops, layers = keras.ops, keras.layers
    x = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(8, 3, padding="same")(x / 127.5 - 1.0)
    y = y * ops.sigmoid(ops.mean(y, axis=(1, 2), keepdims=True)) + np.arange(8.0)
    y = ops.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]])[:, 1:, ::2, :]
    y = ops.relu(layers.Conv2D(8, 3)(y))
    a, b = ops.split(y, 2, axis=-1)
    y = ops.concatenate([a * ops.silu(b), ops.softmax(a, axis=-1)], axis=-1)
    tokens = ops.reshape(y, (-1, 7 * 3, 8)) * ops.convert_to_tensor(np.linspace(0.5, 1.5, 8))
    scores = ops.softmax(ops.einsum("bqc,bkc->bqk", tokens, tokens) / np.sqrt(8.0))
    tokens = layers.LayerNormalization()(tokens + ops.matmul(scores, tokens))
    first = ops.squeeze(tokens[:, :1], axis=1)
    last = ops.transpose(ops.expand_dims(tokens[:, -1], -1), (0, 2, 1))[:, 0]
    stacked = ops.stack([first, last, *ops.unstack(tokens, axis=1)[:2]], axis=1)
    flat = layers.Flatten()(ops.tile(stacked, (1, 1, 2)))
    return keras.Model(x, layers.Dense(4)(ops.where(flat > 0, flat, 0.1 * flat)))


def test_model_of_functions(keras):
    model = randomize(block(keras))
    check(model, normal(3, 8, 8, 3), forward=1e-12, gradient=1e-11)


def test_model_of_functions_with_channels_at_1(keras):
    model = randomize(block(keras))
    x = normal(3, 8, 8, 3)
    ours = from_keras(model)(torch.from_numpy(x).movedim(-1, 1).contiguous())
    np.testing.assert_allclose(ours.detach(), model(x), 1e-11, 1e-12)


def test_file_of_a_model_of_functions(keras, tmp_path):
    model = randomize(block(keras))
    model.save(tmp_path / "model.keras")
    check(model, normal(2, 8, 8, 3), ported=load(tmp_path / "model.keras", "last"), forward=1e-12)


@pytest.mark.parametrize("key", ITEMS, ids=str)
def test_file_with_an_item(keras, key, tmp_path):
    model = graph(keras, lambda x: x[key], [IMAGE], [0])
    model.save(tmp_path / "model.keras")
    ported = load(tmp_path / "model.keras", "last")
    check(model, normal(3, *IMAGE), ported=ported, training=False)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_file_with_constants(keras, suffix, tmp_path):
    def function(x):
        y = keras.layers.Dense(4)(x) * np.linspace(0.0, 1.0, 4) + keras.ops.ones((5, 1)) * 0.1
        return keras.ops.maximum(y, 0.2) - keras.ops.relu(x)

    model = randomize(graph(keras, function, [(6, 5, 4)], [0]))
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    check(model, normal(3, 6, 5, 4), ported=load(path, "last"), training=False)


def test_float32_model_has_constants_in_float32(keras):
    keras.config.set_floatx("float32")
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        x = keras.Input((4,), dtype="float32")
        y = keras.layers.Dense(3)(x) * np.array([0.1, 0.2, 0.3]) + 0.1
        model = keras.Model(x, keras.layers.Dense(2)(y))
        ported = from_keras(model)
        values = normal(3, 4).astype("float32")
        ours = ported(torch.from_numpy(values))
        assert ours.dtype is torch.float32
        assert {b.dtype for b in ported.buffers() if b.is_floating_point()} == {torch.float32}
        np.testing.assert_allclose(ours.detach(), model(values), 1e-5, 1e-6)
    finally:
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy(policy)
