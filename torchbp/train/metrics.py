"""Metrics by output and name, and running means that stay on the device."""

import copy
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from torchbp.errors import DataError
from torchbp.train.checks import BroadcastWatch
from torchbp.train.objectives import name_of
from torchbp.train.outputs import Outputs
from torchbp.train.processes import sum_over_processes
from torchbp.train.tensors import widest_float

Metric = Callable[[Tensor, Tensor], Tensor]

_RECENT = 64  # values that are summed in one go: a sum at each step is a large part of a small one


class RunningMeans:
    """Means over samples of values that are means over batches, summed on the device.

    Nothing is read until `read`, so that a step never waits for its own numbers.

    Example:
        >>> means = RunningMeans()
        >>> means.add(3, {"loss": torch.tensor(1.0)})
        >>> means.add(1, {"loss": torch.tensor(5.0)})
        >>> means.read()
        {'loss': 2.0}
    """

    def __init__(self) -> None:
        self.num_samples = 0
        self._sums: dict[str, Tensor] = {}
        self._recent: dict[str, list[Tensor]] = {}  # of batches of one size, not yet in the sums
        self._size = 0
        self._num_recent = 0

    def add(self, num_samples: int, values: Mapping[str, Tensor]) -> None:
        """Adds the means of a batch, scalars."""
        if num_samples != self._size or self._num_recent == _RECENT:
            self._sums = self._sums_with_recent()
            self._recent, self._num_recent, self._size = {}, 0, num_samples
        self.num_samples += num_samples
        self._num_recent += 1
        for name, value in values.items():
            value = value.detach() if value.requires_grad else value
            own = value.clone()  # what a CUDA graph gives is overwritten by the next step
            self._recent.setdefault(name, []).append(own)

    def read(self, *, of_all: bool = True) -> dict[str, float]:
        """The means so far, of all processes or of this one; waits for the device, once."""
        summed = self._sums_with_recent()
        if not summed:
            return {}
        device = next(iter(summed.values())).device
        dtype = widest_float(device)
        count = torch.tensor(self.num_samples, dtype=dtype, device=device)
        together = torch.stack([value.to(device, dtype) for value in (count, *summed.values())])
        num_samples, *sums = (sum_over_processes(together) if of_all else together).tolist()
        return {
            name: value / num_samples if num_samples else math.nan
            for name, value in zip(summed, sums, strict=True)
        }

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, and what is not in them yet."""
        return {
            "num_samples": self.num_samples,
            "sums": dict(self._sums),
            "recent": {name: torch.stack(values) for name, values in self._recent.items()},
            "size": self._size,
            "num_recent": self._num_recent,
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Goes on from there, to the same bits: the values are summed in the same groups."""
        self.num_samples = state["num_samples"]
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._recent = {
            name: list(values.to(device).unbind()) for name, values in state["recent"].items()
        }
        self._size, self._num_recent = state["size"], state["num_recent"]

    def _sums_with_recent(self) -> dict[str, Tensor]:
        """The sums with the recent values in them; neither is changed."""
        sums = dict(self._sums)
        for name, values in self._recent.items():
            recent = torch.stack(values).to(widest_float(values[0].device)).sum() * self._size
            sums[name] = sums[name] + recent if name in sums else recent
        return sums


def merged_means(states: list[dict[str, Any]]) -> dict[str, Any]:
    """The `state_dict` of the means over what several processes have added."""
    means = []
    for state in states:
        part = RunningMeans()
        part.load_state_dict(state, torch.device("cpu"))
        means.append((part.num_samples, part._sums_with_recent()))
    return RunningMeans().state_dict() | {
        "num_samples": sum(count for count, _ in means),
        "sums": {name: sum(sums[name] for _, sums in means) for name in means[0][1]},
    }


