"""Layers for images, and their kin for sequences and volumes, beside Keras's on TensorFlow.

In float64, but for pooling of volumes, for which TensorFlow has no float64 kernel. Bounds are
relative to the largest value of an array, and lie a hundred times and more over the rounding
that was measured, and as far below any difference of meaning:
pooling and reshaping 1e-14, convolution 1e-13, normalisation 1e-13 (1 + |mean| / deviation of its
input), gradients of a layer 1e-12, moving statistics 1e-13; float32 pooling 1e-6, its gradients
2e-5; and 2e-6 where TensorFlow resizes images, which it does in float32.
"""

from itertools import product

import numpy as np
import pytest
import torch

from parity_tests.test_layers_keras import arrays, normal, ours, outputs_and_gradients
from torchbp import layers
from torchbp.port import weights

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

N, C, OUT = 2, 4, 6
POOLING, CONTRACTION, GRADIENT, STATISTICS, RESIZING = 1e-14, 1e-13, 1e-12, 1e-13, 2e-6
SIZES = {1: [(7,), (8,)], 2: [(7, 8), (8, 7)], 3: [(5, 6, 7)]}


@pytest.fixture(scope="module")
def keras(keras_float64):
    return keras_float64


def close(actual, expected, bound):
    assert np.shape(actual) == np.shape(expected)
    assert np.abs(actual - expected).max() <= bound * np.abs(expected).max()


class Stand:
    """Another way to call a Keras layer that is built."""

    built = True

    def __init__(self, layer, call):
        self.call = call
        self.trainable_weights = layer.trainable_weights
        self.get_weights = layer.get_weights

    def __call__(self, x):
        return self.call(x)


def compare(keras, theirs, layer, x, convert=None, bound=CONTRACTION, gradient=GRADIENT):
    """Output and gradients of both; `convert` makes a state dict of Keras's arrays."""
    if not theirs.built:
        theirs.build(x.shape)
    if convert:
        missing = layer.load_state_dict(convert(*arrays(theirs)), strict=False).missing_keys
        assert not set(missing) & {name for name, _ in layer.named_parameters()}
    output, (input_grad,), weight_grads = outputs_and_gradients(keras, theirs, [x])
    actual, (grad,) = ours(lambda x: layer(x.movedim(-1, 1)).movedim(1, -1), [x])
    close(actual, output, bound)
    close(grad, input_grad, gradient)
    expected = convert(*map(torch.from_numpy, weight_grads)) if convert else {}
    assert set(expected) == {name for name, _ in layer.named_parameters()}
    for name, weight_grad in expected.items():
        close(layer.get_parameter(name).grad.numpy(), weight_grad.numpy(), gradient)


def reach(kernel, dilation):
    return (kernel - 1) * dilation + 1


def keras_options(kernel, stride, dilation, padding):
    return {
        "kernel_size": kernel,
        "strides": stride,
        "dilation_rate": dilation,
        "padding": padding,
        "bias_initializer": "random_normal",
    }


def windows(num_dims, kernels, strides, dilations, paddings):
    """(sizes, kernel, stride, dilation, padding), where Keras takes them and they fit."""
    # Keras refuses a stride together with a dilation
    steps = [(stride, (1,) * num_dims) for stride in strides]
    steps += [((1,) * num_dims, dilation) for dilation in dilations]
    return [
        pytest.param(sizes, kernel, *step, padding, id=f"{sizes}-{kernel}-{step}-{padding}")
        for sizes, kernel, step, padding in product(SIZES[num_dims], kernels, steps, paddings)
        if padding != "valid"
        or all(reach(k, d) <= n for n, k, d in zip(sizes, kernel, step[1], strict=True))
    ]


def every(*values):
    return [(value,) for value in values]


LINES = windows(1, every(1, 2, 3, 4, 5), every(1, 2, 3), every(2, 3), ["valid", "same", "causal"])
IMAGES = windows(
    2,
    [(3, 3), (1, 2), (2, 5), (5, 4)],
    [(1, 1), (2, 2), (3, 3), (1, 2), (3, 2)],
    [(2, 2), (3, 1)],
    ["valid", "same"],
)
VOLUMES = windows(
    3, [(3, 3, 3), (1, 2, 4)], [(1, 1, 1), (2, 2, 2), (3, 1, 2)], [(2, 2, 2)], ["valid", "same"]
)
CONVOLUTIONS = [*LINES, *IMAGES, *VOLUMES]
# of which TensorFlow takes only one step for rows and columns
CHANNELWISE = [case for case in [*LINES, *IMAGES] if len(set(case.values[2])) == 1]
CHANNELWISE = [case for case in CHANNELWISE if case.values[4] != "causal"]


