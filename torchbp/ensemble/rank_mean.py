"""The mean of ranks, for members whose probabilities are on different scales."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from torchbp.ensemble.pooling import Pooling
from torchbp.ensemble.predictions import Predictions


class RankMean(Pooling):
    """The mean of ranks: the part of reference predictions that each prediction is above.

    Args:
        reference: predictions of the members among which others are ranked, such as those of the
            validation data; the test must not see these samples.
        output: which of its outputs.

    Shape:
        predictions (M, N, C), weights (M,) -> (N, C).

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]])
        >>> ranks = RankMean(Predictions.of({"net": p}))
        >>> ranks(torch.tensor([[[0.7, 0.3]]]), torch.ones(1))
        tensor([[0.6250, 0.3750]])

    Each member and each class has its own reference, equal values count half. Ranks among the
    samples of a batch, as they are often taken, would make an answer depend on the others in it.
    """

    of_classes_only = True

    def __init__(self, reference: Predictions, output: str | None = None) -> None:
        super().__init__()
        name = next(iter(reference.values)) if output is None else output
        ordered = reference.values[name].transpose(1, 2).sort(dim=2)[0].contiguous()
        self.ordered: Tensor
        self.rows: Tensor
        self.register_buffer("ordered", ordered)  # (M, C, n)
        self.register_buffer("rows", reference.rows)

    def forward(self, predictions: Tensor, weights: Tensor) -> Tensor:
        """The mean of the ranks, from 0 to 1."""
        ordered = self.ordered.to(predictions.dtype)
        x = predictions.transpose(1, 2).contiguous()  # (M, C, N)
        below = torch.searchsorted(ordered, x)
        not_above = torch.searchsorted(ordered, x, right=True)
        ranks = (below + not_above + 1).to(x.dtype) / (2 * ordered.shape[2] + 2)  # never 0 or 1
        return torch.einsum("m,mcn->nc", weights, ranks)

    @classmethod
    def rebuilt(cls, settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The pooling that had this state."""
        made = cls.__new__(cls)
        Pooling.__init__(made)
        for name, tensor in state.items():
            made.register_buffer(name, tensor)
        return made
