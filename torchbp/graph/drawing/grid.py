"""Boxes in layers, and arrows cut into steps from one layer to the next."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """The size of a box, across the arrows and along them."""

    across: float
    along: float


@dataclass(frozen=True)
class Link:
    """An arrow from one box to a later one; ports are distances from the middle of a box."""

    source: int
    target: int
    source_port: float = 0.0
    target_port: float = 0.0


@dataclass(frozen=True)
class Step:
    """A part of an arrow, from one layer to the next; heavier ones should be straighter."""

    upper: int
    lower: int
    upper_port: float
    lower_port: float
    weight: float


class Grid:
    """Boxes in layers, with a knee wherever an arrow passes through a layer.

    Arrows from one port share their knees, so that they run together until they part.

    Attributes:
        boxes: how many of the items are boxes; the others are knees.
        sizes: of each item; knees have none.
        layers: the items of each layer, in order.
        above: the steps that lead to an item.
        below: the steps that lead on from an item.
    """

    def __init__(self, sizes: Sequence[Size], links: Sequence[Link], layer_of: list[int]) -> None:
        self.boxes = len(sizes)
        self.sizes = list(sizes)
        self.layer_of = list(layer_of)
        self.above: dict[int, list[Step]] = defaultdict(list)
        self.below: dict[int, list[Step]] = defaultdict(list)
        self._knees: dict[tuple[int, float, int], int] = {}
        for step in dict.fromkeys(step for link in links for step in self._steps(link)):
            self.above[step.lower].append(step)
            self.below[step.upper].append(step)
        self.layers: list[list[int]] = [[] for _ in range(max(self.layer_of, default=-1) + 1)]
        for item, layer in enumerate(self.layer_of):
            self.layers[layer].append(item)

    def rounds(self, most: int) -> int:
        """How many rounds of improvement to make: fewer for drawings of very many steps."""
        return max(2, min(most, 200_000 // (1 + sum(map(len, self.below.values())))))

    def path(self, link: Link) -> list[int]:
        """The box, the knees and the box that an arrow connects."""
        passed = range(self.layer_of[link.source] + 1, self.layer_of[link.target])
        return [link.source, *(self._knee(link, layer) for layer in passed), link.target]

    def _knee(self, link: Link, layer: int) -> int:
        key = (link.source, link.source_port, layer)
        if key not in self._knees:
            self._knees[key] = len(self.sizes)
            self.sizes.append(Size(0.0, 0.0))
            self.layer_of.append(layer)
        return self._knees[key]

    def _steps(self, link: Link) -> Iterator[Step]:
        path = self.path(link)
        ports = [link.source_port, *[0.0] * (len(path) - 2), link.target_port]
        ends = zip(itertools.pairwise(path), itertools.pairwise(ports), strict=True)
        for (upper, lower), (upper_port, lower_port) in ends:
            knees = (upper >= self.boxes) + (lower >= self.boxes)
            yield Step(upper, lower, upper_port, lower_port, weight=(1.0, 0.5, 4.0)[knees])


def assign_layers(
    count: int, links: Sequence[Link], first: Collection[int], last: Collection[int]
) -> list[int]:
    """A layer for each box: behind all that lead to it, and near to what most arrows connect.

    Args:
        count: number of boxes; each comes after those that lead to it.
        links: the arrows.
        first: boxes without predecessors that must be in the first layer.
        last: boxes without successors that must be in the last layer.
    """
    before, after = defaultdict(list), defaultdict(list)
    for link in links:
        before[link.target].append(link.source)
        after[link.source].append(link.target)
    layers: list[int] = []
    for box in range(count):  # the longest path to it
        layers.append(max((layers[other] + 1 for other in before[box]), default=0))
    for box in reversed(range(count)):  # arrows get shorter where more leave than come
        if len(after[box]) > len(before[box]) and box not in first:
            layers[box] = min(layers[other] for other in after[box]) - 1
    for box in last:
        layers[box] = max(layers)
    return layers