def from_conv(kernel, bias):
    return {"weight": weights.conv_kernel_to_torch(kernel), "bias": bias}


@pytest.mark.parametrize(("sizes", "kernel", "stride", "dilation", "padding"), CONVOLUTIONS)
def test_convolution(keras, sizes, kernel, stride, dilation, padding):
    n = len(sizes)
    options = keras_options(kernel, stride, dilation, padding)
    theirs = getattr(keras.layers, f"Conv{n}D")(OUT, **options)
    layer = getattr(layers, f"Conv{n}d")(C, OUT, kernel, stride, padding, dilation)
    compare(keras, theirs, layer.double(), normal(N, *sizes, C), from_conv)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_convolution_in_groups(keras, num_dims, padding):
    kernel, stride = (3, 2, 2)[:num_dims], (2,) * num_dims
    options = keras_options(kernel, stride, 1, padding)
    theirs = getattr(keras.layers, f"Conv{num_dims}D")(OUT, groups=2, **options)
    layer = getattr(layers, f"Conv{num_dims}d")(C, OUT, kernel, stride, padding, groups=2)
    compare(keras, theirs, layer.double(), normal(N, *SIZES[num_dims][0], C), from_conv)


def from_depthwise(kernel, bias):
    return {"weight": weights.depthwise_kernel_to_torch(kernel), "bias": bias}


@pytest.mark.parametrize(("sizes", "kernel", "stride", "dilation", "padding"), CHANNELWISE)
def test_depthwise_convolution(keras, sizes, kernel, stride, dilation, padding):
    n, multiplier = len(sizes), 1 + sum(kernel) % 3
    options = keras_options(kernel, stride, dilation, padding)
    theirs = getattr(keras.layers, f"DepthwiseConv{n}D")(depth_multiplier=multiplier, **options)
    layer = getattr(layers, f"DepthwiseConv{n}d")(C, kernel, stride, padding, dilation, multiplier)
    compare(keras, theirs, layer.double(), normal(N, *sizes, C), from_depthwise)


def from_separable(depthwise, pointwise, bias):
    kernels = weights.separable_kernels_to_torch(depthwise, pointwise)
    return {
        "depthwise.weight": kernels[0],
        "pointwise.weight": kernels[1],
        "pointwise.bias": bias,
    }


@pytest.mark.parametrize(("sizes", "kernel", "stride", "dilation", "padding"), CHANNELWISE)
def test_separable_convolution(keras, sizes, kernel, stride, dilation, padding):
    n, multiplier = len(sizes), 1 + sum(kernel) % 3
    options = keras_options(kernel, stride, dilation, padding) | {"depth_multiplier": multiplier}
    theirs = getattr(keras.layers, f"SeparableConv{n}D")(OUT, **options)
    layer_class = getattr(layers, f"SeparableConv{n}d")
    layer = layer_class(C, OUT, kernel, stride, padding, dilation, multiplier)
    compare(keras, theirs, layer.double(), normal(N, *sizes, C), from_separable)


def transposed():
    """(kernel, stride, padding, output_padding) that TensorFlow takes along a line."""
    for kernel, stride in product(range(1, 6), range(1, 4)):
        for padding in ("valid", "same"):
            yield kernel, stride, padding, None
        for more in range(stride):
            yield kernel, stride, "valid", more
            if kernel % 2 + more in range(1, stride + 1):
                yield kernel, stride, "same", more


def from_transposed(kernel, bias):
    return {"weight": weights.conv_transpose_kernel_to_torch(kernel), "bias": bias}


def transposed_pair(keras, num_dims, kernel, stride, padding, output_padding, dilation=1):
    theirs = getattr(keras.layers, f"Conv{num_dims}DTranspose")(
        OUT,
        output_padding=output_padding,
        **keras_options(kernel, stride, dilation, padding),
    )
    layer = getattr(layers, f"ConvTranspose{num_dims}d")(
        C, OUT, kernel, stride, padding, output_padding, dilation=dilation
    )
    return theirs, layer.double()


