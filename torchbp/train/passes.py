"""One pass over the data: where it stands and what it has measured."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.errors import DataError
from torchbp.train.batches import Batch, Share
from torchbp.train.checks import LossWatch, check_counts, check_loss
from torchbp.train.metrics import (
    OutputMetrics,
    RunningMeans,
    merged_means,
    metrics_by_output,
    read_scalars,
)
from torchbp.train.objectives import Objective, Term, weighted_sum
from torchbp.train.outputs import Outputs, label, require_names
from torchbp.train.processes import num_processes, rank


class Pass:
    """One pass over batches.

    Args:
        num_batches: how many will come, None if unknown.

    Attributes:
        batch: the index of the batch that is at work, -1 before the first.
        num_samples: how many samples the batches that are done had, in this process.
        inputs: of the batch that is at work, or was last.
        outputs: of it, by their names.
        targets: of it, by the names of the outputs.
        total_loss: of it, a scalar on the device; reading it waits for the device.
    """

    def __init__(self, num_batches: int | None) -> None:
        self.num_batches = num_batches
        self.batch = -1
        self.num_samples = 0
        self.inputs: Any = None
        self.outputs: dict[str, Any] = {}
        self.targets: dict[str, Any] = {}
        self.total_loss = torch.zeros(())

    def read(self) -> dict[str, float]:
        """What all processes have measured so far; waits for them and for the device."""
        return {}

    def peek(self) -> dict[str, float]:
        """As `read`, of this process alone, without the metrics that would wait for others."""
        return self.read()

    def state_dict(self) -> dict[str, Any]:
        """What has been measured so far, of this process."""
        return {"form": None}


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
        self._has_several = False
        self._is_checked = False
        self._only: Term | None = None  # of a model with one output, once it is checked
        self._terms: list[Term] = []
        self._metrics: dict[str, OutputMetrics] = {}
        self._losses: dict[str, Tensor] = {}
        self._share = Share(0, 0)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The loss of a batch, the scalar to train on; the first batch is checked on the way.

        Raises:
            DataError: outputs, targets, weights and losses do not fit each other.
            DtypeError: targets of a type that a loss cannot take.
        """
        self.inputs = batch.inputs
        if self._only is not None and batch.are_tensors() and isinstance(outputs, Tensor):
            return self._loss_of_only(self._only, outputs, batch)
        form = self._form or self._bind(Outputs.of(self._model, outputs))
        self.outputs = form.by_name(outputs, "outputs")
        self.targets = form.by_name(batch.targets, "targets")
        weights = _weights_by_name(form, batch.weights)
        if not self._is_checked:
            self._check_parts(form, weights)
        compute = _loss if self._is_checked else _checked_loss
        self._losses = {
            term.name: compute(
                term, self.outputs[term.name], self.targets[term.name], weights.get(term.name)
            )
            for term in self._terms
        }
        self._is_checked = True
        self._only = self._terms[0] if len(form.names) == 1 else None
        size = self.outputs[self._terms[0].name].shape[0]
        self._share = batch.share or Share(size, size)
        self.total_loss = weighted_sum(self._terms, self._losses)
        return self.total_loss

    def _loss_of_only(self, term: Term, output: Tensor, batch: Batch) -> Tensor:
        """The usual case, in which a small model feels every detour."""
        self.outputs, self.targets = {term.name: output}, {term.name: batch.targets}
        loss = term.criterion.loss(output, batch.targets)
        self._losses = {term.name: loss}
        size = output.shape[0]
        self._share = batch.share or Share(size, size)
        self.total_loss = loss if term.weight == 1 else loss * term.weight
        return self.total_loss

    @property
    def share(self) -> Share:
        """How many samples the batch has whose loss was computed last."""
        return self._share

    def record(self) -> None:
        """Adds the batch whose loss was computed last to the means."""
        own = self._share.own
        values = {"loss": self.total_loss}
        if self._has_several:
            values |= {f"{name}_loss": loss for name, loss in self._losses.items()}
        for name, metrics in self._metrics.items():
            of_batch = metrics.update(self.outputs[name], self.targets[name], counts=own > 0)
            for metric, value in of_batch.items():
                values[self._key(name, metric)] = value
        self._means.add(own, values)
        self.num_samples += own

    def read(self) -> dict[str, float]:
        """The loss and the metrics over all batches so far, of all processes; waits for them."""
        computed = {
            self._key(name, metric): value
            for name, metrics in self._metrics.items()
            for metric, value in metrics.compute().items()
        }
        return self._means.read() | read_scalars(computed)

    def peek(self) -> dict[str, float]:
        """As `read`, of this process alone, without the metrics that would wait for others."""
        return self._means.read(of_all=False) if num_processes() > 1 else self.read()

    def state_dict(self) -> dict[str, Any]:
        """What has been measured so far, of this process."""
        form = self._form
        return {
            "form": None if form is None else [list(form.names), form.are_named, form.come_as],
            "num_samples": self.num_samples,
            "means": self._means.state_dict(),
            "metrics": {name: metrics.state_dict() for name, metrics in self._metrics.items()},
        }

    def load_states(self, states: list[dict[str, Any]], device: torch.device) -> None:
        """Goes on from what `state_dict` gave in each process, of which there may be others now.

        Raises:
            DataError: a metric has gathered a state that cannot be dealt out anew.
        """
        is_same = len(states) == num_processes()
        state = states[rank()] if is_same else _merged(states)
        if state["form"] is None:
            return
        names, are_named, come_as = state["form"]
        self._bind(Outputs(tuple(names), are_named, come_as))
        self.num_samples = state["num_samples"]
        self._means.load_state_dict(state["means"], device)
        for name, metrics in self._metrics.items():
            metrics.load_state_dict(state["metrics"][name], device)

    def _key(self, output: str, metric: str) -> str:
        return f"{output}_{metric}" if self._has_several else metric

    def _bind(self, form: Outputs) -> Outputs:
        """Brings the losses and metrics under the names of the outputs."""
        self._terms = self._objective.terms(form)
        self._metrics = {
            name: OutputMetrics(metrics, label(name))
            for name, metrics in metrics_by_output(self._given_metrics, form).items()
        }
        self._form, self._has_several = form, len(form.names) > 1
        return form

    def _check_parts(self, form: Outputs, weights: Mapping[str, Tensor]) -> None:
        used = {term.name for term in self._terms} | set(self._metrics)
        needed = tuple(name for name in form.names if name in used)
        require_names(self.targets, needed, "targets")
        for name in needed:
            check_counts(label(name), self.outputs[name], self.targets[name], weights.get(name))


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


def _merged(states: list[dict[str, Any]]) -> dict[str, Any]:
    """The sums of all processes, for process 0; nothing for others."""
    if any(state["metrics"][name] for state in states for name in state["metrics"]):
        raise DataError(
            f"metrics: expected {len(states)} processes, as when the checkpoint was made within an "
            f"epoch, got {num_processes()}: what metrics have gathered cannot be dealt out anew.\n"
            "  To mend it: start as many processes, or resume from the end of an epoch."
        )
    means = merged_means([state["means"] for state in states])
    if rank() > 0:
        nothing = {name: torch.zeros_like(value) for name, value in means["sums"].items()}
        means |= {"num_samples": 0, "sums": nothing}
    return states[0] | {"num_samples": means["num_samples"], "means": means}
