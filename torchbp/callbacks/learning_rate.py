"""Set the learning rate by a function of the epoch, or by one of torch's schedulers."""

import copy
import numbers
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from torchbp.callbacks.monitor import Monitor
from torchbp.errors import DataError
from torchbp.train import Callback, Trainer


class LearningRateScheduler(Callback):
    """Sets the learning rate of each epoch by a function.

    Args:
        schedule: schedule(epoch, lr) -> lr, called before each epoch with its index and the
            learning rate as it is, for each parameter group.

    Raises:
        DataError: the function returns something else than a number.

    Example:
        >>> x, y = torch.randn(64, 4), torch.randn(64, 1)
        >>> trainer = Trainer(nn.Linear(4, 1), nn.MSELoss(), torch.optim.Adam)
        >>> halve = LearningRateScheduler(lambda epoch, lr: lr / 2 if epoch else lr)
        >>> trainer.fit(x, y, epochs=3, callbacks=[halve], progress=False)["lr"]
        [0.001, 0.0005, 0.00025]

    The logs get "lr", that of the first group. Of several callbacks that change the learning
    rate each finds what the others have left.

    Differences from Keras: the function always takes both arguments, and may return an int. The
    learning rate is a Python float, as torch's optimizers have it, not rounded to float32.
    Source: keras.callbacks.LearningRateScheduler, Keras 3.15.
    """

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        self.schedule = schedule

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Sets the learning rate."""
        for group in param_groups(trainer):
            lr = self.schedule(trainer.epoch, lr_of(group))
            if not isinstance(lr, numbers.Real):
                raise DataError(
                    "LearningRateScheduler: expected schedule(epoch, lr) to return a number, "
                    f"got {lr!r}.\n"
                    "  To mend it: return a float, of a tensor its .item()."
                )
            set_lr(group, float(lr))

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Logs the learning rate."""
        log_lr(trainer)


class TorchScheduler(Callback):
    """Steps a scheduler of `torch.optim.lr_scheduler`.

    Args:
        scheduler: one of the trainer's optimizer, or a function(optimizer) -> scheduler, which is
            called when training begins.
        every: "epoch" steps it at the end of each epoch, "step" after each step of the optimizer.
        monitor: the number of the logs that torch's ReduceLROnPlateau is given, and only it.

    Raises:
        DataError: a scheduler of another optimizer; ReduceLROnPlateau without a number to
            monitor or with every="step", another one with a number; the logs lack the number.

    Example:
        >>> x, y = torch.randn(64, 4), torch.randn(64, 1)
        >>> trainer = Trainer(nn.Linear(4, 1), nn.MSELoss(), torch.optim.Adam)
        >>> decay = TorchScheduler(lambda adam: torch.optim.lr_scheduler.ExponentialLR(adam, 0.5))
        >>> trainer.fit(x, y, epochs=3, callbacks=[decay], progress=False)["lr"]
        [0.001, 0.0005, 0.00025]

    The logs get "lr" of the first parameter group, at the end of the epoch, before the step that
    every="epoch" makes. A later call of `fit` goes on where the scheduler stands. A resumed run
    does so too; functions inside a scheduler (LambdaLR) are not saved, and taken from the one
    that is given.

    Differences from Keras: a LearningRateSchedule of Keras belongs to the optimizer and counts
    its updates: that is every="step". Torch's schedules begin with the optimizer's learning rate.
    """

    def __init__(
        self,
        scheduler: LRScheduler | Callable[[Optimizer], LRScheduler],
        every: Literal["epoch", "step"] = "epoch",
        monitor: str | None = None,
    ) -> None:
        if every not in ("epoch", "step"):
            raise DataError(
                f"TorchScheduler: expected every='epoch' or every='step', got {every!r}.\n"
                "  To mend it: name one of the two."
            )
        self.every = every
        self.monitor = monitor
        self._given = scheduler
        self._made: LRScheduler | None = None
        self._optimizer_steps = False

    @property
    def scheduler(self) -> LRScheduler:
        """The scheduler; a function's one exists from the begin of training on."""
        assert self._made is not None
        return self._made

    def on_train_begin(self, trainer: Trainer) -> None:
        """Makes the scheduler, or checks it."""
        assert trainer.optimizer is not None
        if isinstance(self._given, LRScheduler):
            self._made = self._given
        elif self._made is None or self._made.optimizer is not trainer.optimizer:
            self._made = self._given(trainer.optimizer)
        self._check(trainer.optimizer)
        self._optimizer_steps = False

    def on_gradients(self, trainer: Trainer) -> None:
        """Notes that the optimizer steps after this batch."""
        self._optimizer_steps = True

    def on_batch_end(self, trainer: Trainer) -> None:
        """Steps the scheduler if it goes by steps, and the optimizer has made one."""
        self._follow_optimizer()

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Logs the learning rate, and steps the scheduler if it goes by epochs."""
        self._follow_optimizer()  # gathered gradients may make a last step after the last batch
        log_lr(trainer)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(self._monitored(trainer.logs))
        elif self.every == "epoch":
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's state, and what it has set in the optimizer."""
        groups = self.scheduler.optimizer.param_groups
        return {
            "scheduler": self.scheduler.state_dict(),
            "groups": [{n: copy.copy(g[n]) for n in _SCHEDULED if n in g} for g in groups],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there: also making a scheduler has set the learning rate."""
        self.scheduler.load_state_dict(state["scheduler"])
        groups = self.scheduler.optimizer.param_groups
        for group, saved in zip(groups, state["groups"], strict=True):
            group.update(saved)

    def _monitored(self, logs: Mapping[str, float]) -> float:
        assert self.monitor is not None
        return Monitor("TorchScheduler", self.monitor, mode="min").read(logs)

    def _follow_optimizer(self) -> None:
        if self.every == "step" and self._optimizer_steps:
            self.scheduler.step()
        self._optimizer_steps = False

    def _check(self, optimizer: Optimizer) -> None:
        if self.scheduler.optimizer is not optimizer:
            raise DataError(
                f"TorchScheduler: expected a scheduler of the trainer's optimizer, got "
                f"{type(self.scheduler).__name__} of another one.\n"
                "  To mend it: pass a function that makes it, as in functools.partial("
                "torch.optim.lr_scheduler.StepLR, step_size=10)."
            )
        by_metric = isinstance(self.scheduler, ReduceLROnPlateau)
        if by_metric != (self.monitor is not None) or (by_metric and self.every == "step"):
            raise DataError(
                "TorchScheduler: expected a number to monitor, and every='epoch', for "
                f"ReduceLROnPlateau alone, got {type(self.scheduler).__name__} with "
                f"monitor={self.monitor!r} and every={self.every!r}.\n"
                "  To mend it: monitor='val_loss' for ReduceLROnPlateau, none for the others."
            )


def param_groups(trainer: Trainer) -> list[dict[str, Any]]:
    """The parameter groups of the trainer's optimizer."""
    assert trainer.optimizer is not None
    return trainer.optimizer.param_groups


def lr_of(group: Mapping[str, Any]) -> float:
    """The learning rate of a parameter group; waits for the device if it is a tensor there."""
    return float(group["lr"])


def set_lr(group: dict[str, Any], lr: float) -> None:
    """Gives a parameter group its learning rate, in place where it is a tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def log_lr(trainer: Trainer) -> None:
    """Puts the learning rate of the first parameter group into the logs."""
    trainer.logs["lr"] = lr_of(param_groups(trainer)[0])


_SCHEDULED = ("lr", "momentum", "betas")  # CyclicLR and OneCycleLR change momentum as well
