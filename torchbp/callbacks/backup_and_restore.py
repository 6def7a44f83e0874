"""A run that survives: its state on the disk, and going on from it bit for bit."""

import signal
import threading
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from torchbp.errors import DataError
from torchbp.train import Callback, Trainer
from torchbp.train.batches import check_positive
from torchbp.train.files import write_atomically
from torchbp.train.processes import gather, num_processes, sum_over_processes

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class BackupAndRestore(Callback):
    """Keeps the state of a run in a folder; started again, the run goes on from there.

    The state is `trainer.state_dict()`: the weights and the history of a run that was killed and
    started again are those of a run that was not, bit for bit on the CPU. A checkpoint is
    written under another name, flushed and renamed, and older ones stay until the new one is
    durable, so that a kill at any moment, or a full disk, costs no more than the steps since the
    last one. A checkpoint that is damaged is found by its checksums and left aside for the one
    before it. On SIGTERM and on Ctrl-C the state is saved after the step at work and training
    ends: `fit` raises SystemExit for SIGTERM, and returns the history for Ctrl-C. When an
    exception ends the training, the state after the last whole step is saved.

    Args:
        folder: of this run alone. A run that has ended is there, too: with more epochs it goes
            on. In several processes all of them must see the folder.
        every: steps between two checkpoints; None saves at the end of each epoch.
        keep: how many checkpoints are kept, the latest ones.

    Raises:
        DataError: the folder cannot be written, its checkpoints are all damaged, or they are of
            another model, optimizer or data.

    Example:
        >>> import tempfile
        >>> x, y = torch.randn(64, 4), torch.randn(64, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for epochs in (2, 3):  # as if the second run were started after a power cut
        ...         trainer = Trainer(nn.Linear(4, 1), nn.MSELoss(), torch.optim.Adam)
        ...         backup = BackupAndRestore(folder)
        ...         history = trainer.fit(x, y, epochs=epochs, callbacks=[backup], progress=False)
        >>> history.epochs
        [0, 1, 2]

    Differences from Keras: a run goes on within an epoch at the very batch, with random states,
    optimizer, callbacks and history; a checkpoint stays when training has ended; several are
    kept, and a damaged one is noticed.
    """

    def __init__(self, folder: str | Path, every: int | None = None, keep: int = 2) -> None:
        check_positive("every", every)
        check_positive("keep", keep)
        self.folder = Path(folder)
        self.every = every
        self.keep = keep
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}
        self._saved_step = 0

    def on_train_begin(self, trainer: Trainer) -> None:
        """Goes on from the latest checkpoint that is whole."""
        self._signal, self._saved_step = None, 0
        if trainer.is_main:
            self._prepare_folder()
        state = self._latest_state()
        if state is not None:
            trainer.load_state_dict(state)
            self._saved_step = trainer.global_step
        self._listen_to_signals()

    def on_checkpoint(self, trainer: Trainer) -> None:
        """Saves the state if it is time to, or if the process is asked to leave."""
        is_asked = self._are_asked_to_leave()
        is_time = self.every is not None and trainer.global_step % self.every == 0
        if is_asked or is_time or not trainer.is_within_epoch:
            self._save(trainer)
        if is_asked:
            trainer.stop(_name_of(self._signal), finish_epoch=False)

    def on_train_end(self, trainer: Trainer) -> None:
        """Saves what an exception would have cost, and leaves if the process was asked to."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
        is_ahead = trainer.is_between_steps and trainer.global_step > self._saved_step
        if trainer.error is not None and is_ahead and num_processes() == 1:
            self._save(trainer)
            trainer.error.add_note(
                f"the state after step {self._saved_step} is saved in {self.folder}"
            )
        if self._signal == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)

    def _prepare_folder(self) -> None:
        """Finds out before the first step whether the folder can be written."""
        try:
            write_atomically(self.folder / "writable", lambda file: None)
            (self.folder / "writable").unlink()
            for leftover in self.folder.glob(".*.tmp"):  # of a process that was killed
                leftover.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(
                f"BackupAndRestore: expected a folder that can be written, got {self.folder}: "
                f"{error}.\n"
                "  To mend it: choose another folder, or make room for it."
            ) from error

    def _latest_state(self) -> Mapping[str, Any] | None:
        """The state in the newest checkpoint that is whole; the same in all processes."""
        whole = next((path for path in reversed(self._checkpoints()) if _is_whole(path)), None)
        (chosen, *_) = gather(None if whole is None else whole.name)
        if chosen is not None:
            state: Mapping[str, Any] = torch.load(
                self.folder / chosen, map_location="cpu", weights_only=True
            )
            return state
        if self._checkpoints():
            raise DataError(
                f"BackupAndRestore: expected a whole checkpoint in {self.folder}, got damaged "
                f"ones: {', '.join(path.name for path in self._checkpoints())}.\n"
                "  To mend it: bring one back from elsewhere, or start anew in another folder."
            )
        return None

    def _save(self, trainer: Trainer) -> None:
        state = trainer.state_dict()
        path = self.folder / f"step-{trainer.global_step:09d}.pt"
        if trainer.is_main:
            try:
                write_atomically(path, lambda file: torch.save(state, file))
            except (OSError, RuntimeError) as error:  # what torch.save makes of a full disk
                self._warn(path, error)
                return
            self._remove_older(path)
        self._saved_step = trainer.global_step

    def _remove_older(self, newest: Path) -> None:
        older = [path for path in self._checkpoints() if path.name < newest.name]
        for path in older[: max(0, len(older) + 1 - self.keep)]:
            path.unlink(missing_ok=True)

    def _warn(self, path: Path, error: Exception) -> None:
        safe = self._checkpoints()
        warnings.warn(
            f"BackupAndRestore: {path} could not be written: {error}; training goes on, and "
            f"{f'{safe[-1].name} is still safe' if safe else 'no checkpoint is there yet'}.\n"
            "  To mend it: make room on the disk before the next checkpoint.",
            stacklevel=2,
        )

    def _checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))

    def _are_asked_to_leave(self) -> bool:
        """Whether a signal has come, to any of the processes."""
        if num_processes() == 1:
            return self._signal is not None
        number = int(sum_over_processes(torch.tensor(self._signal or 0)).item())
        self._signal = self._signal or (signal.SIGTERM if number else None)
        return number > 0

    def _listen_to_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():  # no other can
            self._handlers = {number: signal.signal(number, self._hear) for number in _SIGNALS}

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._signal is not None:
            raise KeyboardInterrupt  # asked twice
        self._signal = number


def _is_whole(path: Path) -> bool:
    """Whether a checkpoint is what was written; says so if it is not."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        damaged = str(error)
    if damaged is not None:
        warnings.warn(
            f"BackupAndRestore: {path} is damaged ({damaged}) and left aside for the checkpoint "
            "before it.",
            stacklevel=2,
        )
    return damaged is None


def _name_of(number: int | None) -> str:
    return "a signal" if number is None else signal.Signals(number).name
