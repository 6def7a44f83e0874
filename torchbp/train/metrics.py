"""Metrics by output and name, and running means that stay on the device."""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from torchbp.errors import DataError
from torchbp.train.checks import BroadcastWatch
from torchbp.train.objectives import name_of
from torchbp.train.outputs import Outputs
from torchbp.train.tensors import widest_float

Metric = Callable[[Tensor, Tensor], Tensor]


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

    def add(self, num_samples: int, values: Mapping[str, Tensor]) -> None:
        """Adds the means of a batch, scalars."""
        self.num_samples += num_samples
        for name, value in values.items():
            if name not in self._sums:
                dtype = widest_float(value.device)
                self._sums[name] = torch.zeros((), dtype=dtype, device=value.device)
            self._sums[name].add_(value.detach(), alpha=num_samples)

    def read(self) -> dict[str, float]:
        """The means so far; waits for the device, once for all of them."""
        sums = read_scalars(self._sums)
        return {name: value / self.num_samples for name, value in sums.items()}


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
        self._is_new = True

    @torch.no_grad()
    def update(self, output: Tensor, target: Any) -> dict[str, Tensor]:
        """Takes in a batch; the values of the functions on it."""
        output = output.detach()
        call = self._call_first if self._is_new else _call
        for metric in self._stateful.values():
            if self._is_new and hasattr(metric, "to"):
                metric.to(output.device)
            metric.update(output, target)
        self._is_new = False
        return {
            name: call(name, function, output, target) for name, function in self._functions.items()
        }

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
