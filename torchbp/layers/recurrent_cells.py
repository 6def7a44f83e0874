"""Cells: one step of a recurrence, for `CellRNN`.

What torch's recurrent kernels do not have: any activation, a GRU whose reset gate comes before the
matrix product, dropout within the recurrence, several cells one on the other. A cell is made of
`project`, which sees the input alone and takes all steps of it at once, and `advance`, which goes
from one state to the next. Its output is the first of its states.

Letters: N batch, T steps, D features in, H hidden units.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Function = Callable[[Tensor], Tensor]
States = tuple[Tensor, ...]


class Drops(NamedTuple):
    """Factors of a call, for all its steps: what is dropped is zero, the rest is scaled.

    Attributes:
        input: of the input of a step, one for all gates or one each; empty for no dropout.
        hidden: of the state of a step, likewise.
    """

    input: States = ()
    hidden: States = ()


class Cell(nn.Module):
    """What all cells have: the base of a cell of your own.

    Attributes:
        num_states: how many tensors a state has.
    """

    num_states = 1

    def first_state(self, input: Tensor) -> States:
        """Zeros, for the input of a step."""
        raise NotImplementedError

    def draw(self, input: Tensor, state: States) -> Any:
        """What is dropped in all steps of a call, from the input of one step."""
        raise NotImplementedError

    def project(self, input: Tensor, drops: Any) -> Tensor:
        """What the input adds to the gates: of a step, or of all steps (N, T, ...) at once."""
        raise NotImplementedError

    def advance(self, projected: Tensor, state: States, drops: Any) -> States:
        """The next state."""
        raise NotImplementedError

    def output(self, state: States) -> Tensor:
        """The output that belongs to a state."""
        return state[0]


class _GateCell(nn.RNNCellBase, Cell):
    """A cell of gates with weights as those of torch's cells, the gates one below the other."""

    num_gates: int
    mode: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        activation: Function = torch.tanh,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        dropout_per_gate: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, self.num_gates)
        self.activation = activation
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.dropout_per_gate = dropout_per_gate

    def first_state(self, input: Tensor) -> States:
        zeros = input.new_zeros(input.shape[0], self.hidden_size)
        return (zeros,) * self.num_states

    def draw(self, input: Tensor, state: States) -> Drops:
        if not self.training:
            return Drops()
        count = self.num_gates if self.dropout_per_gate else 1
        return Drops(
            factors(input, self.dropout, count), factors(state[0], self.recurrent_dropout, count)
        )

    def project(self, input: Tensor, drops: Drops) -> Tensor:
        chosen = drops.input
        if input.ndim == 3:
            chosen = tuple(factor.unsqueeze(1) for factor in chosen)  # (N, 1, D)
        projected = _linear(input, self.weight_ih, chosen)
        return projected if self.bias_ih is None else projected + self.bias_ih

    def extra_repr(self) -> str:
        """What printing the cell shows of it."""
        shown = super().extra_repr()
        shown += f", activation={_name(self.activation)}"
        for option in ("dropout", "recurrent_dropout"):
            if getattr(self, option):
                shown += f", {option}={getattr(self, option)}"
        return shown + (", dropout_per_gate=True" if self.dropout_per_gate else "")


