"""Two ways of doing the same thing, timed in turns, and the ratio of their times."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Comparison:
    """How long torchbp takes, divided by how long its peer takes, over many turns.

    Attributes:
        name: what is compared.
        ratio: median of the ratios of all turns.
        low: first quartile of the ratios.
        high: third quartile.
        torchbp_ms: median time of one call, in milliseconds.
        peer_ms: that of the peer.
        limit: what the ratio should not exceed, or None.
    """

    name: str
    ratio: float
    low: float
    high: float
    torchbp_ms: float
    peer_ms: float
    limit: float | None = None


def compare(
    name: str,
    torchbp: Callable[[], object],
    peer: Callable[[], object],
    *,
    calls: int,
    turns: int = 60,
    limit: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Time both in turns of `calls` calls each; who begins changes from turn to turn.

    What else the machine does falls on both sides of a turn alike, so that the median of the
    turns' ratios is steadier than the ratio of two times. Where the CPU computes in this process,
    `clock` can be `time.process_time`, which stands still while others have the core.
    """
    for function in (torchbp, peer):
        seconds(function, calls, clock)  # warm up
    pairs = []
    for turn in range(turns):
        if turn % 2:
            second, first = seconds(peer, calls, clock), seconds(torchbp, calls, clock)
        else:
            first, second = seconds(torchbp, calls, clock), seconds(peer, calls, clock)
        pairs.append((first, second))
    ours, theirs = zip(*pairs, strict=True)
    return comparison(name, ours, theirs, limit)


def comparison(
    name: str, ours: Sequence[float], theirs: Sequence[float], limit: float | None = None
) -> Comparison:
    """The comparison that the seconds of both sides, turn by turn, give."""
    ratios = [first / second for first, second in zip(ours, theirs, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    milliseconds = [statistics.median(times) * 1000 for times in (ours, theirs)]
    return Comparison(name, middle, low, high, *milliseconds, limit)


def clock_for(device: str) -> Callable[[], float]:
    """Time of this process on the CPU; on another device, which works by itself, of the wall."""
    return time.process_time if device == "cpu" else time.perf_counter


def seconds(function: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    """Seconds for one call, over several calls; the device has done its work at the end."""
    start = clock()
    for _ in range(calls):
        function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (clock() - start) / calls
