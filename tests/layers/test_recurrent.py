"""Recurrent layers against their equations, and one trained bias through a module's whole life."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from torchbp import Input, Model
from torchbp.layers import GRU, LSTM, RNN

CLASSES = [LSTM, GRU, RNN]
D, H, N, T = 4, 5, 3, 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(x, h, c, w, u, b, b2):
    i, f, g, o = np.split(x @ w.T + h @ u.T + b + b2, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(x, h, c, w, u, b, b2):
    (xr, xz, xn), (hr, hz, hn) = np.split(x @ w.T + b, 3, 1), np.split(h @ u.T + b2, 3, 1)
    z, n = sigmoid(xz + hz), np.tanh(xn + sigmoid(xr + hr) * hn)
    return z * h + (1 - z) * n, c


def rnn_step(x, h, c, w, u, b, b2):
    return np.tanh(x @ w.T + h @ u.T + b + b2), c


STEPS = {LSTM: lstm_step, GRU: gru_step, RNN: rnn_step}


def by_steps(layer, x, suffix="_l0"):
    """Outputs of all steps (N, T, H), step by step in numpy."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [getattr(layer, name + suffix).detach().numpy() for name in names]
    h = c = np.zeros((len(x), H))
    outputs = []
    for t in range(x.shape[1]):
        h, c = STEPS[type(layer)](x[:, t], h, c, *weights)
        outputs.append(h)
    return np.stack(outputs, 1)


def sequences():
    return torch.randn(N, T, D, dtype=torch.float64)


def close(actual, expected):
    # float64, six steps of a few dozen operations
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("single_bias", [False, True])
@pytest.mark.parametrize("layer_class", CLASSES)
def test_computes_its_equations(layer_class, single_bias):
    layer = layer_class(D, H, batch_first=True, single_bias=single_bias).double()
    x = sequences()
    close(layer(x)[0], by_steps(layer, x.numpy()))


@pytest.mark.parametrize("layer_class", CLASSES)
def test_last_output_of_both_directions_is_each_ones_last_step(layer_class):
    layer = layer_class(
        D, H, batch_first=True, bidirectional=True, single_bias=True, last_output=True
    ).double()
    x = sequences()
    forward = by_steps(layer, x.numpy())[:, -1]
    backward = by_steps(layer, x.flip(1).numpy(), "_l0_reverse")[:, -1]
    close(layer(x), np.concatenate([forward, backward], axis=1))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layer_class", CLASSES)
def test_last_output_is_that_of_torchs_last_layer(layer_class, bidirectional, batch_first):
    options = {"num_layers": 2, "batch_first": batch_first, "bidirectional": bidirectional}
    layer, full = layer_class(D, H, last_output=True, **options), layer_class(D, H, **options)
    full.load_state_dict(layer.state_dict())
    x = torch.randn(N, T, D) if batch_first else torch.randn(T, N, D)
    output = full(x)[0] if batch_first else full(x)[0].transpose(0, 1)
    expected = output[:, -1, :H]
    if bidirectional:
        expected = torch.cat([expected, output[:, 0, H:]], dim=1)
    assert torch.equal(layer(x), expected)
    assert layer(x).shape == (N, H * (1 + bidirectional))


@pytest.mark.parametrize("layer_class", CLASSES)
def test_last_output_of_one_sequence_without_a_batch(layer_class):
    layer = layer_class(D, H, batch_first=True, bidirectional=True, last_output=True)
    x = torch.randn(T, D)
    assert layer(x).shape == (2 * H,)
    # one row instead of a matrix: another order of summation
    torch.testing.assert_close(layer(x), layer(x.unsqueeze(0))[0])


@pytest.mark.parametrize("layer_class", CLASSES)
def test_last_output_of_packed_sequences_is_each_ones_own_last(layer_class):
    layer = layer_class(D, H, batch_first=True, last_output=True).double()
    x, lengths = sequences(), [2, 6, 3]
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    expected = [by_steps(layer, x[i : i + 1, :n].numpy())[0, -1] for i, n in enumerate(lengths)]
    close(layer(packed), np.stack(expected))


