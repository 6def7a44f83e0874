"""Layers that bring values to zero mean and unit variance, or to unit mean square."""

from torch import nn

from torchbp.graph.layer import Layer


class BatchNorm1d(Layer, nn.BatchNorm1d):
    """Normalisation of each channel by the mean and variance of the batch.

    Arguments are those of `torch.nn.BatchNorm1d`. In training the running statistics follow
    those of the batch; in evaluation they take their place.

    Shape:
        input (N, C) or (N, C, T) -> output of the same shape.

    Example:
        >>> from torchbp.layers import BatchNorm1d
        >>> BatchNorm1d(8, eps=1e-3, momentum=0.01)(torch.randn(16, 8)).shape
        torch.Size([16, 8])

    Differences from Keras: eps is 1e-5 (Keras 1e-3); momentum is the weight of the new value,
    0.1 (Keras's 0.99, the weight of the old one, is 0.01 here); running_var follows the unbiased
    variance, Keras's the biased one, smaller by (n - 1) / n for n values of a channel in the batch.
    Source: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167
    """


class BatchNorm2d(Layer, nn.BatchNorm2d):
    """Normalisation of each channel of images by the mean and variance of the batch.

    Arguments are those of `torch.nn.BatchNorm2d`.

    Shape:
        input (N, C, H, W) -> output of the same shape.

    Example:
        >>> from torchbp.layers import BatchNorm2d
        >>> BatchNorm2d(8, eps=1e-3, momentum=0.01)(torch.randn(2, 8, 5, 5)).shape
        torch.Size([2, 8, 5, 5])

    Differences from Keras: as for BatchNorm1d.
    """


class BatchNorm3d(Layer, nn.BatchNorm3d):
    """Normalisation of each channel of volumes by the mean and variance of the batch.

    Arguments are those of `torch.nn.BatchNorm3d`.

    Shape:
        input (N, C, D, H, W) -> output of the same shape.

    Example:
        >>> from torchbp.layers import BatchNorm3d
        >>> BatchNorm3d(8, eps=1e-3, momentum=0.01)(torch.randn(2, 8, 3, 3, 3)).shape
        torch.Size([2, 8, 3, 3, 3])

    Differences from Keras: as for BatchNorm1d.
    """


class LayerNorm(Layer, nn.LayerNorm):
    """Normalisation of each sample over its last dimensions.

    Arguments are those of `torch.nn.LayerNorm`.

    Shape:
        input (..., *normalized_shape) -> output of the same shape.

    Example:
        >>> from torchbp.layers import LayerNorm
        >>> LayerNorm(8, eps=1e-3)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    Differences from Keras: eps is 1e-5 (Keras 1e-3).
    Source: Ba et al. 2016, https://arxiv.org/abs/1607.06450
    """


class GroupNorm(Layer, nn.GroupNorm):
    """Normalisation of each sample over groups of consecutive channels.

    Arguments are those of `torch.nn.GroupNorm`.

    Shape:
        input (N, C, ...) -> output of the same shape.

    Example:
        >>> from torchbp.layers import GroupNorm
        >>> GroupNorm(2, 8, eps=1e-3)(torch.randn(2, 8, 5)).shape
        torch.Size([2, 8, 5])

    Differences from Keras: eps is 1e-5 (Keras 1e-3); the channels are dimension 1.
    Source: Wu and He 2018, https://arxiv.org/abs/1803.08494
    """


class RMSNorm(Layer, nn.RMSNorm):
    """Division of each sample by the root of its mean square over the last dimensions.

    Arguments are those of `torch.nn.RMSNorm`.

    Shape:
        input (..., *normalized_shape) -> output of the same shape.

    Example:
        >>> from torchbp.layers import RMSNorm
        >>> RMSNorm(8, eps=1e-6)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    Differences from Keras: eps is by default the smallest step of the dtype (Keras 1e-6).
    Source: Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467
    """
