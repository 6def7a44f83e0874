"""Keras's losses and metrics by name, with its formulas and its way of taking targets.

The formulas see tensors with their axes as Keras has them, the classes last, and give a value for
each element or each position. Those that torch or `torchbp.losses` has are theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.errors import DataError
from torchbp.losses import ProbBCELoss, ProbCrossEntropyLoss

EPSILON = 1e-7  # keras.config.epsilon()
Formula = Callable[..., Tensor]


class KerasMeasure(nn.Module):
    """One of Keras's losses or metrics, as the Trainer takes them.

    Args:
        name: of Keras's function, such as "mean_squared_error".
        classes_at_1: whether tensors of four axes and more have the channels at 1.
        reduction: "mean", "sum", or "none" for the values of elements or positions.
        settings: arguments of the formula.

    Shape:
        output (N, ...), target: the same shape, or without the last axis where it is one, of any
        dtype; for class indices without the classes, or with one there -> scalar.

    Raises:
        DataError: targets of another shape, which Keras would broadcast.

    Example:
        >>> loss = KerasMeasure("mean_squared_error")
        >>> loss(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 4]))
        tensor(2.)

    Differences from Keras: TensorFlow leaves the clip of probabilities out when they come
    straight from a softmax or sigmoid, and computes from its logits; here probabilities are
    clipped to [1e-7, 1 - 1e-7], as Keras does on its other backends.
    """

    def __init__(
        self,
        name: str,
        *,
        classes_at_1: bool = False,
        reduction: str = "mean",
        **settings: Any,
    ) -> None:
        super().__init__()
        self.name = name
        self.classes_at_1 = classes_at_1
        self.reduction = reduction
        self.settings = settings

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean over a batch."""
        name = self.name
        if name in _BY_SHAPE:
            name = _BY_SHAPE[name][_kind_of_target(output, target, self.classes_at_1)]
        if self.classes_at_1:
            both = target.ndim == output.ndim
            target = target.movedim(1, -1) if both and target.ndim > 3 else target
            output = output.movedim(1, -1) if output.ndim > 3 else output
        fit = _as_indices if name in _OF_INDICES else _as_output
        values = FORMULAS[name](output, fit(self.name, output, target), **self.settings)
        if self.reduction == "mean":
            return values.mean()
        if self.reduction == "sum":  # of positions: over the last axis Keras takes the mean
            return (values.mean(-1) if values.ndim == output.ndim else values).sum()
        return values

    def extra_repr(self) -> str:
        """What printing it shows."""
        settings = "".join(f", {name}={value!r}" for name, value in self.settings.items())
        return f"{self.name!r}{settings}, reduction={self.reduction!r}"


def _kind_of_target(output: Tensor, target: Tensor, classes_at_1: bool) -> int:
    """0 for yes or no, 1 for class indices, 2 for probabilities of classes, as Keras decides."""
    axis = 1 if classes_at_1 and output.ndim > 3 else -1
    if output.shape[axis] == 1:
        return 0
    return 1 if target.ndim < output.ndim or target.shape[axis] == 1 else 2


def _as_output(who: str, output: Tensor, target: Tensor) -> Tensor:
    """The target in the output's shape and dtype; an axis of one at the end may be missing."""
    target = target.to(output.dtype)
    if target.shape == output.shape:
        return target
    ranks, sizes = {target.ndim, output.ndim}, max(target.shape, output.shape, key=len)
    if max(ranks) - min(ranks) == 1 and sizes[-1] == 1 and target.numel() == output.numel():
        return target.reshape(output.shape)
    raise _wrong_target(who, tuple(output.shape), target)


def _as_indices(who: str, output: Tensor, target: Tensor) -> Tensor:
    """The target as class indices, without an axis of one at the end."""
    if target.ndim == output.ndim and target.shape[-1] == 1:
        target = target.squeeze(-1)
    if target.shape != output.shape[:-1]:
        raise _wrong_target(who, tuple(output.shape[:-1]), target)
    return target.long()


def _wrong_target(who: str, expected: tuple[int, ...], target: Tensor) -> DataError:
    return DataError(
        f"{who}: expected targets {expected}, got {tuple(target.shape)}.\n"
        "  To mend it: reshape the targets, nothing is broadcast."
    )


def _mape(p: Tensor, t: Tensor) -> Tensor:
    return 100 * ((t - p) / t.abs().clamp(min=EPSILON)).abs()


def _msle(p: Tensor, t: Tensor) -> Tensor:
    logs = [(x.clamp(min=EPSILON) + 1).log() for x in (p, t)]
    return (logs[0] - logs[1]).square()


def _log_cosh(p: Tensor, t: Tensor) -> Tensor:
    d = p - t
    return d + F.softplus(-2 * d) - torch.tensor(2.0, dtype=p.dtype, device=p.device).log()


