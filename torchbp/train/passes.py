"""One pass over the data: where it stands and what it has measured."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.train.batches import Batch
from torchbp.train.checks import LossWatch, check_counts, check_loss
from torchbp.train.metrics import OutputMetrics, RunningMeans, metrics_by_output, read_scalars
from torchbp.train.objectives import Objective, Term, weighted_sum
from torchbp.train.outputs import Outputs, label, require_names


class Pass:
    """One pass over batches.

    Args:
        num_batches: how many will come, None if unknown.

    Attributes:
        batch: the index of the batch that is at work, -1 before the first.
        num_samples: how many samples the batches that are done had.
    """

    def __init__(self, num_batches: int | None) -> None:
        self.num_batches = num_batches
        self.batch = -1
        self.num_samples = 0

    def read(self) -> dict[str, float]:
        """What has been measured so far; waits for the device."""
        return {}

    def peek(self) -> dict[str, float]:
        """As `read`, without the metrics that would wait for other processes."""
        return self.read()


class MeasuredPass(Pass):
    """One pass over batches of inputs and targets, of a training epoch or an evaluation.

    Args:
        model: gives the outputs, and perhaps their names.
        objective: the losses of the outputs.
        metrics: of the outputs, as `metrics_by_output` takes them.
        num_batches: how many will come, None if unknown.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, metrics: Any, num_batches: int | None
    ) -> None:
        super().__init__(num_batches)
        self._model = model
        self._objective = objective
        self._given_metrics = metrics
        self._means = RunningMeans()
        self._form: Outputs | None = None  # known from the first batch on
        self._terms: list[Term] = []
        self._metrics: dict[str, OutputMetrics] = {}
        self._outputs: dict[str, Any] = {}
        self._targets: dict[str, Any] = {}
        self._losses: dict[str, Tensor] = {}
        self._total = torch.zeros(())

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The loss of a batch, the scalar to train on; the first batch is checked on the way.

        Raises:
            DataError: outputs, targets, weights and losses do not fit each other.
            DtypeError: targets of a type that a loss cannot take.
        """
        compute = _loss if self._form is not None else _checked_loss
        form = self._form or self._bind(outputs)
        self._outputs = form.by_name(outputs, "outputs")
        self._targets = form.by_name(batch.targets, "targets")
        weights = _weights_by_name(form, batch.weights)
        if self._form is None:
            self._check_parts(form, weights)
            self._form = form
        self._losses = {
            term.name: compute(
                term, self._outputs[term.name], self._targets[term.name], weights.get(term.name)
            )
            for term in self._terms
        }
        self._total = weighted_sum(self._terms, self._losses)
        return self._total

    def record(self) -> None:
        """Adds the batch whose loss was computed last to the means."""
        values = {"loss": self._total}
        if self._has_several:
            values |= {f"{name}_loss": loss for name, loss in self._losses.items()}
        for name, metrics in self._metrics.items():
            of_batch = metrics.update(self._outputs[name], self._targets[name])
            values |= {self._key(name, metric): value for metric, value in of_batch.items()}
        size = len(self._outputs[self._terms[0].name])
        self._means.add(size, values)
        self.num_samples += size

    def read(self) -> dict[str, float]:
        """The loss and the metrics over all batches so far; waits for the device."""
        computed = {
            self._key(name, metric): value
            for name, metrics in self._metrics.items()
            for metric, value in metrics.compute().items()
        }
        return self._means.read() | read_scalars(computed)

    def peek(self) -> dict[str, float]:
        """As `read`, without the metrics that would wait for other processes."""
        is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        return self._means.read() if is_distributed else self.read()

    @property
    def _has_several(self) -> bool:
        return self._form is not None and len(self._form.names) > 1

    def _key(self, output: str, metric: str) -> str:
        return f"{output}_{metric}" if self._has_several else metric

    def _bind(self, outputs: Any) -> Outputs:
        """Brings the losses and metrics under the names of the outputs."""
        form = Outputs.of(self._model, outputs)
        self._terms = self._objective.terms(form)
        self._metrics = {
            name: OutputMetrics(metrics, label(name))
            for name, metrics in metrics_by_output(self._given_metrics, form).items()
        }
        return form

    def _check_parts(self, form: Outputs, weights: Mapping[str, Tensor]) -> None:
        used = {term.name for term in self._terms} | set(self._metrics)
        needed = tuple(name for name in form.names if name in used)
        require_names(self._targets, needed, "targets")
        for name in needed:
            check_counts(label(name), self._outputs[name], self._targets[name], weights.get(name))


def _loss(term: Term, output: Tensor, target: Any, weights: Tensor | None) -> Tensor:
    return term.criterion(output, target, weights)


def _checked_loss(term: Term, output: Tensor, target: Any, weights: Tensor | None) -> Tensor:
    """The loss of the first batch, watched."""
    who = f"{label(term.name)} ({term.criterion.name})"
    term.criterion.to(output.device)
    criterion = term.criterion.eager()
    with LossWatch(who, criterion.loss, output, target):
        loss = criterion(output, target, weights)
    check_loss(who, loss)
    return loss


def _weights_by_name(form: Outputs, weights: Any) -> dict[str, Tensor]:
    """The sample weights of each output that has some; one tensor is for all of them."""
    if weights is None:
        return {}
    if isinstance(weights, Tensor):
        return dict.fromkeys(form.names, weights)
    return form.by_name(weights, "sample_weight")