def test_packed_sequences_come_back_packed_without_last_output():
    layer = LSTM(D, H, batch_first=True, single_bias=True)
    x = torch.randn(2, T, D)
    packed = pack_padded_sequence(x, torch.tensor([6, 4]), batch_first=True)
    output, lengths = pad_packed_sequence(layer(packed)[0], batch_first=True)
    assert lengths.tolist() == [6, 4]
    torch.testing.assert_close(output[1, :4], layer(x)[0][1, :4])


def test_takes_a_first_state():
    layer = LSTM(D, H, batch_first=True, single_bias=True)
    x = torch.randn(N, T, D)
    output, state = layer(x[:, :4])
    rest, _ = layer(x[:, 4:], state)
    torch.testing.assert_close(torch.cat([output, rest], 1), layer(x)[0])


COUNTS = [(LSTM, 200, 220), (GRU, 150, 165), (RNN, 50, 55)]


@pytest.mark.parametrize(("layer_class", "single", "double"), COUNTS)
def test_counts_one_bias_vector_or_two(layer_class, single, double):
    layers = layer_class(D, H, single_bias=True), layer_class(D, H)
    assert [sum(p.numel() for p in layer.parameters()) for layer in layers] == [single, double]


def test_every_layer_and_direction_has_one_bias():
    layer = LSTM(D, H, 2, bidirectional=True, single_bias=True, proj_size=2)
    suffixes = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")
    names = ("weight_ih", "weight_hh", "bias_ih", "weight_hr")
    assert set(layer.state_dict()) == {name + suffix for suffix in suffixes for name in names}


@pytest.mark.parametrize("layer_class", CLASSES)
def test_the_kernels_are_handed_the_zero_bias_from_the_start(layer_class):
    layer = layer_class(D, H, single_bias=True)
    assert layer._flat_weights[3] is layer.bias_hh_l0
    assert layer.all_weights[0][3] is layer.bias_hh_l0


def test_no_bias_at_all_is_torchs():
    layer = LSTM(D, H, bias=False, single_bias=True)
    assert set(layer.state_dict()) == {"weight_ih_l0", "weight_hh_l0"}
    assert layer(torch.randn(T, N, D))[0].shape == (T, N, H)


@pytest.mark.parametrize("layer_class", CLASSES)
def test_gradients_are_those_of_torchs_layer_with_a_zero_second_bias(layer_class):
    layer = layer_class(D, H, batch_first=True, single_bias=True).double()
    theirs = getattr(nn, layer_class.__name__)(D, H, batch_first=True).double()
    theirs.load_state_dict(layer.state_dict() | {"bias_hh_l0": layer.bias_hh_l0})
    x = sequences()
    for module in (layer, theirs):
        module(x)[0].square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert torch.equal(parameter.grad, theirs.get_parameter(name).grad)
    assert layer.bias_hh_l0.grad is None


@pytest.mark.parametrize("layer_class", CLASSES)
def test_gradients_are_those_of_finite_differences(layer_class):
    layer = layer_class(2, 3, batch_first=True, single_bias=True, last_output=True).double()
    names, weights = zip(*layer.named_parameters(), strict=True)
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)

    def forward(x, *weights):
        return functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(forward, (x, *weights))


@pytest.fixture(params=CLASSES)
def trained(request):
    """A layer with one bias after a step of training, its input, and its output."""
    layer = request.param(D, H, 2, batch_first=True, bidirectional=True, single_bias=True)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    x = torch.randn(N, T, D)
    layer(x)[0].square().sum().backward()
    optimizer.step()
    return layer, x, layer(x)[0].detach()


def second_biases(layer):
    return [tensor for name, tensor in layer.named_buffers() if name.startswith("bias_hh")]


def test_the_second_bias_stays_zero_in_training(trained):
    assert len(second_biases(trained[0])) == 4
    assert not any(bias.any() for bias in second_biases(trained[0]))


def test_a_state_dict_makes_an_equal_layer(trained):
    layer, x, expected = trained
    other = type(layer)(D, H, 2, batch_first=True, bidirectional=True, single_bias=True)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x)[0], expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_is_equal_and_has_its_own_weights(trained, copied):
    layer, x, expected = trained
    other = copied(layer)
    assert torch.equal(other(x)[0], expected)
    with torch.no_grad():
        other.weight_ih_l0.zero_()
        other.bias_hh_l0.fill_(1.0)
    assert not torch.equal(other(x)[0], expected)
    assert torch.equal(layer(x)[0], expected)


