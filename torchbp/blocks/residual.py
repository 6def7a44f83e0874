"""Residual connections: the input of a branch is added to its output."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.blocks.conv_norm_act import ConvNormAct
from torchbp.errors import ShapeError
from torchbp.graph import Layer, SymbolicTensor, call
from torchbp.layers import (
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Conv3d,
    Identity,
    Linear,
    MaxPool2d,
    ReLU,
    SeparableConv2d,
)

Make = Callable[..., nn.Module]


class Residual(Layer):
    """A branch, and beside it a shortcut whose output is added to the branch's.

    Called on a symbolic tensor, a block without a shortcut looks at the shape of what the branch
    gives. Where it is the shape of the input, the input itself is added. Where it differs, the
    block makes a projection, a 1x1 convolution without activation (a `Linear` for features without
    sizes), with the channels of the branch and the smallest stride that gives its sizes. Outside of
    a graph a projection is given.

    Args:
        branch: any module with one input and one output.
        shortcut: a module for the input; by default the input is added as it is, or projected as
            said above.

    Shape:
        input (N, C, ...) -> output (N, C', ...), the branch's.

    Raises:
        ShapeError: branch and shortcut give different shapes.

    Example:
        >>> from torchbp import Input
        >>> from torchbp.blocks import Residual
        >>> from torchbp.layers import Conv2d
        >>> Residual(Conv2d(8, 8, 3, padding="same"))(torch.zeros(2, 8, 9, 9)).shape
        torch.Size([2, 8, 9, 9])
        >>> block = Residual(Conv2d(8, 16, 3, stride=2, padding="same"))
        >>> block(Input((8, 9, 9))).shape
        (None, 16, 5, 5)
        >>> block.shortcut
        Conv2d(8, 16, kernel_size=(1, 1), stride=(2, 2), padding=same)

    Source: He et al. 2015, https://arxiv.org/abs/1512.03385
    """

    def __init__(
        self, branch: nn.Module, shortcut: nn.Module | None = None, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.branch = branch
        self.shortcut = Identity() if shortcut is None else shortcut
        self._may_project = shortcut is None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Record the call, with a projection where one is needed, or compute."""
        if self._may_project:
            input = next(iter((*args, *kwargs.values())), None)
            if isinstance(input, SymbolicTensor):
                self._project(input)
                self._may_project = False
        return super().__call__(*args, **kwargs)

    def forward(self, input: Tensor) -> Tensor:
        """The sum of branch and shortcut."""
        output = self.branch(input)
        shortcut = self.shortcut(input)
        if not isinstance(output, Tensor) or output.shape != shortcut.shape:
            got = [tuple(t.shape) if isinstance(t, Tensor) else type(t) for t in (output, shortcut)]
            raise ShapeError(
                f"{type(self).__name__}: expected a branch and a shortcut with outputs of one "
                f"shape, got {got[0]} and {got[1]}.\n"
                "  To mend it: give shortcut=, such as a 1x1 convolution with the channels and the "
                "stride of the branch; a block that is itself called on an Input, and not inside "
                "another module, makes it."
            )
        return output + shortcut

    def _project(self, input: SymbolicTensor) -> None:
        output = call(self.branch, input)
        if not isinstance(output, SymbolicTensor):
            return  # the call itself says what does not fit
        before, after = input.samples, output.samples
        if all(a.shape == b.shape for a, b in zip(before, after, strict=True)):
            return
        sizes = [(tuple(a.shape), tuple(b.shape)) for a, b in zip(before, after, strict=True)]
        projection = _projection(sizes)
        if projection is not None:
            weight = next(self.branch.parameters(), torch.empty(0, dtype=input.dtype))
            self.shortcut = projection.to(weight.device, weight.dtype)


def _projection(shapes: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> nn.Module | None:
    """The module that brings inputs of the one shape to the other; None where none can.

    Args:
        shapes: pairs of shapes (N, C, ...), several where sizes are unknown.
    """
    (before, after), *_ = shapes
    if len(before) != len(after) or not 2 <= len(before) <= 5:
        return None
    if any((a[1], b[1]) != (before[1], after[1]) for a, b in shapes):  # unknown channels
        return None
    if len(before) == 2:
        return Linear(before[1], after[1])
    strides = []
    for dim in range(2, len(before)):
        size, smaller = before[dim], after[dim]
        stride = next((s for s in range(1, size + 1) if -(-size // s) == smaller), None)
        if stride is None or any(-(-a[dim] // stride) != b[dim] for a, b in shapes):
            return None
        strides.append(stride)
    conv: Any = {3: Conv1d, 4: Conv2d, 5: Conv3d}[len(before)]
    return conv(before[1], after[1], 1, tuple(strides), "same")


class Bottleneck(Layer):
    """The block of ResNet50: 1x1 to few channels, 3x3, 1x1 to four times as many, and a shortcut.

    Args:
        in_channels: C, channels of the input.
        channels: channels of the 3x3 convolution; the output has four times as many.
        stride: of the first convolution, and of the projection.
        norm: the class of the normalisation, called with its number of channels.
        bias: whether the convolutions have biases.

    Shape:
        input (N, C, H, W) -> output (N, 4 * channels, ceil(H / stride), ceil(W / stride)).

    Example:
        >>> from torchbp.blocks import Bottleneck
        >>> Bottleneck(256, 128, stride=2)(torch.zeros(2, 256, 9, 9)).shape
        torch.Size([2, 512, 5, 5])

    Source: He et al. 2015, https://arxiv.org/abs/1512.03385. torchvision has the stride in the
    3x3 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        norm: Make = BatchNorm2d,
        bias: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        out_channels = 4 * channels
        block = partial(ConvNormAct, norm=norm, bias=bias, activation=partial(ReLU, inplace=True))
        self.residual = Residual(
            nn.Sequential(
                block(in_channels, channels, 1, stride, 0),
                block(channels, channels, 3),
                block(channels, out_channels, 1, activation=None),
            ),
            None
            if stride == 1 and in_channels == out_channels
            else block(in_channels, out_channels, 1, stride, 0, activation=None),
        )
        self.activation = ReLU(inplace=True)

    def forward(self, input: Tensor) -> Tensor:
        """The activated sum of branch and shortcut."""
        return self.activation(self.residual(input))


class XceptionBlock(Residual):
    """Separable 3x3 convolutions, each after an activation, around them a shortcut.

    Args:
        in_channels: C, channels of the input.
        channels: channels of each of the convolutions; the last is C'.
        stride: 1, or that of a pooling of maxima at the end, and of the projection.
        first_activation: whether there is an activation before the first convolution.
        norm: the class of the normalisation, called with its number of channels.

    Shape:
        input (N, C, H, W) -> output (N, C', ceil(H / stride), ceil(W / stride)).

    Example:
        >>> from torchbp.blocks import XceptionBlock
        >>> XceptionBlock(64, (128, 128), stride=2)(torch.zeros(2, 64, 9, 9)).shape
        torch.Size([2, 128, 5, 5])

    Source: Chollet 2017, https://arxiv.org/abs/1610.02357
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        stride: int = 1,
        *,
        first_activation: bool = True,
        norm: Make = BatchNorm2d,
        name: str | None = None,
    ) -> None:
        branch = nn.Sequential()
        width = in_channels
        for i, out_channels in enumerate(channels):
            # the first one reads what the shortcut reads, and leaves it as it is
            activation = partial(ReLU, inplace=i > 0) if i or first_activation else None
            branch.append(
                ConvNormAct(
                    width,
                    out_channels,
                    conv=SeparableConv2d,
                    norm=norm,
                    activation=activation,
                    order=("activation", "conv", "norm"),
                )
            )
            width = out_channels
        if stride != 1:
            branch.append(MaxPool2d(3, stride, "same"))
        shortcut = None
        if stride != 1 or width != in_channels:
            shortcut = ConvNormAct(in_channels, width, 1, stride, 0, norm=norm, activation=None)
        super().__init__(branch, shortcut, name=name)
