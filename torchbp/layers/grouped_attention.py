"""Attention by scaled dot products, whose heads have any size, and whose keys may be shared.

N samples, L queries, S keys, H heads, G heads of keys and values, K numbers a head, V numbers a
head of the values.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.errors import ShapeError
from torchbp.graph.layer import Layer


class GroupedQueryAttention(Layer):
    """Attention of a sequence to a sequence, of heads that may share their keys and values.

    Args:
        embed_dim: features of the query.
        num_heads: H, heads of the queries.
        head_dim: K, numbers a head.
        num_kv_heads: G, heads of keys and values, each for H / G heads of queries; by default H.
        value_head_dim: V, numbers a head of the values; by default K.
        kdim: features of the key; by default those of the query.
        vdim: features of the value; by default those of the query.
        out_features: features of the output; by default those of the query.
        bias: whether the projections have one.
        gate: whether a sigmoid of the query is multiplied with what the heads found.
        window: how near a key must be to its query: less than so many steps away; None for any.
        dropout: share of the weights that are dropped in training.

    Shape:
        query (N, L, embed_dim), key (N, S, kdim), value (N, S, vdim) and a boolean mask (L, S),
        (N, L, S) or (N, H, L, S), sizes of one being stretched -> output (N, L, out_features);
        with `need_weights` also the weights (N, H, L, S), before dropout. A value left out is the
        query, a key the value. The mask is True at what a query may see. A query that may see
        nothing finds the mean of all values; zero with dropout or `need_weights`.

    Raises:
        ShapeError: num_heads is no multiple of num_kv_heads.

    Example:
        >>> from torchbp.layers import GroupedQueryAttention
        >>> attention = GroupedQueryAttention(8, num_heads=4, head_dim=3, num_kv_heads=2)
        >>> attention(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    Differences from Keras: MultiHeadAttention, and GroupedQueryAttention in one. Biases start at
    zero there. The kernels of all heads are one, those of a head beside each other.
    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; Ainslie et al. 2023,
    https://arxiv.org/abs/2305.13245; the gate: Qiu et al. 2025, https://arxiv.org/abs/2505.06708
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        head_dim: int,
        num_kv_heads: int | None = None,
        value_head_dim: int | None = None,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        out_features: int | None = None,
        bias: bool = True,
        gate: bool = False,
        window: int | None = None,
        dropout: float = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_heads, self.head_dim = num_heads, head_dim
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        self.value_head_dim = head_dim if value_head_dim is None else value_head_dim
        self.window, self.dropout = window, dropout
        if num_heads % self.num_kv_heads:
            raise ShapeError(
                f"GroupedQueryAttention: expected a multiple of num_kv_heads={num_kv_heads}, got "
                f"num_heads={num_heads}.\n  To mend it: let each of the former serve equally many."
            )
        kdim, vdim, out_features = (
            embed_dim if size is None else size for size in (kdim, vdim, out_features)
        )
        found = num_heads * self.value_head_dim
        self.query = nn.Linear(embed_dim, num_heads * head_dim, bias)
        self.key = nn.Linear(kdim, self.num_kv_heads * head_dim, bias)
        self.gate = nn.Linear(embed_dim, found, bias) if gate else None
        self.value = nn.Linear(vdim, self.num_kv_heads * self.value_head_dim, bias)
        self.out = nn.Linear(found, out_features, bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        is_causal: bool = False,
        need_weights: bool = False,
    ) -> Any:
        """What each query finds; with `need_weights` also where it looked."""
        value = query if value is None else value
        key = value if key is None else key
        heads = (
            _heads(self.query(query), self.num_heads),
            self._of_all_queries(self.key(key)),
            self._of_all_queries(self.value(value)),
        )
        seen = self._seen(heads[0], heads[1], mask, is_causal, need_weights)
        if need_weights:
            found, weights = self._with_weights(*heads, seen)
        else:
            found, weights = self._fused(*heads, seen, is_causal), None
        if self.gate is not None:
            found = found * torch.sigmoid(_heads(self.gate(query), self.num_heads))
        output = self.out(found.transpose(1, 2).flatten(2))
        return (output, weights) if need_weights else output

    def _of_all_queries(self, projected: Tensor) -> Tensor:
        """The heads of keys or values, each as often as there are heads of queries for it."""
        heads = _heads(projected, self.num_kv_heads)
        if self.num_kv_heads == self.num_heads:
            return heads
        return heads.repeat_interleave(self.num_heads // self.num_kv_heads, dim=1)

    def _seen(
        self,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        need_weights: bool,
    ) -> Tensor | None:
        """Which keys a query may see, of four axes; None if all, or if torch's kernel knows."""
        if mask is None and self.window is None and not (is_causal and need_weights):
            return None
        rows = torch.arange(query.shape[2], device=query.device).unsqueeze(-1)
        columns = torch.arange(key.shape[2], device=query.device)
        masks = [] if mask is None else [mask]
        if is_causal:
            masks.append(rows >= columns)
        if self.window is not None:
            masks.append((rows - columns).abs() < self.window)
        seen = masks[0]
        for other in masks[1:]:
            seen = seen & other
        while seen.ndim < 4:
            seen = seen.unsqueeze(-3)
        return seen

    def _fused(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        seen: Tensor | None,
        is_causal: bool,
    ) -> Tensor:
        """By torch's kernels, of which a query that sees nothing must be kept away."""
        dropout = self.dropout if self.training else 0.0
        scale = 1.0 / math.sqrt(self.head_dim)
        if seen is None:
            return F.scaled_dot_product_attention(
                query, key, value, dropout_p=dropout, is_causal=is_causal, scale=scale
            )
        sees = seen.any(-1, keepdim=True)
        query = torch.where(sees, query, 0.0)  # so that it looks everywhere alike
        found = F.scaled_dot_product_attention(
            query, key, value, attn_mask=seen | ~sees, dropout_p=dropout, scale=scale
        )
        return torch.where(sees, found, 0.0) if self.dropout else found

    def _with_weights(
        self, query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        scores = (query / math.sqrt(self.head_dim)) @ key.transpose(-2, -1)
        if seen is None:
            weights = scores.softmax(-1)
        else:
            lowest = torch.finfo(scores.dtype).min
            weights = torch.where(seen, scores, lowest).softmax(-1)
            weights = torch.where(seen, weights, 0.0)
        return F.dropout(weights, self.dropout, self.training) @ value, weights

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        text = f"num_heads={self.num_heads}, head_dim={self.head_dim}"
        told = {
            "num_kv_heads": (self.num_kv_heads, self.num_heads),
            "value_head_dim": (self.value_head_dim, self.head_dim),
            "window": (self.window, None),
            "dropout": (self.dropout, 0.0),
        }
        return text + "".join(f", {k}={v}" for k, (v, usual) in told.items() if v != usual)


def _heads(projected: Tensor, num_heads: int) -> Tensor:
    """With an axis for the heads, (N, H, L, K)."""
    return projected.reshape(*projected.shape[:2], num_heads, -1).transpose(1, 2)
