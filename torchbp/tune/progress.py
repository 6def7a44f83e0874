"""What a search shows while it goes on: a bar, and a line for each trial."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from torchbp.train import Callback, Trainer

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


class SearchProgress(Callback):
    """Draws with rich; where the output is not a terminal there are only the lines.

    Args:
        monitor: the number that trials are compared by.
        total: trials or epochs that end the search, None if only time does.
        is_shown: whether anything is shown.
        console: the rich.console.Console to draw on; standard output if None.
    """

    def __init__(
        self, monitor: str, total: int | None, is_shown: bool, console: Any = None
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._monitor = monitor
        self._is_shown = is_shown
        self._console = console or Console()
        self._bar = Progress(
            TextColumn("search"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            disable=not (is_shown and self._console.is_terminal),
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> SearchProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Says where the trial is."""
        value = trainer.logs.get(self._monitor)
        number = "" if value is None else f", {self._monitor} {value:.4g}"
        self._bar.update(
            self._task, description=f"epoch {trainer.epoch + 1}/{trainer.epochs}{number}"
        )

    def advance(self, done: int) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=done)

    def end_trial(self, study: Study, trial: FrozenTrial) -> None:
        """A line for a trial that has ended."""
        if self._is_shown:
            line = (
                f"trial {trial.number:>3}  {told(trial, self._monitor)}  {_written(trial.params)}"
            )
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def told(trial: FrozenTrial, monitor: str) -> str:
    """How a trial has ended, in a few words."""
    if trial.state.name == "COMPLETE":
        return f"{monitor} {', '.join(f'{value:.4g}' for value in trial.values or ())}"
    if "failure" in trial.user_attrs:
        return f"failed, {trial.user_attrs['failure']}: {trial.user_attrs['reason'][:90]}"
    if trial.intermediate_values:
        step, value = max(trial.intermediate_values.items())
        return f"pruned at {step}, {monitor} {value:.4g}"
    return trial.state.name.lower()


def _written(params: dict[str, Any]) -> str:
    return "  ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in params.items()
    )
