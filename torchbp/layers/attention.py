"""Attention of a sequence to a sequence."""

from torch import nn

from torchbp.graph.layer import Layer


class MultiheadAttention(Layer, nn.MultiheadAttention):
    """Scaled dot-product attention with several heads.

    Arguments are those of `torch.nn.MultiheadAttention`. Models whose batch comes first say
    `batch_first=True`.

    Shape:
        query (N, L, E), key and value (N, S, E) with batch_first -> output (N, L, E) and the
        weights, averaged over the heads, (N, L, S); None in their place with
        `need_weights=False`.

    Example:
        >>> from torchbp.layers import MultiheadAttention
        >>> attention = MultiheadAttention(8, num_heads=2, batch_first=True)
        >>> x = torch.zeros(2, 5, 8)
        >>> output, weights = attention(x, x, x)
        >>> output.shape, weights.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 5, 5]))

    Differences from Keras: the heads share embed_dim, so that key_dim is embed_dim / num_heads;
    a mask says what to leave out (True hides), Keras's what to keep; biases start at zero, the
    three kernels of query, key and value are one parameter, `in_proj_weight`.
    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
    """
