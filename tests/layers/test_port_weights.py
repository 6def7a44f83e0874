"""Weight orders: exact round trips, and the values that Keras's equations give with its arrays."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from torchbp.errors import ShapeError
from torchbp.layers import GRU, LSTM, Conv1d, ConvTranspose1d, Linear
from torchbp.port import weights

D, H, N, T = 4, 5, 3, 6


def arrays(*shapes):
    generator = np.random.default_rng(0)
    return [torch.from_numpy(generator.normal(size=shape)) for shape in shapes]


# name, extra arguments of the way back, shapes in Keras, shapes in torch
ROUND_TRIPS = [
    ("dense_kernel", {}, [(4, 3)], [(3, 4)]),
    ("conv_kernel", {}, [(5, 2, 3)], [(3, 2, 5)]),
    ("conv_kernel", {}, [(5, 6, 2, 3)], [(3, 2, 5, 6)]),
    ("conv_kernel", {}, [(5, 6, 7, 2, 3)], [(3, 2, 5, 6, 7)]),
    ("conv_transpose_kernel", {}, [(5, 3, 2)], [(2, 3, 5)]),
    ("conv_transpose_kernel", {}, [(5, 6, 3, 2)], [(2, 3, 5, 6)]),
    ("depthwise_kernel", {"in_channels": 2}, [(5, 2, 3)], [(6, 1, 5)]),
    ("depthwise_kernel", {"in_channels": 2}, [(5, 6, 2, 3)], [(6, 1, 5, 6)]),
    ("separable_kernels", {"in_channels": 2}, [(5, 2, 3), (1, 6, 4)], [(6, 1, 5), (4, 6, 1)]),
    ("lstm", {}, [(D, 4 * H), (H, 4 * H), (4 * H,)], [(4 * H, D), (4 * H, H), (4 * H,)]),
    ("gru", {}, [(D, 15), (H, 15), (2, 15)], [(15, D), (15, H), (15,), (15,)]),
    ("embedding", {}, [(10, 4)], [(10, 4)]),
    ("batch_norm", {}, [(3,)] * 4, [(3,)] * 4),
]


def as_tuple(tensors):
    return tensors if isinstance(tensors, tuple) else (tensors,)


@pytest.mark.parametrize(("name", "options", "keras_shapes", "torch_shapes"), ROUND_TRIPS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_there_and_back_is_exact(name, options, keras_shapes, torch_shapes, dtype):
    to_torch = getattr(weights, f"{name}_to_torch")
    to_keras = getattr(weights, f"{name}_to_keras")
    given = [array.to(dtype) for array in arrays(*keras_shapes)]
    there = as_tuple(to_torch(*given))
    assert [tuple(tensor.shape) for tensor in there] == torch_shapes
    back = as_tuple(to_keras(*there, **options))
    for tensor, expected in zip(back, given, strict=True):
        assert tensor.dtype is dtype
        assert torch.equal(tensor, expected)


@pytest.mark.parametrize(("name", "options", "keras_shapes", "torch_shapes"), ROUND_TRIPS)
def test_gives_contiguous_copies(name, options, keras_shapes, torch_shapes):
    given = arrays(*keras_shapes)
    there = as_tuple(getattr(weights, f"{name}_to_torch")(*given))
    back = as_tuple(getattr(weights, f"{name}_to_keras")(*there, **options))
    for tensors, sources in ((there, given), (back, there)):
        assert all(tensor.is_contiguous() for tensor in tensors)
        storages = {source.untyped_storage().data_ptr() for source in sources}
        assert not any(tensor.untyped_storage().data_ptr() in storages for tensor in tensors)


def test_biases_may_be_missing_on_both_sides():
    kernel, recurrent = arrays((D, 4 * H), (H, 4 * H))
    assert weights.lstm_to_keras(*weights.lstm_to_torch(kernel, recurrent, None))[2] is None
    kernel, recurrent = arrays((D, 3 * H), (H, 3 * H))
    there = weights.gru_to_torch(kernel, recurrent, None)
    assert there[2:] == (None, None)
    back = weights.gru_to_keras(*there)
    assert torch.equal(back[0], kernel)
    assert back[2] is None
    mean, variance = arrays((3,), (3,))
    assert weights.batch_norm_to_torch(None, None, mean, variance)[:2] == (None, None)


MISFITS = [
    ("dense_kernel_to_torch", [(4, 3, 2)], r"\(D, H\), got \(4, 3, 2\)"),
    ("dense_kernel_to_keras", [(4,)], r"\(H, D\), got \(4,\)"),
    ("conv_kernel_to_torch", [(4, 3)], r"convolution kernel: .*got \(4, 3\)"),
    ("conv_kernel_to_keras", [(4, 3)], "convolution weight"),
    ("conv_transpose_kernel_to_torch", [(4, 3)], r"\(\*k, C', C\)"),
    ("conv_transpose_kernel_to_keras", [(4, 3)], r"\(C, C', \*k\)"),
    ("depthwise_kernel_to_torch", [(4, 3)], "depthwise kernel"),
    ("separable_kernels_to_torch", [(5, 2, 3), (1, 5, 4)], r"pointwise kernel: .*\(\*1, 6, C'\)"),
    ("separable_kernels_to_torch", [(5, 2, 3), (2, 6, 4)], "pointwise kernel"),
    ("lstm_to_torch", [(D, 20), (H, 20), (15,)], r"LSTM of 5 units: expected \(20,\)"),
    ("lstm_to_torch", [(D, 15), (H, 20), (20,)], r"LSTM of 5 units: expected \(20, 4\)"),
    ("lstm_to_torch", [(20,), (H, 20), (20,)], "LSTM weight: expected two dimensions"),
    ("lstm_to_keras", [(20, D), (15, H), (20,)], "LSTM of 5 units"),
    ("gru_to_torch", [(D, 15), (H, 15), (15,)], r"\(2, 3H\) of reset_after=True, got \(15,\)"),
    ("gru_to_torch", [(D, 20), (H, 20), (2, 20)], "GRU of 5 units"),
    ("gru_to_keras", [(15, D), (15, H), (15,), (14,)], "GRU of 5 units"),
    ("embedding_to_torch", [(4,)], "embeddings"),
    ("batch_norm_to_torch", [(3,), (3,), (3,), (4,)], r"expected \(3,\) as mean, got \(4,\)"),
]


@pytest.mark.parametrize(("name", "shapes", "message"), MISFITS)
def test_refuses_another_layout(name, shapes, message):
    with pytest.raises(ShapeError, match=message):
        getattr(weights, name)(*arrays(*shapes))


def test_refuses_channels_that_the_depthwise_weight_has_not():
    (weight,) = arrays((6, 1, 5))
    with pytest.raises(ShapeError, match="with C=4"):
        weights.depthwise_kernel_to_keras(weight, in_channels=4)


def test_refuses_one_of_two_biases():
    weight_ih, weight_hh, bias = arrays((15, D), (15, H), (15,))
    with pytest.raises(ShapeError, match="GRU biases: expected all of them or none"):
        weights.gru_to_keras(weight_ih, weight_hh, bias, None)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_lstm_computes_keras_equations_with_keras_arrays():
    kernel, recurrent, bias, x = arrays((D, 4 * H), (H, 4 * H), (4 * H,), (N, T, D))
    layer = LSTM(D, H, batch_first=True, single_bias=True, last_output=True).double()
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")
    new = weights.lstm_to_torch(kernel, recurrent, bias)
    layer.load_state_dict(dict(zip(names, new, strict=True)))
    h = c = np.zeros((N, H))
    for t in range(T):  # gates in Keras's order: input, forget, candidate, output
        i, f, g, o = np.split(
            x[:, t].numpy() @ kernel.numpy() + h @ recurrent.numpy() + bias.numpy(), 4, 1
        )
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    np.testing.assert_allclose(layer(x).detach().numpy(), h, rtol=1e-13, atol=1e-14)


def test_gru_computes_keras_equations_with_keras_arrays():
    kernel, recurrent, bias, x = arrays((D, 3 * H), (H, 3 * H), (2, 3 * H), (N, T, D))
    layer = GRU(D, H, batch_first=True, last_output=True).double()
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    new = weights.gru_to_torch(kernel, recurrent, bias)
    layer.load_state_dict(dict(zip(names, new, strict=True)))
    h = np.zeros((N, H))
    for t in range(T):  # gates in Keras's order: update, reset, candidate
        xz, xr, xh = np.split(x[:, t].numpy() @ kernel.numpy() + bias[0].numpy(), 3, 1)
        hz, hr, hh = np.split(h @ recurrent.numpy() + bias[1].numpy(), 3, 1)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        h = z * h + (1 - z) * np.tanh(xh + r * hh)
    np.testing.assert_allclose(layer(x).detach().numpy(), h, rtol=1e-13, atol=1e-14)


def test_dense_computes_x_times_kernel():
    kernel, x = arrays((D, H), (N, D))
    layer = Linear(D, H, bias=False).double()
    layer.load_state_dict({"weight": weights.dense_kernel_to_torch(kernel)})
    torch.testing.assert_close(layer(x), x @ kernel, rtol=1e-14, atol=1e-15)


def test_convolution_computes_sums_over_kernel_and_channels():
    kernel, x = arrays((3, D, H), (N, D, T))
    layer = Conv1d(D, H, 3, bias=False).double()
    layer.load_state_dict({"weight": weights.conv_kernel_to_torch(kernel)})
    windows = x.unfold(2, 3, 1)  # (N, D, T', 3)
    expected = torch.einsum("ndtk,kdh->nht", windows, kernel)
    torch.testing.assert_close(layer(x), expected, rtol=1e-13, atol=1e-14)


def test_transposed_convolution_spreads_each_step_by_the_kernel():
    kernel, x = arrays((3, H, D), (N, D, T))
    layer = ConvTranspose1d(D, H, 3, bias=False).double()
    layer.load_state_dict({"weight": weights.conv_transpose_kernel_to_torch(kernel)})
    expected = torch.zeros(N, H, T + 2, dtype=torch.float64)
    for k in range(3):
        expected[:, :, k : k + T] += torch.einsum("ndt,hd->nht", x, kernel[k])
    torch.testing.assert_close(layer(x), expected, rtol=1e-13, atol=1e-14)


def test_depthwise_channel_is_input_channel_times_multiplier_plus_number():
    kernel, x = arrays((3, D, 2), (N, D, T))
    weight = weights.depthwise_kernel_to_torch(kernel)
    windows = x.unfold(2, 3, 1)
    expected = torch.einsum("ndtk,kdm->ndmt", windows, kernel).flatten(1, 2)
    torch.testing.assert_close(F.conv1d(x, weight, groups=D), expected, rtol=1e-13, atol=1e-14)
