"""Layers that drop values in training and pass them on unchanged in evaluation."""

from torch import nn

from torchbp.graph.layer import Layer


class Dropout(Layer, nn.Dropout):
    """Sets values to zero with probability p in training, and scales the rest by 1 / (1 - p).

    Arguments are those of `torch.nn.Dropout`.

    Shape:
        input and output have the same shape, whatever it is.

    Example:
        >>> from torchbp.layers import Dropout
        >>> Dropout(0.5).eval()(torch.ones(3))
        tensor([1., 1., 1.])

    Differences from Keras: none in what is computed; the random numbers are torch's.
    """


class Dropout1d(Layer, nn.Dropout1d):
    """Sets whole channels of a sequence to zero in training.

    Arguments are those of `torch.nn.Dropout1d`.

    Shape:
        input (N, C, T) -> output (N, C, T).

    Example:
        >>> from torchbp.layers import Dropout1d
        >>> Dropout1d(0.5).eval()(torch.ones(2, 8, 5)).shape
        torch.Size([2, 8, 5])

    Differences from Keras: SpatialDropout1D, with the channels before time.
    """


class Dropout2d(Layer, nn.Dropout2d):
    """Sets whole channels of an image to zero in training.

    Arguments are those of `torch.nn.Dropout2d`.

    Shape:
        input (N, C, H, W) -> output (N, C, H, W).

    Example:
        >>> from torchbp.layers import Dropout2d
        >>> Dropout2d(0.5).eval()(torch.ones(2, 8, 5, 5)).shape
        torch.Size([2, 8, 5, 5])

    Differences from Keras: SpatialDropout2D, with the channels first.
    """


class Dropout3d(Layer, nn.Dropout3d):
    """Sets whole channels of a volume to zero in training.

    Arguments are those of `torch.nn.Dropout3d`.

    Shape:
        input (N, C, D, H, W) -> output (N, C, D, H, W).

    Example:
        >>> from torchbp.layers import Dropout3d
        >>> Dropout3d(0.5).eval()(torch.ones(2, 8, 3, 3, 3)).shape
        torch.Size([2, 8, 3, 3, 3])

    Differences from Keras: SpatialDropout3D, with the channels first.
    """


class AlphaDropout(Layer, nn.AlphaDropout):
    """Dropout that keeps mean and variance, for networks with SELU.

    Arguments are those of `torch.nn.AlphaDropout`.

    Shape:
        input and output have the same shape, whatever it is.

    Example:
        >>> from torchbp.layers import AlphaDropout
        >>> AlphaDropout(0.1).eval()(torch.ones(3))
        tensor([1., 1., 1.])

    Differences from Keras: none in what is computed.
    Source: Klambauer et al. 2017, https://arxiv.org/abs/1706.02515
    """
