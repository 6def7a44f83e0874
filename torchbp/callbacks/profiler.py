"""Profile some steps of a training: a trace in files, and where the time goes."""

import os
import shutil
import socket
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function, schedule

from torchbp.callbacks.profile_report import DATA, STEP, ProfileReport
from torchbp.errors import DataError
from torchbp.train import Callback, Trainer
from torchbp.train.files import write_atomically


class Profiler(Callback):
    """Profiles some training steps, writes traces, and says at the end where the time goes.

    Of each cycle the first `wait` steps go by, `warmup` steps are profiled and thrown away, and
    `active` steps are kept. A trace of these, HOST_PID.TIME.pt.trace.json, goes into the folder:
    TensorBoard shows it with the plugin torch-tb-profiler, chrome://tracing and
    https://ui.perfetto.dev open the file itself. When training ends, the ten costliest operations
    with the shapes of their inputs are printed, and how a step divides into data, forward,
    backward, optimizer and waiting. A cycle that the end of training cuts short is written too.

    Args:
        folder: where the traces go; missing folders are made.
        wait: steps of each cycle that are left out.
        warmup: steps after them that are profiled and thrown away: the profiler's own start costs.
        active: steps after those that are kept.
        repeat: number of cycles.

    Attributes:
        report: what has been measured, None before.

    Raises:
        DataError: numbers of steps that leave nothing to profile.

    Example:
        >>> import pathlib, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> profiler = Profiler(folder.name, wait=1, warmup=1, active=2)
        >>> profiler.wait, profiler.warmup, profiler.active, profiler.repeat
        (1, 1, 2, 1)
        >>> folder.cleanup()

    Data is the time between the end of a step and the begin of the next one, with the hooks
    on_batch_end of the callbacks after this one and on_batch_begin of those before it: stand it
    first in the list to count them, last to leave them out. Waiting is what is left of the step:
    metrics, callbacks, and whatever else is waited for. On a CUDA device the times are those of
    the kernels, which run beside the Python code; when no kernel runs, the time is data's or
    waiting. A step that is profiled takes longer, one that is not costs nothing once all cycles
    are done. Validation between two profiled steps is in the trace, and in none of the figures.
    Of several processes the main one is profiled.

    Differences from Keras: keras.callbacks.TensorBoard(profile_batch=(3, 5)) writes a trace of
    TensorFlow's runtime; there is no printed summary.
    Source: torch.profiler.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        wait: int = 5,
        warmup: int = 2,
        active: int = 5,
        repeat: int = 1,
    ) -> None:
        for name, count, least in (
            ("wait", wait, 0),
            ("warmup", warmup, 0),
            ("active", active, 1),
            ("repeat", repeat, 1),
        ):
            if not isinstance(count, int) or count < least:
                raise DataError(
                    f"Profiler: expected {name} as an int of at least {least}, got {count!r}.\n"
                    "  To mend it: give numbers of steps, as in wait=5, warmup=2, active=5."
                )
        self.folder = Path(folder)
        self.wait = wait
        self.warmup = warmup
        self.active = active
        self.repeat = repeat
        self.report: ProfileReport | None = None
        self._profile: profile | None = None
        self._range: record_function | None = None
        self._num_steps = 0
        self._with_cuda = False

    def on_train_begin(self, trainer: Trainer) -> None:
        """Starts the first cycle."""
        self.report, self._num_steps = None, 0
        if trainer.is_main:
            self._start(trainer)

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """From here on the first batch is waited for."""
        self._enter(DATA)

    def on_batch_begin(self, trainer: Trainer) -> None:
        """The batch has come."""
        self._enter(STEP)

    def on_batch_end(self, trainer: Trainer) -> None:
        """The next step of the schedule."""
        self._leave()
        self._num_steps += 1
        if self._profile is None:
            return
        num_cycles, is_within = divmod(self._num_steps, self.wait + self.warmup + self.active)
        if is_within:
            self._profile.step()
        else:
            self._stop()
            if num_cycles < self.repeat:
                self._start(trainer)
        self._enter(DATA)

    def on_evaluate_begin(self, trainer: Trainer) -> None:
        """Validation is no part of a step."""
        self._leave()

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Nor is what happens between two epochs."""
        self._leave()

    def on_train_end(self, trainer: Trainer) -> None:
        """Writes what a cycle has so far, and prints the report."""
        self._leave()
        self._stop()
        if self.report is not None:
            self.report.print()
        elif trainer.is_main and self._num_steps > 0:
            warnings.warn(
                f"Profiler: training ended after {self._num_steps} steps, and the first to keep "
                f"is number {self.wait + self.warmup + 1}: there is no trace",
                stacklevel=2,
            )

    def _start(self, trainer: Trainer) -> None:
        """Begins a cycle; torch's own repetition would warn that it forgets the one before."""
        self._with_cuda = trainer.device.type == "cuda"
        self._profile = profile(
            activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * self._with_cuda,
            schedule=schedule(wait=self.wait, warmup=self.warmup, active=self.active, repeat=1),
            on_trace_ready=self._take,
            record_shapes=True,
        )
        self._profile.start()

    def _stop(self) -> None:
        """Ends profiling; a cycle at work hands over what it has."""
        if self._profile is not None:
            ended, self._profile = self._profile, None
            ended.stop()

    def _take(self, ended: profile) -> None:
        """Keeps a cycle: its trace in a file, its times in the report."""
        events: Any = ended.events()  # type: ignore[no-untyped-call] # torch leaves it so
        report = ProfileReport.of(events or [], self._with_cuda)
        if report.num_steps:
            self.report = report if self.report is None else self.report + report
            self._write(ended)

    def _write(self, ended: profile) -> None:
        name = f"{socket.gethostname()}_{os.getpid()}.{time.time_ns()}.pt.trace.json"
        with tempfile.TemporaryDirectory() as elsewhere:
            exported = Path(elsewhere) / name
            ended.export_chrome_trace(str(exported))
            with exported.open("rb") as source:
                write_atomically(self.folder / name, lambda file: shutil.copyfileobj(source, file))

    def _enter(self, name: str) -> None:
        """The range that goes on ends, another one begins; none once all cycles are done."""
        self._leave()
        if self._profile is not None:
            self._range = record_function(name)
            self._range.__enter__()  # type: ignore[no-untyped-call]

    def _leave(self) -> None:
        if self._range is not None:
            ended, self._range = self._range, None
            ended.__exit__(None, None, None)
