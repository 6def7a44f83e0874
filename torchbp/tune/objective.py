"""One trial: build, train, judge, and leave a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from torchbp.callbacks import EarlyStopping, TerminateOnNaN
from torchbp.callbacks.monitor import Mode
from torchbp.errors import DataError
from torchbp.train import Callback, Trainer
from torchbp.train.processes import gather, rank
from torchbp.tune.costs import num_parameters
from torchbp.tune.plan import Plan, Search
from torchbp.tune.pruning import Pruning
from torchbp.tune.record import Records
from torchbp.tune.score import Predicted
from torchbp.tune.split import Round, Split

if TYPE_CHECKING:
    from optuna.trial import BaseTrial, Trial


@dataclass(frozen=True)
class Task:
    """What is the same for all trials of a study."""

    search: Search
    split: Split
    loss: Any
    metrics: Mapping[str, Any]
    monitor: str
    mode: Mode
    cost: Callable[[nn.Module, Any], float] | None
    epochs: int
    seed: int
    device: torch.device | None


@dataclass(frozen=True)
class Order:
    """What all processes need to know of a trial."""

    number: int
    params: dict[str, Any]
    seed: int


class Objective:
    """Runs trials and writes down how they went.

    Args:
        task: of the study.
        records: where weights go.
        callbacks: hear of each training.
    """

    def __init__(self, task: Task, records: Records, callbacks: tuple[Callback, ...] = ()) -> None:
        self.task = task
        self.records = records
        self.callbacks = callbacks

    def run(self, trial: Trial) -> float | tuple[float, float]:
        """A trial, in the first process.

        Raises:
            FloatingPointError: the loss or the score is not finite.
            optuna.TrialPruned: it was cut short.
        """
        seed = trial.user_attrs.get("seed", self.task.seed + trial.number)
        trial.set_user_attr("seed", seed)
        began = time.monotonic()
        with seeded(seed, self.task.device):
            plan = plan_of(self.task.search, trial)
            trial.set_user_attr("parameters", num_parameters(plan.model, None))
            gather(Order(trial.number, dict(trial.params), seed))
            try:
                return self._rounds(plan, trial, Order(trial.number, dict(trial.params), seed))
            finally:
                trial.set_user_attr("seconds", round(time.monotonic() - began, 3))

    def follow(self, order: Order) -> None:
        """The same trial in another process than the first."""
        with seeded(order.seed, self.task.device):
            self._rounds(build(self.task.search, order), None, order)

    def _rounds(self, plan: Plan, trial: Trial | None, order: Order) -> float | tuple[float, float]:
        """The mean score of the rounds, and the cost if there is one."""
        count, scores, costs, done = self.task.split.num_rounds, [], [], _Epochs(trial)
        for index in range(count):
            if index:
                torch.manual_seed(order.seed + index)
                plan = build(self.task.search, order)
            data = self.task.split.round(index)
            pruning = Pruning(trial, self.task.monitor, self.task.mode)
            watching: list[Callback] = [done]
            watching += [pruning] if count == 1 and self.task.cost is None else []
            scores.append(self._round(plan, data, order, index, watching))
            if self.task.cost is not None:
                costs.append(float(self.task.cost(plan.model, data.validation.inputs)))
            if count > 1 and self.task.cost is None:
                _report_fold(trial, scores, count, self.task.monitor)
        score = sum(scores) / count
        return (score, sum(costs) / count) if costs else score

    def _round(
        self, plan: Plan, data: Round, order: Order, index: int, watching: list[Callback]
    ) -> float:
        """Trains one model, saves it as it was in its best epoch, and gives its score."""
        task = self.task
        best = EarlyStopping(task.monitor, 0.0, 10**9, task.mode, restore_best_weights=True)
        own = [TerminateOnNaN(), *plan.callbacks, best, *watching, *self.callbacks]
        settings = {"metrics": dict(task.metrics), "device": task.device, **plan.trainer}
        trainer = Trainer(plan.model, task.loss, plan.optimizer, **settings)
        try:
            trainer.fit(
                *data.train,
                epochs=plan.epochs or task.epochs,
                batch_size=plan.batch_size,
                validation_data=tuple(data.validation),
                callbacks=own,
                progress=False,
                generator=torch.Generator().manual_seed(order.seed),
            )
        finally:
            if best.best is not None and trainer.error is None:
                self.records.save_weights(order.number, index, plan.model)
        _check_end(trainer, best.best, task.monitor)
        outputs = trainer.predict(data.validation.inputs, plan.batch_size, progress=False)
        predicted = Predicted(outputs, torch.as_tensor(data.validation.targets).cpu())
        self.records.save_predicted(order.number, index, predicted)
        assert best.best is not None
        return best.best


class _Epochs(Callback):
    """Counts the epochs of a trial, which is what it costs."""

    def __init__(self, trial: Trial | None) -> None:
        self._trial = trial
        self._count = 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        self._count += 1

    def on_train_end(self, trainer: Trainer) -> None:
        if self._trial is not None:
            self._trial.set_user_attr("epochs", self._count)


@contextmanager
def seeded(seed: int, device: torch.device | None) -> Iterator[None]:
    """Torch's random numbers from a seed, and afterwards as they were."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def build(search: Search, order: Order) -> Plan:
    """The plan of a trial that has been suggested before."""
    from optuna.trial import FixedTrial

    return plan_of(search, FixedTrial(order.params, number=order.number))


def plan_of(search: Search, trial: BaseTrial) -> Plan:
    """What the search function makes of a trial.

    Raises:
        DataError: it returns something else than a Plan.
    """
    plan = search(trial)
    if not isinstance(plan, Plan):
        raise DataError(
            f"Study: expected the search function to return a Plan, got {type(plan).__name__}.\n"
            "  To mend it: return Plan(model, optimizer, batch_size=32)."
        )
    return plan


def _report_fold(trial: Trial | None, scores: list[float], count: int, monitor: str) -> None:
    """Asks the pruner after a fold, with the mean so far; the last one is not asked about."""
    is_pruned = False
    if rank() == 0 and trial is not None:
        trial.report(sum(scores) / len(scores), len(scores))
        is_pruned = len(scores) < count and trial.should_prune()
    if gather(is_pruned)[0]:
        from optuna import TrialPruned

        mean = sum(scores) / len(scores)
        raise TrialPruned(f"{monitor} was {mean:.3g} after fold {len(scores)} of {count}")


def _check_end(trainer: Trainer, best: float | None, monitor: str) -> None:
    """Tells a training that has ended well from one that has not."""
    reason = trainer.stop_reason or ""
    if reason == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if reason.startswith("TerminateOnNaN"):
        raise FloatingPointError(reason.removeprefix("TerminateOnNaN: "))
    if best is None or not torch.isfinite(torch.tensor(best)):
        raise FloatingPointError(f"{monitor} is {best}")
