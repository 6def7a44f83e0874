"""Losses of the outputs by name, their weights, and the sum that is trained on."""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.errors import DataError
from torchbp.train.outputs import Outputs, require_names

LossFunction = Callable[..., Tensor]


class Criterion:
    """A loss of one output, with sample weights where there are any.

    A weighted loss is sum(value * weight) / number of values, not / sum of the weights; the
    value of a sample is the mean over its elements.

    Args:
        loss: loss(input, target) -> scalar, a module or a function. It is not changed: weights
            go to a copy, or to its argument, with reduction="none".

    Raises:
        DataError: what cannot be called, or a loss that does not reduce to a scalar.
    """

    def __init__(self, loss: LossFunction) -> None:
        if not callable(loss) or isinstance(loss, type):
            raise DataError(
                f"loss: expected loss(input, target), a module or a function, got {loss!r}.\n"
                "  To mend it: pass it as in nn.MSELoss() or torch.nn.functional.mse_loss."
            )
        self.loss = loss
        self.name = name_of(loss)
        self._reduction = _reduction(loss)
        if self._reduction == "none":
            raise DataError(
                f"loss {self.name}: expected one number for a batch, got reduction='none'.\n"
                "  To mend it: use reduction='mean'; sample_weight weighs the samples."
            )
        self._unreduced = _unreduced(loss) if self._reduction == "mean" else None

    def __call__(self, output: Tensor, target: Any, weights: Tensor | None = None) -> Tensor:
        """The loss of a batch; `weights` (N,)."""
        if weights is None:
            return self.loss(output, target)
        values = self._values(output, target, len(weights))  # (N, ...)
        samples = values.flatten(1).mean(1) if values.ndim > 1 else values
        return (samples * weights.to(samples.dtype)).mean()

    def eager(self) -> "Criterion":
        """The loss before torch.compile."""
        inner = getattr(self.loss, "_orig_mod", None)
        inner = inner or getattr(self.loss, "_torchdynamo_orig_callable", None)
        return self if inner is None else Criterion(inner)

    def to(self, device: torch.device) -> None:
        """Moves what the loss holds, such as the class weights of nn.CrossEntropyLoss."""
        if isinstance(self.loss, nn.Module):
            self.loss.to(device)

    def _values(self, output: Tensor, target: Any, num_samples: int) -> Tensor:
        values = None if self._unreduced is None else self._unreduced(output, target)
        if values is None or values.ndim == 0 or len(values) != num_samples:
            raise DataError(
                f"loss {self.name}: expected a loss that gives the value of each sample with "
                f"reduction='none', got one with reduction {self._reduction!r}"
                f"{'' if values is None else f' and values {tuple(values.shape)}'}.\n"
                "  To mend it: use a loss with reduction='mean', as torch's have, or leave the "
                "weights out."
            )
        return values


@dataclass(frozen=True)
class Term:
    """The share of one output in the loss."""

    name: str
    criterion: Criterion
    weight: float


class Objective:
    """The weighted sum of the losses of the outputs.

    Args:
        loss: of the one output, or a list or dict of them, None for an output without a loss.
        loss_weights: a list, or a dict, in which 1 stands for an output that is not named.
    """

    def __init__(self, loss: Any, loss_weights: Any = None) -> None:
        self._criteria = _criteria(loss)
        self._loss_weights = loss_weights

    def terms(self, outputs: Outputs) -> list[Term]:
        """The losses in the order of the outputs.

        Raises:
            DataError: losses and outputs do not match.
        """
        criteria = outputs.by_name(self._criteria, "loss")
        require_names(criteria, outputs.names, "loss")
        weights = {}
        if self._loss_weights is not None:
            weights = outputs.by_name(self._loss_weights, "loss_weights")
        terms = [
            Term(name, criteria[name], 1.0 if weights.get(name) is None else float(weights[name]))
            for name in outputs.names
            if criteria[name] is not None
        ]
        if not terms:
            raise DataError(
                "loss: expected a loss for at least one output, got none.\n"
                "  To mend it: pass it as in Trainer(model, loss=nn.MSELoss())."
            )
        return terms


def weighted_sum(terms: list[Term], losses: Mapping[str, Tensor]) -> Tensor:
    """The loss that is trained on; a weight of 1 costs nothing."""
    total: Tensor | None = None
    for term in terms:
        loss = losses[term.name]
        share = loss if term.weight == 1 else loss * term.weight
        total = share if total is None else total + share
    assert total is not None
    return total


def name_of(function: Any) -> str:
    """What a loss or a metric is called: its function's name, or else its class's."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _criteria(loss: Any) -> Any:
    if loss is None:
        return None
    if isinstance(loss, Mapping):
        return {name: _criteria(item) for name, item in loss.items()}
    if isinstance(loss, list | tuple):
        return [_criteria(item) for item in loss]
    return Criterion(loss)


def _reduction(loss: LossFunction) -> str | None:
    """The reduction that a loss has: "mean", "sum", "none", or None if it knows no such thing."""
    if isinstance(loss, nn.Module):
        return getattr(loss, "reduction", None)
    try:
        parameter = inspect.signature(loss).parameters.get("reduction")
    except ValueError:  # a builtin without a signature
        return None
    return None if parameter is None else parameter.default


def _unreduced(loss: LossFunction) -> LossFunction:
    if isinstance(loss, nn.Module):
        copied: Any = copy.copy(getattr(loss, "_orig_mod", loss))
        copied.reduction = "none"
        return copied
    return functools.partial(loss, reduction="none")
