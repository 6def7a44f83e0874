"""Vectors looked up by index."""

from torch import nn

from torchbp.graph.layer import Layer


class Embedding(Layer, nn.Embedding):
    """A table of vectors, looked up by integer index.

    Arguments are those of `torch.nn.Embedding`: first the number of indices, then the size of a
    vector.

    Shape:
        input (N, T) int32 or int64 -> output (N, T, embedding_dim). A convolution over time takes
        (N, C, T): transpose first, `x.transpose(1, 2)` or the layer `Transpose(1, 2)`.

    Example:
        >>> from torchbp.layers import Embedding
        >>> Embedding(num_embeddings=1000, embedding_dim=64)(torch.tensor([[4, 2, 0]])).shape
        torch.Size([1, 3, 64])

    Differences from Keras: vectors are drawn from N(0, 1), Keras's from U(-0.05, 0.05)
    (`torchbp.layers.init.glorot_` does that). Index 0 is an index like any other, as in Keras;
    `padding_idx=0` is another thing, it fixes that vector. There is no mask_zero.
    """
