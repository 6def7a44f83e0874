"""Pooling of windows of a given size."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.errors import ShapeError
from torchbp.graph.layer import Layer
from torchbp.layers.same import Sizes, are_known, cut, pad, paddings, per_dim


def _max_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    # their types want to know return_indices beforehand
    max_pool1d: Any = F.max_pool1d
    max_pool2d: Any = F.max_pool2d
    if not torch.compiler.is_compiling():
        return max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    # torch's kernel for sequences fixes their length when it is traced; that for images,
    # given an image of one row, does not
    result = max_pool2d(
        input.unsqueeze(-2),
        (1, *kernel_size),
        (1, *stride),
        (0, *padding),
        (1, *dilation),
        ceil_mode,
        return_indices,
    )
    if return_indices:
        return result[0].squeeze(-2), result[1].squeeze(-2)
    return result.squeeze(-2)


_MAX_POOL: dict[int, Callable[..., Any]] = {1: _max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class _Pool(Layer):
    """A pooling of torch's that takes padding="same"."""

    num_dims: int
    padding: Any

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: str | int | tuple[int, ...] = 0,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if isinstance(padding, str) and padding != "same":
            raise ShapeError(
                f"{type(self).__name__}: expected padding 'same' or numbers, got {padding!r}.\n"
                "  To mend it: choose one of them; 0 is what Keras calls 'valid'."
            )
        super().__init__(kernel_size, stride, padding, *args, **kwargs)
        if padding == "same":
            self.padding = padding  # AvgPool1d takes the word for a tuple of letters
            if getattr(self, "divisor_override", None) is not None:
                raise ShapeError(
                    f"{type(self).__name__}: expected no divisor_override with padding='same', "
                    f"which divides by the number of cells inside, got {self.divisor_override}.\n"
                    "  To mend it: leave it out, or give the padding in numbers."
                )


class _MaxPool(_Pool):
    """torch's pooling of maxima, with padding="same"."""

    def forward(self, input: Tensor) -> Any:
        """The maxima, and with `return_indices` where they stand."""
        pool: Any = self
        if pool.padding != "same":
            return super().forward(input)
        kernel_size, stride, dilation = (
            per_dim(value, self.num_dims)
            for value in (pool.kernel_size, pool.stride, pool.dilation)
        )
        function = _MAX_POOL[self.num_dims]
        around = paddings(input, kernel_size, stride, dilation)
        if are_known(around):
            padding, surplus = _native(around, stride)
            # torch's kernels pad no more than half of a kernel, were it dilated
            if all(2 * cells <= size for cells, size in zip(padding, kernel_size, strict=True)):
                result = function(
                    input, kernel_size, stride, padding, dilation, True, pool.return_indices
                )
                if isinstance(result, tuple):
                    return tuple(cut(part, surplus) for part in result)
                return cut(result, surplus)
        if pool.return_indices:
            raise ShapeError(
                f"{type(self).__name__}: expected no return_indices with padding='same' where the "
                f"kernel is dilated or a size is free, got input {tuple(input.shape)} and dilation "
                f"{dilation}.\n"
                "  To mend it: leave out the indices, or give the padding in numbers."
            )
        padded, none = pad(input, around, value=-torch.inf), (0,) * self.num_dims
        return function(padded, kernel_size, stride, none, dilation, False, False)


class _AvgPool(_Pool):
    """torch's pooling of means, with padding="same"."""

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        pool: Any = self
        if pool.padding != "same":
            return super().forward(input)
        kernel_size, stride = (
            per_dim(value, self.num_dims) for value in (pool.kernel_size, pool.stride)
        )
        function = _AVG_POOL[self.num_dims]
        around = paddings(input, kernel_size, stride, (1,) * self.num_dims)
        if not are_known(around) or self._refuses(input, kernel_size):
            ones = input.new_ones(1, *input.shape[-self.num_dims :])  # broadcasts
            sums, counts = (function(pad(x, around), kernel_size, stride) for x in (input, ones))
            return sums / counts
        padding, surplus = _native(around, stride)
        return cut(function(input, kernel_size, stride, padding, True, False), surplus)

    def _refuses(self, input: Tensor, kernel_size: Sizes) -> bool:
        """Whether it is a volume smaller than the kernel, though it is not when padded."""
        sizes = input.shape[-self.num_dims :]
        return self.num_dims == 3 and any(n < k for n, k in zip(sizes, kernel_size, strict=True))


def _native(
    around: list[tuple[int, int]], stride: tuple[int, ...]
) -> tuple[list[int], list[tuple[int, int]]]:
    """The padding for torch's kernels, and the outputs at the beginning that are too many then.

    With `ceil_mode` the kernels take one more window that reaches over the end, as far as it
    begins inside. So the cell more at the end needs no copy of the input: there is a window for it
    if windows are more than one step apart, and else one is left out at the beginning.
    """
    surplus = [
        (after - before if step == 1 else 0, 0)
        for (before, after), step in zip(around, stride, strict=True)
    ]
    padding = [before + more for (before, _), (more, _) in zip(around, surplus, strict=True)]
    return padding, surplus


