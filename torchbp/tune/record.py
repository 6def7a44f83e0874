"""What a trial leaves on the disk: its best weights, and what they predict."""

import gc
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.callbacks.inspection import whole
from torchbp.errors import DataError
from torchbp.train.files import write_atomically
from torchbp.train.processes import rank
from torchbp.tune.score import Predicted


class Records:
    """The files of a study's trials.

    Args:
        folder: where they are: 0012.pt with the weights of trial 12, 0012-3.pt with those of its
            fold 3, and beside them .outputs.pt with what they predict for the validation data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save_weights(self, number: int, index: int, model: nn.Module) -> None:
        """Writes the state_dict of a model; of several processes, all must call it."""
        self._write(
            self._path(number, index), {n: _whole(t) for n, t in model.state_dict().items()}
        )

    def save_predicted(self, number: int, index: int, predicted: Predicted) -> None:
        """Writes outputs and targets."""
        self._write(self._path(number, index, ".outputs"), predicted._asdict())

    def weights(self, number: int, index: int) -> dict[str, Any]:
        """The state_dict of a model.

        Raises:
            DataError: the trial has left none.
        """
        return self._read(self._path(number, index), number)

    def predicted(self, number: int, num_rounds: int) -> list[Predicted]:
        """What the models of a trial predict for their validation data.

        Raises:
            DataError: the trial has left none.
        """
        paths = [self._path(number, index, ".outputs") for index in range(num_rounds)]
        return [Predicted(**self._read(path, number)) for path in paths]

    def _path(self, number: int, index: int, kind: str = "") -> Path:
        fold = f"-{index}" if index else ""
        return self._folder / f"{number:04d}{fold}{kind}.pt"

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        if rank() == 0:
            write_atomically(path, lambda file: torch.save(state, file))

    def _read(self, path: Path, number: int) -> dict[str, Any]:
        if not path.exists():
            raise DataError(
                f"Study: expected the file {path} of trial {number}, which is not there.\n"
                "  To mend it: pass the folder that the study has had, or a trial that was trained."
            )
        loaded: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        return loaded


def failure_of(error: BaseException) -> tuple[str, str]:
    """The kind of a failure, and its reason in one line."""
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate" in text:
        return "out of memory", text
    if isinstance(error, FloatingPointError):
        return "not finite", text
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "Ctrl-C"
    return "error", f"{type(error).__name__}: {text}"


def free_memory() -> None:
    """Gives back what a failed trial holds."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _whole(value: Any) -> Any:
    return whole(value).cpu() if isinstance(value, Tensor) else value