def _cosine(p: Tensor, t: Tensor) -> Tensor:
    p, t = (F.normalize(x, dim=-1, eps=EPSILON) for x in (p, t))
    return -(p * t).sum(-1)


def _kl_divergence(p: Tensor, t: Tensor) -> Tensor:
    p, t = p.clamp(EPSILON, 1), t.clamp(EPSILON, 1)
    return (t * (t / p).log()).sum(-1)


def _signs(t: Tensor) -> Tensor:
    """Labels 0 and 1 as -1 and 1, others as they are."""
    is_binary = ((t == 0) | (t == 1)).all()
    return torch.where(is_binary, 2 * t - 1, t)


def _hinge(p: Tensor, t: Tensor) -> Tensor:
    return (1 - _signs(t) * p).clamp(min=0)


def _categorical_hinge(p: Tensor, t: Tensor) -> Tensor:
    return (((1 - t) * p).amax(-1) - (t * p).sum(-1) + 1).clamp(min=0)


def _binary_crossentropy(
    p: Tensor, t: Tensor, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    if not from_logits:
        return ProbBCELoss(label_smoothing=label_smoothing, reduction="none")(p, t)
    if label_smoothing:
        t = t * (1 - label_smoothing) + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(p, t, reduction="none")


def _categorical_crossentropy(
    p: Tensor, t: Tensor, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    p, t = p.movedim(-1, 1), t.movedim(-1, 1)
    if not from_logits:
        return ProbCrossEntropyLoss(label_smoothing=label_smoothing, reduction="none")(p, t)
    return F.cross_entropy(p, t, label_smoothing=label_smoothing, reduction="none")


def _sparse_categorical_crossentropy(p: Tensor, t: Tensor, from_logits: bool = False) -> Tensor:
    logits = p if from_logits else p.clamp(EPSILON, 1 - EPSILON).log()
    return F.cross_entropy(logits.movedim(-1, 1), t, reduction="none", ignore_index=-(1 << 40))


def _binary_accuracy(p: Tensor, t: Tensor, threshold: float = 0.5) -> Tensor:
    return ((p > threshold).to(p.dtype) == t).to(p.dtype)


def _categorical_accuracy(p: Tensor, t: Tensor) -> Tensor:
    return (p.argmax(-1) == t.argmax(-1)).to(p.dtype)


def _sparse_categorical_accuracy(p: Tensor, t: Tensor) -> Tensor:
    return (p.argmax(-1) == t).to(p.dtype)


def _sparse_top_k(p: Tensor, t: Tensor, k: int = 5) -> Tensor:
    own = p.gather(-1, t.unsqueeze(-1))
    return ((p > own).sum(-1) < k).to(p.dtype)  # those that tie with the k-th are in


def _top_k(p: Tensor, t: Tensor, k: int = 5) -> Tensor:
    return _sparse_top_k(p, t.argmax(-1), k)


FORMULAS: dict[str, Formula] = {
    "mean_squared_error": lambda p, t: F.mse_loss(p, t, reduction="none"),
    "mean_absolute_error": lambda p, t: F.l1_loss(p, t, reduction="none"),
    "mean_absolute_percentage_error": _mape,
    "mean_squared_logarithmic_error": _msle,
    "huber": lambda p, t, delta=1.0: F.huber_loss(p, t, reduction="none", delta=delta),
    "log_cosh": _log_cosh,
    "poisson": lambda p, t: F.poisson_nll_loss(
        p, t, log_input=False, eps=EPSILON, reduction="none"
    ),
    "kl_divergence": _kl_divergence,
    "cosine_similarity": _cosine,
    "hinge": _hinge,
    "squared_hinge": lambda p, t: _hinge(p, t).square(),
    "categorical_hinge": _categorical_hinge,
    "binary_crossentropy": _binary_crossentropy,
    "categorical_crossentropy": _categorical_crossentropy,
    "sparse_categorical_crossentropy": _sparse_categorical_crossentropy,
    "positive_cosine_similarity": lambda p, t: -_cosine(p, t),
    "binary_accuracy": _binary_accuracy,
    "categorical_accuracy": _categorical_accuracy,
    "sparse_categorical_accuracy": _sparse_categorical_accuracy,
    "top_k_categorical_accuracy": _top_k,
    "sparse_top_k_categorical_accuracy": _sparse_top_k,
}
_OF_INDICES = {name for name in FORMULAS if name.startswith("sparse_")}
_BY_SHAPE: Mapping[str, tuple[str, str, str]] = {
    end: (f"binary_{end}", f"sparse_categorical_{end}", f"categorical_{end}")
    for end in ("accuracy", "crossentropy")
}