def test_moving_to_another_dtype_moves_the_second_bias_too(trained):
    layer, x, expected = trained
    actual = layer.double()(x.double())[0]
    assert {bias.dtype for bias in second_biases(layer)} == {torch.float64}
    torch.testing.assert_close(actual, expected.double(), rtol=1e-5, atol=1e-6)  # from float32
    assert torch.equal(layer.float()(x)[0], expected)


def test_functional_call_takes_other_weights_and_leaves_its_own(trained):
    layer, x, expected = trained
    zeros = {name: torch.zeros_like(parameter) for name, parameter in layer.named_parameters()}
    assert not functional_call(layer, zeros, (x,))[0].any()
    ones = zeros | {"bias_hh_l0": torch.ones_like(layer.bias_hh_l0)}
    with_bias = functional_call(layer, ones, (x,))[1]
    assert (with_bias[0] if isinstance(with_bias, tuple) else with_bias)[0].any()
    assert torch.equal(layer(x)[0], expected)


def test_reset_draws_torchs_weights_and_leaves_the_second_bias_zero(trained):
    layer = trained[0]
    layer.to_empty(device="cpu")
    layer.reset_parameters()
    assert not any(bias.any() for bias in second_biases(layer))
    assert all(p.any() and p.abs().max() <= H**-0.5 for p in layer.parameters())


def test_flattening_the_weights_changes_nothing(trained):
    layer, x, expected = trained
    layer.flatten_parameters()
    assert torch.equal(layer(x)[0], expected)


def test_draws_as_torchs_layer_does():
    torch.manual_seed(1)
    ours = LSTM(D, H, single_bias=True)
    torch.manual_seed(1)
    theirs = nn.LSTM(D, H)
    torch.testing.assert_close(ours.weight_hh_l0, theirs.weight_hh_l0, rtol=0, atol=0)
    torch.testing.assert_close(ours.bias_ih_l0, theirs.bias_ih_l0, rtol=0, atol=0)


def test_prints_its_options():
    assert repr(LSTM(D, H, batch_first=True, single_bias=True, last_output=True)) == (
        "LSTM(4, 5, batch_first=True, single_bias=True, last_output=True)"
    )
    assert repr(GRU(D, H)) == "GRU(4, 5)"


def test_shared_and_nested_in_a_model():
    left, right = Input((None, D), name="left"), Input((None, D), name="right")
    lstm = LSTM(D, H, batch_first=True, single_bias=True, last_output=True, name="encoder")
    model = Model([left, right], [lstm(left), lstm(right)])
    assert set(model.state_dict()) == {
        "encoder.weight_ih_l0",
        "encoder.weight_hh_l0",
        "encoder.bias_ih_l0",
    }
    x, y = torch.randn(2, 3, D), torch.randn(2, 7, D)
    outputs = model(x, y)
    assert torch.equal(outputs[0], lstm(x))
    assert torch.equal(outputs[1], lstm(y))


def test_gives_nested_symbolic_outputs():
    output, (h, c) = LSTM(D, H, 2, batch_first=True)(Input((None, D)))
    assert [tuple(t.shape) for t in (output, h, c)] == [(None, None, H), (2, None, H), (2, None, H)]


@pytest.mark.gpu
@pytest.mark.parametrize("layer_class", CLASSES)
def test_cudnn_computes_what_the_cpu_does(layer_class):
    layer = layer_class(D, H, 2, batch_first=True, bidirectional=True, single_bias=True).double()
    x = sequences()
    layer(x)[0].square().sum().backward()
    other = copy.deepcopy(layer).cuda()
    other.zero_grad()
    output = other(x.cuda())[0]
    output.square().sum().backward()
    # another order of summation in float64
    torch.testing.assert_close(output.cpu(), layer(x)[0], rtol=1e-12, atol=1e-13)
    for name, parameter in layer.named_parameters():
        expected = other.get_parameter(name).grad.cpu()
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-11, atol=1e-12)
    pointers = {p.untyped_storage().data_ptr() for p in (*other.parameters(), *other.buffers())}
    assert len(pointers) == 1  # one block, which cuDNN's fast path needs


