"""Lower the learning rate when a monitored number has stopped improving."""

from collections.abc import Mapping
from typing import Any

from torchbp.callbacks.learning_rate import log_lr, lr_of, param_groups, set_lr
from torchbp.callbacks.monitor import Mode, Monitor
from torchbp.errors import DataError
from torchbp.train import Callback, Trainer


class ReduceLROnPlateau(Callback):
    """Multiplies the learning rate by a factor when a number has stopped improving.

    Args:
        monitor: the number of the logs to watch.
        factor: of the new learning rate to the old one, below 1.
        patience: epochs without an improvement after which it is applied.
        min_delta: by how much the number must be better than the best to count.
        cooldown: epochs after a reduction in which none are counted.
        min_lr: the learning rate does not go below it.
        mode: "min" or "max"; None decides as `Monitor` says.

    Raises:
        DataError: a factor of 1 or more; a mode that cannot be decided; the logs lack the number.

    Example:
        >>> x, y = torch.randn(64, 4), torch.randn(64, 1)
        >>> trainer = Trainer(nn.Linear(4, 1), nn.MSELoss(), torch.optim.Adam)
        >>> plateau = ReduceLROnPlateau("loss", factor=0.5, patience=2, min_delta=10.0)
        >>> history = trainer.fit(x, y, epochs=5, callbacks=[plateau], progress=False)
        >>> history["lr"]
        [0.001, 0.001, 0.001, 0.0005, 0.0005]

    The logs get "lr", the learning rate that the epoch had. Every parameter group is reduced by
    itself; a reduction of any starts the cooldown.

    Differences from Keras: the learning rate is a Python float, as torch's optimizers have it,
    and is not rounded to float32 at each step. No warning but an error when the logs lack the
    number. A resumed run goes on with the best value and the counts.
    `torch.optim.lr_scheduler.ReduceLROnPlateau`, which `TorchScheduler` takes, has other rules:
    its patience and cooldown are one epoch longer, and its threshold is a part of the best value
    unless threshold_mode="abs".
    Source: keras.callbacks.ReduceLROnPlateau, Keras 3.15.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        mode: Mode | None = None,
    ) -> None:
        if factor >= 1:
            raise DataError(
                f"ReduceLROnPlateau: expected a factor below 1, got {factor}.\n"
                "  To mend it: factor=0.1 divides the learning rate by 10."
            )
        self.monitor = Monitor("ReduceLROnPlateau", monitor, mode, min_delta)
        self.factor = factor
        self.patience = patience
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.best: float | None = None
        self.wait = 0
        self.cooldown_left = 0

    def on_train_begin(self, trainer: Trainer) -> None:
        """Starts afresh."""
        self.monitor.decide(trainer)
        self.best, self.wait, self.cooldown_left = None, 0, 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Judges the epoch, and lowers the learning rate if it has been long enough."""
        log_lr(trainer)
        value = self.monitor.read(trainer.logs)
        if self.cooldown_left > 0:
            self.cooldown_left -= 1
        if self.monitor.is_better(value, self.best):
            self.best, self.wait = value, 0
        elif self.cooldown_left == 0:
            self.wait += 1
            if self.wait >= self.patience and self._reduce(trainer):
                self.cooldown_left, self.wait = self.cooldown, 0

    def state_dict(self) -> dict[str, Any]:
        """The best value, the epochs since, and those of the cooldown that are left."""
        return {"best": self.best, "wait": self.wait, "cooldown_left": self.cooldown_left}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self.best = state["best"]
        self.wait = state["wait"]
        self.cooldown_left = state["cooldown_left"]

    def _reduce(self, trainer: Trainer) -> bool:
        """Lowers every learning rate that is above the least one; whether there was any."""
        above = [g for g in param_groups(trainer) if lr_of(g) > self.min_lr]
        for group in above:
            set_lr(group, max(lr_of(group) * self.factor, self.min_lr))
        return bool(above)
