"""The event files: one run for the training, one for the validation, in the same charts."""

import time
from pathlib import Path
from typing import Any

from torchbp.errors import missing_extra


class Writers:
    """Writers of the runs below a folder, each opened when it is first used.

    Args:
        folder: of all runs.
        first_epoch: the number of the epoch that the training begins with. What an earlier
            training has written in the folder from there on is no longer shown.
        first_step: likewise, the number of the first step.
    """

    def __init__(self, folder: Path, first_epoch: int, first_step: int) -> None:
        self._folder = folder
        self._first = {"batches": first_step}
        self._first_epoch = first_epoch
        self._make = import_summary_writer()
        self._open: dict[str, Any] = {}

    def __getitem__(self, run: str) -> Any:
        """The SummaryWriter of a run."""
        if run not in self._open:
            first = self._first.get(run, self._first_epoch)
            _wait_for_a_name_behind(self._folder / run)
            self._open[run] = self._make(str(self._folder / run), purge_step=first)
        return self._open[run]

    def flush(self) -> None:
        """Brings everything to the files."""
        for writer in self._open.values():
            writer.flush()

    def close(self) -> None:
        """Closes the files."""
        for writer in self._open.values():
            writer.close()


def _wait_for_a_name_behind(folder: Path) -> None:
    """Waits while an event file made now would not be the last one by name.

    TensorBoard reads them in the order of their names, which begin with the second.
    """
    while any(folder.glob(f"events.out.tfevents.{int(time.time()):010d}.*")):
        time.sleep(0.05)


def import_summary_writer() -> Any:
    """The SummaryWriter of torch, without TensorFlow.

    TensorBoard loads TensorFlow, where it is installed, to write to files; that takes seconds and
    a GPU's memory. Here it gets its own stand-in for TensorFlow's files, which it uses where there
    is no TensorFlow, for as long as torch's module is imported and binds the name.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """
    try:
        from tensorboard import compat
        from tensorboard.compat import tensorflow_stub
    except ImportError as error:
        raise missing_extra("tensorboard", "tensorboard") from error
    tensorflow, compat.tf = compat.tf, tensorflow_stub
    try:
        from torch.utils.tensorboard import SummaryWriter
    finally:
        compat.tf = tensorflow
    return SummaryWriter
