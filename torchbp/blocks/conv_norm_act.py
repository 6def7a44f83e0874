"""A convolution with its normalisation and activation."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

from torchbp.errors import DataError
from torchbp.graph import Layer
from torchbp.layers import BatchNorm2d, Conv2d, ReLU

Part = Literal["conv", "norm", "activation"]
Make = Callable[..., nn.Module]


class ConvNormAct(Layer):
    """A convolution, a normalisation and an activation, in this order or another one.

    Args:
        in_channels: C, channels of the input.
        out_channels: C', channels of the output.
        kernel_size: sides of the kernel, in pixels.
        stride: of the convolution.
        padding: of the convolution.
        conv: the class of the convolution, called with in_channels, out_channels, kernel_size,
            stride, padding and bias=.
        norm: the class of the normalisation, called with its number of channels; None leaves it
            out.
        activation: the class of the activation; None leaves it out.
        bias: whether the convolution has a bias; by default it has none if the normalisation,
            which has its own, comes next.
        order: the order of the three, such as ("norm", "activation", "conv").

    Shape:
        input (N, C, H, W) -> output (N, C', H', W').

    Raises:
        DataError: `order` does not name each of the three once.

    Example:
        >>> from torchbp.blocks import ConvNormAct
        >>> ConvNormAct(3, 16, stride=2)(torch.zeros(2, 3, 9, 9)).shape
        torch.Size([2, 16, 5, 5])
        >>> [
        ...     name
        ...     for name, _ in ConvNormAct(
        ...         3, 16, order=("conv", "activation", "norm")
        ...     ).named_children()
        ... ]
        ['conv', 'activation', 'norm']
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...] = 3,
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = "same",
        *,
        conv: Make = Conv2d,
        norm: Make | None = BatchNorm2d,
        activation: Make | None = ReLU,
        bias: bool | None = None,
        order: Sequence[Part] = ("conv", "norm", "activation"),
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        _check(order)
        left_out = {"norm"} if norm is None else set()
        left_out |= {"activation"} if activation is None else set()
        parts = [part for part in order if part not in left_out]
        after_conv = parts[parts.index("conv") + 1 :]
        if bias is None:
            bias = after_conv[:1] != ["norm"]
        modules = {
            "conv": conv(in_channels, out_channels, kernel_size, stride, padding, bias=bias),
            "norm": norm and norm(out_channels if "norm" in after_conv else in_channels),
            "activation": activation and activation(),
        }
        for part in parts:
            self.add_module(part, modules[part])

    def forward(self, input: Tensor) -> Tensor:
        """The input through the three."""
        for part in self._modules.values():
            input = part(input)  # type: ignore[misc]  # none of them is None
        return input


def _check(order: Sequence[Part]) -> None:
    if sorted(order) != ["activation", "conv", "norm"]:
        raise DataError(
            "ConvNormAct: expected an order of 'conv', 'norm' and 'activation', got "
            f"{tuple(order)}.\n"
            "  To mend it: name each of the three once; norm=None and activation=None leave out."
        )
