"""Pooling of windows: of a given size, or as many as the output shall have."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.graph.layer import Layer


class MaxPool1d(Layer, nn.MaxPool1d):
    """Maximum of each window of a sequence, channel by channel.

    Arguments are those of `torch.nn.MaxPool1d`.

    Shape:
        input (N, C, T) -> output (N, C, T').

    Example:
        >>> from torchbp.layers import MaxPool1d
        >>> MaxPool1d(2)(torch.zeros(2, 8, 10)).shape
        torch.Size([2, 8, 5])

    Differences from Keras: `padding=` pads both sides alike, Keras's "same" does not. Of several
    equal maxima in a window the first gets the gradient, as in Keras.
    """

    def forward(self, input: Tensor) -> Any:
        """The maxima, and with `return_indices` where they stand."""
        if not torch.compiler.is_compiling():
            return super().forward(input)
        # torch's kernel for sequences fixes their length when it is traced; that for images,
        # given an image of one row, does not
        sizes = (self.kernel_size, self.stride, self.padding, self.dilation)
        row = [size[0] if isinstance(size, tuple) else size for size in sizes]
        max_pool2d: Any = F.max_pool2d  # its type wants to know return_indices beforehand
        result = max_pool2d(
            input.unsqueeze(-2),
            (1, row[0]),
            (1, row[1]),
            (0, row[2]),
            (1, row[3]),
            self.ceil_mode,
            self.return_indices,
        )
        if self.return_indices:
            return result[0].squeeze(-2), result[1].squeeze(-2)
        return result.squeeze(-2)


class MaxPool2d(Layer, nn.MaxPool2d):
    """Maximum of each window of an image, channel by channel.

    Arguments are those of `torch.nn.MaxPool2d`.

    Shape:
        input (N, C, H, W) -> output (N, C, H', W').

    Example:
        >>> from torchbp.layers import MaxPool2d
        >>> MaxPool2d(2)(torch.zeros(2, 8, 10, 10)).shape
        torch.Size([2, 8, 5, 5])

    Differences from Keras: as for MaxPool1d.
    """


class MaxPool3d(Layer, nn.MaxPool3d):
    """Maximum of each window of a volume, channel by channel.

    Arguments are those of `torch.nn.MaxPool3d`.

    Shape:
        input (N, C, D, H, W) -> output (N, C, D', H', W').

    Example:
        >>> from torchbp.layers import MaxPool3d
        >>> MaxPool3d(2)(torch.zeros(2, 8, 4, 4, 4)).shape
        torch.Size([2, 8, 2, 2, 2])

    Differences from Keras: as for MaxPool1d.
    """


class AvgPool1d(Layer, nn.AvgPool1d):
    """Mean of each window of a sequence, channel by channel.

    Arguments are those of `torch.nn.AvgPool1d`.

    Shape:
        input (N, C, T) -> output (N, C, T').

    Example:
        >>> from torchbp.layers import AvgPool1d
        >>> AvgPool1d(2)(torch.zeros(2, 8, 10)).shape
        torch.Size([2, 8, 5])

    Differences from Keras: padded zeros count unless `count_include_pad=False`; Keras never counts
    its padding.
    """


class AvgPool2d(Layer, nn.AvgPool2d):
    """Mean of each window of an image, channel by channel.

    Arguments are those of `torch.nn.AvgPool2d`.

    Shape:
        input (N, C, H, W) -> output (N, C, H', W').

    Example:
        >>> from torchbp.layers import AvgPool2d
        >>> AvgPool2d(2)(torch.zeros(2, 8, 10, 10)).shape
        torch.Size([2, 8, 5, 5])

    Differences from Keras: as for AvgPool1d.
    """


class AvgPool3d(Layer, nn.AvgPool3d):
    """Mean of each window of a volume, channel by channel.

    Arguments are those of `torch.nn.AvgPool3d`.

    Shape:
        input (N, C, D, H, W) -> output (N, C, D', H', W').

    Example:
        >>> from torchbp.layers import AvgPool3d
        >>> AvgPool3d(2)(torch.zeros(2, 8, 4, 4, 4)).shape
        torch.Size([2, 8, 2, 2, 2])

    Differences from Keras: as for AvgPool1d.
    """


class AdaptiveMaxPool1d(Layer, nn.AdaptiveMaxPool1d):
    """Maxima of as many windows as the output shall have, whatever the size of a sequence.

    Arguments are those of `torch.nn.AdaptiveMaxPool1d`.

    Shape:
        input (N, C, T) -> output (N, C, T') with the sizes asked for.

    Example:
        >>> from torchbp.layers import AdaptiveMaxPool1d
        >>> AdaptiveMaxPool1d(3)(torch.zeros(2, 8, 10)).shape
        torch.Size([2, 8, 3])

    Differences from Keras: none, Keras's bins are torch's.
    """


class AdaptiveMaxPool2d(Layer, nn.AdaptiveMaxPool2d):
    """Maxima of as many windows as the output shall have, whatever the size of an image.

    Arguments are those of `torch.nn.AdaptiveMaxPool2d`.

    Shape:
        input (N, C, H, W) -> output (N, C, H', W') with the sizes asked for.

    Example:
        >>> from torchbp.layers import AdaptiveMaxPool2d
        >>> AdaptiveMaxPool2d((3, 3))(torch.zeros(2, 8, 10, 10)).shape
        torch.Size([2, 8, 3, 3])

    Differences from Keras: none, Keras's bins are torch's.
    """


class AdaptiveMaxPool3d(Layer, nn.AdaptiveMaxPool3d):
    """Maxima of as many windows as the output shall have, whatever the size of a volume.

    Arguments are those of `torch.nn.AdaptiveMaxPool3d`.

    Shape:
        input (N, C, D, H, W) -> output (N, C, D', H', W') with the sizes asked for.

    Example:
        >>> from torchbp.layers import AdaptiveMaxPool3d
        >>> AdaptiveMaxPool3d((1, 3, 3))(torch.zeros(2, 8, 4, 4, 4)).shape
        torch.Size([2, 8, 1, 3, 3])

    Differences from Keras: none, Keras's bins are torch's.
    """


class AdaptiveAvgPool1d(Layer, nn.AdaptiveAvgPool1d):
    """Means of as many windows as the output shall have, whatever the size of a sequence.

    Arguments are those of `torch.nn.AdaptiveAvgPool1d`.

    Shape:
        input (N, C, T) -> output (N, C, T') with the sizes asked for.

    Example:
        >>> from torchbp.layers import AdaptiveAvgPool1d
        >>> AdaptiveAvgPool1d(3)(torch.zeros(2, 8, 10)).shape
        torch.Size([2, 8, 3])

    Differences from Keras: none, Keras's bins are torch's.
    """


class AdaptiveAvgPool2d(Layer, nn.AdaptiveAvgPool2d):
    """Means of as many windows as the output shall have, whatever the size of an image.

    Arguments are those of `torch.nn.AdaptiveAvgPool2d`.

    Shape:
        input (N, C, H, W) -> output (N, C, H', W') with the sizes asked for.

    Example:
        >>> from torchbp.layers import AdaptiveAvgPool2d
        >>> AdaptiveAvgPool2d((3, 3))(torch.zeros(2, 8, 10, 10)).shape
        torch.Size([2, 8, 3, 3])

    Differences from Keras: none, Keras's bins are torch's.
    """


class AdaptiveAvgPool3d(Layer, nn.AdaptiveAvgPool3d):
    """Means of as many windows as the output shall have, whatever the size of a volume.

    Arguments are those of `torch.nn.AdaptiveAvgPool3d`.

    Shape:
        input (N, C, D, H, W) -> output (N, C, D', H', W') with the sizes asked for.

    Example:
        >>> from torchbp.layers import AdaptiveAvgPool3d
        >>> AdaptiveAvgPool3d((1, 3, 3))(torch.zeros(2, 8, 4, 4, 4)).shape
        torch.Size([2, 8, 1, 3, 3])

    Differences from Keras: none, Keras's bins are torch's.
    """