# Compilers and exporters

TRACED = [
    (LSTM, {"single_bias": True, "last_output": True}),
    (LSTM, {"num_layers": 2, "bidirectional": True}),
    (GRU, {"num_layers": 2}),
    (RNN, {"nonlinearity": "relu", "bias": False}),
]


def float64_layer(kind, options):
    return kind(D, H, batch_first=True, **options).double()


def every_output(result):
    return (
        [result]
        if isinstance(result, torch.Tensor)
        else [result[0], *(result[1] if isinstance(result[1], tuple) else (result[1],))]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options", "backend"),
    [(*TRACED[0], "inductor"), *((*row, "aot_eager") for row in TRACED[1:])],
)
def test_compiles_whole_and_trains_for_every_length(kind, options, backend):
    """Bound: rounding of float64 over a few steps. The kernel is the same, in another order."""
    layer = float64_layer(kind, options)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=backend)
    for batch, length in ((2, 5), (3, 9)):
        x = torch.randn(batch, length, D, dtype=torch.float64)
        gradients = []
        for call in (layer, compiled):
            leaf = x.clone().requires_grad_()
            outputs = every_output(call(leaf))
            wanted = sum((output * (i + 1)).sin().sum() for i, output in enumerate(outputs))
            gradients.append(torch.autograd.grad(wanted, [leaf, *layer.parameters()]))
            if call is layer:
                expected = outputs
        for output, want in zip(outputs, expected, strict=True):
            torch.testing.assert_close(output, want, rtol=1e-13, atol=1e-13)
        for grad, want in zip(*gradients, strict=True):
            torch.testing.assert_close(grad, want, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "options"), TRACED)
def test_exports_with_any_batch_and_length(kind, options):
    layer = float64_layer(kind, options).eval()
    dim = torch.export.Dim.DYNAMIC
    exported = torch.export.export(
        layer, (torch.randn(2, 5, D, dtype=torch.float64),), dynamic_shapes=({0: dim, 1: dim},)
    )
    x = torch.randn(3, 11, D, dtype=torch.float64)
    outputs = every_output(exported.module()(x))
    for output, want in zip(outputs, every_output(layer(x)), strict=True):
        torch.testing.assert_close(output, want, rtol=1e-13, atol=1e-13)
    assert not any("torchbp" in str(node.target) for node in exported.graph.nodes)


def test_traced_step_by_step_and_by_kernel_it_is_the_eager_layer():
    """What the compiler and the exporter see, run eagerly: also unbatched and from a state."""
    from torchbp.layers import recurrent_tracing

    layer = LSTM(D, H, num_layers=2, bidirectional=True).double()
    x, hx = torch.randn(6, D).double(), tuple(torch.randn(2, 4, H).double())
    expected = every_output(layer(x, hx))
    for one_layer in (recurrent_tracing._scan_layer, recurrent_tracing._kernel_layer):
        result = recurrent_tracing.traced_forward(layer, x, hx, one_layer)
        for output, want in zip(every_output(result), expected, strict=True):
            torch.testing.assert_close(output, want, rtol=1e-13, atol=1e-13)


@pytest.mark.slow
def test_exports_with_any_length_after_other_exports_in_the_same_process():
    """Also a layer that is called twice: what was traced before must not fix a length."""
    dim = torch.export.Dim.DYNAMIC
    options = {"batch_first": True, "single_bias": True, "last_output": True}
    for length in (5, 6):
        torch.export.export(LSTM(D, H, **options), (torch.randn(2, length, D),))
    left, right = Input((None, D), name="left"), Input((None, D), name="right")
    lstm = LSTM(D, H, **options)
    model = Model([left, right], lstm(left) + lstm(right))
    exported = torch.export.export(
        model, (torch.randn(2, 5, D), torch.randn(2, 6, D)), dynamic_shapes=({0: dim, 1: dim},) * 2
    )
    data = torch.randn(3, 9, D), torch.randn(3, 10, D)
    torch.testing.assert_close(exported.module()(*data), model(*data), rtol=1e-5, atol=1e-6)
