"""What a search function makes of a trial."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from torchbp.train import Callback
from torchbp.train.callback import Hook

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


@dataclass(frozen=True)
class Plan:
    """A model and how to train it.

    Args:
        model: freshly built, with weights that the seed of the trial has drawn.
        optimizer: an optimizer of its parameters, or a function that makes one of them.
        batch_size: samples in a batch.
        epochs: of this training; None takes the study's number.
        callbacks: hear of this training.
        trainer: further arguments of `Trainer`, such as precision or grad_accumulation.

    Example:
        >>> from functools import partial
        >>> def search(trial):
        ...     units = trial.suggest_int("units", 8, 64, log=True)
        ...     model = nn.Sequential(nn.Linear(4, units), nn.ReLU(), nn.Linear(units, 2))
        ...     lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        ...     return Plan(model, partial(torch.optim.Adam, lr=lr), batch_size=16)
    """

    model: nn.Module
    optimizer: Optimizer | Callable[..., Optimizer]
    batch_size: int = 32
    epochs: int | None = None
    callbacks: Iterable[Callback | Hook] = ()
    trainer: Mapping[str, Any] = field(default_factory=dict)


Search = Callable[["BaseTrial"], Plan]
"""From a trial, which suggests, to a plan."""