@pytest.mark.parametrize("length", [3, 4])
@pytest.mark.parametrize(("kernel", "stride", "padding", "more"), list(transposed()))
def test_transposed_convolution_over_time(keras, length, kernel, stride, padding, more):
    theirs, layer = transposed_pair(keras, 1, kernel, stride, padding, more)
    compare(keras, theirs, layer, normal(N, length, C), from_transposed)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 2), (2, 2), (3, 2), (2, 3), (4, 3), (5, 3)])
def test_dilated_transposed_convolution(keras, kernel, dilation, padding):
    import tensorflow as tf

    theirs, layer = transposed_pair(keras, 1, kernel, 1, padding, None, dilation)
    theirs.build((N, 4, C))
    # TensorFlow has no kernel for it on a CPU; XLA has
    compiled = Stand(theirs, tf.function(theirs, jit_compile=True))
    compare(keras, compiled, layer, normal(N, 4, C), from_transposed)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("sizes", "kernel", "stride", "more"),
    [
        ((4, 3), (3, 3), (2, 2), None),
        ((4, 3), (3, 5), (2, 2), (1, 1)),
        ((3, 4), (2, 5), (3, 1), None),
        ((3, 4), (5, 1), (2, 3), (1, 2)),
        ((3, 2, 4), (3, 3, 3), (2, 2, 2), None),
        ((3, 2, 4), (1, 2, 5), (2, 3, 1), None),
    ],
)
def test_transposed_convolution(keras, sizes, kernel, stride, more, padding):
    theirs, layer = transposed_pair(keras, len(sizes), kernel, stride, padding, more)
    compare(keras, theirs, layer, normal(N, *sizes, C), from_transposed)


POOLS = [
    pytest.param(sizes, kernel, stride, padding, id=f"{sizes}-{kernel}-{stride}-{padding}")
    for sizes, kernel, stride, _, padding in (
        case.values
        for case in [
            *windows(1, every(1, 2, 3, 4, 5), every(1, 2, 3), [], ["valid", "same"]),
            *windows(
                2,
                [(2, 2), (3, 3), (1, 4), (5, 2)],
                [(1, 1), (2, 2), (3, 3), (2, 3), (3, 1)],
                [],
                ["valid", "same"],
            ),
        ]
    )
]
VOLUME_POOLS = [
    (kernel, stride, padding)
    for kernel in [(2, 2, 2), (3, 3, 3), (1, 4, 3)]
    for stride in [(1, 1, 1), (2, 2, 2), (1, 2, 3)]
    for padding in ("valid", "same")
]
PADDING = {"valid": 0, "same": "same"}


def pools(keras, kind, kernel, stride, padding, dtype="float64"):
    n, whole = len(kernel), {"Max": "Max", "Avg": "Average"}[kind]
    theirs = getattr(keras.layers, f"{whole}Pooling{n}D")(kernel, stride, padding, dtype=dtype)
    return theirs, getattr(layers, f"{kind}Pool{n}d")(kernel, stride, PADDING[padding])


@pytest.mark.parametrize("kind", ["Max", "Avg"])
@pytest.mark.parametrize(("sizes", "kernel", "stride", "padding"), POOLS)
def test_pooling(keras, sizes, kernel, stride, padding, kind):
    x = normal(N, *sizes, C) - 2  # nearly all below the zeros of a wrong padding
    theirs, layer = pools(keras, kind, kernel, stride, padding)
    compare(keras, theirs, layer, x, bound=POOLING)
    if kind == "Max":  # the first of equal values gets the gradient
        compare(keras, theirs, layer, np.round(x), bound=0)


@pytest.mark.parametrize("kind", ["Max", "Avg"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), VOLUME_POOLS)
def test_pooling_of_volumes_in_float32(keras, kernel, stride, padding, kind):
    import tensorflow as tf

    x = (normal(N, *SIZES[3][0], C) - 2).astype("float32")
    theirs, layer = pools(keras, kind, kernel, stride, padding, "float32")
    with tf.GradientTape() as tape:
        tensor = tf.constant(x)
        tape.watch(tensor)
        output = theirs(tensor)
        total = tf.reduce_sum(output * normal(*output.shape).astype("float32"))
    actual, (grad,) = ours(lambda x: layer(x.movedim(-1, 1)).movedim(1, -1), [x])
    close(actual, output.numpy(), 1e-6)
    close(grad, tape.gradient(total, tensor).numpy(), 2e-5)


