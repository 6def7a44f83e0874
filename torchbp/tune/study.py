"""A search for the best model, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from torchbp.callbacks.monitor import Mode, Monitor
from torchbp.errors import DataError
from torchbp.train import Trainer
from torchbp.train.objectives import name_of
from torchbp.train.processes import gather, join_processes, rank
from torchbp.tune.guard import Report, make_report, optimism
from torchbp.tune.objective import Objective, Order, Task, build, seeded
from torchbp.tune.plan import Search
from torchbp.tune.record import Records, failure_of, free_memory
from torchbp.tune.score import Score
from torchbp.tune.split import Split
from torchbp.tune.storage import import_optuna, open_storage, quiet_optuna
from torchbp.tune.workers import Worker, queue_again

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial

_NOT_COUNTED = ("killed", "interrupted")  # these trials are queued again
_HOPELESS = 5  # failures without a single success


class Study:
    """Searches for the model that is best on the validation data, and keeps the test data closed.

    Args:
        search: a function from an Optuna trial to a `Plan`; `Space.search` makes one.
        split: the data.
        loss: of the trainings, as of `Trainer`; for models with one output.
        score: a function(output, target) -> scalar, or an object of torchmetrics, that trials
            are compared by, on the validation data; None takes the loss.
        mode: "min" or "max"; None decides from the score's name, as `Monitor` says.
        cost: a function(model, inputs) -> float to make small as well, such as `num_parameters`
            or `latency`.
        storage: a path of an SQLite file, or of a journal file if it ends in .journal or .log;
            the URL of a database that many machines reach; or a storage of Optuna.
        name: of the study in the storage.
        folder: for the weights of the trials; None takes one beside the file.
        sampler: of Optuna; None takes TPE, or NSGA-II with a cost.
        pruner: of Optuna; None prunes nothing.
        epochs: of a training, unless its plan says otherwise.
        seed: trial n draws its weights and batches from seed + n.
        device: where models are trained.

    Attributes:
        optuna: the ordinary optuna.Study underneath.

    Raises:
        DataError: a storage that is locked or something else, a study of other data or another
            score, arguments that do not go together.
        MissingExtraError: optuna is not installed.

    Example:
        >>> import tempfile
        >>> from functools import partial
        >>> from torchbp.tune import Plan, Split, Study
        >>> folder = tempfile.TemporaryDirectory()
        >>> x = torch.randn(200, 4)
        >>> def search(trial):
        ...     lr = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
        ...     return Plan(nn.Linear(4, 2), partial(torch.optim.Adam, lr=lr))
        >>> study = Study(
        ...     search,
        ...     Split(x, (x[:, 0] > 0).long()),
        ...     nn.CrossEntropyLoss(),
        ...     storage=f"{folder.name}/study.db",
        ...     epochs=2,
        ... )
        >>> study.run(3, progress=False)
        >>> study.best.number in range(3), study.rebuild()
        (True, Linear(in_features=4, out_features=2, bias=True))
        >>> folder.cleanup()

    A trial's score is that of its best epoch, and so are the weights that it leaves. A trial that
    fails, runs out of memory, or whose loss is not finite is recorded with the reason
    (`trial.user_attrs["failure"]` and `["reason"]`), and the search goes on.

    The same program, started again with the same storage, goes on; started several times at once
    it searches in parallel. Trials of a process that was killed are run again, twice at most.
    A sampler with a seed repeats a search only if one process runs it without a break: whoever
    comes to trials of others draws anew, as it would suggest again what they have had.

    Under torchrun the processes train each trial together. The first one asks Optuna; an
    exception that arises in only one of them ends them all.
    """

    def __init__(
        self,
        search: Search,
        split: Split,
        loss: Any,
        *,
        score: Callable[[Any, torch.Tensor], Any] | None = None,
        mode: Mode | None = None,
        cost: Callable[[nn.Module, Any], float] | None = None,
        storage: str | Path | optuna.storages.BaseStorage = "study.db",
        name: str = "study",
        folder: str | Path | None = None,
        sampler: optuna.samplers.BaseSampler | None = None,
        pruner: optuna.pruners.BasePruner | None = None,
        epochs: int = 10,
        seed: int = 0,
        device: str | torch.device | None = None,
    ) -> None:
        import_optuna()
        if cost is not None and pruner is not None:
            raise DataError(
                "Study: expected a pruner or a cost, got both; Optuna cannot prune trials that "
                "have two objectives.\n"
                "  To mend it: leave one of them out."
            )
        named = {} if score is None else {name_of(score): score}
        self.monitor = f"val_{next(iter(named), 'loss')}"
        rises = _rises(self.monitor, mode, named)
        own = join_processes(None if device is None else torch.device(device))
        decided: Mode = "max" if rises else "min"
        self._task = Task(
            search, split, loss, named, self.monitor, decided, cost, epochs, seed, own
        )
        self.folder = Path(folder) if folder is not None else _folder_beside(storage, name)
        self.cost_name = None if cost is None else name_of(cost)
        self.split, self.score = split, Score(loss if score is None else score, rises)
        self.records = Records(self.folder)
        directions = ["maximize" if rises else "minimize", *(["minimize"] if cost else [])]
        settings = {"study_name": name, "sampler": sampler, "pruner": pruner or _no_pruner()}
        for turn in range(2):  # the first process makes what the others find
            if min(rank(), 1) == turn:
                with quiet_optuna():
                    self.optuna = _open(storage, directions, self._identity(), settings)
            gather(None)

    def run(
        self,
        n_trials: int | None = None,
        *,
        epochs: int | None = None,
        timeout_s: float | None = None,
        progress: bool = True,
    ) -> None:
        """Runs trials until the study has as many as it is to have.

        Args:
            n_trials: of the whole study, those of earlier runs and of other processes included.
            epochs: training epochs of the whole study, after which no trial is begun.
            timeout_s: seconds of this run, after which no trial is begun.
            progress: whether to show a bar, and a line for each trial.

        Raises:
            DataError: nothing says when to end, or nothing but failures has come.

        Ctrl-C ends the run; the trial that it cuts short is run again in the next one.
        """
        if n_trials is None and epochs is None and timeout_s is None:
            raise DataError(
                "Study.run: expected n_trials, epochs or timeout_s, got none, which has no end.\n"
                "  To mend it: study.run(50), for example."
            )
        if rank() > 0:
            self._follow()
            return
        try:
            with quiet_optuna(), Worker(self.folder) as worker:
                self._lead(worker, n_trials, epochs, timeout_s, progress)
        finally:
            gather(None)

    @property
    def best(self) -> FrozenTrial:
        """The trial with the best score on the validation data.

        Raises:
            DataError: no trial is complete.
        """
        better = max if self.score.rises else min
        return better(self.complete(), key=lambda trial: trial.values[0])

    @property
    def front(self) -> list[FrozenTrial]:
        """With a cost: the trials to which no other is better in both numbers, cheapest first."""
        self.complete()
        return sorted(self.optuna.best_trials, key=lambda trial: trial.values[-1])

    def complete(self) -> list[FrozenTrial]:
        """The trials that have a score.

        Raises:
            DataError: there are none.
        """
        trials = self.optuna.get_trials(deepcopy=False)
        complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
        if not complete:
            raise DataError(
                f"Study {self.optuna.study_name!r}: expected at least one trial that is complete, "
                f"got {len(trials)} trials and none of that kind.{_reasons(trials)}\n"
                "  To mend it: study.run(20), for example."
            )
        return complete

    def rebuild(self, number: int | None = None, fold: int = 0) -> nn.Module:
        """The model of a trial with its best weights, in evaluation mode.

        Args:
            number: of the trial; None takes the best.
            fold: of several.

        Raises:
            DataError: there is no such trial, or it has left no weights.
        """
        trial = self.best if number is None else self._trial(number)
        weights = self.records.weights(trial.number, fold)
        order = Order(trial.number, dict(trial.params), trial.user_attrs["seed"] + fold)
        with seeded(order.seed, self._task.device):
            model = build(self._task.search, order).model
        model.load_state_dict(weights)
        return model.eval()

    def optimism(self) -> float:
        """By how much the best validation score is expected to be too good, without the test set.

        It grows with the number of trials and falls with the number of validation samples.

        Raises:
            DataError: no trial is complete.

        Source: BBC-CV, Tsamardinos et al. 2018, https://doi.org/10.1007/s10994-018-5714-4; see
        `torchbp.tune.guard`.
        """
        return optimism(self.complete(), self.records, self.score, self.split.num_rounds)

    def report(self, number: int | None = None) -> Report:
        """Opens the test set and says what the chosen trial is worth.

        It is meant to be called once, when the search is over. Each opening is recorded in the
        storage, and told by this and each later report.

        Args:
            number: of the trial; None takes the best one.

        Raises:
            DataError: no trial is complete, or there is no such trial.
        """
        trial = self.best if number is None else self._trial(number)
        models = [self.rebuild(trial.number, fold) for fold in range(self.split.num_rounds)]
        trainers = [Trainer(model, device=self._task.device) for model in models]
        return make_report(self, trial, trainers)

    def page(self, path: str | Path) -> Path:
        """Writes the search as one HTML file with its pictures in it; it opens no test set.

        Args:
            path: of the file.

        Raises:
            DataError: no trial is complete.
            MissingExtraError: matplotlib is not installed.
        """
        from torchbp.tune.page import write_page

        return write_page(self, Path(path))

    def _lead(
        self,
        worker: Worker,
        n_trials: int | None,
        epochs: int | None,
        timeout_s: float | None,
        progress: bool,
    ) -> None:
        from torchbp.tune.progress import SearchProgress

        with SearchProgress(self.monitor, n_trials or epochs, progress) as bar:
            objective = Objective(self._task, self.records, (bar,))

            def between(study: optuna.Study, trial: FrozenTrial | None = None) -> None:
                """With the turn taken, so that no two workers take the last trial."""
                if trial is not None:
                    bar.end_trial(study, trial)
                worker.begin_turn()
                worker.fail_orphans(study)
                count, spent = _progress(study)
                bar.advance(count if n_trials is not None else spent)
                self._check_hope()
                if (n_trials is not None and count >= n_trials) or (epochs and spent >= epochs):
                    raise _EnoughError

            try:
                between(self.optuna)
                if _has_begun(self.optuna):
                    self.optuna.sampler.reseed_rng()
                self.optuna.optimize(
                    lambda trial: self._run_trial(objective, worker, trial),
                    timeout=timeout_s,
                    catch=(Exception,),
                    callbacks=[between],
                )
            except _EnoughError:
                return
            except KeyboardInterrupt:
                return

    def _run_trial(
        self, objective: Objective, worker: Worker, trial: Trial
    ) -> float | tuple[float, float]:
        """A trial, and why it failed if it did."""
        from optuna import TrialPruned

        worker.claim(trial)
        worker.end_turn()
        try:
            return objective.run(trial)
        except TrialPruned:
            raise
        except (Exception, KeyboardInterrupt) as error:
            kind, reason = failure_of(error)
            trial.set_user_attr("failure", kind)
            trial.set_user_attr("reason", reason[:1000])
            if isinstance(error, KeyboardInterrupt):
                queue_again(self.optuna, self._trial(trial.number))
            free_memory()
            raise

    def _follow(self) -> None:
        """Trains what the first process says, until it says no more."""
        from optuna import TrialPruned

        objective = Objective(self._task, self.records)
        while (order := gather(None)[0]) is not None:
            try:
                objective.follow(order)
            except (TrialPruned, Exception):  # the first process records it
                free_memory()

    def _trial(self, number: int) -> FrozenTrial:
        trials = self.optuna.get_trials(deepcopy=False)
        if not 0 <= number < len(trials):
            raise DataError(
                f"Study: expected the number of a trial, 0 to {len(trials) - 1}, got {number}.\n"
                "  To mend it: study.optuna.trials lists them."
            )
        return trials[number]

    def _check_hope(self) -> None:
        trials = self.optuna.get_trials(deepcopy=False)
        failed = [trial for trial in trials if _is_failure(trial)]
        has_hope = any(trial.state.name in ("COMPLETE", "PRUNED") for trial in trials)
        if len(failed) >= _HOPELESS and not has_hope:
            raise DataError(
                f"Study: expected some trials to succeed, got {len(failed)} and all failed."
                f"{_reasons(failed)}\n"
                "  To mend it: see whether the search function or its ranges are at fault."
            )

    def _identity(self) -> dict[str, Any]:
        """What must be the same when a study is taken up again."""
        task = self._task
        return {
            "data": self.split.fingerprint(),
            "score": f"{task.monitor} ({task.mode})",
            "cost": self.cost_name,
            "rounds": self.split.num_rounds,
        }


class _EnoughError(Exception):
    """The search has come to its end."""


def _open(
    storage: Any, directions: Sequence[str], identity: dict[str, Any], settings: dict[str, Any]
) -> optuna.Study:
    """The study in the storage, new or as it was left.

    Raises:
        DataError: it is of other data or another score, or was not made here.
    """
    optuna = import_optuna()
    study = optuna.create_study(
        storage=open_storage(storage, queue_again),
        directions=list(directions),
        load_if_exists=True,
        **settings,
    )
    found = study.user_attrs.get("torchbp")
    if found is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("torchbp", identity)
    elif found != identity:
        said = "one that something else has made" if found is None else f"one of {found}"
        raise DataError(
            f"Study: expected the study {settings['study_name']!r} in the storage to be one of "
            f"{identity}, got {said}.\n"
            "  To mend it: pass the same data, seeds and score as then, or another name."
        )
    return study


def _progress(study: optuna.Study) -> tuple[int, int]:
    """Trials that are taken and not to be run again, and epochs that were trained."""
    trials = study.get_trials(deepcopy=False)
    count = sum(
        trial.state.name in ("COMPLETE", "PRUNED", "RUNNING") or _is_failure(trial)
        for trial in trials
    )
    return count, sum(trial.user_attrs.get("epochs", 0) for trial in trials)


def _has_begun(study: optuna.Study) -> bool:
    return any(trial.state.name != "WAITING" for trial in study.get_trials(deepcopy=False))


def _is_failure(trial: FrozenTrial) -> bool:
    return trial.state.name == "FAIL" and trial.user_attrs.get("failure") not in _NOT_COUNTED


def _reasons(trials: Sequence[FrozenTrial]) -> str:
    """The reasons of failures, each once."""
    told = [
        f"{trial.user_attrs['failure']}: {trial.user_attrs['reason']}"
        for trial in trials
        if "reason" in trial.user_attrs
    ]
    return "".join(f"\n  - {reason}" for reason in dict.fromkeys(told))


def _rises(monitor: str, mode: Mode | None, metrics: dict[str, Any]) -> bool:
    judge = Monitor("Study", monitor, mode)
    with_metrics: Any = SimpleNamespace(metrics=metrics)  # all that it looks at of a trainer
    judge.decide(with_metrics)
    return judge.is_better(1.0, 0.0)


def _no_pruner() -> optuna.pruners.BasePruner:
    from optuna.pruners import NopPruner

    return NopPruner()


def _folder_beside(storage: Any, name: str) -> Path:
    if not isinstance(storage, str | Path) or "://" in str(storage):
        raise DataError(
            f"Study: expected a folder for the weights beside the storage {storage!r}, got none.\n"
            "  To mend it: pass folder='weights'; of several machines, one that all reach."
        )
    path = Path(storage)
    return path.with_name(f"{path.stem}-trials") / name
