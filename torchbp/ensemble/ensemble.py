"""An ensemble: members, a pooling, and weights that are learned on validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torchbp.ensemble.batched import BatchedEnsemble
from torchbp.ensemble.data import (
    check_count,
    checked_weights,
    joined,
    poolings_by_output,
    refuse_known,
    targets_by_output,
)
from torchbp.ensemble.diversity import Diversity, warn_of_look_alikes
from torchbp.ensemble.kept import Kept
from torchbp.ensemble.member import Member, order_of_classes
from torchbp.ensemble.pooling import Mean, Pooling, pooled
from torchbp.ensemble.predictions import Predictions, check_names, key_of, rows_of, stacked
from torchbp.ensemble.progress import tracked
from torchbp.ensemble.report import Report, Scores
from torchbp.ensemble.search import Search
from torchbp.ensemble.tasks import (
    Loss,
    Task,
    default_loss,
    from_columns,
    tasks_by_output,
)
from torchbp.errors import DataError


class Validation(NamedTuple):
    """What is known of the data that weights were learned on.

    Attributes:
        rows: (n,) int64, the samples.
        losses: by output, of each member alone, of equal weights, and of the ensemble.
    """

    rows: Tensor
    losses: dict[str, Scores]


class Ensemble(nn.Module):
    """Several models as one: what they predict is pooled.

    Args:
        members: name -> an `nn.Module`, a `Trainer`, a fitted estimator of scikit-learn, a
            function that returns predictions, or a `Member` of one of these.
        task: "classification" for probabilities (N, C), "binary" for the probability of a yes
            (N, 1), "regression" for numbers (N, K); of several outputs a dict by their names.
        pooling: how predictions become one; of several outputs a dict by their names, or one
            for all.
        classes: the label of each column, None if these are 0, 1, 2 ...; estimators may have
            them in any order.
        keep: a folder in which predictions are kept as .npy; None keeps them in memory.

    Attributes:
        validation: what the weights were learned on, None before `fit_weights`.

    Shape:
        As a module it takes what its members take, one batch, and gives (N, C), (N, 1) or
        (N, K), or a dict of these by output.

    Raises:
        DataError: no members, unknown tasks, or classes that differ.

    Example:
        >>> from torchbp.ensemble import Member, RandomSearch
        >>> small, large = nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
        >>> softmax = nn.Softmax(dim=1)
        >>> ensemble = Ensemble(
        ...     {"a": Member(small, None, softmax), "b": Member(large, None, softmax)}
        ... )
        >>> x, y = torch.randn(60, 4), torch.randint(3, (60,))
        >>> weights = ensemble.fit_weights(validation=(x[:30], y[:30]), search=RandomSearch())
        >>> round(sum(weights["output"].values()), 6)
        1.0
        >>> ensemble.report(test=(x[30:], y[30:]), progress=False).num_samples
        30

    Weights never come from the test set. `fit_weights` takes `validation=`, `report` takes
    `test=`, and neither takes samples that the other has seen, by their inputs: also not after
    the ensemble was saved and loaded.

    Predictions are computed once for the same inputs and the same weights of a member. What a
    function predicts is kept in memory only, as its state cannot be seen.

    Where all members are modules the ensemble is one: it moves, compiles and exports as any
    other, and `batched` gives one in which members of the same architecture are a single call.
    """

    def __init__(
        self,
        members: Mapping[str, Any],
        task: Task | Mapping[str, Task] = "classification",
        pooling: Pooling | Mapping[str, Pooling] | None = None,
        *,
        classes: Sequence[Any] | None = None,
        keep: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.tasks = tasks_by_output(task)
        check_names([*members, *self.tasks])
        if not members:
            stacked({}, self.tasks)  # says what is missing
        self.members = nn.ModuleDict({name: _member(own) for name, own in members.items()})
        self.poolings = nn.ModuleDict(poolings_by_output(pooling or Mean(), self.tasks))
        self.classes = None if classes is None else tuple(classes)
        self.validation: Validation | None = None
        self._kept = Kept(keep)
        self._orders = {
            name: order_of_classes(self.member(name).source, self.classes, f"member {name!r}")
            for name in self.members
            if "classification" in self.tasks.values() or self.classes is not None
        }
        self.tested: list[Tensor] = []  # the samples of each report
        shape = len(self.tasks), len(self.members)
        self.weight: Tensor
        self.register_buffer("weight", torch.full(shape, 1 / shape[1], dtype=torch.float64))

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names, in their order."""
        return tuple(self.members)

    @property
    def weights(self) -> dict[str, dict[str, float]]:
        """The weight of each member, by output."""
        rows = zip(self.tasks, self.weight.tolist(), strict=True)
        return {output: dict(zip(self.names, row, strict=True)) for output, row in rows}

    def set_weights(self, weights: Mapping[str, float] | Mapping[str, Mapping[str, float]]) -> None:
        """Takes weights that are known, such as a published mixture.

        Args:
            weights: member name -> weight, for all outputs; or a dict of these by output. They
                are divided by their sum.

        Raises:
            DataError: names that are not the members', negative weights, or only zeros.
        """
        by_output: Any = weights if set(weights) == set(self.tasks) else None
        if by_output is None or not all(isinstance(own, Mapping) for own in by_output.values()):
            by_output = dict.fromkeys(self.tasks, weights)
        rows = [checked_weights(by_output[output], self.names) for output in self.tasks]
        self.weight.copy_(torch.stack(rows))

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The pooled outputs of one batch.

        Raises:
            DataError: members that are not modules.
        """
        self.require_modules()
        given = named or (inputs[0] if len(inputs) == 1 else inputs)
        outputs = [
            self.member(name).outputs_of(given, self.tasks, f"member {name!r}")
            for name in self.names
        ]
        return self.answer(
            {name: torch.stack([own[name] for own in outputs]) for name in self.tasks}
        )

    def answer(self, values: Mapping[str, Tensor]) -> Any:
        """The pooled outputs of predictions (M, N, C) by output, as a user has them."""
        results = {
            output: from_columns(self._pooled(output, values[output], self.weight[i]), task)
            for i, (output, task) in enumerate(self.tasks.items())
        }
        return results if len(results) > 1 or "output" not in results else results["output"]

    def predictions(
        self, inputs: Any, *, batch_size: int = 256, progress: bool = True
    ) -> Predictions:
        """What each member predicts for each sample, computed once and kept.

        Args:
            inputs: an array or a tensor, or a list, tuple or dict of them, as the members take.
            batch_size: samples of a batch for nets.
            progress: whether to show a bar on a terminal.

        Raises:
            DataError: members that disagree on samples or classes, or whose predictions are
                no probabilities.
        """
        rows = rows_of(inputs)
        members = {
            name: self._predicted(name, inputs, rows, batch_size)
            for name in tracked(self.names, "members predict", progress)
        }
        values = stacked(members, self.tasks)
        check_count(values, rows)
        architectures = tuple(self.member(name).architecture() for name in self.names)
        return Predictions(self.names, values, dict(self.tasks), rows, architectures)

    def predict(self, inputs: Any, *, batch_size: int = 256, progress: bool = True) -> Any:
        """The pooled outputs for all samples, in float64 on the CPU.

        Args:
            inputs: as in `predictions`, or `Predictions`.
            batch_size: samples of a batch for nets.
            progress: whether to show a bar on a terminal.

        Raises:
            DataError: as in `predictions`, or predictions that the pooling cannot take.
        """
        found = self._found(inputs, batch_size, progress)
        self._check_poolings(found)
        return self.answer(found.values)

    def fit_weights(
        self,
        *,
        validation: tuple[Any, Any],
        search: Search | None = None,
        loss: Loss | Mapping[str, Loss] | None = None,
        batch_size: int = 256,
        progress: bool = True,
    ) -> dict[str, dict[str, float]]:
        """Learns the weights of each output on validation data, which no test may see again.

        Args:
            validation: (inputs, targets) of samples that no member was trained on. Inputs may be
                `Predictions`; targets are a dict by output if there are several.
            search: how weights are found; None keeps those that are, and measures them.
            loss: loss(pooled (N, C), target) -> number that is made small; None is the cross
                entropy, or the mean squared error. Of several outputs one for all or a dict.
            batch_size: samples of a batch for nets.
            progress: whether to show a bar on a terminal.

        Returns:
            The weights, by output and member.

        Raises:
            DataError: data that a `report` has seen, or that do not fit; a pooling without
                weights.
        """
        found, targets = self._data(validation, "validation", batch_size, progress)
        refuse_known(found.rows, self.tested, "validation", "a report has tested on")
        self._check_poolings(found)
        for i, (output, task) in enumerate(self.tasks.items()):
            own = loss.get(output) if isinstance(loss, Mapping) else loss
            measured = _LossOfWeights(
                self, output, found, targets[output], own or default_loss(task)
            )
            if search is not None:
                self._require_weights(output)
                self.weight[i] = torch.as_tensor(search(measured, len(self.names)))
        self._measure(found, targets)
        for output in self.tasks:
            warn_of_look_alikes(Diversity.of(found, targets, output))
        return self.weights

    def report(
        self,
        *,
        test: tuple[Any, Any],
        drop_known: bool = False,
        num_resamples: int = 2000,
        seed: int = 0,
        batch_size: int = 256,
        progress: bool = True,
    ) -> Report:
        """How good the members, their plain mean and the ensemble are on the test set.

        Args:
            test: (inputs, targets), samples that neither members nor weights have seen.
            drop_known: whether samples that were validated on are left out, instead of refused;
                for data in which different samples may have the same inputs.
            num_resamples: resamples of the bootstrap intervals.
            seed: of the resamples.
            batch_size: samples of a batch for nets.
            progress: whether to show a bar on a terminal.

        Raises:
            DataError: samples that weights, or a stacking, were learned on; data that do not fit.
        """
        found, targets = self._data(test, "test", batch_size, progress)
        known = self._known_rows()
        if drop_known:
            found, kept = found.without(joined(known))
            targets = {name: target[kept] for name, target in targets.items()}
        refuse_known(found.rows, known, "test", "weights were learned on")
        if not len(found):
            raise DataError(
                "test: expected samples to test on, got none that are new.\n"
                "  To mend it: keep samples apart before weights are learned."
            )
        self._check_poolings(found)
        self.tested.append(found.rows)
        scores = {output: self._scores(output, found, targets[output]) for output in self.tasks}
        best = (
            {o: s.best_single for o, s in self.validation.losses.items()} if self.validation else {}
        )
        return Report.of(scores, best, num_resamples, seed)

    def diversity(
        self,
        *,
        validation: tuple[Any, Any],
        output: str | None = None,
        batch_size: int = 256,
        progress: bool = True,
    ) -> Diversity:
        """How differently the members err; warns of members that are too much alike.

        Args:
            validation: (inputs, targets), as in `fit_weights`.
            output: which of several outputs; the first if None.
            batch_size: samples of a batch for nets.
            progress: whether to show a bar on a terminal.

        Raises:
            DataError: data that do not fit, or an output that there is not.
        """
        found, targets = self._data(validation, "validation", batch_size, progress)
        name = next(iter(self.tasks)) if output is None else output
        if name not in self.tasks:
            raise DataError(
                f"diversity: expected an output among {list(self.tasks)}, got {name!r}.\n"
                "  To mend it: name one of these."
            )
        found_diversity = Diversity.of(found, targets, name)
        warn_of_look_alikes(found_diversity)
        return found_diversity

    def pooled_by(self, pooling: Pooling | Mapping[str, Pooling]) -> Ensemble:
        """The same members and kept predictions with another pooling, and equal weights."""
        other = Ensemble(dict(self.members.items()), self.tasks, pooling, classes=self.classes)
        other._kept = self._kept
        other.tested = self.tested
        return other.to(self.weight.device)

    def batched(self) -> BatchedEnsemble:
        """A copy for inference, in which members of the same architecture are one call.

        Raises:
            DataError: members that are not modules.
        """
        self.require_modules()
        return BatchedEnsemble(self)

    def save(self, path: str | Path) -> None:
        """Writes nets, weights, poolings and settings to one file, as plain values.

        Estimators and functions cannot be in a file that is safe to load: their kept predictions
        are. `load_ensemble` reads it.

        Args:
            path: of the file; it is whole or not there.
        """
        from torchbp.ensemble.files import save_ensemble

        save_ensemble(self, path)

    def kept_by_rows(self, name: str) -> list[dict[str, Any]]:
        """All that is kept of a member: for each call the samples and the columns by output."""
        return self._kept.tables_of(name)

    def keep_by_rows(self, name: str, tables: Sequence[Mapping[str, Any]]) -> None:
        """Takes what `kept_by_rows` gave, for a member that is not here."""
        for table in tables:
            key = self._key(name, table["rows"])
            self._kept.put(name, key, table["rows"], table["columns"], to_file=False)

    def require_modules(self) -> None:
        """Refuses to be a module with members that are none.

        Raises:
            DataError: estimators or functions among the members.
        """
        others = [name for name in self.names if self.member(name).net is None]
        if others:
            raise DataError(
                f"ensemble: expected members that are all nn.Modules, got others: {others}.\n"
                "  To mend it: call predict, which takes members of any kind."
            )

    def member(self, name: str) -> Member:
        """The member of a name."""
        member = self.members[name]
        assert isinstance(member, Member)
        return member

    def _pooled(self, output: str, values: Tensor, weights: Tensor) -> Tensor:
        pooling = self.poolings[output]
        assert isinstance(pooling, Pooling)
        return pooled(pooling, values, weights.to(values.device), self.tasks[output])

    def _found(self, inputs: Any, batch_size: int, progress: bool) -> Predictions:
        """The predictions for inputs, or those that were given."""
        if not isinstance(inputs, Predictions):
            return self.predictions(inputs, batch_size=batch_size, progress=progress)
        if (inputs.names, inputs.tasks) != (self.names, self.tasks):
            raise DataError(
                f"predictions: expected those of {list(self.names)} for {self.tasks}, got "
                f"{list(inputs.names)} for {inputs.tasks}.\n"
                "  To mend it: pass the predictions of these members, in their order."
            )
        return inputs

    def _data(
        self, data: Any, what: str, batch_size: int, progress: bool
    ) -> tuple[Predictions, dict[str, Tensor]]:
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise DataError(
                f"{what}: expected (inputs, targets), got {type(data).__name__}.\n"
                f"  To mend it: pass {what}=(x, y)."
            )
        found = self._found(data[0], batch_size, progress)
        targets = targets_by_output(
            data[1], found.values, self.tasks, self.classes, f"{what} targets"
        )
        return found, targets

    def _predicted(
        self, name: str, inputs: Any, rows: Tensor, batch_size: int
    ) -> dict[str, Tensor]:
        member = self.member(name)
        key = self._key(name, rows)
        kept = self._kept.get(name, key, rows, self.tasks)
        if kept is not None:
            return kept
        who = f"member {name!r}"
        outputs = member.predict(inputs, self.tasks, batch_size)
        columns = member.columns(outputs, self.tasks, who)
        order = self._orders.get(name)
        columns = {
            output: (own if order is None else own[:, order]).to("cpu", torch.float64)
            for output, own in columns.items()
        }
        self._kept.put(name, key, rows, columns, to_file=member.has_fingerprint())
        return columns

    def _key(self, name: str, rows: Tensor) -> str:
        """Tells the samples and the state of a member, of a function which one it is."""
        member = self.member(name)
        return key_of(rows, member.fingerprint() or f"{id(member.source)}")

    def _known_rows(self) -> list[Tensor]:
        """The samples that weights or poolings were learned on."""
        learned = [getattr(pooling, "rows", None) for pooling in self.poolings.values()]
        own = [] if self.validation is None else [self.validation.rows]
        return [*own, *(rows for rows in learned if isinstance(rows, Tensor))]

    def _require_weights(self, output: str) -> None:
        pooling = self.poolings[output]
        assert isinstance(pooling, Pooling)
        if not pooling.takes_weights:
            raise DataError(
                f"fit_weights: expected a pooling with weights, got {type(pooling).__name__} for "
                f"{output!r}, which has learned its own.\n"
                "  To mend it: search=None measures it as it is."
            )

    def _check_poolings(self, found: Predictions) -> None:
        for output, task in self.tasks.items():
            pooling = self.poolings[output]
            assert isinstance(pooling, Pooling)
            pooling.check(found.values[output], task, f"{output!r}")

    def _scores(self, output: str, found: Predictions, target: Tensor) -> Scores:
        i, values = list(self.tasks).index(output), found.values[output]
        answers = dict(zip(self.names, values, strict=True))
        uniform = torch.full((len(self.names),), 1 / len(self.names), dtype=torch.float64)
        mean = pooled(Mean(), values, uniform, self.tasks[output])
        own = self._pooled(output, values, self.weight[i].double())
        return Scores.of(answers, mean, own, target, self.tasks[output])

    def _measure(self, found: Predictions, targets: Mapping[str, Tensor]) -> None:
        losses = {output: self._scores(output, found, targets[output]) for output in self.tasks}
        self.validation = Validation(found.rows, losses)


class _LossOfWeights:
    """The loss of an output as a function of the weights, a numpy array."""

    def __init__(
        self, ensemble: Ensemble, output: str, found: Predictions, target: Tensor, loss: Loss
    ) -> None:
        self.ensemble, self.output, self.loss = ensemble, output, loss
        self.values, self.target = found.values[output], target

    def __call__(self, weights: Any) -> float:
        own = torch.as_tensor(weights, dtype=torch.float64)
        result = self.ensemble._pooled(self.output, self.values, own)
        return float(self.loss(result, self.target))


def _member(source: Any) -> Member:
    return source if isinstance(source, Member) else Member(source)
