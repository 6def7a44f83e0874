"""Keras's learning-rate schedules: functions of the number of steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torchbp.port.config import Config, UnsupportedError
from torchbp.port.objects import keras_object
from torchbp.port.optimizer_state import ITERATIONS
from torchbp.train import Callback, Trainer

Schedule = Callable[[int], float]


class ScheduledRate(Callback):
    """Sets the learning rate of each step by the number of steps before it, as Keras does.

    Args:
        schedule: schedule(step) -> lr.

    The steps are counted from those that `load_optimizer_state` has told, over all calls of
    `fit` and resumed runs.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._step: int | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Finds how many steps there have been."""
        assert trainer.optimizer is not None
        if self._step is None:
            self._step = int(trainer.optimizer.param_groups[0].get(ITERATIONS, 0))

    def on_gradients(self, trainer: Trainer) -> None:
        """Sets the rate of the step that comes."""
        assert trainer.optimizer is not None
        assert self._step is not None
        for group in trainer.optimizer.param_groups:
            group["lr"] = self.schedule(self._step)
        self._step += 1

    def state_dict(self) -> dict[str, Any]:
        """How many steps there have been."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._step = state["step"]


def schedule_of(found: Any) -> Schedule:
    """The function that a schedule in a file stands for.

    Raises:
        UnsupportedError: one that has no counterpart here.
    """
    name, config = keras_object(found, "the learning rate")
    if name not in _SCHEDULES:
        raise UnsupportedError(f"the learning rate {name}")
    made = _SCHEDULES[name](config)
    config.check_all_read()
    return made


def _exponential(config: Config) -> Schedule:
    lr, rate = config.number("initial_learning_rate"), config.number("decay_rate")
    passed = _passed(config)
    return lambda step: lr * rate ** passed(step)


def _inverse_time(config: Config) -> Schedule:
    lr, rate = config.number("initial_learning_rate"), config.number("decay_rate")
    passed = _passed(config)
    return lambda step: lr / (1 + rate * passed(step))


def _passed(config: Config) -> Callable[[int], float]:
    """How many times decay_steps have passed."""
    steps, staircase = config.number("decay_steps"), config.flag("staircase", False)
    return lambda step: math.floor(step / steps) if staircase else step / steps


def _piecewise(config: Config) -> Schedule:
    boundaries, values = config.get("boundaries"), config.get("values")
    if not all(isinstance(numbers, list) for numbers in (boundaries, values)):
        raise UnsupportedError("a learning rate of PiecewiseConstantDecay without lists")
    if len(values) != len(boundaries) + 1:
        raise UnsupportedError(f"boundaries={boundaries!r} and values={values!r}")

    def schedule(step: int) -> float:
        return float(values[sum(step > int(boundary) for boundary in boundaries)])

    return schedule


def _polynomial(config: Config) -> Schedule:
    lr, end = config.number("initial_learning_rate"), config.number("end_learning_rate", 1e-4)
    steps, power = config.number("decay_steps"), config.number("power", 1.0)
    cycle = config.flag("cycle", False)

    def schedule(step: int) -> float:
        whole = steps * max(math.ceil(step / steps), 1) if cycle else steps
        return (lr - end) * (1 - min(step, whole) / whole) ** power + end

    return schedule


def _cosine(config: Config) -> Schedule:
    lr, alpha = config.number("initial_learning_rate"), config.number("alpha", 0.0)
    steps, warmup = config.number("decay_steps"), config.number("warmup_steps", 0)
    target = config.get("warmup_target", None)
    if target is None:
        warmup, top = 0.0, lr
    else:
        top = config.number("warmup_target")

    def schedule(step: int) -> float:
        if step < warmup:
            return lr + (top - lr) * step / warmup
        passed = min(step - warmup, steps) / steps
        return top * ((1 - alpha) * 0.5 * (1 + math.cos(math.pi * passed)) + alpha)

    return schedule


_SCHEDULES: dict[str, Callable[[Config], Schedule]] = {
    "ExponentialDecay": _exponential,
    "InverseTimeDecay": _inverse_time,
    "PiecewiseConstantDecay": _piecewise,
    "PolynomialDecay": _polynomial,
    "CosineDecay": _cosine,
}
