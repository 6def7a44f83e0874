"""A cell whose products are convolutions.

Letters: N batch, T steps, C channels in, F channels of the state, S sizes of the image.
"""

from typing import Any

import torch
from torch import Tensor

from torchbp.layers.conv import Conv1d, Conv2d, Conv3d
from torchbp.layers.recurrent_cells import Cell, Drops, Function, States, factors

_CONVS: dict[int, Any] = {1: Conv1d, 2: Conv2d, 3: Conv3d}


class ConvLSTMCell(Cell):
    """A step of a long short-term memory of images, for `CellRNN`.

    The convolution of the input has a bias; that of the state keeps its size, and has neither
    stride nor dilation. The gates are in the order input, forget, candidate, output.

    Args:
        num_dims: 1 for sequences, 2 for images, 3 for volumes.
        in_channels: C.
        hidden_channels: F.
        kernel_size: of both convolutions.
        stride: of the convolution of the input.
        padding: of the convolution of the input, 0 or "same".
        dilation: of the convolution of the input.
        bias: whether there is a bias.
        activation: of the candidate and of the output.
        gate_activation: of the gates.
        dropout: share of the input that is dropped in training, the same in all steps, others for
            each gate.
        recurrent_dropout: share of the state that is dropped, likewise.

    Example:
        >>> from torchbp.layers import CellRNN
        >>> from torchbp.layers.recurrent_conv import ConvLSTMCell
        >>> layer = CellRNN(ConvLSTMCell(2, 3, 8, kernel_size=3, padding="same"))
        >>> output, (h, c) = layer(torch.zeros(2, 5, 3, 12, 12))  # (N, T, C, H, W)
        >>> output.shape
        torch.Size([2, 5, 8, 12, 12])

    Differences from Keras: the channels come after the step, before the sizes.
    Source: Shi et al. 2015, https://arxiv.org/abs/1506.04214, without its peepholes
    """

    num_states = 2

    def __init__(
        self,
        num_dims: int,
        in_channels: int,
        hidden_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | str = 0,
        dilation: int | tuple[int, ...] = 1,
        bias: bool = True,
        *,
        activation: Function = torch.tanh,
        gate_activation: Function = torch.sigmoid,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        make = _CONVS[num_dims]
        self.num_dims = num_dims
        self.hidden_channels = hidden_channels
        self.input_conv = make(
            in_channels, 4 * hidden_channels, kernel_size, stride, padding, dilation, bias=bias
        )
        self.recurrent_conv = make(
            hidden_channels, 4 * hidden_channels, kernel_size, padding="same", bias=False
        )
        self.activation = activation
        self.gate_activation = gate_activation
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout

    def first_state(self, input: Tensor) -> States:
        """Zeros of the size that the convolution of the input gives."""
        with torch.no_grad():
            sizes = self.input_conv(input[:1].detach()).shape[2:]
        zeros = input.new_zeros(input.shape[0], self.hidden_channels, *sizes)
        return zeros, zeros

    def draw(self, input: Tensor, state: States) -> Drops:
        """Factors for each gate."""
        if not self.training:
            return Drops()
        return Drops(factors(input, self.dropout, 4), factors(state[0], self.recurrent_dropout, 4))

    def project(self, input: Tensor, drops: Drops) -> Tensor:
        """What the input adds to the gates."""
        if input.ndim == self.num_dims + 2:
            return _convolved(self.input_conv, input, drops.input)
        steps = input.shape[1]
        merged = input.flatten(0, 1)
        repeated = tuple(factor.repeat_interleave(steps, 0) for factor in drops.input)
        projected = _convolved(self.input_conv, merged, repeated)
        return projected.reshape(-1, steps, *projected.shape[1:])

    def advance(self, projected: Tensor, state: States, drops: Drops) -> States:
        """The next hidden and cell state."""
        h, c = state
        gates = projected + _convolved(self.recurrent_conv, h, drops.hidden)
        i, f, n, o = gates.chunk(4, dim=1)
        gate = self.gate_activation
        c = gate(f) * c + gate(i) * self.activation(n)
        return gate(o) * self.activation(c), c


def _convolved(conv: Any, input: Tensor, factors: States) -> Tensor:
    """The convolution of an input that may be dropped for each of the four gates."""
    if not factors:
        result: Tensor = conv(input)
        return result
    biases = [None] * 4 if conv.bias is None else conv.bias.chunk(4)
    gates = zip(factors, conv.weight.chunk(4), biases, strict=True)
    return torch.cat(
        [conv._conv_forward(input * factor, weight, bias) for factor, weight, bias in gates], dim=1
    )