class LSTMCell(_GateCell):
    """A step of a long short-term memory, with any activations.

    The arguments before the star are those of `torch.nn.LSTMCell`; there is one bias vector, whose
    gates are in torch's order: input, forget, candidate, output.

    Args:
        input_size: D.
        hidden_size: H.
        bias: whether there is a bias.
        activation: of the candidate and of the output.
        gate_activation: of the gates.
        dropout: share of the input that is dropped in training, the same in all steps.
        recurrent_dropout: share of the state that is dropped.
        dropout_per_gate: drop other values for each gate.

    Example:
        >>> from torchbp.layers import CellRNN
        >>> from torchbp.layers.recurrent_cells import LSTMCell
        >>> output, (h, c) = CellRNN(LSTMCell(8, 3, activation=torch.relu))(torch.zeros(2, 5, 8))
        >>> output.shape, c.shape
        (torch.Size([2, 5, 3]), torch.Size([2, 3]))

    Differences from Keras: Keras drops per gate where implementation is 1, or recurrent_dropout
    is not 0.
    Source: Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; dropout:
    Gal and Ghahramani 2016, https://arxiv.org/abs/1512.05287
    """

    num_gates, num_states, mode = 4, 2, "LSTM"

    def __init__(
        self, *args: Any, gate_activation: Function = torch.sigmoid, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.gate_activation = gate_activation
        self.register_parameter("bias_hh", None)

    def advance(self, projected: Tensor, state: States, drops: Drops) -> States:
        """The next hidden and cell state."""
        h, c = state
        i, f, n, o = (projected + _linear(h, self.weight_hh, drops.hidden)).chunk(4, dim=-1)
        gate = self.gate_activation
        c = gate(f) * c + gate(i) * self.activation(n)
        return gate(o) * self.activation(c), c

    def extra_repr(self) -> str:
        """What printing the cell shows of it."""
        return super().extra_repr() + f", gate_activation={_name(self.gate_activation)}"


class GRUCell(_GateCell):
    """A step of a gated recurrent unit, with any activations.

    The arguments before the star are those of `torch.nn.GRUCell`; the gates are in torch's order:
    reset, update, candidate.

    Args:
        input_size: D.
        hidden_size: H.
        bias: whether there are biases.
        activation: of the candidate.
        gate_activation: of the gates.
        reset_after: apply the reset gate to the product of state and matrix, as torch does, which
            then has a bias of its own; else to the state before it.
        dropout: share of the input that is dropped in training, the same in all steps.
        recurrent_dropout: share of the state that is dropped; not of what passes the update gate.
        dropout_per_gate: drop other values for each gate.

    Example:
        >>> from torchbp.layers import CellRNN
        >>> from torchbp.layers.recurrent_cells import GRUCell
        >>> output, (h,) = CellRNN(GRUCell(8, 3, reset_after=False))(torch.zeros(2, 5, 8))
        >>> h.shape
        torch.Size([2, 3])

    Differences from Keras: the order of the gates. Keras drops per gate where implementation is 1,
    or recurrent_dropout is not 0.
    Source: Cho et al. 2014, https://arxiv.org/abs/1406.1078v3 (reset_after in v1)
    """

    num_gates, mode = 3, "GRU"

    def __init__(
        self,
        *args: Any,
        gate_activation: Function = torch.sigmoid,
        reset_after: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.gate_activation = gate_activation
        self.reset_after = reset_after
        if not reset_after:
            self.register_parameter("bias_hh", None)

    def advance(self, projected: Tensor, state: States, drops: Drops) -> States:
        """The next hidden state."""
        (h,) = state
        sizes = [2 * self.hidden_size, self.hidden_size]
        x_gates, x_n = torch.split(projected, sizes, dim=-1)
        weights = torch.split(self.weight_hh, sizes)
        dropped = drops.hidden * (3 if len(drops.hidden) == 1 else 1)
        gates = x_gates + _linear(h, weights[0], dropped[:2])
        if self.bias_hh is not None:
            gates = gates + self.bias_hh[: 2 * self.hidden_size]
        r, z = self.gate_activation(gates).chunk(2, dim=-1)
        if self.reset_after:
            product = _linear(h, weights[1], dropped[2:])
            if self.bias_hh is not None:
                product = product + self.bias_hh[2 * self.hidden_size :]
            product = r * product
        else:
            product = _linear(r * h, weights[1], dropped[2:])
        n = self.activation(x_n + product)
        return (z * h + (1 - z) * n,)

    def extra_repr(self) -> str:
        """What printing the cell shows of it."""
        shown = super().extra_repr() + f", gate_activation={_name(self.gate_activation)}"
        return shown + ("" if self.reset_after else ", reset_after=False")


class RNNCell(_GateCell):
    """A step of a plain recurrence: h' = activation(W x + b + U h).

    The arguments before the star are those of `torch.nn.RNNCell`, but for the nonlinearity; there
    is one bias vector.

    Args:
        input_size: D.
        hidden_size: H.
        bias: whether there is a bias.
        activation: of the sum.
        dropout: share of the input that is dropped in training, the same in all steps.
        recurrent_dropout: share of the state that is dropped.

    Example:
        >>> from torchbp.layers import CellRNN
        >>> from torchbp.layers.recurrent_cells import RNNCell
        >>> output, _ = CellRNN(RNNCell(8, 3, activation=torch.sin))(torch.zeros(2, 5, 8))
        >>> output.shape
        torch.Size([2, 5, 3])

    Differences from Keras: none.
    Source: Elman 1990, https://doi.org/10.1207/s15516709cog1402_1
    """

    num_gates, mode = 1, "RNN"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_parameter("bias_hh", None)

    def advance(self, projected: Tensor, state: States, drops: Drops) -> States:
        """The next hidden state."""
        return (self.activation(projected + _linear(state[0], self.weight_hh, drops.hidden)),)


class StackedCells(Cell):
    """Cells one on the other: each takes the output of the one below in the same step.

    Its states are those of all cells in their order; its output is that of the last cell.

    Args:
        cells: from the input on.

    Example:
        >>> from torchbp.layers import CellRNN
        >>> from torchbp.layers.recurrent_cells import GRUCell, LSTMCell, StackedCells
        >>> stack = CellRNN(StackedCells([LSTMCell(8, 3), GRUCell(3, 4)]))
        >>> output, states = stack(torch.zeros(2, 5, 8))
        >>> output.shape, [tuple(state.shape) for state in states]
        (torch.Size([2, 5, 4]), [(2, 3), (2, 3), (2, 4)])

    Differences from Keras: the states are in one tuple.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.num_states = sum(cell.num_states for cell in cells)

    def first_state(self, input: Tensor) -> States:
        """Zeros for all cells."""
        return tuple(state for cell in self._cells() for state in cell.first_state(input))

    def draw(self, input: Tensor, state: States) -> list[Any]:
        """What each cell drops."""
        drops = []
        for cell, own in self._with_states(state):
            drops.append(cell.draw(input, own))
            input = cell.output(own)
        return drops

    def project(self, input: Tensor, drops: list[Any]) -> Tensor:
        """What the input adds to the first cell's gates."""
        return self._cells()[0].project(input, drops[0])

    def advance(self, projected: Tensor, state: States, drops: list[Any]) -> States:
        """The next states, cell after cell."""
        new: States = ()
        output = projected
        for number, (cell, own) in enumerate(self._with_states(state)):
            if number:
                projected = cell.project(output, drops[number])
            own = cell.advance(projected, own, drops[number])
            new, output = new + own, cell.output(own)
        return new

    def output(self, state: States) -> Tensor:
        """That of the last cell."""
        *_, (cell, own) = self._with_states(state)
        return cell.output(own)

    def _cells(self) -> list[Cell]:
        return cast(list[Cell], list(self.cells))

    def _with_states(self, state: States) -> Iterator[tuple[Cell, States]]:
        """The cells, each with the states that are its own."""
        for cell in self._cells():
            yield cell, state[: cell.num_states]
            state = state[cell.num_states :]


def factors(like: Tensor, rate: float, count: int) -> States:
    """Random factors of dropout in the shape of a tensor; none if nothing is dropped."""
    if not rate:
        return ()
    return tuple(F.dropout(torch.ones_like(like), rate) for _ in range(count))


def _linear(input: Tensor, weight: Tensor, factors: States) -> Tensor:
    """The product with a matrix, of inputs that may be dropped for each of its gates."""
    if len(factors) < 2:
        return F.linear(input * factors[0] if factors else input, weight)
    gates = zip(factors, weight.chunk(len(factors)), strict=True)
    return torch.cat([F.linear(input * factor, rows) for factor, rows in gates], dim=-1)


def _name(function: Function) -> str:
    return getattr(function, "__name__", None) or repr(function)
