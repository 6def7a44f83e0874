"""Several workers at one study: who takes the next trial, and which of them are dead."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from filelock import BaseFileLock
    from optuna.trial import FrozenTrial, Trial

_MAX_RETRIES = 2
_CLAIM_WITHIN = timedelta(seconds=60)


class Worker:
    """A process that runs trials, beside others that share its folder.

    A worker holds the lock of a file as long as it lives; whatever ends it, kill -9 too, the
    operating system lets the lock go. The trials of a worker that is dead are failed, and put
    into the queue again with what they had drawn.

    Args:
        folder: shared by all workers.
    """

    def __init__(self, folder: Path) -> None:
        from filelock import FileLock

        self.name = secrets.token_hex(4)
        self._folder = folder / "workers"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._own = FileLock(self._folder / self.name)
        self.turn: BaseFileLock = FileLock(self._folder / "turn")

    def __enter__(self) -> Worker:
        self._own.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.end_turn()
        self._own.release()
        (self._folder / self.name).unlink(missing_ok=True)

    def begin_turn(self) -> None:
        """Waits until no other worker is about to take a trial."""
        self.turn.acquire()

    def end_turn(self) -> None:
        """Lets others take theirs."""
        self.turn.release(force=True)

    def claim(self, trial: Trial) -> None:
        """Says that the trial is this worker's."""
        trial.set_user_attr("worker", self.name)

    def fail_orphans(self, study: optuna.Study) -> None:
        """Fails the trials of dead workers and queues them again."""
        from optuna.trial import TrialState

        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._is_orphan(trial):
                study._storage.set_trial_user_attr(trial._trial_id, "failure", "killed")
                reason = "the process was killed"
                study._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
                study.tell(trial.number, state=TrialState.FAIL)
                queue_again(study, trial)

    def _is_orphan(self, trial: FrozenTrial) -> bool:
        from filelock import FileLock, Timeout

        name = trial.user_attrs.get("worker")
        if name is None:  # killed between taking it and saying so, or about to say so
            begun = trial.datetime_start
            return begun is not None and datetime.now() - begun > _CLAIM_WITHIN
        if name == self.name:
            return False
        path = self._folder / name
        if not path.exists():
            return True
        lock = FileLock(path)
        try:
            with lock.acquire(timeout=0):
                path.unlink(missing_ok=True)
                return True
        except Timeout:
            return False


def queue_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queues a trial that was cut short, with the values that it had drawn, and its seed.

    One that was cut short three times is given up: it may be what kills its workers.
    """
    import optuna

    retries = [*trial.system_attrs.get("retry_history", ()), trial.number]
    if len(retries) > _MAX_RETRIES:
        return
    kept: dict[str, Any] = {n: v for n, v in trial.user_attrs.items() if n == "seed"}
    again = optuna.trial.create_trial(
        state=optuna.trial.TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=kept | {"retry_of": retries[0]},
        system_attrs=trial.system_attrs | {"retry_history": retries},
    )
    study.add_trial(again)
