"""Averages of weights instead of predictions: one model at the price of one.

Beside them stands `torchbp.callbacks.WeightAveraging`, which averages over one training.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from torchbp.errors import DataError
from torchbp.train import Callback, Trainer

Net = TypeVar("Net", bound=nn.Module)


def soup(models: Sequence[Net]) -> Net:
    """A model whose weights and statistics are the means of those of others.

    Args:
        models: of one architecture, trained from the same weights on; of independent
            initialisations the mean is of no use.

    Raises:
        DataError: no models, or other architectures.

    Example:
        >>> first, second = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> mixed = soup([first, second])
        >>> bool(torch.allclose(mixed.weight, (first.weight + second.weight) / 2))
        True

    Where BatchNorm's statistics matter, `torch.optim.swa_utils.update_bn` computes them anew.
    Source: Wortsman et al. 2022, https://arxiv.org/abs/2203.05482, the uniform soup.
    """
    states = [model.state_dict() for model in models]
    _check_alike(states)
    mixed = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(own.dtype)
        if own.is_floating_point()
        else own
        for name, own in states[0].items()
    }
    result = copy.deepcopy(models[0])
    result.load_state_dict(mixed)
    return result


def greedy_soup(models: Sequence[Net], score: Callable[[nn.Module], float]) -> Net:
    """The soup that grows by a model as long as its score does not fall.

    Args:
        models: as in `soup`.
        score: score(model) on validation data, never on the test set; higher is better.

    Raises:
        DataError: no models, or other architectures.

    Example:
        >>> models = [nn.Linear(1, 1, bias=False) for _ in range(3)]
        >>> for model, weight in zip(models, (0.0, 1.0, 9.0)):
        ...     _ = nn.init.constant_(model.weight, weight)
        >>> greedy_soup(models, lambda model: -abs(model.weight.item() - 0.6)).weight.item()
        0.5

    Models are tried from the best to the worst.
    Source: Wortsman et al. 2022, https://arxiv.org/abs/2203.05482, algorithm 1.
    """
    _check_alike([model.state_dict() for model in models])
    scores = [score(model) for model in models]
    ranked = sorted(range(len(models)), key=lambda place: -scores[place])
    chosen, best = [models[ranked[0]]], scores[ranked[0]]
    for place in ranked[1:]:
        grown = score(soup([*chosen, models[place]]))
        if grown >= best:
            chosen, best = [*chosen, models[place]], grown
    return soup(chosen)


class Snapshots(Callback):
    """Keeps the model at the end of each cycle of a cosine learning rate: an ensemble of one run.

    Args:
        cycle: epochs of a cycle, in which the learning rate falls from its first value towards 0.

    Attributes:
        models: copies of the model, one for each cycle that has ended.

    Raises:
        DataError: a cycle that is not a positive number of epochs.

    Example:
        >>> trainer = Trainer(nn.Linear(2, 1), nn.MSELoss(), torch.optim.Adam)
        >>> snapshots, x, y = Snapshots(cycle=2), torch.randn(8, 2), torch.randn(8, 1)
        >>> history = trainer.fit(x, y, epochs=4, callbacks=[snapshots], progress=False)
        >>> len(snapshots.models), [round(lr, 5) for lr in history["lr"]]
        (2, [0.001, 0.0005, 0.001, 0.0005])

    The rate is constant within an epoch. The learning rate that the optimizer has at the
    beginning of the training is the one of each restart.
    Source: Huang et al. 2017, https://arxiv.org/abs/1704.00109; there the rate changes at each
    step.
    """

    def __init__(self, cycle: int) -> None:
        if cycle < 1:
            raise DataError(
                f"Snapshots: expected a cycle of one or more epochs, got {cycle!r}.\n"
                "  To mend it: 40 epochs with cycle=10 give four models."
            )
        self.cycle = cycle
        self.models: list[nn.Module] = []
        self._first: list[float] = []

    def on_train_begin(self, trainer: Trainer) -> None:
        """Starts afresh, from the learning rates as they are."""
        self.models, self._first = [], [float(group["lr"]) for group in _groups(trainer)]

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Sets the learning rate."""
        part = trainer.epoch % self.cycle / self.cycle
        for group, first in zip(_groups(trainer), self._first, strict=True):
            group["lr"] = first * (1 + math.cos(math.pi * part)) / 2

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Logs the learning rate, and keeps the model where a cycle ends."""
        trainer.logs["lr"] = float(_groups(trainer)[0]["lr"])
        if (trainer.epoch + 1) % self.cycle == 0:
            self.models.append(copy.deepcopy(trainer.model).eval())

    def on_train_end(self, trainer: Trainer) -> None:
        """Gives the learning rates back."""
        for group, first in zip(_groups(trainer), self._first, strict=True):
            group["lr"] = first


def _groups(trainer: Trainer) -> list[dict[str, Any]]:
    assert trainer.optimizer is not None
    return trainer.optimizer.param_groups


def _check_alike(states: Sequence[Mapping[str, Tensor]]) -> None:
    if not states:
        raise DataError(
            "soup: expected at least one model, got none.\n  To mend it: pass trained models."
        )
    shapes = [{name: tuple(tensor.shape) for name, tensor in state.items()} for state in states]
    for place, own in enumerate(shapes):
        if own != shapes[0]:
            wrong = sorted(set(own.items()) ^ set(shapes[0].items()))[:2]
            raise DataError(
                f"soup: expected models of one architecture, got another at {place}: {wrong}.\n"
                "  To mend it: models of several architectures make an Ensemble."
            )
