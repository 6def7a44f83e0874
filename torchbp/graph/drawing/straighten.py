"""Steps that are nearly straight made straight, by moving all that hangs together."""

from __future__ import annotations

import itertools

from torchbp.graph.drawing.grid import Grid, Step

BOX_GAP = 28.0  # between two boxes of a layer
LINE_GAP = 14.0  # beside an arrow that passes
STRAIGHT = 0.01  # a step as wide as this is straight: it is rounding
SLIGHT = 12.0  # a step that is narrower but not straight looks like a mistake,
JOG = 20.0  # and counts as this much wider;
CORNER = 5.0  # any other that is not straight as this much
ROUNDS = 3
EFFORT = 40_000  # items that are looked at, at most; large drawings keep some bends


def gap(grid: Grid, left: int, right: int) -> float:
    """The least distance between the middles of two neighbours."""
    between = BOX_GAP if max(left, right) < grid.boxes else LINE_GAP
    return (grid.sizes[left].across + grid.sizes[right].across) / 2 + between


def width_of(step: Step, places: list[float]) -> float:
    """How far to the right a step runs."""
    return places[step.lower] + step.lower_port - places[step.upper] - step.upper_port


def bend(step: Step, places: list[float]) -> float:
    """How bad it is that a step is not straight."""
    width = abs(width_of(step, places))
    if width <= STRAIGHT:
        return 0.0
    return step.weight * (width + (JOG if width < SLIGHT else CORNER))


def straighten(grid: Grid, places: list[float]) -> None:
    """Move items, in place, where that makes a step straight and others not much worse.

    It is tried for steps that are slightly bent and for those at knees: large forks stay as they
    are. With an item go all that straight steps connect with it, and the neighbours in the way.
    """
    pairs = {}  # an item and its neighbour to the left (False) or right (True)
    for left, right in (pair for layer in grid.layers for pair in itertools.pairwise(layer)):
        pairs[left, True] = pairs[right, False] = (left, right)
    effort = EFFORT
    for step in [step for steps in grid.below.values() for step in steps] * ROUNDS:
        for item, sign in ((step.lower, -1.0), (step.upper, 1.0)):
            width = width_of(step, places)
            wanted = abs(width) < SLIGHT or max(step.upper, step.lower) >= grid.boxes
            if wanted and abs(width) > STRAIGHT and effort > 0:
                moved = _together(grid, places, pairs, item, sign * width)
                effort -= len(moved)
                _move_if_better(grid, places, moved, sign * width)


def _move_if_better(grid: Grid, places: list[float], moved: set[int], shift: float) -> None:
    steps = [
        step
        for item in sorted(moved)
        for step in (*grid.above[item], *grid.below[item])
        if (step.upper in moved) != (step.lower in moved)
    ]
    before = sum(bend(step, places) for step in steps)
    for item in moved:
        places[item] += shift
    if sum(bend(step, places) for step in steps) > before - STRAIGHT:
        for item in moved:
            places[item] -= shift


def _together(
    grid: Grid,
    places: list[float],
    pairs: dict[tuple[int, bool], tuple[int, int]],
    item: int,
    shift: float,
) -> set[int]:
    """What moves with an item: what is straight above and below it, and what is in the way."""
    moved = {item}
    stack = [item]
    while stack:
        item = stack.pop()
        others = [s.upper for s in grid.above[item] if abs(width_of(s, places)) <= STRAIGHT]
        others += [s.lower for s in grid.below[item] if abs(width_of(s, places)) <= STRAIGHT]
        pair = pairs.get((item, shift > 0))
        if pair and places[pair[1]] - places[pair[0]] - abs(shift) < gap(grid, *pair) - STRAIGHT:
            others += pair
        new = set(others) - moved
        moved |= new
        stack += new
    return moved
