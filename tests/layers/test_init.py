"""Initialisers: limits and moments of one weight, and what a whole model starts with."""

from math import prod, sqrt

import numpy as np
import pytest
import torch
from torch import nn

from torchbp import layers
from torchbp.errors import DataError, ShapeError
from torchbp.layers import GRU, LSTM, RNN, init


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# torch layout, fan_in and fan_out of the layout that Keras has for the layer
FANS = [
    ((30, 20), 20, 30),  # Linear
    ((16, 3, 5), 3 * 5, 16 * 5),  # Conv1d
    ((16, 3, 5, 7), 3 * 35, 16 * 35),  # Conv2d
    ((16, 3, 2, 3, 4), 3 * 24, 16 * 24),  # Conv3d
    ((16, 2, 5), 2 * 5, 16 * 5),  # Conv1d(6, 16, groups=3)
    ((3, 16, 5), 16 * 5, 3 * 5),  # ConvTranspose1d(3, 16): the fans are exchanged in Keras too
    ((20, 4), 4, 20),  # weight_ih of LSTM(4, 5)
]


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), FANS)
def test_fans_are_those_of_keras_layout(shape, fan_in, fan_out):
    assert init.fans_of(torch.empty(shape)) == (fan_in, fan_out)


# function, its variance for fans (20, 30)
UNIFORM = [
    (init.glorot_uniform_, 2 / 50),
    (init.he_uniform_, 2 / 20),
    (init.lecun_uniform_, 1 / 20),
]
NORMAL = [
    (init.glorot_normal_, 2 / 50),
    (init.he_normal_, 2 / 20),
    (init.lecun_normal_, 1 / 20),
]
MANY = torch.empty(300, 200, dtype=torch.float64)


@pytest.mark.parametrize(("draw_", "variance"), UNIFORM)
def test_uniform_reaches_its_limits_and_no_further(draw_, variance):
    weight = draw_(MANY.clone(), fans=(20, 30), generator=generator())
    limit = sqrt(3 * variance)
    # of 60,000 draws the extremes are within 1e-3 of the limits with probability 1 - 1e-13
    assert limit * 0.999 < weight.max() <= limit
    assert -limit <= weight.min() < -limit * 0.999
    # five standard errors of the mean, and of the mean square
    assert abs(weight.mean()) < 5 * sqrt(variance / 60_000)
    assert abs(weight.var() / variance - 1) < 5 * sqrt(0.8 / 60_000)


@pytest.mark.parametrize(("draw_", "variance"), NORMAL)
def test_normal_is_cut_at_two_sigma_and_has_the_variance(draw_, variance):
    weight = draw_(MANY.clone(), fans=(20, 30), generator=generator())
    cut = 2 * sqrt(variance) / 0.87962566103423978
    # 5% of a normal distribution's mass is cut off, so that the edges are well populated
    assert cut * 0.99 < weight.max() <= cut
    assert -cut <= weight.min() < -cut * 0.99
    assert abs(weight.mean()) < 5 * sqrt(variance / 60_000)
    assert abs(weight.var() / variance - 1) < 5 * sqrt(1.5 / 60_000)
    # a normal shape: 38.3% within half of sigma0, of the 95.4% that are left
    inside = (weight.abs() < cut / 4).double().mean()
    assert abs(inside - 0.3829 / 0.9545) < 5 * sqrt(0.25 / 60_000)


@pytest.mark.parametrize("draw_", [draw_ for draw_, _ in UNIFORM + NORMAL])
def test_takes_the_fans_of_the_layout_by_default(draw_):
    weight = draw_(torch.empty(30, 20), generator=generator())
    expected = draw_(torch.empty(30, 20), fans=(20, 30), generator=generator())
    assert torch.equal(weight, expected)


@pytest.mark.parametrize("draw_", [draw_ for draw_, _ in UNIFORM + NORMAL] + [init.orthogonal_])
def test_a_bias_has_no_fans(draw_):
    with pytest.raises(ShapeError, match=r"expected a weight \(out, in, ...\), got \(5,\)"):
        draw_(torch.empty(5))


@pytest.mark.parametrize(
    "draw_", [draw_ for draw_, _ in UNIFORM + NORMAL] + [init.orthogonal_, init.embedding_uniform_]
)
def test_draws_from_the_generator_only(draw_):
    state = torch.get_rng_state()
    first = draw_(torch.empty(4, 3), generator=generator(1))
    assert torch.equal(first, draw_(torch.empty(4, 3), generator=generator(1)))
    assert not torch.equal(first, draw_(torch.empty(4, 3), generator=generator(2)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(20, 5), (5, 20), (6, 6), (8, 3, 5)])
