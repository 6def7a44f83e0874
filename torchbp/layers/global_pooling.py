"""Global pooling: one number for each channel, whatever the size of the rest."""

from collections.abc import Callable

import torch
from torch import Tensor

from torchbp.errors import ShapeError
from torchbp.graph.layer import Layer


class _GlobalPool(Layer):
    """Pooling of all dimensions after the channels, one for each letter of `sizes`."""

    sizes: str
    _dims: tuple[int, ...]
    _reduce: Callable[..., Tensor]

    def __init_subclass__(cls) -> None:
        cls._dims = tuple(range(-len(getattr(cls, "sizes", "")), 0))

    def forward(self, input: Tensor) -> Tensor:
        """One number for each channel."""
        dims = self._dims
        if not 1 <= input.ndim - len(dims) <= 2:
            raise ShapeError(
                f"{type(self).__name__}: expected input (N, C, {', '.join(self.sizes)}), got "
                f"{tuple(input.shape)}.\n"
                "  To mend it: take the class with the number of dimensions of the input, or "
                "unsqueeze it."
            )
        return self._reduce(input, dims)


class _GlobalMaxPool(_GlobalPool):
    # not max(dim), which gives the gradient to one of several equal maxima
    _reduce = staticmethod(torch.amax)


class _GlobalAvgPool(_GlobalPool):
    _reduce = staticmethod(torch.mean)


class GlobalMaxPool1d(_GlobalMaxPool):
    """Maximum of each channel over all of a sequence.

    Shape:
        input (N, C, T) -> output (N, C). The batch may be left out.

    Raises:
        ShapeError: the input has not these dimensions.

    Example:
        >>> from torchbp.layers import GlobalMaxPool1d
        >>> GlobalMaxPool1d()(torch.zeros(2, 8, 10)).shape
        torch.Size([2, 8])

    Differences from Keras: none. Equal maxima share the gradient evenly, unlike those in a window
    of a MaxPool.
    """

    sizes = "T"


class GlobalMaxPool2d(_GlobalMaxPool):
    """Maximum of each channel over all of an image.

    Shape:
        input (N, C, H, W) -> output (N, C). The batch may be left out.

    Raises:
        ShapeError: the input has not these dimensions.

    Example:
        >>> from torchbp.layers import GlobalMaxPool2d
        >>> GlobalMaxPool2d()(torch.zeros(2, 8, 10, 10)).shape
        torch.Size([2, 8])

    Differences from Keras: as for GlobalMaxPool1d.
    """

    sizes = "HW"


class GlobalMaxPool3d(_GlobalMaxPool):
    """Maximum of each channel over all of a volume.

    Shape:
        input (N, C, D, H, W) -> output (N, C). The batch may be left out.

    Raises:
        ShapeError: the input has not these dimensions.

    Example:
        >>> from torchbp.layers import GlobalMaxPool3d
        >>> GlobalMaxPool3d()(torch.zeros(2, 8, 4, 4, 4)).shape
        torch.Size([2, 8])

    Differences from Keras: as for GlobalMaxPool1d.
    """

    sizes = "DHW"


class GlobalAvgPool1d(_GlobalAvgPool):
    """Mean of each channel over all of a sequence.

    Shape:
        input (N, C, T) -> output (N, C). The batch may be left out.

    Raises:
        ShapeError: the input has not these dimensions.

    Example:
        >>> from torchbp.layers import GlobalAvgPool1d
        >>> GlobalAvgPool1d()(torch.zeros(2, 8, 10)).shape
        torch.Size([2, 8])

    Differences from Keras: there are no masks; Keras's GlobalAveragePooling1D leaves out what a
    mask hides.
    """

    sizes = "T"


class GlobalAvgPool2d(_GlobalAvgPool):
    """Mean of each channel over all of an image.

    Shape:
        input (N, C, H, W) -> output (N, C). The batch may be left out.

    Raises:
        ShapeError: the input has not these dimensions.

    Example:
        >>> from torchbp.layers import GlobalAvgPool2d
        >>> GlobalAvgPool2d()(torch.zeros(2, 8, 10, 10)).shape
        torch.Size([2, 8])

    Differences from Keras: none.
    """

    sizes = "HW"


class GlobalAvgPool3d(_GlobalAvgPool):
    """Mean of each channel over all of a volume.

    Shape:
        input (N, C, D, H, W) -> output (N, C). The batch may be left out.

    Raises:
        ShapeError: the input has not these dimensions.

    Example:
        >>> from torchbp.layers import GlobalAvgPool3d
        >>> GlobalAvgPool3d()(torch.zeros(2, 8, 4, 4, 4)).shape
        torch.Size([2, 8])

    Differences from Keras: none.
    """

    sizes = "DHW"
