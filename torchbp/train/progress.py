"""The progress bar, drawn by rich."""

from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torchbp.train.callback import Callback

if TYPE_CHECKING:
    from torchbp.train.trainer import Trainer

_SECONDS_BETWEEN_READS = 0.25
_READS_TO_WORK = 1 / 20


class ProgressBar(Callback):
    """A bar for the pass that goes on, with the means so far and the rate; a line for each epoch.

    Reading the means waits for the device. It is done at most every quarter of a second, and so
    seldom that it takes at most a twentieth of the time, whatever the metrics cost. Where the
    output is not a terminal there is no bar, and nothing is read before an epoch's end.

    Args:
        console: the rich.console.Console to draw on; standard output if None.
    """

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console

        self._console = console or Console()
        self._bar = _make_bar(self._console)
        self._tasks: list[Any] = []
        self._next_read = 0.0
        self._epoch_began = 0.0
        self._last_step_ended = 0.0

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._tasks:
            self._close()

    def on_epoch_begin(self, trainer: "Trainer") -> None:
        """Starts the bar of the epoch."""
        self._epoch_began = monotonic()
        self._open(trainer, f"epoch {trainer.epoch + 1}/{trainer.epochs}")

    def on_batch_begin(self, trainer: "Trainer") -> None:
        """Starts the bar of an epoch that is resumed in its midst."""
        if not self._tasks:
            self.on_epoch_begin(trainer)

    def on_batch_end(self, trainer: "Trainer") -> None:
        """Moves the bar, if it is time to."""
        self._last_step_ended = monotonic()
        self._advance(trainer)

    def on_epoch_end(self, trainer: "Trainer") -> None:
        """Replaces the bar of the epoch by a line."""
        self._close()
        rate = _rate(trainer.current.num_samples, self._last_step_ended - self._epoch_began)
        seconds = monotonic() - self._epoch_began
        line = f"epoch {trainer.epoch + 1}/{trainer.epochs}  {_written(trainer.logs)}"
        self._console.print(f"{line}  {rate}  {seconds:.1f} s", markup=False, soft_wrap=True)

    def on_evaluate_begin(self, trainer: "Trainer") -> None:
        """Starts the bar of the evaluation."""
        self._open(trainer, "evaluate")

    def on_evaluate_batch_end(self, trainer: "Trainer") -> None:
        """Moves the bar, if it is time to."""
        self._advance(trainer)

    def on_evaluate_end(self, trainer: "Trainer") -> None:
        """Takes the bar of the evaluation away."""
        self._close()

    def on_predict_begin(self, trainer: "Trainer") -> None:
        """Starts the bar of the prediction."""
        self._open(trainer, "predict")

    def on_predict_batch_end(self, trainer: "Trainer") -> None:
        """Moves the bar, if it is time to."""
        self._advance(trainer)

    def on_predict_end(self, trainer: "Trainer") -> None:
        """Takes the bar of the prediction away."""
        self._close()

    def _open(self, trainer: "Trainer", description: str) -> None:
        if not self._tasks:
            self._bar.start()
        total = trainer.current.num_batches
        self._tasks.append(self._bar.add_task(description, total=total, rate="", logs=""))
        self._next_read = monotonic() + _SECONDS_BETWEEN_READS

    def _advance(self, trainer: "Trainer") -> None:
        if self._bar.disable or (began := monotonic()) < self._next_read:
            return
        current, task = trainer.current, self._tasks[-1]
        logs = _written(current.peek())
        rate = _rate(current.num_samples, self._bar.tasks[-1].elapsed)
        self._bar.update(task, completed=current.batch + 1, rate=rate, logs=logs, refresh=True)
        pause = max(_SECONDS_BETWEEN_READS, (monotonic() - began) / _READS_TO_WORK)
        self._next_read = monotonic() + pause

    def _close(self) -> None:
        self._bar.remove_task(self._tasks.pop())
        if not self._tasks:
            self._bar.stop()


def _make_bar(console: Any) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TextColumn("{task.fields[logs]}", markup=False),
    )
    is_shown = console.is_terminal or console.is_jupyter
    return Progress(
        *columns, console=console, transient=True, auto_refresh=False, disable=not is_shown
    )


def _rate(num_samples: int, seconds: float) -> str:
    return f"{num_samples / max(seconds, 1e-9):,.0f} samples/s"


def _written(logs: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
