"""Write the logs of each epoch to a CSV file."""

import csv
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from torchbp.train import Callback, Trainer


class CSVLogger(Callback):
    """Writes a line for each epoch: its index and its logs.

    Args:
        path: of the file; missing folders are made.
        append: whether to go on in a file that is there; otherwise it is replaced.

    Raises:
        OSError: the file cannot be written; before the first epoch, if that is known then.

    Example:
        >>> import pathlib, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name) / "log.csv"
        >>> trainer = Trainer(nn.Linear(2, 1), nn.MSELoss(), torch.optim.Adam)
        >>> x, y = torch.zeros(4, 2), torch.zeros(4, 1)
        >>> _ = trainer.fit(x, y, epochs=2, callbacks=[CSVLogger(path)], progress=False)
        >>> [line.split(",")[0] for line in path.read_text().splitlines()]
        ['epoch', '0', '1']
        >>> folder.cleanup()

    Columns are those of the first epoch, sorted, and if it had no validation also val_... of
    each. A number that an epoch lacks is NA there. Each line is on the disk before training goes
    on; a run that is resumed first cuts off lines of epochs that it will train again. Only the
    main process writes.

    Differences from Keras: a file that is appended to keeps its columns, whatever the logs have,
    where Keras writes the new ones under the old header; a number without a column is left out
    with a warning, where Keras says nothing. The separator is the comma.
    Source: keras.callbacks.CSVLogger, Keras 3.15.
    """

    def __init__(self, path: str | Path, append: bool = False) -> None:
        self.path = Path(path)
        self.append = append
        self._columns: list[str] = []  # unknown until the first line
        self._size = 0  # of the file, in bytes, with what belongs to this run
        self._is_cut = False

    def on_train_begin(self, trainer: Trainer) -> None:
        """Starts afresh; a file that cannot be written is found now."""
        self._columns, self._size, self._is_cut = [], 0, False
        if trainer.is_main:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                self._size = file.tell() if self.append else 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Writes the line."""
        if not trainer.is_main:
            return
        if not self._is_cut:
            self._cut()
        logs = {"epoch": trainer.epoch, **trainer.logs}
        self._columns = self._columns or self._columns_of_file() or _columns_of(trainer.logs)
        _warn_of_names_without_column(logs, self._columns, self.path)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            _write_line(file, self._columns, logs)
            self._size = file.tell()

    def state_dict(self) -> dict[str, Any]:
        """The columns, and where the lines of this run end in the file."""
        return {"columns": self._columns, "size": self._size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._columns, self._size = list(state["columns"]), state["size"]

    def _cut(self) -> None:
        """Leaves in the file what belongs to this run, or comes before it."""
        size = self.path.stat().st_size
        if size < self._size:
            warnings.warn(
                f"CSVLogger: expected {self._size} bytes of earlier epochs in {self.path}, got "
                f"{size}: some of their lines are lost.",
                stacklevel=2,
            )
        elif size > self._size:
            os.truncate(self.path, self._size)
        self._is_cut = True

    def _columns_of_file(self) -> list[str]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file), [])


def _columns_of(logs: Mapping[str, float]) -> list[str]:
    """Those of the first epoch; validation that comes later finds columns, too."""
    names = sorted(logs)
    if not any(name.startswith("val_") for name in names):
        names += [f"val_{name}" for name in names]
    return ["epoch", *names]


def _write_line(file: TextIO, columns: list[str], logs: Mapping[str, float]) -> None:
    """Adds a line, after a header if the file is empty, and waits until it is on the disk."""
    writer = csv.DictWriter(file, columns, restval="NA", extrasaction="ignore")
    if file.tell() == 0:
        writer.writeheader()
    writer.writerow(logs)
    file.flush()
    os.fsync(file.fileno())


def _warn_of_names_without_column(
    logs: Mapping[str, float], columns: list[str], path: Path
) -> None:
    left_out = [name for name in logs if name not in columns]
    if left_out:
        warnings.warn(
            f"CSVLogger: {path} has no column for {', '.join(left_out)}; they are left out. "
            "Its columns are those of its first epoch.",
            stacklevel=2,
        )