@pytest.mark.parametrize("kind", [("Max", "Max"), ("Average", "Avg")])
@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_global_pooling(keras, num_dims, kind):
    theirs = getattr(keras.layers, f"Global{kind[0]}Pooling{num_dims}D")()
    layer = getattr(layers, f"Global{kind[1]}Pool{num_dims}d")()
    x = normal(N, *SIZES[num_dims][0], C)
    for values in (x, np.round(x)):  # equal maxima share the gradient
        compare(keras, theirs, layer, values, bound=POOLING)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("sizes", [(), (5,), (4, 3), (2, 3, 4)])
def test_batch_normalisation_for_three_steps_and_after(keras, sizes, scale, center):
    shape = (8, *sizes, C)
    theirs = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, scale=scale, center=center)
    layer = getattr(layers, f"BatchNorm{max(len(sizes), 1)}d")(
        C, eps=1e-3, momentum=1 - 0.9, scale=scale, shift=center, biased_running_var=True
    ).double()

    def from_batch_norm(*vectors):
        vectors = list(vectors)
        gamma, beta = (vectors.pop(0) if has else None for has in (scale, center))
        weight, bias, *_ = weights.batch_norm_to_torch(gamma, beta, *torch.zeros(2, C))
        pairs = {"weight": weight, "bias": bias}
        return {name: vector for name, vector in pairs.items() if vector is not None}

    theirs.build(shape)
    for weight in theirs.trainable_weights:
        weight.assign(normal(*weight.shape) + 2)
    in_training = Stand(theirs, lambda x: theirs(x, training=True))
    for step in range(3):
        x = np.random.default_rng(step).normal(3, step + 1, size=shape)
        layer.zero_grad()
        bound = CONTRACTION * (1 + 3 / (step + 1))
        compare(keras, in_training, layer, x, from_batch_norm, bound)
    mean, variance = theirs.get_weights()[-2:]
    close(layer.running_mean.numpy(), mean, STATISTICS)
    close(layer.running_var.numpy(), variance, STATISTICS)
    layer.eval()
    layer.zero_grad()
    compare(keras, theirs, layer, x, from_batch_norm, bound)


SIDES = [((2, 1),), ((2, 1), (0, 3)), ((2, 1), (0, 3), (1, 2))]


@pytest.mark.parametrize("kind", [("ZeroPadding", "ZeroPad"), ("Cropping", "Crop")])
@pytest.mark.parametrize("sides", SIDES)
def test_zeros_around_and_cells_cut_off(keras, kind, sides):
    n = len(sides)
    theirs = getattr(keras.layers, f"{kind[0]}{n}D")(sides if n > 1 else sides[0])
    # torch's order begins with the last dimension
    cells = tuple(number for side in reversed(sides) for number in side)
    layer = getattr(layers, f"{kind[1]}{n}d")(cells)
    compare(keras, theirs, layer, normal(N, *(5, 6, 7)[:n], C), bound=0, gradient=0)


@pytest.mark.parametrize(
    ("size", "mode", "bound", "gradient"),
    [
        ((3,), "nearest", 0, GRADIENT),
        ((2, 3), "nearest", 0, GRADIENT),
        ((1, 2, 3), "nearest", 0, GRADIENT),
        ((2, 3), "bilinear", RESIZING, RESIZING),
        ((4, 1), "bilinear", RESIZING, RESIZING),
    ],
)
def test_upsampling(keras, size, mode, bound, gradient):
    n = len(size)
    options = {"interpolation": mode} if n == 2 else {}
    theirs = getattr(keras.layers, f"UpSampling{n}D")(size if n > 1 else size[0], **options)
    layer = layers.Upsample(scale_factor=size, mode=mode)
    compare(keras, theirs, layer, normal(N, *(5, 6, 7)[:n], C), bound=bound, gradient=gradient)
