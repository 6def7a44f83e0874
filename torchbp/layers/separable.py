"""Convolutions that keep the channels apart, and those that mix them in a second step."""

from typing import Any

from torch import Tensor

from torchbp.graph.layer import Layer
from torchbp.layers.conv import Conv1d, Conv2d, _Conv


class _DepthwiseConv(_Conv):
    """One group for each channel of the input."""

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        multiplier: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            in_channels,
            in_channels * multiplier,
            kernel_size,
            stride,
            padding,
            dilation,
            in_channels,
            bias,
            padding_mode,
            **kwargs,
        )


class DepthwiseConv1d(_DepthwiseConv, Conv1d):  # type: ignore[misc]
    """Convolution over time of each channel by itself.

    Args:
        in_channels: C, channels of the input.
        kernel_size: length of the kernels.
        stride: as for Conv1d.
        padding: as for Conv1d.
        dilation: as for Conv1d.
        multiplier: M, channels of the output for each of the input; those of one channel stand
            side by side.
        bias: whether a number is added to each channel of the output.
        padding_mode: as for Conv1d.

    Shape:
        input (N, C, T) -> output (N, C * M, T').

    Example:
        >>> from torchbp.layers import DepthwiseConv1d
        >>> DepthwiseConv1d(8, kernel_size=3, multiplier=2)(torch.zeros(2, 8, 10)).shape
        torch.Size([2, 16, 8])

    Differences from Keras: channels come before time.
    """


class DepthwiseConv2d(_DepthwiseConv, Conv2d):  # type: ignore[misc]
    """Convolution over height and width of each channel by itself.

    Args:
        in_channels: C, channels of the input.
        kernel_size: sides of the kernels, in pixels.
        stride: as for Conv2d.
        padding: as for Conv2d.
        dilation: as for Conv2d.
        multiplier: M, channels of the output for each of the input; those of one channel stand
            side by side.
        bias: whether a number is added to each channel of the output.
        padding_mode: as for Conv2d.

    Shape:
        input (N, C, H, W) -> output (N, C * M, H', W').

    Example:
        >>> from torchbp.layers import DepthwiseConv2d
        >>> DepthwiseConv2d(8, kernel_size=3, multiplier=2)(torch.zeros(2, 8, 9, 9)).shape
        torch.Size([2, 16, 7, 7])

    Differences from Keras: channels come first.
    """


class _SeparableConv(Layer):
    """A depthwise convolution and a pointwise one, in this order and with nothing between."""

    depthwise_class: type[_DepthwiseConv]
    pointwise_class: type[_Conv]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        multiplier: int = 1,
        bias: bool = True,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.depthwise = self.depthwise_class(
            in_channels, kernel_size, stride, padding, dilation, multiplier, bias=False
        )
        self.pointwise = self.pointwise_class(
            in_channels * multiplier, out_channels, kernel_size=1, bias=bias
        )

    def forward(self, input: Tensor) -> Tensor:
        """The channels convolved one by one, then mixed."""
        return self.pointwise(self.depthwise(input))


class SeparableConv1d(_SeparableConv):
    """Depthwise convolution over time, followed by a pointwise one that mixes the channels.

    Args:
        in_channels: C, channels of the input.
        out_channels: C', channels of the output.
        kernel_size: length of the depthwise kernels.
        stride: of the depthwise convolution.
        padding: of the depthwise convolution, as for Conv1d.
        dilation: of the depthwise convolution.
        multiplier: channels between the two steps, for each channel of the input.
        bias: whether the pointwise convolution adds a number to each channel; the depthwise one
            never does.

    Shape:
        input (N, C, T) -> output (N, C', T').

    Example:
        >>> from torchbp.layers import SeparableConv1d
        >>> SeparableConv1d(8, 4, kernel_size=3)(torch.zeros(2, 8, 10)).shape
        torch.Size([2, 4, 8])

    Differences from Keras: the two steps are two modules, `.depthwise` and `.pointwise`.
    """

    depthwise_class = DepthwiseConv1d
    pointwise_class = Conv1d


class SeparableConv2d(_SeparableConv):
    """Depthwise convolution over height and width, followed by a 1x1 one that mixes the channels.

    It has C k^2 + C C' weights where a Conv2d has C C' k^2.

    Args:
        in_channels: C, channels of the input.
        out_channels: C', channels of the output.
        kernel_size: k, sides of the depthwise kernels, in pixels.
        stride: of the depthwise convolution.
        padding: of the depthwise convolution, as for Conv2d.
        dilation: of the depthwise convolution.
        multiplier: channels between the two steps, for each channel of the input.
        bias: whether the pointwise convolution adds a number to each channel; the depthwise one
            never does.

    Shape:
        input (N, C, H, W) -> output (N, C', H', W').

    Example:
        >>> from torchbp.layers import SeparableConv2d
        >>> SeparableConv2d(3, 8, kernel_size=3)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 8, 30, 30])

    Differences from Keras: the two steps are two modules, `.depthwise` and `.pointwise`.
    Source: Chollet 2017, https://arxiv.org/abs/1610.02357
    """

    depthwise_class = DepthwiseConv2d
    pointwise_class = Conv2d
