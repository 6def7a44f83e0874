"""Where the time of profiled steps went: phases of a step, and the costliest operations."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

DATA, STEP = "torchbp.data", "torchbp.step"
"""The names of the ranges that the profiler finds in the trace."""

PHASES = ("data", "forward", "backward", "optimizer", "waiting")
Operation = tuple[str, str]
"""An operation's name, and the shapes of its inputs."""
Key = TypeVar("Key")
_BACKWARD = "autograd::engine::evaluate_function"
_OPTIMIZER = "Optimizer."
_NUM_OPERATIONS = 10


@dataclass
class ProfileReport:
    """Times of profiled steps, in microseconds.

    Args:
        num_steps: steps that were profiled.
        phases: the time of all of them by phase.
        operations: the time by operation, without what it called.
        calls: the number of calls by operation.
    """

    num_steps: int = 0
    phases: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    operations: dict[Operation, float] = field(default_factory=dict)
    calls: dict[Operation, float] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Any], with_cuda: bool) -> ProfileReport:
        """What the profiler's events tell; with CUDA the kernels' times count.

        Validation and whatever else happens outside the ranges of data and steps is left out.
        """
        on_cpu = [event for event in events if event.device_type.name == "CPU"]
        on_cpu.sort(key=lambda event: event.time_range.start)
        starts = [event.time_range.start for event in on_cpu]
        steps = [event.time_range for event in on_cpu if event.name == STEP]
        waiting = sum(_duration(event) for event in on_cpu if event.name == DATA)
        report = cls(num_steps=len(steps))
        for step in steps:
            first, last = bisect_left(starts, step.start), bisect_left(starts, step.end)
            inside = [event for event in on_cpu[first:last] if event.name != STEP]
            report.phases = _sums(report.phases, _phases(step, inside, with_cuda))
            report._count(inside, with_cuda)
        report.phases["data"] = waiting
        if with_cuda:
            report._give_idle_time(waiting, sum(step.elapsed_us() for step in steps))
        return report

    def __add__(self, other: ProfileReport) -> ProfileReport:
        return ProfileReport(
            self.num_steps + other.num_steps,
            _sums(self.phases, other.phases),
            _sums(self.operations, other.operations),
            _sums(self.calls, other.calls),
        )

    def shares(self) -> dict[str, float]:
        """The part of each phase in a step, from 0 to 1."""
        total = sum(self.phases.values()) or 1.0
        return {phase: self.phases[phase] / total for phase in PHASES}

    def sentence(self) -> str:
        """How a step divides, and into what most of it goes."""
        shares = self.shares()
        parts = ", ".join(f"{phase} {share:.0%}" for phase, share in shares.items())
        milliseconds = sum(self.phases.values()) / self.num_steps / 1000
        most = max(shares, key=shares.__getitem__)
        return f"A step takes {milliseconds:.3g} ms: {parts}. Most of it goes into {most}."

    def costliest(self) -> list[tuple[Operation, float]]:
        """The operations that took the most time, first the worst, and their microseconds."""
        ordered = sorted(self.operations.items(), key=lambda item: item[1], reverse=True)
        return ordered[:_NUM_OPERATIONS]

    def print(self) -> None:
        """Shows the table and the sentence on standard output."""
        from rich.console import Console
        from rich.table import Table

        total = sum(self.operations.values()) or 1.0
        table = Table(title=f"the costliest operations of {self.num_steps} steps")
        table.add_column("operation", overflow="fold")
        table.add_column("shapes of the inputs", overflow="fold")
        for name in ("calls", "ms a step", "share"):
            table.add_column(name, justify="right", no_wrap=True)
        for operation, microseconds in self.costliest():
            table.add_row(
                *operation,
                f"{self.calls[operation] / self.num_steps:g}",
                f"{microseconds / self.num_steps / 1000:.3f}",
                f"{microseconds / total:.0%}",
            )
        console = Console()
        console.print(table)
        console.print(self.sentence(), markup=False, soft_wrap=True)

    def _count(self, events: list[Any], with_cuda: bool) -> None:
        for event in events:
            if event.is_user_annotation or event.name.startswith(_BACKWARD):
                continue
            operation = event.name, _written(event.input_shapes)
            took = _kernel_time(event) if with_cuda else event.self_cpu_time_total
            self.calls[operation] = self.calls.get(operation, 0) + 1
            self.operations[operation] = self.operations.get(operation, 0.0) + took

    def _give_idle_time(self, waiting: float, in_steps: float) -> None:
        """Time without a kernel is data's while Python waited for these, or else waiting."""
        kernels = sum(self.phases.values()) - waiting
        idle = max(0.0, waiting + in_steps - kernels)
        self.phases["data"] = min(waiting, idle)
        self.phases["waiting"] += idle - self.phases["data"]


def _phases(step: Any, events: list[Any], with_cuda: bool) -> dict[str, float]:
    """A step, without its data, divided: the backward pass is what the autograd engine does."""
    backward = [event.time_range for event in events if event.name.startswith(_BACKWARD)]
    optimizer = [event.time_range for event in events if event.name.startswith(_OPTIMIZER)]
    begin = min((each.start for each in backward or optimizer[-1:]), default=step.end)
    end = max((each.end for each in backward), default=begin)
    if with_cuda:
        return _kernels_by_phase(events, begin, end, optimizer)
    times = {
        # gradients may be set to zero at any time before the backward pass
        "forward": begin - step.start - sum(e.elapsed_us() for e in optimizer if e.start < begin),
        "backward": end - begin,
        "optimizer": sum(each.elapsed_us() for each in optimizer),
    }
    return {**times, "waiting": step.elapsed_us() - sum(times.values())}


def _kernels_by_phase(
    events: list[Any], begin: float, end: float, optimizer: list[Any]
) -> dict[str, float]:
    """The kernels' times by the phase in which Python launched them."""
    times = dict.fromkeys(PHASES, 0.0)
    for event in events:
        start = event.time_range.start
        if any(each.start <= start < each.end for each in optimizer):
            phase = "optimizer"
        elif start < begin:
            phase = "forward"
        else:
            phase = "backward" if start < end else "waiting"
        times[phase] += _kernel_time(event)
    return times


def _sums(some: dict[Key, float], others: dict[Key, float]) -> dict[Key, float]:
    return {key: some.get(key, 0.0) + others.get(key, 0.0) for key in {**some, **others}}


def _kernel_time(event: Any) -> float:
    return sum(kernel.duration for kernel in event.kernels)


def _duration(event: Any) -> float:
    return event.time_range.elapsed_us()


def _written(shapes: Any) -> str:
    """[[32, 784], [784, 10], []] -> (32, 784) (784, 10)."""
    sizes = [shape for shape in shapes or [] if shape]
    return " ".join(f"({', '.join(map(str, shape))})" for shape in sizes)
