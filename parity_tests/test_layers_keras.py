"""Layers and initialisers beside Keras's own, on TensorFlow, in float64."""

from math import sqrt

import numpy as np
import pytest
import torch

from torchbp import layers
from torchbp.layers import init
from torchbp.port import weights

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

N, T, D, H = 3, 6, 4, 5


@pytest.fixture(scope="module")
def keras(keras_float64):
    return keras_float64


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def outputs_and_gradients(keras, layer, inputs):
    """Outputs of a Keras layer, and the gradients of their weighted sum for inputs and weights."""
    import tensorflow as tf

    inputs = [tf.constant(array) for array in inputs]
    floating = [tensor for tensor in inputs if tensor.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(floating)
        output = layer(inputs if len(inputs) > 1 else inputs[0])
        total = tf.reduce_sum(output * normal(*output.shape))
    found = tape.gradient(total, [floating, layer.trainable_weights])
    input_grads, weight_grads = tf.nest.map_structure(tf.convert_to_tensor, found)
    return output.numpy(), [g.numpy() for g in input_grads], [g.numpy() for g in weight_grads]


def ours(function, inputs):
    """The same of a function that takes and gives Keras's layout; weights keep theirs in .grad."""
    inputs = [torch.from_numpy(array) for array in inputs]
    for tensor in inputs:
        tensor.requires_grad_(tensor.is_floating_point())
    output = function(*inputs)
    (output * torch.from_numpy(normal(*output.shape))).sum().backward()
    return output.detach().numpy(), [t.grad.numpy() for t in inputs if t.grad is not None]


def arrays(layer):
    return [torch.from_numpy(np.array(weight)) for weight in layer.get_weights()]


def close(actual, expected):
    # a few dozen operations in float64; relative to the largest value, as rounding is
    scale = np.abs(expected).max()
    assert np.shape(actual) == np.shape(expected)
    assert np.abs(actual - expected).max() <= 1e-13 * scale


RECURRENT = [
    ("LSTM", layers.LSTM, weights.lstm_to_torch, {"single_bias": True}),
    ("GRU", layers.GRU, weights.gru_to_torch, {}),
]


@pytest.mark.parametrize(("name", "layer_class", "to_torch", "options"), RECURRENT)
def test_recurrent_outputs_and_gradients(keras, name, layer_class, to_torch, options):
    theirs = getattr(keras.layers, name)(H, bias_initializer="random_normal")
    x = normal(N, T, D)
    output, input_grads, weight_grads = outputs_and_gradients(keras, theirs, [x])
    layer = layer_class(D, H, batch_first=True, last_output=True, **options).double()
    names = [f"{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    layer.load_state_dict(dict(zip(names, to_torch(*arrays(theirs)), strict=False)))
    actual, grads = ours(layer, [x])
    close(actual, output)
    close(grads[0], input_grads[0])
    expected = to_torch(*map(torch.from_numpy, weight_grads))
    for name, gradient in zip(names, expected, strict=False):
        close(layer.get_parameter(name).grad.numpy(), gradient.numpy())
    assert theirs.count_params() == sum(p.numel() for p in layer.parameters())


def test_bidirectional_last_output(keras):
    theirs = keras.layers.Bidirectional(keras.layers.LSTM(H))
    x = normal(N, T, D)
    output = theirs(x).numpy()
    layer = layers.LSTM(
        D, H, batch_first=True, bidirectional=True, single_bias=True, last_output=True
    ).double()
    names = [
        f"{name}_l0{suffix}"
        for suffix in ("", "_reverse")
        for name in ("weight_ih", "weight_hh", "bias_ih")
    ]
    kernels = arrays(theirs)
    new = (*weights.lstm_to_torch(*kernels[:3]), *weights.lstm_to_torch(*kernels[3:]))
    layer.load_state_dict(dict(zip(names, new, strict=True)))
    close(ours(layer, [x])[0], output)


def compare(keras, theirs, function, inputs):
    output, input_grads, weight_grads = outputs_and_gradients(keras, theirs, inputs)
    actual, grads = ours(function, inputs)
    close(actual, output)
    for gradient, expected in zip(grads, input_grads, strict=True):
        close(gradient, expected)
    return [torch.from_numpy(gradient) for gradient in weight_grads]


def test_convolution_over_time(keras):
    theirs = keras.layers.Conv1D(H, 3, strides=2, bias_initializer="random_normal")
    theirs.build((None, T, D))
    layer = layers.Conv1d(D, H, 3, stride=2).double()
    kernel, bias = arrays(theirs)
    layer.load_state_dict({"weight": weights.conv_kernel_to_torch(kernel), "bias": bias})
    kernel_grad, bias_grad = compare(
        keras, theirs, lambda x: layer(x.transpose(1, 2)).transpose(1, 2), [normal(N, T, D)]
    )
    close(layer.weight.grad.numpy(), weights.conv_kernel_to_torch(kernel_grad).numpy())
    close(layer.bias.grad.numpy(), bias_grad.numpy())


TIES = np.array([[[1.0], [3.0], [3.0], [2.0], [3.0], [0.0]]])
POOLS = [
    ("MaxPooling1D", {"pool_size": 3}, layers.MaxPool1d(3)),
    ("AveragePooling1D", {"pool_size": 2}, layers.AvgPool1d(2)),
    ("GlobalMaxPooling1D", {}, layers.GlobalMaxPool1d()),
    ("GlobalAveragePooling1D", {}, layers.GlobalAvgPool1d()),
]


@pytest.mark.parametrize("x", [normal(N, T, D), TIES], ids=["random", "ties"])
@pytest.mark.parametrize(("name", "options", "layer"), POOLS, ids=[name for name, *_ in POOLS])
def test_pooling_over_time_with_the_gradient_of_equal_values(keras, name, options, layer, x):
    def function(x):
        output = layer(x.transpose(1, 2))
        return output.transpose(1, 2) if output.ndim == 3 else output

    compare(keras, getattr(keras.layers, name)(**options), function, [x])


def test_embedding_with_repeated_indices(keras):
    theirs = keras.layers.Embedding(10, D)
    theirs.build(())
    layer = layers.Embedding(10, D).double()
    layer.load_state_dict({"weight": weights.embedding_to_torch(*arrays(theirs))})
    ids = np.array([[1, 2, 2, 0], [9, 2, 0, 0]])
    output, _, (gradient,) = outputs_and_gradients(keras, theirs, [ids])
    actual, _ = ours(layer, [ids])
    close(actual, output)
    close(layer.weight.grad.numpy(), gradient)


MERGES = [
    ("Add", {}, layers.Add(), [(N, D)] * 3),
    ("Subtract", {}, layers.Subtract(), [(N, D)] * 2),
    ("Multiply", {}, layers.Multiply(), [(N, D)] * 3),
    ("Average", {}, layers.Average(), [(N, D)] * 3),
    ("Maximum", {}, layers.Maximum(), [(N, D)] * 3),
    ("Minimum", {}, layers.Minimum(), [(N, D)] * 3),
    ("Concatenate", {"axis": 1}, layers.Concat(), [(N, 2), (N, 5)]),
    ("Dot", {"axes": 1}, layers.Dot(1), [(N, D)] * 2),
    ("Dot", {"axes": (1, 2)}, layers.Dot((1, 2)), [(N, 3, 5), (N, 6, 3)]),
    ("Dot", {"axes": (2, 1)}, layers.Dot((2, 1)), [(N, 5, 3), (N, 3)]),
    ("Dot", {"axes": -1, "normalize": True}, layers.Dot(-1, normalize=True), [(N, D)] * 2),
]


@pytest.mark.parametrize(("name", "options", "layer", "shapes"), MERGES)
def test_merges_and_their_gradients(keras, name, options, layer, shapes):
    inputs = [normal(*shape) + i for i, shape in enumerate(shapes)]
    compare(keras, getattr(keras.layers, name)(**options), layer, inputs)


SCHEMES = [
    ("glorot_uniform", init.glorot_uniform_),
    ("glorot_normal", init.glorot_normal_),
    ("he_uniform", init.he_uniform_),
    ("he_normal", init.he_normal_),
    ("lecun_uniform", init.lecun_uniform_),
    ("lecun_normal", init.lecun_normal_),
]
KERNELS = [((200, 300), (300, 200)), ((5, 80, 100), (100, 80, 5))]


@pytest.mark.parametrize(("keras_shape", "shape"), KERNELS)
@pytest.mark.parametrize(("name", "draw_"), SCHEMES)
def test_initialisers_have_the_limits_and_the_variance_of_kerass(
    keras, name, draw_, keras_shape, shape
):
    theirs = np.array(keras.initializers.get(name)(keras_shape, dtype="float64"))
    weight = draw_(torch.empty(shape, dtype=torch.float64)).numpy()
    # 40,000 draws and more reach within 1% of where the distributions end
    assert weight.max() == pytest.approx(theirs.max(), rel=0.01)
    assert weight.min() == pytest.approx(theirs.min(), rel=0.01)
    # five standard errors of the difference of two variances
    assert weight.var() == pytest.approx(theirs.var(), rel=5 * sqrt(3 / weight.size))


# where Keras's fans are not those of the array's last two axes
FANS = [
    ("DepthwiseConv1D", {"kernel_size": 5}, (None, 9, 64), layers.Conv1d(64, 64, 5, groups=64)),
    (
        "DepthwiseConv2D",
        {"kernel_size": 3, "depth_multiplier": 4},
        (None, 9, 9, 64),
        layers.Conv2d(64, 256, 3, groups=64),
    ),
    (
        "Conv1DTranspose",
        {"filters": 16, "kernel_size": 5},
        (None, 9, 32),
        layers.ConvTranspose1d(32, 16, 5),
    ),
    ("Conv1D", {"filters": 16, "kernel_size": 5, "groups": 4}, (None, 9, 32),
     layers.Conv1d(32, 16, 5, groups=4)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "shape", "layer"), FANS)
def test_a_model_is_drawn_with_kerass_fans(keras, name, options, shape, layer):
    theirs = getattr(keras.layers, name)(**options)
    theirs.build(shape)
    kernel = theirs.get_weights()[0]
    init.glorot_(layer)
    assert layer.weight.numel() == kernel.size
    # 320 weights and more
    assert layer.weight.abs().max().item() == pytest.approx(np.abs(kernel).max(), rel=0.02)


def test_lstm_starts_with_kerass_bias_and_an_orthogonal_matrix(keras):
    theirs = keras.layers.LSTM(H)
    theirs.build((None, T, D))
    recurrent, bias = theirs.get_weights()[1:]
    layer = init.glorot_(layers.LSTM(D, H, single_bias=True).double())
    np.testing.assert_array_equal(layer.bias_ih_l0.detach().numpy(), bias)
    ours = layer.weight_hh_l0.detach().numpy().T
    for matrix in (recurrent, ours):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(H), atol=1e-13)
