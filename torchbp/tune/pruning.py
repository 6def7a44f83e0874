"""Stop trials that do not promise enough."""

import math
from typing import TYPE_CHECKING

from torchbp.callbacks.monitor import Mode, Monitor
from torchbp.errors import missing_extra
from torchbp.train import Callback, Trainer
from torchbp.train.processes import gather

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


class Pruning(Callback):
    """Reports a number after each epoch to Optuna, and ends the training if its pruner says so.

    `fit` then raises optuna.TrialPruned, after all callbacks have heard the end of the training.
    A `Study` adds this callback itself; it works as well with a study of your own.

    Args:
        trial: of Optuna; in other processes than the first of several it is not asked, and may
            be None.
        monitor: the number of the logs to report.
        mode: "min" or "max"; None decides as `Monitor` says. It is checked against the direction
            of the study by no one.

    Raises:
        DataError: the logs lack the number.
        MissingExtraError: optuna is not installed.

    Example:
        >>> import optuna
        >>> trial = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.0)).ask()
        >>> trainer = Trainer(nn.Linear(1, 1), nn.MSELoss(), torch.optim.Adam)
        >>> x, pruning = torch.ones(4, 1), Pruning(trial, "loss")
        >>> try:
        ...     trainer.fit(x, x, epochs=9, callbacks=[pruning], progress=False)
        ... except optuna.TrialPruned as pruned:
        ...     print(pruned)
        loss was 0.222 after epoch 1 of 9

    Steps are epochs, counted from 1; after the last one there is nothing to be saved, and the
    pruner is not asked. Of several processes the first reports and asks, and all stop after the
    same epoch.
    """

    def __init__(self, trial: "BaseTrial | None", monitor: str, mode: Mode | None = None) -> None:
        self.trial = trial
        self.monitor = Monitor("Pruning", monitor, mode)
        self.reason: str | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Starts afresh."""
        self.reason = None

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Reports, and asks."""
        value = self.monitor.read(trainer.logs)
        is_pruned = False
        if trainer.is_main and self.trial is not None and math.isfinite(value):
            self.trial.report(value, trainer.epoch + 1)
            is_last = trainer.epoch + 1 >= trainer.epochs  # there is nothing left to save
            is_pruned = not is_last and self.trial.should_prune()
        if gather(is_pruned)[0]:
            epoch = f"epoch {trainer.epoch + 1} of {trainer.epochs}"
            self.reason = f"{self.monitor.name} was {value:.3g} after {epoch}"
            trainer.stop(f"Pruning: {self.reason}")

    def on_train_end(self, trainer: Trainer) -> None:
        """Tells Optuna, unless an exception has ended the training."""
        if self.reason is None or trainer.error is not None:
            return
        try:
            from optuna import TrialPruned
        except ImportError as error:
            raise missing_extra("optuna", "tune") from error
        raise TrialPruned(self.reason)
