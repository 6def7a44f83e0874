"""What a training run has logged, epoch by epoch."""

from collections.abc import Iterator, Mapping


class History(Mapping[str, list[float]]):
    """The logs of each epoch: a read-only dict of name -> one float per epoch.

    `dict(history)` is a plain dict, `history.epochs` the indices of the epochs, which start at
    the run's `initial_epoch`. A number that only some epochs have has a shorter list.

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

    def append(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Adds the logs of an epoch."""
        self.epochs.append(epoch)
        for name, value in logs.items():
            self._logs.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> list[float]:
        if name not in self._logs:
            raise KeyError(
                f"{name!r} was not logged; the history has {', '.join(self) or 'nothing'}"
            )
        return self._logs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._logs)

    def __len__(self) -> int:
        return len(self._logs)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.items())
        return f"History({len(self.epochs)} epochs, the last: {last or 'nothing'})"
