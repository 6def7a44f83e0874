"""Which number a callback watches, in which direction it improves, and whether it has."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch

from torchbp.errors import DataError
from torchbp.train import Trainer
from torchbp.train.objectives import name_of

Mode = Literal["min", "max"]

HIGHER_IS_BETTER = ("accuracy", "acc", "auroc", "f1", "precision", "recall")
"""How names end whose numbers are to grow."""


class Monitor:
    """A number of the logs, and the rule by which one value of it is better than another.

    Args:
        who: the callback, as errors name it.
        name: of the number in the logs, such as "val_loss".
        mode: "min" or "max"; None decides from the name and the trainer's metrics.
        min_delta: by how much a value must be better to count, in either direction.

    Raises:
        DataError: a mode that is neither.

    Example:
        >>> monitor = Monitor("EarlyStopping", "val_loss", mode="min", min_delta=0.1)
        >>> monitor.is_better(0.5, 0.75), monitor.is_better(0.7, 0.75), monitor.is_better(9, None)
        (True, False, True)

    None decides so: a name that ends in "loss" is to fall; a metric of the trainer that says
    `higher_is_better`, as those of torchmetrics do, decides for its own name; one that ends in
    accuracy, acc, auroc, f1, precision or recall is to grow.

    Values are compared in float32 and strictly, and any value is better than none. A first value
    of NaN is therefore never beaten: no comparison with it is true.

    Differences from Keras: the names of losses and metrics of single outputs ("val_answer_loss")
    decide as well, where Keras asks for a mode. A number beyond the range of float32 counts as
    infinite; Keras fails on it.
    Source: keras.src.callbacks.monitor_callback, Keras 3.15.
    """

    def __init__(self, who: str, name: str, mode: Mode | None, min_delta: float = 0.0) -> None:
        if mode not in (None, "min", "max"):
            raise DataError(
                f"{who}: expected mode 'min', 'max' or None, got {mode!r}.\n"
                "  To mend it: 'min' if lower is better, 'max' if higher is."
            )
        self.who = who
        self.name = name
        self.mode = mode
        self.min_delta = abs(min_delta)
        self._rises = mode == "max"

    def decide(self, trainer: Trainer) -> None:
        """Settles the direction, before training.

        Raises:
            DataError: neither the name nor the metrics tell it.
        """
        if self.mode is not None:
            return
        rises = _rises(self.name, trainer.metrics)
        if rises is None:
            raise DataError(
                f"{self.who}: expected to know whether {self.name!r} is to fall or to grow, but "
                "neither its name nor a metric of that name tells.\n"
                "  To mend it: pass mode='min' if lower is better, mode='max' if higher is."
            )
        self._rises = rises

    def read(self, logs: Mapping[str, float]) -> float:
        """The value in the logs.

        Raises:
            DataError: it is not there; the message lists what is.
        """
        if self.name not in logs:
            raise DataError(
                f"{self.who}: expected {self.name!r} in the logs, which have "
                f"{', '.join(logs) or 'nothing'}.\n"
                "  To mend it: monitor one of these, or pass fit validation data if it is val_..."
            )
        return logs[self.name]

    def is_better(self, value: float, reference: float | None) -> bool:
        """Whether a value improves on another, by more than min_delta; on None all do."""
        if reference is None:
            return True
        if self._rises:
            return as_float32(value - self.min_delta) > as_float32(reference)
        return as_float32(value + self.min_delta) < as_float32(reference)


def as_float32(value: float) -> float:
    """The number rounded to float32; beyond its range infinity."""
    return torch.tensor(value, dtype=torch.float64).float().item()


def _rises(name: str, metrics: Any) -> bool | None:
    """Whether a number is to grow; None if that is not to be known."""
    if name.endswith("loss"):
        return False
    bare = name.removeprefix("val_")
    told = {
        bool(metric.higher_is_better)
        for key, metric in _metrics_by_key(metrics)
        if _is_called(bare, key, metric) and getattr(metric, "higher_is_better", None) is not None
    }
    if len(told) == 1:
        return told.pop()
    return True if bare.endswith(HIGHER_IS_BETTER) else None


def _metrics_by_key(metrics: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Each metric with the key it stands under, "" for those of a list."""
    if isinstance(metrics, Mapping):
        for name, item in metrics.items():
            yield from _metrics_by_key(item, str(name))
    elif isinstance(metrics, list | tuple):
        for item in metrics:
            yield from _metrics_by_key(item)
    else:
        yield key, metrics


def _is_called(bare: str, key: str, metric: Any) -> bool:
    """Whether a number's name, perhaps after an output's, is the metric's key or its own name."""
    own_name = name_of(metric).lower()  # BinaryF1Score is logged as binary_f1_score
    has_key = key != "" and f"_{bare}".endswith(f"_{key}")
    return has_key or bare.replace("_", "").endswith(own_name)
