"""Where the items of each layer stand, so that arrows are straight."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from torchbp.graph.drawing.grid import Grid
from torchbp.graph.drawing.straighten import bend, gap, straighten

ROUNDS = 12
WEAK = 1e-3  # a weight that gives way to every other

Pull = tuple[float, float]  # where a step would have an item, and its weight


def place(grid: Grid) -> list[float]:
    """The middle of each item, across.

    Items go to where the weighted sum of the steps' widths is least, with the order and the gaps
    of their layer kept: in sweeps down, from the layers above, and up, from those below. The best
    sweep stays, and then `straighten` moves what hangs together.
    """
    places = [0.0] * len(grid.sizes)
    for layer in grid.layers:
        _settle(grid, layer, places, [[] for _ in layer])
    best, least = list(places), _bends(grid, places)
    for round_number in range(grid.rounds(ROUNDS)):
        down = round_number % 2 == 0
        for layer in grid.layers if down else reversed(grid.layers):
            _settle(grid, layer, places, [_pulls(grid, item, places, down) for item in layer])
        bends = _bends(grid, places)
        if bends < least:
            best, least = list(places), bends
    straighten(grid, best)
    for layer in grid.layers:
        _gather(grid, layer, best)
    return best


def _gather(grid: Grid, layer: list[int], places: list[float]) -> None:
    """Bring the items of a layer that nothing is connected with to the others."""
    connected = {item for item in layer if grid.above[item] or grid.below[item]}
    if connected and len(connected) < len(layer):
        middle = weighted_median([(places[item], 1.0) for item in connected])
        pulls = [(places[item], 1.0) if item in connected else (middle, WEAK) for item in layer]
        _settle(grid, layer, places, [[pull] for pull in pulls])


def _pulls(grid: Grid, item: int, places: list[float], above: bool) -> list[Pull]:
    """Where the steps from the layer above, or to that below, would have an item."""
    if above:
        ends = ((s.upper, s.upper_port - s.lower_port, s.weight) for s in grid.above[item])
    else:
        ends = ((s.lower, s.lower_port - s.upper_port, s.weight) for s in grid.below[item])
    return [(places[end] + port, weight) for end, port, weight in ends]


def _bends(grid: Grid, places: list[float]) -> float:
    return sum(bend(step, places) for s in grid.below.values() for step in s)


@dataclass
class _Group:
    """Neighbours that touch, and so move as one."""

    items: int
    pulls: list[Pull]  # on the first item

    def __post_init__(self) -> None:
        self.place = weighted_median(self.pulls)


def _settle(grid: Grid, layer: list[int], places: list[float], pulls: list[list[Pull]]) -> None:
    """Move the items of a layer to where they are pulled, in order and with their gaps.

    This is isotonic regression (pool adjacent violators) of least absolute deviations.
    """
    gaps = [gap(grid, left, right) for left, right in itertools.pairwise(layer)]
    shifts = list(itertools.accumulate(gaps, initial=0.0))
    groups: list[_Group] = []
    for item, shift, own in zip(layer, shifts, pulls, strict=False):
        free = own or [(places[item], WEAK)]  # nothing pulls: it stays if it can
        group = _Group(1, [(where - shift, weight) for where, weight in free])
        while groups and groups[-1].place > group.place:
            left = groups.pop()
            group = _Group(left.items + group.items, left.pulls + group.pulls)
        groups.append(group)
    starts = [group.place for group in groups for _ in range(group.items)]
    for item, start, shift in zip(layer, starts, shifts, strict=False):
        places[item] = start + shift


def weighted_median(values: list[Pull]) -> float:
    """The value with half of the weight on either side; the middle where there are two."""
    values = sorted(values)
    half = sum(weight for _, weight in values) / 2
    reached = 0.0
    for index, (value, weight) in enumerate(values):
        reached += weight
        if reached > half:
            return value
        if reached == half:
            return (value + values[index + 1][0]) / 2
    raise AssertionError("weights are positive")
