"""Pooling into as many windows as the output shall have."""

from torch import nn

from torchbp.graph.layer import Layer


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
