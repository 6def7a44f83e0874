"""Sums of products along chosen axes, and slopes for chosen ones."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.graph.layer import Layer


class Einsum(Layer):
    """A linear layer on any axes, as an equation tells.

    Args:
        equation: of input and weight, such as "abc,cd->abd".
        weight_shape: sizes of the weight.
        bias_shape: sizes of the bias, which broadcast against the output; None for no bias.

    Shape:
        input and output as the equation has them.

    Example:
        >>> from torchbp.layers import Einsum
        >>> Einsum("abc,cde->abde", (8, 2, 3), (2, 3))(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 2, 3])

    Differences from Keras: EinsumDense. Shapes are those of the weights, not of the output; weights
    start as those of `torch.nn.Linear`.
    """

    def __init__(
        self,
        equation: str,
        weight_shape: tuple[int, ...],
        bias_shape: tuple[int, ...] | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.equation = equation
        self.weight = nn.Parameter(torch.empty(weight_shape))
        self.bias = None if bias_shape is None else nn.Parameter(torch.empty(bias_shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform numbers, the smaller the more inputs there are."""
        bound = 1.0 / math.sqrt(max(self.fans()[0], 1))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def fans(self) -> tuple[int, int]:
        """Inputs of an output, outputs of an input."""
        labels, output = self.equation.replace(" ", "").split(",")[1].split("->")
        ins = [n for n, label in zip(self.weight.shape, labels, strict=True) if label not in output]
        outs = [n for n, label in zip(self.weight.shape, labels, strict=True) if label in output]
        return math.prod(ins), math.prod(outs)

    def forward(self, input: Tensor) -> Tensor:
        """The sums of products."""
        result = torch.einsum(self.equation, input, self.weight)
        return result if self.bias is None else result + self.bias

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        bias = None if self.bias is None else tuple(self.bias.shape)
        return f"{self.equation!r}, {tuple(self.weight.shape)}, {bias}"


class PReLUOver(Layer):
    """LeakyReLU with slopes that are trained, of any axes.

    Args:
        shape: sizes of the slopes, which broadcast against the input without its batch.
        start: the slopes at the start.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import PReLUOver
        >>> PReLUOver((2,))(torch.tensor([[-1.0, 2.0]])).tolist()
        [[-0.25, 2.0]]

    Differences from Keras: PReLU; the slopes start at 0.25 (Keras 0). At zero the gradient is zero,
    as in Keras, where `torch.nn.PReLU` has the slope.
    Source: He et al. 2015, https://arxiv.org/abs/1502.01852
    """

    def __init__(
        self, shape: tuple[int, ...], start: float = 0.25, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.weight = nn.Parameter(torch.full(shape, start))

    def forward(self, input: Tensor) -> Tensor:
        """The input, with slopes where it is negative."""
        return F.relu(input) - self.weight * F.relu(-input)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return str(tuple(self.weight.shape))
