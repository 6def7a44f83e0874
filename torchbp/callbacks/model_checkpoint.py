"""Save the weights, each time or those of the best epochs."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.callbacks.inspection import whole
from torchbp.callbacks.monitor import Mode, Monitor
from torchbp.errors import DataError
from torchbp.train import Callback, Trainer
from torchbp.train.files import write_atomically


class ModelCheckpoint(Callback):
    """Saves the model's state_dict, for `model.load_state_dict(torch.load(path))`.

    Args:
        path: of the file, in which str.format puts in {epoch}, counted from 1, {batch}, counted
            from 1 and only with `every`, and the logs by their names: "best-{val_loss:.3f}.pt".
        monitor: the number of the logs by which epochs are compared, for `save_best_only` and
            `keep`.
        save_best_only: whether only epochs are saved that are better than all before.
        mode: "min" or "max"; None decides as `Monitor` says.
        every: None saves at the end of each epoch; n after each n-th batch, counted across
            epochs, with the means so far as logs, for which it then waits for the device.
        keep: how many files to keep, those of the best epochs; others are deleted once a better
            one is safely written, and an epoch that is none of the best is not saved. None
            keeps all.
        initial_best: what the first epoch has to beat.

    Raises:
        DataError: settings that are not what they should be; a mode that cannot be decided; a
            number that the logs lack.
        OSError, RuntimeError: the file cannot be written; a note tells which are still there.

    Example:
        >>> import pathlib, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name) / "epoch-{epoch}.pt"
        >>> trainer = Trainer(nn.Linear(2, 1), nn.MSELoss(), torch.optim.Adam)
        >>> save = ModelCheckpoint(path)
        >>> x, y = torch.zeros(4, 2), torch.zeros(4, 1)
        >>> _ = trainer.fit(x, y, epochs=2, callbacks=[save], progress=False)
        >>> sorted(torch.load(pathlib.Path(folder.name) / "epoch-2.pt", weights_only=True))
        ['bias', 'weight']
        >>> folder.cleanup()

    Files appear whole or not at all; tensors in them are on the CPU. Several processes give the
    whole model, which the main one writes. The best value outlives a call of `fit`, so that a
    later one does not replace a better file; a resumed run goes on with it.

    Differences from Keras: weights alone are saved, the class is in the source. Without
    `save_best_only` and `keep` the monitored number is not looked at, so that its mode need not
    be known. A number that the logs lack is an error; Keras then saves each time, also with
    batches, whose logs have no val_... (and with save_best_only fails at the second save of the
    first epoch). `keep` is new. Decisions and names are otherwise Keras's: a first value of NaN
    is never beaten, except where `keep` counts it as the worst.
    Source: keras.callbacks.ModelCheckpoint, Keras 3.15.
    """

    def __init__(
        self,
        path: str | Path,
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: Mode | None = None,
        every: int | None = None,
        keep: int | None = None,
        initial_best: float | None = None,
    ) -> None:
        for name, count in {"every": every, "keep": keep}.items():
            _check_count(name, count)
        self.path = str(path)
        self.monitor = Monitor("ModelCheckpoint", monitor, mode)
        self.save_best_only = save_best_only
        self.every = every
        self.keep = keep
        self.best = initial_best
        self._kept: list[tuple[float, str]] = []  # value and path of each file, the best first
        self._num_batches = 0  # since the last that was due

    def on_train_begin(self, trainer: Trainer) -> None:
        """Learns in which direction the number improves."""
        if self._compares:
            self.monitor.decide(trainer)

    def on_batch_end(self, trainer: Trainer) -> None:
        """Saves, if it goes by batches and this one is due."""
        if self.every is None:
            return
        self._num_batches += 1
        if self._num_batches >= self.every:
            self._num_batches = 0
            self._consider(trainer, trainer.current.read(), {"batch": trainer.current.batch + 1})

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Saves, if it goes by epochs."""
        if self.every is None:
            self._consider(trainer, trainer.logs, {})

    def state_dict(self) -> dict[str, Any]:
        """The best value, the files that are kept, and the batches since the last save."""
        return {
            "best": self.best,
            "kept": [list(entry) for entry in self._kept],
            "num_batches": self._num_batches,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self.best = state["best"]
        self._kept = [(value, path) for value, path in state["kept"]]
        self._num_batches = state["num_batches"]

    @property
    def _compares(self) -> bool:
        return self.save_best_only or self.keep is not None

    def _consider(
        self, trainer: Trainer, logs: Mapping[str, float], numbers: Mapping[str, int]
    ) -> None:
        """Saves the model, unless it is to be better and is not."""
        path = self._path(logs, {"epoch": trainer.epoch + 1, **numbers})
        if not self._compares:
            self._save(trainer, path)
            return
        value = self.monitor.read(logs)
        if not self._is_wanted(value):
            return
        if self.monitor.is_better(value, self.best):
            self.best = value
        self._save(trainer, path)
        if self.keep is not None:
            self._delete(trainer, self._rank(value, path, self.keep))

    def _path(self, logs: Mapping[str, float], numbers: Mapping[str, int]) -> str:
        names = {**logs, **numbers}
        try:
            return self.path.format(**names)
        except (KeyError, IndexError) as error:
            raise DataError(
                f"ModelCheckpoint: expected a path of the names {', '.join(names)}, got "
                f"{self.path!r}, whose {error} is none of them.\n"
                "  To mend it: name one of these, or write {{ and }} for braces."
            ) from None

    def _is_wanted(self, value: float) -> bool:
        if self.save_best_only and not self.monitor.is_better(value, self.best):
            return False
        has_room = self.keep is None or len(self._kept) < self.keep
        return has_room or self._is_above(value, self._kept[-1][0])

    def _is_above(self, value: float, other: float) -> bool:
        """Whether a value comes before another among the files that are kept, NaN last."""
        return self.monitor.is_better(value, other) or (math.isnan(other) and not math.isnan(value))

    def _rank(self, value: float, path: str, keep: int) -> list[str]:
        """Puts a new file among those that are kept; the paths of those that no longer are."""
        kept = [entry for entry in self._kept if entry[1] != path]
        place = sum(not self._is_above(value, other) for other, _ in kept)
        kept.insert(place, (value, path))
        self._kept = kept[:keep]
        return [dropped for _, dropped in kept[keep:]]

    def _save(self, trainer: Trainer, path: str) -> None:
        state = _whole_state(trainer.model)
        if not trainer.is_main:
            return
        try:
            write_atomically(Path(path), lambda file: torch.save(state, file))
        except (OSError, RuntimeError) as error:  # torch.save makes one of the other
            safe = ", ".join(kept for _, kept in self._kept) or "all files saved before"
            error.add_note(f"ModelCheckpoint could not write {path}; still there: {safe}")
            raise

    def _delete(self, trainer: Trainer, paths: list[str]) -> None:
        if trainer.is_main:
            for path in paths:
                Path(path).unlink(missing_ok=True)


def _whole_state(model: nn.Module) -> dict[str, Any]:
    """The state_dict on the CPU, put together where processes have parts of it."""
    return {name: _on_cpu(value) for name, value in model.state_dict().items()}


def _on_cpu(value: Any) -> Any:
    return whole(value).cpu() if isinstance(value, Tensor) else value


def _check_count(name: str, count: int | None) -> None:
    if count is not None and (not isinstance(count, int) or count < 1):
        raise DataError(
            f"ModelCheckpoint: expected {name} to be a positive int or None, got {count!r}.\n"
            f"  To mend it: leave it out, or pass {name}=3, for example."
        )
