"""Recurrent layers that know masks: a loop over the steps of a cell, torch's kernels, both ways.

A mask says which steps of a sequence count, wherever they stand. A step that does not leaves the
state as it is, and its output is that of the step before: zero where no step came before.

Letters: N batch, T steps, D features in, H hidden units.
"""

from typing import Literal

import torch
from torch import Tensor

from torchbp.errors import DataError
from torchbp.graph.layer import Layer
from torchbp.layers.dropout import Dropout1d
from torchbp.layers.recurrent import LSTM, _Recurrent
from torchbp.layers.recurrent_cells import Cell, States

Merge = Literal["concat", "sum", "mean", "product"] | None


class CellRNN(Layer):
    """A recurrence over the steps of a sequence, by a cell.

    The loop is Python's and vectorised over the batch alone: where torch's kernels have the cell,
    `LSTM`, `GRU`, `RNN` and `MaskedRNN` are faster.

    Args:
        cell: one of `torchbp.layers.recurrent_cells` or of your own.
        zero_masked: the output of a step that does not count is zero instead of the last one.

    Shape:
        input (N, T, ...), mask (N, T) bool or None, state as the cell's or None for zeros ->
        (output (N, T, ...), states). The output of the last step is `output[:, -1]`.

    Example:
        >>> from torchbp.layers import CellRNN
        >>> from torchbp.layers.recurrent_cells import RNNCell
        >>> mask = torch.tensor([[True, True, False]])
        >>> output, (h,) = CellRNN(RNNCell(8, 3))(torch.randn(1, 3, 8), mask)
        >>> torch.equal(output[:, 2], output[:, 1])
        True

    Differences from Keras: all outputs and states are returned; go_backwards is
    `layer(x.flip(1))`.
    """

    def __init__(self, cell: Cell, zero_masked: bool = False, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.cell = cell
        self.zero_masked = zero_masked

    def forward(
        self, input: Tensor, mask: Tensor | None = None, state: States | None = None
    ) -> tuple[Tensor, States]:
        """Outputs of all steps, and the last states."""
        cell, first = self.cell, input[:, 0]
        state = cell.first_state(first) if state is None else tuple(state)
        drops = cell.draw(first, state)
        steps = cell.project(input, drops).unbind(1)
        if input.is_meta:  # one step tells the shapes
            steps = steps[:1]
        counting = [None] * len(steps) if mask is None else mask.unbind(1)
        output, outputs = None, []
        for step, counts in zip(steps, counting, strict=False):
            new = cell.advance(step, state, drops)
            state, output = self._chosen(new, state, output, counts)
            outputs.append(output)
        if input.is_meta:
            outputs = outputs * input.shape[1]
        return torch.stack(outputs, dim=1), state

    def _chosen(
        self, new: States, old: States, last_output: Tensor | None, counts: Tensor | None
    ) -> tuple[States, Tensor]:
        """The states and the output of a step, which are the old ones where it does not count."""
        output = self.cell.output(new)
        if counts is None:
            return new, output
        state = tuple(torch.where(_widened(counts, a), a, b) for a, b in zip(new, old, strict=True))
        other = torch.zeros_like(output) if last_output is None or self.zero_masked else last_output
        return state, torch.where(_widened(counts, output), output, other)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return "zero_masked=True" if self.zero_masked else ""


class MaskedRNN(Layer):
    """torch's recurrent kernel for sequences with masks and dropout of the input.

    The steps that count are moved together for the kernel, and their outputs back. It does not
    know the cell state of an `LSTM` at a step within: with a mask that is not returned.

    Args:
        rnn: an `LSTM`, `GRU` or `RNN` of torchbp.layers with batch_first, of one layer and one
            direction.
        dropout: share of the input that is dropped in training, the same in all steps.
        zero_masked: the output of a step that does not count is zero instead of the last one.

    Shape:
        input (N, T, D), mask (N, T) bool or None, state (N, H), for an LSTM two of them, or None
        -> (output (N, T, H), states), the states (h, c) for an LSTM without a mask, else (h,).

    Raises:
        DataError: the layer is another.

    Example:
        >>> from torchbp.layers import GRU, MaskedRNN
        >>> mask = torch.tensor([[False, True, False]])
        >>> output, (h,) = MaskedRNN(GRU(8, 4, batch_first=True))(torch.randn(1, 3, 8), mask)
        >>> torch.equal(output[:, 2], output[:, 1]), bool(output[:, 0].any())
        (True, False)

    Differences from Keras: as of `CellRNN`. Dropout is that of implementation 2.
    """

    def __init__(
        self,
        rnn: _Recurrent,
        dropout: float = 0.0,
        zero_masked: bool = False,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if not rnn.batch_first or rnn.bidirectional or rnn.last_output or rnn.num_layers != 1:
            raise DataError(
                f"{type(self).__name__}: expected a layer with batch_first, all outputs, one layer "
                f"and one direction, got {rnn}.\n"
                "  To mend it: take several of them; BidirectionalRNN goes both ways."
            )
        self.rnn = rnn
        self.dropout = Dropout1d(dropout) if dropout else None
        self.zero_masked = zero_masked

    def forward(
        self, input: Tensor, mask: Tensor | None = None, state: States | None = None
    ) -> tuple[Tensor, States]:
        """Outputs of all steps, and the last states."""
        if self.dropout is not None:
            input = self.dropout(input.transpose(1, 2)).transpose(1, 2)
        if mask is None:
            output, last = self.rnn(input, self._given(state))
            states = last if isinstance(last, tuple) else (last,)
            return output, tuple(part.squeeze(0) for part in states)
        counts = mask.cumsum(1)  # (N, T), how many steps up to each
        order = mask.logical_not().to(torch.uint8).argsort(dim=1, stable=True)
        together = input.gather(1, order.unsqueeze(-1).expand(-1, -1, input.shape[-1]))
        found, _ = self.rnn(together, self._given(state))
        before = torch.zeros_like(found[:, 0]) if state is None else state[0]
        output = _at(found, counts, torch.zeros_like(before))
        last = _at(found, counts[:, -1:], before)[:, 0]
        if self.zero_masked:
            output = torch.where(mask.unsqueeze(-1), output, 0.0)
        return output, (last,)

    def _given(self, state: States | None) -> Tensor | tuple[Tensor, ...] | None:
        """The first state as the kernel takes it."""
        if state is None:
            return None
        parts = tuple(part.unsqueeze(0).contiguous() for part in state)
        return parts if isinstance(self.rnn, LSTM) else parts[0]

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return "zero_masked=True" if self.zero_masked else ""


class BidirectionalRNN(Layer):
    """Two recurrences over a sequence, one from its end, and what they give together.

    Args:
        forward_rnn: a `CellRNN` or `MaskedRNN`.
        backward_rnn: another; it gets the sequence from its end.
        merge: how the outputs of a step are joined; None for both.
        last_output: return what each has at its last step instead of all steps.

    Shape:
        input (N, T, D), mask (N, T) bool or None, state: that of the first and that of the second
        in one tuple, or None -> (output (N, T, H), states in one tuple); H is that of both
        together for "concat"; two outputs for merge=None; (N, H) with last_output.

    Example:
        >>> from torchbp.layers import BidirectionalRNN, CellRNN
        >>> from torchbp.layers.recurrent_cells import GRUCell
        >>> both = BidirectionalRNN(CellRNN(GRUCell(8, 3)), CellRNN(GRUCell(8, 3)), "sum")
        >>> both(torch.zeros(2, 5, 8))[0].shape
        torch.Size([2, 5, 3])

    Differences from Keras: states are always returned; "mean" and "product" are "ave" and "mul".
    Source: Schuster and Paliwal 1997, https://doi.org/10.1109/78.650093
    """

    def __init__(
        self,
        forward_rnn: CellRNN | MaskedRNN,
        backward_rnn: CellRNN | MaskedRNN,
        merge: Merge = "concat",
        last_output: bool = False,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.forward_rnn = forward_rnn
        self.backward_rnn = backward_rnn
        self.merge = merge
        self.last_output = last_output

    def forward(
        self, input: Tensor, mask: Tensor | None = None, state: States | None = None
    ) -> tuple[Tensor | tuple[Tensor, Tensor], States]:
        """The outputs together, and the last states of both."""
        half = 0 if state is None else len(state) // 2
        ahead, first = self.forward_rnn(input, mask, state and tuple(state[:half]))
        mask = None if mask is None else mask.flip(1)
        back, second = self.backward_rnn(input.flip(1), mask, state and tuple(state[half:]))
        if self.last_output:
            ahead, back = ahead[:, -1], back[:, -1]
        else:
            back = back.flip(1)
        return merged(ahead, back, self.merge), (*first, *second)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"merge={self.merge!r}" + (", last_output=True" if self.last_output else "")


def merged(ahead: Tensor, back: Tensor, merge: Merge) -> Tensor | tuple[Tensor, Tensor]:
    """The outputs of two directions together."""
    if merge == "concat":
        return torch.cat((ahead, back), dim=-1)
    if merge == "sum":
        return ahead + back
    if merge == "mean":
        return (ahead + back) / 2
    return ahead * back if merge == "product" else (ahead, back)


def _at(found: Tensor, counts: Tensor, before: Tensor) -> Tensor:
    """What was found after so many steps that count; what was before where there are none."""
    index = (counts - 1).clamp(min=0).unsqueeze(-1)
    taken = found.gather(1, index.expand(-1, -1, found.shape[-1]))
    return torch.where(counts.unsqueeze(-1) > 0, taken, before.unsqueeze(1))


def _widened(counts: Tensor, like: Tensor) -> Tensor:
    return counts.view(-1, *(1,) * (like.ndim - 1))