def test_orthogonal_is_the_signed_q_of_keras_matrix(shape):
    weight = init.orthogonal_(torch.empty(shape, dtype=torch.float64), generator=generator())
    rows, columns = prod(shape[1:]), shape[0]  # Keras's (in * kernel, out)
    gaussian = torch.empty(rows, columns, dtype=torch.float64).normal_(generator=generator())
    tall = gaussian.numpy() if rows >= columns else gaussian.numpy().T
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    kernel = q if rows >= columns else q.T
    # the same QR by two LAPACK builds
    np.testing.assert_allclose(weight.reshape(columns, rows).numpy().T, kernel, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonal_recurrent_weight_is_orthonormal_over_all_gates(dtype):
    weight = init.orthogonal_(torch.empty(4 * 16, 16, dtype=dtype)).float()  # (4H, H)
    tolerance = 1e-5 if dtype is torch.float32 else 0.02  # rounding of the weight
    torch.testing.assert_close(weight.T @ weight, torch.eye(16), rtol=0, atol=tolerance)
    gate = weight[:16]
    assert not torch.allclose(gate.T @ gate, torch.eye(16), atol=0.1)


def test_orthogonal_takes_a_gain():
    weight = init.orthogonal_(torch.empty(4, 4), gain=3.0)
    torch.testing.assert_close(weight.T @ weight, 9 * torch.eye(4), rtol=1e-5, atol=1e-5)


def test_gives_back_the_weight_and_records_no_gradient():
    weight = nn.Parameter(torch.empty(4, 4))
    for draw_ in (init.glorot_uniform_, init.he_normal_, init.orthogonal_, init.embedding_uniform_):
        assert draw_(weight) is weight
        assert weight.is_leaf
        assert weight.grad_fn is None


EVERY_KIND = {
    "linear": lambda: layers.Linear(20, 30),
    "conv": lambda: layers.Conv2d(6, 4, (3, 5)),
    "grouped": lambda: layers.Conv1d(6, 4, 3, groups=2),
    "depthwise": lambda: layers.Conv2d(6, 12, 3, groups=6),
    "transposed": lambda: layers.ConvTranspose1d(6, 4, 3),
    "embedding": lambda: layers.Embedding(10, 4),
    "lstm": lambda: LSTM(4, 5, 2, bidirectional=True),
    "norm": lambda: layers.BatchNorm1d(6),
    "plain": lambda: nn.Linear(20, 30),
}


def everything():
    model = nn.ModuleDict({name: make() for name, make in EVERY_KIND.items()})
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.fill_(7)
    return model


LIMITS = {  # fan_in + fan_out by Keras's table
    "linear": 20 + 30,
    "plain": 20 + 30,
    "conv": 15 * 6 + 15 * 4,
    "grouped": 3 * 3 + 3 * 4,
    "depthwise": 9 * 6 + 9 * 2,
    "transposed": 3 * 4 + 3 * 6,
}


@pytest.mark.parametrize("name", LIMITS)
def test_glorot_draws_every_kernel_by_kerass_fans(name):
    model = init.glorot_(everything())
    limit = sqrt(6 / LIMITS[name])
    largest = model[name].weight.abs().max()
    assert largest <= limit
    assert largest > 0.8 * limit  # 36 weights or more
    assert not model[name].bias.any()


def test_a_transposed_convolution_of_one_channel_is_not_depthwise():
    weight = init.he_(layers.ConvTranspose1d(1, 16, 3)).weight
    assert weight.abs().max() <= sqrt(6 / (3 * 16))


def test_schemes_differ_in_the_kernels_only():
    models = [scheme(everything(), generator=generator()) for scheme in (init.he_, init.lecun_)]
    he, lecun = (model.linear.weight for model in models)
    torch.testing.assert_close(he, sqrt(2) * lecun)
    assert torch.equal(models[0].embedding.weight, models[1].embedding.weight)
    assert torch.equal(models[0].lstm.weight_hh_l0, models[1].lstm.weight_hh_l0)


def test_normal_kernels_leave_the_limits_of_uniform_ones():
    uniform, normal = sqrt(6 / 50), 2 * sqrt(2 / 50) / 0.87962566103423978
    weight = init.glorot_(everything(), "normal").linear.weight
    assert uniform < weight.abs().max() <= normal


def test_refuses_another_distribution():
    with pytest.raises(DataError, match="expected distribution 'uniform' or 'normal', got 'even'"):
        init.glorot_(everything(), "even")


def test_embeddings_are_small_and_a_padding_vector_is_zero():
    table = init.glorot_(layers.Embedding(50, 8, padding_idx=3)).weight
    assert 0.049 < table.abs().max() <= 0.05
    assert not table[3].any()
    assert table[0].any()


SUFFIXES = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")


@pytest.mark.parametrize(("layer_class", "gates"), [(LSTM, 4), (GRU, 3), (RNN, 1)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_recurrent_kernels_are_orthogonal_and_input_kernels_are_not(layer_class, gates, suffix):
    layer = init.glorot_(layer_class(4, 5, 2, bidirectional=True))
    recurrent = layer.get_parameter(f"weight_hh{suffix}")
    torch.testing.assert_close(recurrent.T @ recurrent, torch.eye(5), rtol=0, atol=1e-5)
    kernel = layer.get_parameter(f"weight_ih{suffix}")
    assert kernel.abs().max() <= sqrt(6 / (kernel.shape[1] + gates * 5))
    if layer_class is not LSTM:
        assert not layer.get_parameter(f"bias_ih{suffix}").any()


@pytest.mark.parametrize("single_bias", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_forget_bias_is_one_once(suffix, single_bias):
    layer = init.glorot_(LSTM(4, 5, 2, bidirectional=True, single_bias=single_bias))
    total = getattr(layer, f"bias_ih{suffix}") + getattr(layer, f"bias_hh{suffix}")
    assert total.tolist() == [0] * 5 + [1] * 5 + [0] * 10


def test_cells_are_initialised_as_layers():
    cell = init.glorot_(nn.LSTMCell(4, 5))
    torch.testing.assert_close(cell.weight_hh.T @ cell.weight_hh, torch.eye(5), rtol=0, atol=1e-5)
    assert (cell.bias_ih + cell.bias_hh).tolist() == [0] * 5 + [1] * 5 + [0] * 10


def test_normalisations_start_afresh():
    norm = init.glorot_(everything()).norm
    assert norm.weight.tolist() == [1] * 6
    assert norm.bias.tolist() == [0] * 6
    assert norm.running_mean.tolist() == [0] * 6
    assert norm.running_var.tolist() == [1] * 6
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize(
    "norm",
    [
        layers.LayerNorm(6),
        layers.GroupNorm(2, 6),
        layers.RMSNorm(6),
        nn.InstanceNorm1d(6, affine=True),
    ],
)
def test_every_normalisation_starts_with_ones(norm):
    norm.weight.data.fill_(7)
    assert init.glorot_(norm).weight.tolist() == [1] * 6


def test_slopes_of_prelu_start_at_zero():
    assert init.glorot_(layers.PReLU(3)).weight.tolist() == [0, 0, 0]


@pytest.mark.parametrize("sizes", [{}, {"kdim": 6, "vdim": 10}])
def test_attention_draws_query_key_and_value_apart(sizes):
    layer = init.glorot_(layers.MultiheadAttention(8, 2, **sizes))
    if sizes:
        kernels = [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
    else:
        kernels = layer.in_proj_weight.chunk(3)
    for kernel in (*kernels, layer.out_proj.weight):
        limit = sqrt(6 / sum(kernel.shape))
        assert 0.8 * limit < kernel.abs().max() <= limit
    assert not layer.in_proj_bias.any()
    assert not layer.out_proj.bias.any()


def test_a_shared_layer_is_drawn_once():
    shared, other = nn.Linear(4, 4), nn.Linear(4, 4)
    init.glorot_(nn.Sequential(shared, shared, other), generator=generator())
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    init.glorot_(nn.Sequential(first, second), generator=generator())
    assert torch.equal(shared.weight, first.weight)
    assert torch.equal(other.weight, second.weight)


def test_is_reproducible_and_leaves_the_global_generator_alone():
    model = everything()
    state = torch.get_rng_state()
    first = init.glorot_(model, generator=generator()).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    again = init.glorot_(everything(), generator=generator()).state_dict()
    torch.testing.assert_close(first, again, rtol=0, atol=0)


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))


class ScaledLinear(layers.Linear):
    def __init__(self):
        super().__init__(3, 3)
        self.scale = nn.Parameter(torch.ones(3))


UNKNOWN = [
    (Scale, r"left as they are, .*: scale \(Scale\)"),
    (ScaledLinear, r"scale \(ScaledLinear\)"),
    (lambda: nn.Sequential(layers.Linear(2, 3), Scale()), r"1\.scale \(Scale\)"),
    (lambda: nn.MultiheadAttention(4, 2, add_bias_kv=True), r"bias_k \(.*bias_v \("),
    (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)),
        r"parametrizations\.weight\.original0",
    ),
]


@pytest.mark.parametrize(("make", "message"), UNKNOWN)
def test_warns_of_parameters_that_it_leaves_as_they_are(make, message):
    with pytest.warns(UserWarning, match=message):
        init.glorot_(make())


def test_initialises_what_it_knows_beside_what_it_does_not():
    model = nn.Sequential(nn.Linear(2, 3), Scale())
    with pytest.warns(UserWarning, match="left as they are"):
        init.glorot_(model)
    assert not model[0].bias.any()
    assert model[1].scale.tolist() == [1, 1, 1]


def test_refuses_lazy_weights():
    model = nn.Sequential(layers.LazyLinear(3))
    with pytest.raises(ShapeError, match=r"got lazy ones: 0\.weight, 0\.bias"):
        init.glorot_(model)
