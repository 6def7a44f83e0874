"""The order of boxes within their layers, so that few arrows cross."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence

from torchbp.graph.drawing.grid import Grid

ROUNDS = 24


def order(grid: Grid) -> None:
    """Sort each layer by the barycentres of its neighbours, down and up; the best round stays."""
    best, fewest = grid.layers, _all_crossings(grid, grid.layers)
    layers = best
    for round_number in range(grid.rounds(ROUNDS)):
        if fewest == 0:
            break
        layers = _sorted(grid, layers, down=round_number % 2 == 0)
        count = _all_crossings(grid, layers)
        if count < fewest:
            best, fewest = layers, count
    grid.layers = best


def crossings(lines: Sequence[tuple[float, float]]) -> int:
    """How many of the lines between two layers cross, given each by its ends."""
    count = 0
    ends: list[float] = []
    for _, end in sorted(lines):
        count += len(ends) - bisect_right(ends, end)
        insort(ends, end)
    return count


def _sorted(grid: Grid, layers: list[list[int]], down: bool) -> list[list[int]]:
    ranks = _ranks(layers)
    layers = list(layers)
    indices = range(1, len(layers)) if down else range(len(layers) - 2, -1, -1)
    for index in indices:
        wishes = {item: _barycentre(grid, item, ranks, down) for item in layers[index]}
        layers[index] = sorted(layers[index], key=wishes.__getitem__)
        ranks.update(_ranks([layers[index]]))
    return layers


def _barycentre(grid: Grid, item: int, ranks: dict[int, float], down: bool) -> float:
    if down:
        ends = [_end(grid, step.upper, step.upper_port, ranks) for step in grid.above[item]]
    else:
        ends = [_end(grid, step.lower, step.lower_port, ranks) for step in grid.below[item]]
    return sum(ends) / len(ends) if ends else ranks[item]


def _ranks(layers: list[list[int]]) -> dict[int, float]:
    return {item: float(rank) for layer in layers for rank, item in enumerate(layer)}


def _end(grid: Grid, item: int, port: float, ranks: dict[int, float]) -> float:
    """Where a step ends, counted in items of the layer; ports are parts of one."""
    return ranks[item] + (port / grid.sizes[item].across if port else 0.0)


def _all_crossings(grid: Grid, layers: list[list[int]]) -> int:
    ranks = _ranks(layers)
    return sum(
        crossings(
            [
                (_end(grid, s.upper, s.upper_port, ranks), _end(grid, s.lower, s.lower_port, ranks))
                for item in layer
                for s in grid.below[item]
            ]
        )
        for layer in layers
    )
