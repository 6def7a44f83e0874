"""Convolutions over one, two and three dimensions."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.errors import ShapeError
from torchbp.graph.layer import Layer
from torchbp.layers.same import are_known, pad, paddings, per_dim

_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class _Conv(Layer):
    """torch's convolution, with padding="same" for every stride, and "causal" over time."""

    num_dims: int
    padding: Any
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        # torch's class refuses a stride, and warns of an odd number of cells
        sizes = [per_dim(value, self.num_dims) for value in (kernel_size, stride, dilation)]
        uneven = any(s != 1 or (k - 1) * d % 2 for k, s, d in zip(*sizes, strict=False))
        strided = any(step != 1 for step in sizes[1])
        self._own_padding = padding == "causal" or (padding == "same" and uneven)
        if padding == "causal" and self.num_dims != 1:
            raise ShapeError(
                f"{type(self).__name__}: expected padding 'same', 'valid' or numbers, got "
                "'causal', which is for sequences.\n"
                "  To mend it: take Conv1d, or pad by hand with ZeroPad2d."
            )
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            0 if self._own_padding else padding,
            dilation,
            *args,
            **kwargs,
        )
        if self._own_padding:
            self.padding = padding
        # Up to 3.12 at least, oneDNN writes outside of its memory in the backward pass of a 1x1
        # convolution with a stride over fewer than 16 channels, if they come last:
        # https://github.com/uxlfoundation/oneDNN/issues/6035. Without a stride it does not.
        self._sees_few_pixels = (
            in_channels < 16
            and strided
            and all(size == 1 for size in self.kernel_size)
            and padding in ("same", "valid", 0, (0,) * self.num_dims)
        )

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        convolve: Callable[..., Tensor]
        if self._sees_few_pixels and input.device.type == "cpu" and not input.is_contiguous():
            steps: list[Any] = [slice(None, None, step) for step in self.stride]
            convolve = _CONVOLVE[self.num_dims]
            return convolve(input[(..., *steps)], weight, bias, groups=self.groups)
        if not self._own_padding:
            convolve = super()._conv_forward  # type: ignore[misc]
            return convolve(input, weight, bias)
        around = self._cells_around(input)
        native = [0] * self.num_dims
        if self.padding == "same" and self.padding_mode == "zeros" and are_known(around):
            # the kernel pads both sides alike; only a cell more at the end needs a copy
            native = [before for before, _ in around]
            around = [(0, after - before) for before, after in around]
        if not are_known(around) or any(map(any, around)):
            input = pad(input, around, self.padding_mode)
        convolve = _CONVOLVE[self.num_dims]
        return convolve(input, weight, bias, self.stride, native, self.dilation, self.groups)

    def _cells_around(self, input: Tensor) -> list[tuple[int, int]]:
        if self.padding == "causal":
            return [(self.dilation[0] * (self.kernel_size[0] - 1), 0)]
        return paddings(input, self.kernel_size, self.stride, self.dilation)


class Conv1d(_Conv, nn.Conv1d):  # type: ignore[misc]  # torch declares the same attributes
    """Convolution over time.

    Arguments are those of `torch.nn.Conv1d`; further, padding="same" takes a stride, and gives
    ceil(T / stride) steps, and padding="causal" pads the beginning, so that no output sees a later
    input.

    Shape:
        input (N, C, T) -> output (N, C', T').

    Example:
        >>> from torchbp.layers import Conv1d
        >>> Conv1d(128, 32, kernel_size=7)(torch.zeros(2, 128, 100)).shape
        torch.Size([2, 32, 94])
        >>> Conv1d(128, 32, kernel_size=7, stride=2, padding="causal")(
        ...     torch.zeros(2, 128, 99)
        ... ).shape
        torch.Size([2, 32, 50])

    Differences from Keras: channels come before time; "same" and "causal" take a dilation together
    with a stride, too.
    """

    num_dims = 1


class Conv2d(_Conv, nn.Conv2d):  # type: ignore[misc]
    """Convolution over height and width.

    Arguments are those of `torch.nn.Conv2d`; further, padding="same" takes a stride, and gives
    ceil(H / stride) rows and ceil(W / stride) columns. Of an odd number of padded cells the larger
    part comes at the bottom and at the right, where `padding=1` would pad both sides.

    Shape:
        input (N, C, H, W) -> output (N, C', H', W').

    Raises:
        ShapeError: padding="causal".

    Example:
        >>> from torchbp.layers import Conv2d
        >>> Conv2d(3, 16, kernel_size=3, stride=2)(torch.zeros(2, 3, 9, 9)).shape
        torch.Size([2, 16, 4, 4])
        >>> Conv2d(3, 16, kernel_size=3, stride=2, padding="same")(torch.zeros(2, 3, 9, 9)).shape
        torch.Size([2, 16, 5, 5])

    Differences from Keras: channels come first; "same" takes a dilation together with a stride,
    too.
    """

    num_dims = 2


class Conv3d(_Conv, nn.Conv3d):  # type: ignore[misc]
    """Convolution over depth, height and width.

    Arguments are those of `torch.nn.Conv3d`; further, padding="same" takes a stride, as for Conv2d.

    Shape:
        input (N, C, D, H, W) -> output (N, C', D', H', W').

    Raises:
        ShapeError: padding="causal".

    Example:
        >>> from torchbp.layers import Conv3d
        >>> Conv3d(1, 4, kernel_size=2)(torch.zeros(2, 1, 5, 5, 5)).shape
        torch.Size([2, 4, 4, 4, 4])

    Differences from Keras: as for Conv2d.
    """

    num_dims = 3
