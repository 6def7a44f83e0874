"""Ways to make one prediction of many: means, a median, a vote.

A pooling is a module of predictions (M, N, C) and weights (M,), which are not negative and sum to
1; equal weights give the plain mean, median or vote. Probabilities are brought to the sum 1
afterwards, by `pooled`.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.ensemble.tasks import Task
from torchbp.errors import DataError

_TIE = 1e-6  # how near to a half a sum of weights counts as one


class Pooling(nn.Module):
    """What all ways of pooling have in common; `forward(predictions, weights)` is their own.

    Attributes:
        takes_weights: whether weights change the result.
        of_classes_only: whether it needs classes.
        needs_positive: whether negative numbers, and zero, have no such mean.
    """

    takes_weights = True
    of_classes_only = False
    needs_positive = False

    def check(self, predictions: Tensor, task: Task, who: str) -> None:
        """Refuses predictions that it cannot pool.

        Raises:
            DataError: a vote about numbers, or numbers that are not positive.
        """
        if task != "regression":
            return
        if self.of_classes_only:
            raise DataError(
                f"{type(self).__name__}: expected classes, got the numbers of {who}.\n"
                "  To mend it: Median() is the vote of numbers."
            )
        if self.needs_positive and bool((predictions <= 0).any()):
            raise DataError(
                f"{type(self).__name__}: expected positive numbers in {who}, got "
                f"{predictions.min().item():.4g}.\n"
                "  To mend it: Mean() and Median() take any numbers."
            )

    def settings(self) -> dict[str, Any]:
        """The arguments that make it anew: plain values."""
        return {}

    @classmethod
    def rebuilt(cls, settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The pooling that had these settings and this state."""
        return cls(**settings)

    def extra_repr(self) -> str:
        """What printing it shows."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings().items())


class Mean(Pooling):
    """The arithmetic mean: with equal weights the chapter's average of predictions.

    Shape:
        predictions (M, N, C), weights (M,) -> (N, C).

    Example:
        >>> Mean()(torch.tensor([[[0.2, 0.8]], [[0.6, 0.4]]]), torch.tensor([0.5, 0.5]))
        tensor([[0.4000, 0.6000]])
    """

    def forward(self, predictions: Tensor, weights: Tensor) -> Tensor:
        """The mean over the members."""
        return torch.einsum("m,mnc->nc", weights, predictions)


class PowerMean(Pooling):
    """The power mean (sum w x^p)^(1/p): -1 is the harmonic mean, 2 the quadratic one.

    Args:
        p: the exponent, other than 0; large ones follow the most confident member.
        eps: what a probability below it counts as, if p is negative.

    Shape:
        predictions (M, N, C), weights (M,) -> (N, C).

    Raises:
        DataError: p is 0, whose limit is the geometric mean.

    Example:
        >>> PowerMean(2)(torch.tensor([[[1.0]], [[7.0]]]), torch.tensor([0.5, 0.5]))
        tensor([[5.]])
    """

    needs_positive = True

    def __init__(self, p: float, eps: float = 1e-12) -> None:
        super().__init__()
        if p == 0:
            raise DataError(
                "PowerMean: expected an exponent other than 0, got 0.\n"
                "  To mend it: GeometricMean() is its limit."
            )
        self.p = p
        self.eps = eps

    def forward(self, predictions: Tensor, weights: Tensor) -> Tensor:
        """The mean over the members."""
        x = predictions.clamp_min(self.eps) if self.p < 0 else predictions
        return torch.einsum("m,mnc->nc", weights, x**self.p) ** (1 / self.p)

    def settings(self) -> dict[str, Any]:
        """The exponent and the floor."""
        return {"p": self.p, "eps": self.eps}


class GeometricMean(Pooling):
    """The geometric mean, prod x^w: a member that is sure that it is not so has a veto.

    Args:
        eps: what a probability below it counts as.

    Shape:
        predictions (M, N, C), weights (M,) -> (N, C).

    Example:
        >>> GeometricMean()(torch.tensor([[[1.0]], [[4.0]]]), torch.tensor([0.5, 0.5]))
        tensor([[2.]])

    Of softmax outputs, brought to the sum 1, it is the softmax of the mean logits.
    """

    needs_positive = True

    def __init__(self, eps: float = 1e-12) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, predictions: Tensor, weights: Tensor) -> Tensor:
        """The mean over the members."""
        return torch.einsum("m,mnc->nc", weights, predictions.clamp_min(self.eps).log()).exp()

    def settings(self) -> dict[str, Any]:
        """The floor."""
        return {"eps": self.eps}


class ExponentialMean(Pooling):
    """The chapter's average of an exponential: log(sum w exp(t x)) / t.

    Args:
        t: the factor, other than 0; between the mean (near 0) and the maximum (large).

    Shape:
        predictions (M, N, C), weights (M,) -> (N, C).

    Raises:
        DataError: t is 0, whose limit is the mean.

    Example:
        >>> ExponentialMean(100.0)(torch.tensor([[[1.0]], [[3.0]]]), torch.tensor([0.5, 0.5]))
        tensor([[2.9931]])
    """

    def __init__(self, t: float = 1.0) -> None:
        super().__init__()
        if t == 0:
            raise DataError(
                "ExponentialMean: expected a factor other than 0, got 0.\n"
                "  To mend it: Mean() is its limit."
            )
        self.t = t

    def forward(self, predictions: Tensor, weights: Tensor) -> Tensor:
        """The mean over the members."""
        logs = weights.log()[:, None, None] + self.t * predictions  # a weight of 0 gives -inf
        return logs.logsumexp(dim=0) / self.t

    def settings(self) -> dict[str, Any]:
        """The factor."""
        return {"t": self.t}


class Median(Pooling):
    """The median, each class or number by itself; with weights the weighted one.

    Shape:
        predictions (M, N, C), weights (M,) -> (N, C).

    Example:
        >>> x = torch.tensor([[[1.0]], [[2.0]], [[9.0]], [[4.0]]])
        >>> Median()(x, torch.full((4,), 0.25))
        tensor([[3.]])

    Where the weights of the lower part are one half exactly, it is the middle of its two
    neighbours, as numpy's.
    """

    def forward(self, predictions: Tensor, weights: Tensor) -> Tensor:
        """The median over the members."""
        ordered, order = predictions.sort(dim=0)
        below = weights[order].cumsum(dim=0)  # (M, N, C)
        last = len(weights) - 1
        low = (below < 0.5 - _TIE).sum(dim=0, keepdim=True).clamp_max(last)
        high = (below <= 0.5 + _TIE).sum(dim=0, keepdim=True).clamp_max(last)
        return ((ordered.gather(0, low) + ordered.gather(0, high)) / 2)[0]


class MajorityVote(Pooling):
    """The share of votes that each class gets, each member voting for its most probable one.

    Shape:
        predictions (M, N, C), weights (M,) -> (N, C).

    Example:
        >>> x = torch.tensor([[[0.9, 0.1]], [[0.4, 0.6]], [[0.3, 0.7]]])
        >>> MajorityVote()(x, torch.full((3,), 1 / 3))
        tensor([[0.3333, 0.6667]])

    Of classes with as many votes the first is the answer of `argmax`, as in scikit-learn.
    """

    of_classes_only = True

    def forward(self, predictions: Tensor, weights: Tensor) -> Tensor:
        """The shares of the votes."""
        votes = F.one_hot(predictions.argmax(dim=-1), predictions.shape[-1])
        return torch.einsum("m,mnc->nc", weights, votes.to(predictions.dtype))


def pooled(pooling: Pooling, predictions: Tensor, weights: Tensor, task: Task) -> Tensor:
    """One prediction (N, C) of those of all members (M, N, C); probabilities sum to 1."""
    result: Tensor = pooling(predictions, weights.to(predictions.dtype))
    if task == "regression":
        return result
    return result / result.sum(dim=-1, keepdim=True)
