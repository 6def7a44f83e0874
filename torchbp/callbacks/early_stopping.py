"""Stop training when a monitored number has stopped improving."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from torchbp.callbacks.inspection import whole
from torchbp.callbacks.monitor import Mode, Monitor
from torchbp.callbacks.shards import sharded_like
from torchbp.train import Callback, Trainer


class EarlyStopping(Callback):
    """Stops training when a monitored number has not improved for some epochs.

    Args:
        monitor: the number of the logs to watch.
        min_delta: by how much it must be better than the best to count.
        patience: epochs without an improvement after which training stops; both 0 and 1 stop at
            the first of them.
        mode: "min" or "max"; None decides as `Monitor` says.
        baseline: epochs count as improvements only from here on.
        restore_best_weights: whether the model gets the weights and buffers of its best epoch
            when training ends, also when nothing has stopped it. They are kept where the model
            is, a second copy of it.
        start_from_epoch: the index of the first epoch that is looked at.

    Raises:
        DataError: the mode cannot be decided, or the logs lack the number.

    Example:
        >>> x, y = torch.randn(64, 4), torch.randn(64, 1)
        >>> trainer = Trainer(nn.Linear(4, 1), nn.MSELoss(), torch.optim.Adam)
        >>> stopping = EarlyStopping("loss", patience=2, min_delta=10.0)
        >>> len(trainer.fit(x, y, epochs=9, callbacks=[stopping], progress=False).epochs)
        3
        >>> trainer.stop_reason
        'EarlyStopping: loss has not improved for 2 epochs, the best was epoch 1'

    Differences from Keras: no warning but an error when the logs lack the number, at the first
    epoch's end. Weights are restored also when Ctrl-C ends the training; an exception leaves
    them, as a resumed run needs them. That goes on with the best value, its weights and the
    count of epochs, which Keras starts anew. Decisions are Keras's: also with a baseline a best
    value and its weights are kept that fall short of it, and a first value of NaN stays the best.
    Source: keras.callbacks.EarlyStopping, Keras 3.15.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: Mode | None = None,
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        self.monitor = Monitor("EarlyStopping", monitor, mode, min_delta)
        self.patience = patience
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.best: float | None = None
        self.best_epoch = 0
        self.best_weights: dict[str, Any] = {}
        self.wait = 0

    def on_train_begin(self, trainer: Trainer) -> None:
        """Starts afresh."""
        self.monitor.decide(trainer)
        self.best, self.best_epoch, self.best_weights, self.wait = None, 0, {}, 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Judges the epoch."""
        value = self.monitor.read(trainer.logs)
        if trainer.epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.monitor.is_better(value, self.best):
            self._keep(value, trainer)
            if self.monitor.is_better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience:
            trainer.stop(
                f"EarlyStopping: {self.monitor.name} has not improved for {self.wait} "
                f"epoch{'s' * (self.wait > 1)}, the best was epoch {self.best_epoch + 1}"
            )

    def on_train_end(self, trainer: Trainer) -> None:
        """Gives the model its best weights, unless an exception has ended the training."""
        if self.best_weights and trainer.error is None:
            present = trainer.model.state_dict()
            best = {n: sharded_like(best, present[n]) for n, best in self.best_weights.items()}
            trainer.model.load_state_dict(best)

    def state_dict(self) -> dict[str, Any]:
        """The best value, its epoch and weights, and the epochs since."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_weights": {name: _whole(best) for name, best in self.best_weights.items()},
            "wait": self.wait,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self.best = state["best"]
        self.best_epoch = state["best_epoch"]
        self.best_weights = state["best_weights"]
        self.wait = state["wait"]

    def _keep(self, value: float, trainer: Trainer) -> None:
        self.best, self.best_epoch = value, trainer.epoch
        if self.restore_best_weights:
            self.best_weights = _copied_state(trainer.model)


def _copied_state(model: nn.Module) -> dict[str, Any]:
    """The state_dict of a model, apart from the model."""
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in model.state_dict().items()
    }


def _whole(value: Any) -> Any:
    return whole(value) if isinstance(value, Tensor) else value
