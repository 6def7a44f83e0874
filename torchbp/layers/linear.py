"""Affine maps of the last dimension."""

from torch import nn

from torchbp.graph.layer import Layer


class Linear(Layer, nn.Linear):
    """Affine map x W^T + b of the last dimension.

    Arguments are those of `torch.nn.Linear`.

    Shape:
        input (..., in_features) -> output (..., out_features).

    Example:
        >>> from torchbp.layers import Linear
        >>> Linear(64, 10, name="scores")(torch.zeros(2, 64)).shape
        torch.Size([2, 10])

    Differences from Keras: Dense's kernel is the transpose of `weight`, its activation is a layer
    of its own here, and its initialisation is `torchbp.layers.init.glorot_`.
    """


class LazyLinear(Layer, nn.LazyLinear):
    """A `Linear` that takes in_features from the first input that it meets.

    Arguments are those of `torch.nn.LazyLinear`. Connecting the layer to a symbolic tensor is
    enough: it then is a `Linear` with weights, before any data come.

    Shape:
        input (..., in_features) -> output (..., out_features).

    Example:
        >>> from torchbp.layers import LazyLinear
        >>> layer = LazyLinear(10)
        >>> layer(torch.zeros(2, 64)).shape
        torch.Size([2, 10])
        >>> layer
        Linear(in_features=64, out_features=10, bias=True)
    """

    cls_to_become = Linear