class MaxPool1d(_MaxPool, nn.MaxPool1d):
    """Maximum of each window of a sequence, channel by channel.

    Arguments are those of `torch.nn.MaxPool1d`; further, padding="same" gives ceil(size / stride)
    windows, whatever `ceil_mode` says. Of an odd number of padded cells the larger part comes at
    the end.

    Shape:
        input (N, C, T) -> output (N, C, T').

    Raises:
        ShapeError: a word for the padding that is not "same"; or, in a call, `return_indices` with
            padding="same" and a dilation, or exported for any size.

    Example:
        >>> from torchbp.layers import MaxPool1d
        >>> MaxPool1d(2)(torch.zeros(2, 8, 10)).shape
        torch.Size([2, 8, 5])

    Differences from Keras: a padding in numbers pads both sides alike. Of several equal maxima in
    a window the first gets the gradient, as in Keras.
    """

    num_dims = 1

    def forward(self, input: Tensor) -> Any:
        """The maxima, and with `return_indices` where they stand."""
        if self.padding == "same":
            return super().forward(input)
        kernel_size, stride, padding, dilation = (
            per_dim(size, 1)
            for size in (self.kernel_size, self.stride, self.padding, self.dilation)
        )
        return _max_pool1d(
            input, kernel_size, stride, padding, dilation, self.ceil_mode, self.return_indices
        )


class MaxPool2d(_MaxPool, nn.MaxPool2d):
    """Maximum of each window of an image, channel by channel.

    Arguments are those of `torch.nn.MaxPool2d`; further, padding="same" gives ceil(size / stride)
    windows, whatever `ceil_mode` says. Of an odd number of padded cells the larger part comes at
    the end.

    Shape:
        input (N, C, H, W) -> output (N, C, H', W').

    Raises:
        ShapeError: a word for the padding that is not "same"; or, in a call, `return_indices` with
            padding="same" and a dilation, or exported for any size.

    Example:
        >>> from torchbp.layers import MaxPool2d
        >>> MaxPool2d(2)(torch.zeros(2, 8, 10, 10)).shape
        torch.Size([2, 8, 5, 5])

    Differences from Keras: as for MaxPool1d.
    """

    num_dims = 2


class MaxPool3d(_MaxPool, nn.MaxPool3d):
    """Maximum of each window of a volume, channel by channel.

    Arguments are those of `torch.nn.MaxPool3d`; further, padding="same" gives ceil(size / stride)
    windows, whatever `ceil_mode` says. Of an odd number of padded cells the larger part comes at
    the end.

    Shape:
        input (N, C, D, H, W) -> output (N, C, D', H', W').

    Raises:
        ShapeError: a word for the padding that is not "same"; or, in a call, `return_indices` with
            padding="same" and a dilation, or exported for any size.

    Example:
        >>> from torchbp.layers import MaxPool3d
        >>> MaxPool3d(2)(torch.zeros(2, 8, 4, 4, 4)).shape
        torch.Size([2, 8, 2, 2, 2])

    Differences from Keras: as for MaxPool1d.
    """

    num_dims = 3


class AvgPool1d(_AvgPool, nn.AvgPool1d):
    """Mean of each window of a sequence, channel by channel.

    Arguments are those of `torch.nn.AvgPool1d`; further, padding="same" gives ceil(size / stride)
    windows, whatever `ceil_mode` says, and each mean is that of the cells inside, whatever
    `count_include_pad` says. Of an odd number of padded cells the larger part comes at the end.

    Shape:
        input (N, C, T) -> output (N, C, T').

    Raises:
        ShapeError: a word for the padding that is not "same".

    Example:
        >>> from torchbp.layers import AvgPool1d
        >>> AvgPool1d(2)(torch.zeros(2, 8, 10)).shape
        torch.Size([2, 8, 5])

    Differences from Keras: zeros of a padding in numbers count unless `count_include_pad=False`.
    """

    num_dims = 1


class AvgPool2d(_AvgPool, nn.AvgPool2d):
    """Mean of each window of an image, channel by channel.

    Arguments are those of `torch.nn.AvgPool2d`; further, padding="same" gives ceil(size / stride)
    windows, whatever `ceil_mode` says, and each mean is that of the cells inside, whatever
    `count_include_pad` says. Of an odd number of padded cells the larger part comes at the end.

    Shape:
        input (N, C, H, W) -> output (N, C, H', W').

    Raises:
        ShapeError: a word for the padding that is not "same", or a `divisor_override` beside it.

    Example:
        >>> from torchbp.layers import AvgPool2d
        >>> AvgPool2d(2)(torch.zeros(2, 8, 10, 10)).shape
        torch.Size([2, 8, 5, 5])

    Differences from Keras: as for AvgPool1d.
    """

    num_dims = 2


class AvgPool3d(_AvgPool, nn.AvgPool3d):
    """Mean of each window of a volume, channel by channel.

    Arguments are those of `torch.nn.AvgPool3d`; further, padding="same" gives ceil(size / stride)
    windows, whatever `ceil_mode` says, and each mean is that of the cells inside, whatever
    `count_include_pad` says. Of an odd number of padded cells the larger part comes at the end.

    Shape:
        input (N, C, D, H, W) -> output (N, C, D', H', W').

    Raises:
        ShapeError: a word for the padding that is not "same", or a `divisor_override` beside it.

    Example:
        >>> from torchbp.layers import AvgPool3d
        >>> AvgPool3d(2)(torch.zeros(2, 8, 4, 4, 4)).shape
        torch.Size([2, 8, 2, 2, 2])

    Differences from Keras: as for AvgPool1d.
    """

    num_dims = 3
