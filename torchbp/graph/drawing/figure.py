"""A picture with places: everything that is drawn, in coordinates."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torchbp.graph.drawing.grid import Link, Size
from torchbp.graph.drawing.layout import Straight, arrange
from torchbp.graph.drawing.picture import Arrow, Box, Picture
from torchbp.graph.drawing.shape import MARGIN, Shape, Text, box_shape, header_shape

FRAME_PADDING = 16.0  # around what is in a frame

Point = tuple[float, float]


@dataclass(frozen=True)
class PlacedBox:
    """A box with its left upper corner, its size and its texts."""

    box: Box
    x: float
    y: float
    width: float
    height: float
    texts: tuple[Text, ...]

    @property
    def middle(self) -> Point:
        """The middle of the box."""
        return self.x + self.width / 2, self.y + self.height / 2

    def moved(self, x: float, y: float) -> PlacedBox:
        """The box at another place."""
        texts = tuple(text.moved(x, y) for text in self.texts)
        return replace(self, x=self.x + x, y=self.y + y, texts=texts)


@dataclass(frozen=True)
class Line:
    """An arrow as straight parts, each from one point to another; curves join them."""

    arrow: Arrow
    parts: tuple[tuple[Point, Point], ...]

    def moved(self, x: float, y: float) -> Line:
        """The line at another place."""
        parts = (((a + x, b + y), (c + x, d + y)) for (a, b), (c, d) in self.parts)
        return replace(self, parts=tuple(parts))


@dataclass(frozen=True)
class Figure:
    """Everything in a picture with its place; frames come before what is in them."""

    width: float
    height: float
    boxes: tuple[PlacedBox, ...]
    lines: tuple[Line, ...]

    def moved(self, x: float, y: float) -> Figure:
        """The figure at another place."""
        boxes = tuple(box.moved(x, y) for box in self.boxes)
        return replace(self, boxes=boxes, lines=tuple(line.moved(x, y) for line in self.lines))


def figure(picture: Picture, horizontal: bool, nested: bool = False) -> Figure:
    """Give everything in a picture its place.

    Args:
        picture: what to draw.
        horizontal: arrows run from left to right, not from top to bottom.
        nested: inputs stand in the first layer and outputs in the last, where arrows from
            outside reach them.
    """
    parts = [_measured(box, horizontal) for box in picture.boxes]
    index = {box.key: number for number, box in enumerate(picture.boxes)}
    layout = arrange(
        [Size(*_turned((part.shape.width, part.shape.height), horizontal)) for part in parts],
        [_link(arrow, index, parts) for arrow in picture.arrows],
        first=[index[key] for key in picture.inputs] if nested else (),
        last=[index[key] for key in picture.outputs.values()] if nested else (),
    )
    middles = [_turned(middle, horizontal) for middle in layout.middles]
    placed = [part.at(middle) for part, middle in zip(parts, middles, strict=True)]
    boxes = {box.box.key: box for group in placed for box in group.boxes}
    lines = [
        _line(arrow, route, boxes, horizontal)
        for arrow, route in zip(picture.arrows, layout.routes, strict=True)
    ]
    width, height = _turned((layout.size.across, layout.size.along), horizontal)
    lines += [line for group in placed for line in group.lines]
    return Figure(width, height, tuple(boxes.values()), tuple(lines))


@dataclass(frozen=True)
class _Measured:
    """A box without a place, and what is in its frame, in coordinates from its corner."""

    box: Box
    shape: Shape
    inside: Figure

    def at(self, middle: Point) -> Figure:
        """The box and what is in it, around a point."""
        width, height = self.shape.width, self.shape.height
        own = PlacedBox(self.box, 0.0, 0.0, width, height, self.shape.texts)
        whole = Figure(width, height, (own, *self.inside.boxes), self.inside.lines)
        return whole.moved(middle[0] - width / 2, middle[1] - height / 2)


def _measured(box: Box, horizontal: bool) -> _Measured:
    if box.inside is None:
        return _Measured(box, box_shape(box, horizontal), Figure(0.0, 0.0, (), ()))
    inside = figure(box.inside, horizontal, nested=True)
    header = header_shape(box)
    width = max(inside.width, header.width) + 2 * FRAME_PADDING
    height = inside.height + header.height + 2 * FRAME_PADDING
    inside = inside.moved((width - inside.width) / 2, header.height + FRAME_PADDING)
    ends = {*box.inside.inputs, *box.inside.outputs.values()}
    middle = height / 2 if horizontal else width / 2
    ports = {
        placed.box.key: (placed.middle[1] if horizontal else placed.middle[0]) - middle
        for placed in inside.boxes
        if placed.box.key in ends
    }
    texts = tuple(text.moved(MARGIN, MARGIN) for text in header.texts)
    return _Measured(box, Shape(width, height, texts, ports), inside)


def _turned(pair: Point, horizontal: bool) -> Point:
    """Across and along as x and y, or the reverse."""
    return (pair[1], pair[0]) if horizontal else pair


def _link(arrow: Arrow, index: dict[str, int], parts: list[_Measured]) -> Link:
    source, target = index[arrow.source], index[arrow.target]
    return Link(
        source,
        target,
        source_port=parts[source].shape.ports.get(arrow.source_inside or arrow.part, 0.0),
        target_port=parts[target].shape.ports.get(arrow.target_inside, 0.0),
    )


def _line(
    arrow: Arrow, route: list[Straight], boxes: dict[str, PlacedBox], horizontal: bool
) -> Line:
    """The line of an arrow; from and to the boxes inside frames where it has such ends."""
    ends = [[part.start, part.end] for part in route]
    if arrow.source_inside:
        source = boxes[arrow.source_inside]
        ends[0][0] = source.x + source.width if horizontal else source.y + source.height
    if arrow.target_inside:
        target = boxes[arrow.target_inside]
        ends[-1][1] = target.x if horizontal else target.y
    points = [
        (_turned((part.across, start), horizontal), _turned((part.across, end), horizontal))
        for part, (start, end) in zip(route, ends, strict=True)
    ]
    return Line(arrow, tuple(points))
