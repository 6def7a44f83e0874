"""Where boxes and arrows go: a layered drawing of boxes of given sizes.

Each box gets a layer by its longest path, the boxes of a layer are ordered so that few arrows
cross, and get places so that arrows are straight.

Source: Sugiyama, Tagawa, Toda 1981, https://doi.org/10.1109/TSMC.1981.4308636; layers and medians
as in Gansner, Koutsofios, North, Vo 1993, https://doi.org/10.1109/32.221135
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torchbp.graph.drawing.grid import Grid, Link, Size, assign_layers
from torchbp.graph.drawing.order import order
from torchbp.graph.drawing.place import place

LAYER_GAP = 30.0  # between layers; more where arrows run far across
MOST_LAYER_GAP = 80.0
SLOPE = 0.12  # of that gap, for each unit across


@dataclass(frozen=True)
class Straight:
    """A part of an arrow that runs along, within a layer."""

    across: float
    start: float
    end: float


@dataclass(frozen=True)
class Layout:
    """Places in a drawing that begins at (0, 0).

    Attributes:
        middles: of the boxes, (across, along).
        routes: each link as its straight parts, with curves to be drawn between them; then no
            arrow touches a box that is not its own.
        size: of the whole.
    """

    middles: list[tuple[float, float]]
    routes: list[list[Straight]]
    size: Size


def arrange(
    sizes: Sequence[Size],
    links: Sequence[Link],
    first: Collection[int] = (),
    last: Collection[int] = (),
) -> Layout:
    """Arrange boxes in layers.

    Args:
        sizes: of the boxes; each comes after those that lead to it.
        links: the arrows.
        first: boxes without predecessors that must be in the first layer.
        last: boxes without successors that must be in the last layer.
    """
    grid = Grid(sizes, links, assign_layers(len(sizes), links, first, last))
    order(grid)
    places = place(grid)
    left = min(p - s.across / 2 for p, s in zip(places, grid.sizes, strict=True))
    places = [p - left for p in places]
    bands = _bands(grid, places)
    middles = [(places[box], sum(bands[grid.layer_of[box]]) / 2) for box in range(grid.boxes)]
    width = max(p + s.across / 2 for p, s in zip(places, grid.sizes, strict=True))
    routes = [_route(grid, link, places, bands) for link in links]
    return Layout(middles, routes, Size(width, bands[-1][1]))


def _bands(grid: Grid, places: list[float]) -> list[tuple[float, float]]:
    """Where each layer begins and ends, along."""
    bands: list[tuple[float, float]] = []
    start = 0.0
    for layer in grid.layers:
        end = start + max(grid.sizes[item].along for item in layer)
        bands.append((start, end))
        steps = [step for item in layer for step in grid.below[item]]
        across = max((abs(places[s.upper] - places[s.lower]) for s in steps), default=0.0)
        start = end + min(LAYER_GAP + SLOPE * across, MOST_LAYER_GAP)
    return bands


def _route(
    grid: Grid, link: Link, places: list[float], bands: list[tuple[float, float]]
) -> list[Straight]:
    source, *knees, target = grid.path(link)
    start, end = bands[grid.layer_of[source]]
    leaves = (start + end + grid.sizes[source].along) / 2
    parts = [Straight(places[source] + link.source_port, leaves, end)]
    parts += [Straight(places[knee], *bands[grid.layer_of[knee]]) for knee in knees]
    start, end = bands[grid.layer_of[target]]
    arrives = (start + end - grid.sizes[target].along) / 2
    return [*parts, Straight(places[target] + link.target_port, start, arrives)]
