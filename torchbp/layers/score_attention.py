"""Attention without projections, by a score of each query and key: Luong's and Bahdanau's."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.graph.layer import Layer

HIDDEN = 1e9  # what is taken from the score of a key that is not to be seen


class _ScoreAttention(Layer):
    """The mean of the values, weighed by the softmax of scores."""

    def __init__(self, dropout: float, *, name: str | None) -> None:
        super().__init__(name=name)
        self.dropout = dropout

    def forward(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        *,
        query_mask: Tensor | None = None,
        value_mask: Tensor | None = None,
        is_causal: bool = False,
        need_weights: bool = False,
    ) -> Any:
        """What each query finds; with `need_weights` also where it looked."""
        scores = self.scores(query, value if key is None else key)
        seen = None if value_mask is None else value_mask.unsqueeze(-2)
        if is_causal:
            before = torch.ones_like(scores[:1], dtype=torch.bool).tril()
            seen = before if seen is None else seen & before
        if seen is not None:
            scores = torch.where(seen, scores, scores - HIDDEN)
        weights = F.dropout(scores.softmax(-1), self.dropout, self.training)
        found = weights @ value
        if query_mask is not None:
            found = torch.where(query_mask.unsqueeze(-1), found, 0.0)
        return (found, weights) if need_weights else found

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """How well each key fits each query, (N, L, S)."""
        raise NotImplementedError


class LuongAttention(_ScoreAttention):
    """Attention whose scores are products of query and key, or tanh of their sum.

    Args:
        scale: whether there is a factor of the scores that is learnt, `scale`.
        score: "dot" for products; "concat" for the sum of tanh(scale * (query + key)), times a
            `score_weight` that is learnt.
        dropout: share of the weights that are dropped in training.

    Shape:
        query (N, L, D), value (N, S, V), key (N, S, D), by default the value; masks (N, L) and
        (N, S) that are True at the steps that count -> output (N, L, V), zero for a query that
        does not count; with `need_weights` also the weights (N, L, S).

    Example:
        >>> from torchbp.layers import LuongAttention
        >>> LuongAttention()(torch.zeros(2, 5, 8), torch.zeros(2, 7, 8)).shape
        torch.Size([2, 5, 8])

    Differences from Keras: Attention. The tensors are arguments of their own, not one list.
    Source: Luong et al. 2015, https://arxiv.org/abs/1508.04025
    """

    def __init__(
        self,
        scale: bool = False,
        score: Literal["dot", "concat"] = "dot",
        dropout: float = 0.0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(dropout, name=name)
        self.score = score
        self.scale = nn.Parameter(torch.ones(())) if scale else None
        self.score_weight = nn.Parameter(torch.ones(())) if score == "concat" else None

    def reset_parameters(self) -> None:
        """Ones."""
        for parameter in self.parameters():
            nn.init.ones_(parameter)

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """How well each key fits each query, (N, L, S)."""
        if self.score_weight is None:
            scores = query @ key.transpose(-2, -1)
            return scores if self.scale is None else scores * self.scale
        both = query.unsqueeze(-2) + key.unsqueeze(-3)  # (N, L, S, D)
        both = both if self.scale is None else self.scale * both
        return self.score_weight * torch.tanh(both).sum(-1)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"scale={self.scale is not None}, score={self.score!r}, dropout={self.dropout}"


class BahdanauAttention(_ScoreAttention):
    """Attention whose scores are weighed sums of tanh(query + key).

    Args:
        num_features: D, of queries and keys.
        scale: whether there are weights of the features, `scale`; else they are summed up.
        dropout: share of the weights that are dropped in training.

    Shape:
        as LuongAttention.

    Example:
        >>> from torchbp.layers import BahdanauAttention
        >>> BahdanauAttention(8)(torch.zeros(2, 5, 8), torch.zeros(2, 7, 8)).shape
        torch.Size([2, 5, 8])

    Differences from Keras: AdditiveAttention. The tensors are arguments of their own, not one list;
    the scale starts as Glorot's uniform numbers there and as ones here.
    Source: Bahdanau et al. 2014, https://arxiv.org/abs/1409.0473
    """

    def __init__(
        self,
        num_features: int,
        scale: bool = True,
        dropout: float = 0.0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(dropout, name=name)
        self.num_features = num_features
        self.scale = nn.Parameter(torch.ones(num_features)) if scale else None

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """How well each key fits each query, (N, L, S)."""
        both = torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3))  # (N, L, S, D)
        return (both if self.scale is None else self.scale * both).sum(-1)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"{self.num_features}, scale={self.scale is not None}, dropout={self.dropout}"
