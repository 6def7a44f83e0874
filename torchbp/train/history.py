"""What a training run has logged, epoch by epoch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchbp.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History(Mapping[str, list[float]]):
    """The logs of each epoch: a read-only dict of name -> one float per epoch.

    `dict(history)` is a plain dict, `history.epochs` the indices of the epochs, which start at
    the run's `initial_epoch`. A number that only some epochs have has a shorter list;
    `history.epochs_of(name)` tells which they are.

    Raises:
        KeyError: a name that no epoch has logged; the message lists those there are.

    Example:
        >>> history = History()
        >>> history.append(0, {"loss": 0.5, "val_loss": 0.75})
        >>> history["val_loss"], history.epochs
        ([0.75], [0])
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self._logs: dict[str, list[float]] = {}
        self._epochs_of: dict[str, list[int]] = {}

    def append(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Adds the logs of an epoch, as floats.

        Raises:
            DataError: a value that is no number.
        """
        numbers = {name: _as_float(name, value) for name, value in logs.items()}
        self.epochs.append(epoch)
        for name, value in numbers.items():
            self._logs.setdefault(name, []).append(value)
            self._epochs_of.setdefault(name, []).append(epoch)

    def epochs_of(self, name: str) -> list[int]:
        """The indices of the epochs that have logged a name, one for each of its numbers.

        Raises:
            KeyError: no epoch has logged it.

        Example:
            >>> history = History()
            >>> history.append(0, {"loss": 0.5})
            >>> history.append(1, {"loss": 0.4, "val_loss": 0.7})
            >>> history.epochs_of("val_loss")
            [1]
        """
        self._require(name)
        return self._epochs_of[name]

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Curves of all that was logged: one panel for each name, training and validation in it.

        Epochs are counted from 1, as the progress bar counts them. The best epoch, the one with
        the lowest `val_loss`, or `loss` without validation, is marked in each panel, and so are
        the epochs from which on another learning rate is in force, if `lr` was logged. What is
        not finite stands as a cross on the lower edge.

        Args:
            path: a .png or .svg file to write as well.

        Returns:
            The figure; nothing of pyplot, nor of the settings, is touched.

        Raises:
            DataError: a history without numbers, or a path with another suffix.
            MissingExtraError: matplotlib is not installed.

        Example:
            >>> history = History()
            >>> history.append(0, {"loss": 0.5, "val_loss": 0.75, "accuracy": 0.5})
            >>> [axes.get_title(loc="left") for axes in history.plot().axes]
            ['loss', 'accuracy']
        """
        from torchbp.train.plot import plot_history

        return plot_history(self, path)

    def state_dict(self) -> dict[str, Any]:
        """All of it as lists, numbers and strings, from which `load_state_dict` makes it anew.

        Example:
            >>> history = History()
            >>> history.append(3, {"loss": 0.5})
            >>> history.state_dict()
            {'epochs': [3], 'logs': {'loss': [0.5]}, 'epochs_of': {'loss': [3]}}
        """
        return {
            "epochs": list(self.epochs),
            "logs": {name: [float(value) for value in own] for name, own in self._logs.items()},
            "epochs_of": {name: list(epochs) for name, epochs in self._epochs_of.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes what `state_dict` gave in the place of all that it holds."""
        self.epochs = list(state["epochs"])
        self._logs = {name: list(own) for name, own in state["logs"].items()}
        self._epochs_of = {name: list(epochs) for name, epochs in state["epochs_of"].items()}

    def __getitem__(self, name: str) -> list[float]:
        self._require(name)
        return self._logs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._logs)

    def __len__(self) -> int:
        return len(self._logs)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.items())
        return f"History({len(self.epochs)} epochs, the last: {last or 'nothing'})"

    def _require(self, name: str) -> None:
        if name not in self._logs:
            raise KeyError(
                f"{name!r} was not logged; the history has {', '.join(self) or 'nothing'}"
            )


def _as_float(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(
            f"logs[{name!r}]: expected a number, got {type(value).__name__}.\n"
            "  To mend it: put one number for each epoch into trainer.logs."
        ) from None
