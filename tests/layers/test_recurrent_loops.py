"""Recurrences with masks against a loop in numpy over each sample alone."""

import copy
import pickle

import numpy as np
import pytest
import torch

from torchbp import Input, Model
from torchbp.errors import DataError
from torchbp.layers import (
    GRU,
    LSTM,
    RNN,
    BidirectionalRNN,
    CellRNN,
    MaskedRNN,
    check_layer,
    init,
)
from torchbp.layers.recurrent_cells import GRUCell, LSTMCell, RNNCell, StackedCells
from torchbp.layers.recurrent_conv import ConvLSTMCell

D, H, T = 4, 3, 6
MASK = torch.tensor(
    [[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 0, 1, 1, 0], [0] * 6, [1] * 6]
).bool()
N = len(MASK)


def sequences():
    torch.manual_seed(0)
    return torch.randn(N, T, D, dtype=torch.float64)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)


def skipped(step, x, mask, h):
    """Outputs (N, T, H) and last states: the steps that count alone, each sample by itself."""
    outputs, last = np.zeros((N, T, H)), []
    for n in range(N):
        state, output = h[n : n + 1], np.zeros(H)
        for t in range(T):
            if mask[n, t]:
                state = step(x[n : n + 1, t], state)
                output = state[0]
            outputs[n, t] = output
        last.append(state[0])
    return torch.from_numpy(outputs), torch.from_numpy(np.stack(last))


def plain(cell):
    w, u, b = (p.detach().numpy() for p in (cell.weight_ih, cell.weight_hh, cell.bias_ih))
    return lambda x, h: np.tanh(x @ w.T + b + h @ u.T)


def masked_rnn():
    """A loop and a kernel of the same weights."""
    loop = CellRNN(RNNCell(D, H)).double()
    kernel = MaskedRNN(RNN(D, H, batch_first=True, single_bias=True)).double()
    weights = {f"rnn.{k[5:]}_l0": v for k, v in loop.state_dict().items()}
    kernel.load_state_dict(weights)
    return loop, kernel


@pytest.mark.parametrize("first", [False, True])
def test_masked_steps_are_skipped_and_repeat_the_output(first):
    x, (loop, kernel) = sequences(), masked_rnn()
    h = torch.randn(N, H, dtype=torch.float64) if first else torch.zeros(N, H).double()
    expected = skipped(plain(loop.cell), x.numpy(), MASK.numpy(), h.numpy())
    for layer in (loop, kernel):
        output, (last,) = layer(x, MASK, (h,) if first else None)
        close(output, expected[0])
        close(last, expected[1])


def test_zero_masked_gives_zeros_for_masked_steps():
    x, layers = sequences(), masked_rnn()
    expected = layers[0](x, MASK)[0] * MASK.unsqueeze(-1)
    for layer in layers:
        layer.zero_masked = True
        close(layer(x, MASK)[0], expected)


PAIRS = [
    (LSTMCell, lambda: LSTM(D, H, batch_first=True, single_bias=True)),
    (GRUCell, lambda: GRU(D, H, batch_first=True)),
    (RNNCell, lambda: RNN(D, H, batch_first=True, single_bias=True)),
]


@pytest.mark.parametrize(("cell", "kernel"), PAIRS)
@pytest.mark.parametrize("mask", [None, MASK])
def test_cells_are_torchs_kernels_where_these_have_them(cell, kernel, mask):
    loop, fast = CellRNN(cell(D, H)).double(), MaskedRNN(kernel()).double()
    fast.load_state_dict({f"rnn.{k[5:]}_l0": v for k, v in loop.state_dict().items()})
    x = sequences()
    (output, states), (expected, last) = loop(x, mask), fast(x, mask)
    close(output, expected)
    for a, b in zip(states, last, strict=False):  # the cell state is not known with a mask
        close(a, b)


CELLS = {
    "lstm": lambda **options: LSTMCell(D, H, **options),
    "gru": lambda **options: GRUCell(D, H, **options),
    "gru before": lambda **options: GRUCell(D, H, reset_after=False, **options),
    "plain": lambda **options: RNNCell(D, H, **options),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"activation": torch.relu}], ids=["plain", "no bias", "relu"]
)
def test_keeps_what_a_layer_owes(name, options):
    check_layer(lambda: CellRNN(CELLS[name](**options)), (T, D))
    dtypes = [torch.float32, torch.bool]
    check_layer(lambda: CellRNN(CELLS[name](**options)), (None, D), (None,), dtype=dtypes)


@pytest.mark.parametrize("per_gate", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_dropout_of_a_cell(name, per_gate):
    options = {"dropout": 0.5, "recurrent_dropout": 0.5, "dropout_per_gate": per_gate}
    check_layer(lambda: CellRNN(CELLS[name](**options)), (T, D), train_differs=True)


def test_stacks_and_images_keep_what_a_layer_owes():
    def stack():
        return CellRNN(StackedCells([LSTMCell(D, H, dropout=0.5), GRUCell(H, 2)]))

    check_layer(stack, (T, D), train_differs=True)
    for num_dims in (1, 2, 3):
        sizes = (5,) * num_dims

        def images(num_dims=num_dims):
            return CellRNN(ConvLSTMCell(num_dims, 2, H, 3, 2, "same", bias=num_dims != 2))

        check_layer(images, (4, 2, *sizes))


def test_the_same_is_dropped_in_all_steps():
    torch.manual_seed(0)
    layer = MaskedRNN(GRU(D, H, batch_first=True), dropout=0.5)
    seen = []
    layer.rnn.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    layer(torch.ones(50, T, D))
    assert set(seen[0].unique().tolist()) == {0.0, 2.0}
    assert torch.equal(seen[0], seen[0][:, :1].expand_as(seen[0]))


@pytest.mark.parametrize("merge", ["concat", "sum", "mean", "product", None])
@pytest.mark.parametrize("last_output", [False, True])
def test_both_directions(merge, last_output):
    x, (ahead, back) = sequences(), masked_rnn()
    layer = BidirectionalRNN(ahead, back, merge, last_output)
    a, b = ahead(x, MASK)[0], back(x.flip(1), MASK.flip(1))[0]
    a, b = (a[:, -1], b[:, -1]) if last_output else (a, b.flip(1))
    expected = {
        "concat": torch.cat((a, b), -1), "sum": a + b, "mean": (a + b) / 2, "product": a * b,
        None: (a, b),
    }[merge]  # fmt: skip
    torch.testing.assert_close(layer(x, MASK)[0], expected)


@pytest.mark.parametrize("make", [lambda: CellRNN(LSTMCell(D, H)), lambda: masked_rnn()[1]])
def test_is_copied_pickled_initialised_and_compiled(make):
    layer = init.glorot_(make()).double()
    x = sequences()
    expected = layer(x, MASK)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(x, MASK), expected)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, MASK), expected)


def test_a_model_of_unknown_length():
    x, mask = Input((None, D), torch.float64), Input((None,), torch.bool)
    layer = masked_rnn()[0]
    output, states = layer(x, mask)
    model = Model([x, mask], [output, *states])
    assert output.shape == (None, None, H)
    torch.testing.assert_close(model(sequences(), MASK)[0], layer(sequences(), MASK)[0])


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_first": True, "num_layers": 2}, {"batch_first": True, "bidirectional": True}],
)
def test_a_kernel_of_another_form_is_refused(options):
    with pytest.raises(DataError, match="batch_first"):
        MaskedRNN(GRU(D, H, **options))