class OutputMetrics:
    """The metrics of one output during one pass over the data.

    Args:
        metrics: name -> function(output, target) -> scalar tensor, whose means over batches are
            averaged, or an object with the methods `update`, `compute` and `reset`, such as one
            of torchmetrics'; a copy of it is used, so that passes do not mix.
        output: what an error calls the output.
    """

    def __init__(self, metrics: Mapping[str, Any], output: str) -> None:
        self.output = output
        self._functions = {n: m for n, m in metrics.items() if not is_stateful(m)}
        self._stateful = {n: copy.deepcopy(m) for n, m in metrics.items() if is_stateful(m)}
        for metric in self._stateful.values():
            metric.reset()
            if hasattr(metric, "persistent"):  # torchmetrics keeps states out of state dicts
                metric.persistent(True)
        self._is_new = True

    @torch.no_grad()
    def update(self, output: Tensor, target: Any, *, counts: bool = True) -> dict[str, Tensor]:
        """Takes in a batch, if it counts; the values of the functions on it."""
        output = output.detach()
        call = self._call_first if self._is_new else _call
        for metric in self._stateful.values():
            if self._is_new and hasattr(metric, "to"):
                metric.to(output.device)
            if counts:
                metric.update(output, target)
        self._is_new = False
        return {
            name: call(name, function, output, target) for name, function in self._functions.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """What the stateful metrics have gathered so far.

        Raises:
            DataError: one of them has no `state_dict`.
        """
        return {name: self._state_of(name, metric) for name, metric in self._stateful.items()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Goes on from what `state_dict` gave."""
        for name, metric in self._stateful.items():
            metric.to(device)
            metric.load_state_dict(state[name]["state"])
            if hasattr(metric, "_update_count"):  # or compute() warns that it knows nothing
                metric._update_count = state[name]["num_updates"]

    def _state_of(self, name: str, metric: Any) -> dict[str, Any]:
        if not hasattr(metric, "state_dict"):
            raise DataError(
                f"{self.output} metric {name!r}: expected the methods state_dict and "
                f"load_state_dict, to save a run within an epoch, got {type(metric).__name__}.\n"
                "  To mend it: add them, or save at the end of epochs alone."
            )
        return {"state": metric.state_dict(), "num_updates": getattr(metric, "_update_count", 0)}

    def compute(self) -> dict[str, Tensor]:
        """The values of the stateful metrics over all batches so far."""
        values = {name: metric.compute() for name, metric in self._stateful.items()}
        for name, value in values.items():
            _check_scalar(f"{self.output} metric {name!r}", value)
        return values

    def _call_first(self, name: str, function: Metric, output: Tensor, target: Any) -> Tensor:
        who = f"{self.output} metric {name!r}"
        with BroadcastWatch(who, output, target):
            value = function(output, target)
        _check_scalar(who, value)
        return value


def metrics_by_output(metrics: Any, outputs: Outputs) -> dict[str, dict[str, Any]]:
    """The metrics of each output by their names.

    Args:
        metrics: of one output: a metric, a list of them, or a dict of name -> metric; of several
            outputs a list or dict, by the outputs' names, of these.
        outputs: the names of the outputs.

    Raises:
        DataError: names that the outputs have not, metrics without a name of their own or with
            the same one.
    """
    if metrics is None:
        return {}
    if len(outputs.names) > 1 or _is_by_output(metrics, outputs.names[0]):
        by_output = outputs.by_name(metrics, "metrics")
        return {output: _by_name(of_output) for output, of_output in by_output.items()}
    return {outputs.names[0]: _by_name(metrics)}


def read_scalars(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars as floats, fetched from the device together."""
    if not values:
        return {}
    device = next(iter(values.values())).device
    together = [value.to(device, widest_float(device)) for value in values.values()]
    return dict(zip(values, torch.stack(together).tolist(), strict=True))


def is_stateful(metric: Any) -> bool:
    """Whether a metric gathers a state of its own over batches, as those of torchmetrics do."""
    return all(hasattr(metric, method) for method in ("update", "compute", "reset"))


def _call(name: str, function: Metric, output: Tensor, target: Any) -> Tensor:
    return function(output, target)


def _is_by_output(metrics: Any, output: str) -> bool:
    """{"answer": [accuracy]} names the output "answer", {"answer": accuracy} names a metric."""
    return isinstance(metrics, Mapping) and isinstance(metrics.get(output), list | tuple | dict)


def _by_name(metrics: Any) -> dict[str, Any]:
    if metrics is None:
        return {}
    if isinstance(metrics, Mapping):
        named = [(str(name), metric) for name, metric in metrics.items()]
    else:
        several = metrics if isinstance(metrics, list | tuple) else [metrics]
        named = [(_snake_case(name_of(metric)), metric) for metric in several]
    names = [name for name, _ in named]
    for name, metric in named:
        _check_metric(name, metric, is_repeated=names.count(name) > 1)
    return dict(named)


def _snake_case(name: str) -> str:
    """BinaryF1Score -> binary_f1_score, AUROC -> auroc."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z])([A-Z][a-z])", r"\1_\2", words).lower()


def _check_metric(name: str, metric: Any, is_repeated: bool) -> None:
    if isinstance(metric, type) or not (callable(metric) or is_stateful(metric)):
        raise DataError(
            f"metrics: expected metric(output, target), a function or an object of torchmetrics, "
            f"got {metric!r}.\n"
            "  To mend it: pass the function itself, or an instance of the class."
        )
    if is_repeated or name == "<lambda>":
        raise DataError(
            f"metrics: expected a name of its own for each, got {name!r} "
            f"{'twice' if is_repeated else 'for a lambda'}.\n"
            "  To mend it: name them, as in metrics={'accuracy': metric}."
        )


def _check_scalar(who: str, value: Any) -> None:
    if not isinstance(value, Tensor) or value.ndim != 0:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise DataError(
            f"{who}: expected a scalar tensor, got {got}.\n"
            "  To mend it: reduce it to one number, as in value.mean(), and keep it a tensor: "
            ".item() would wait for the device at each step."
        )
