"""A figure as SVG: plain shapes and texts with their own colours, for any viewer."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from torchbp.graph.captions import shortened
from torchbp.graph.drawing.figure import Figure, Line, PlacedBox, Point
from torchbp.graph.drawing.palette import colours, shared_colours
from torchbp.graph.drawing.picture import Box, Shared
from torchbp.graph.drawing.shape import LONGEST, NAME_FONT, TEXT_FONT, Text, text_width

BORDER = 18.0  # around the drawing
HEAD = (9.0, 4.0)  # length and half of the width of an arrow's head
FONTS = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
TEXTS = {  # colour, size, weight and style
    "name": ("#111827", NAME_FONT, "bold", "normal"),
    "header": ("#111827", NAME_FONT, "bold", "normal"),
    "type": ("#374151", TEXT_FONT, "normal", "normal"),
    "line": ("#4b5563", TEXT_FONT, "normal", "normal"),
    "part": ("#4b5563", TEXT_FONT, "normal", "normal"),
    "shared": ("#111827", TEXT_FONT, "normal", "italic"),
}
LEGEND_LINE = 22.0


def svg(figure: Figure, title: str, horizontal: bool) -> str:
    """The text of an SVG file.

    Every box is a group of class "box" with its key in `data-box`; every arrow a group of class
    "arrow" with the keys of its ends in `data-source` and `data-target`.

    Args:
        figure: what to draw.
        title: of the drawing.
        horizontal: arrows run from left to right.
    """
    legend = _legend([placed.box for placed in figure.boxes])
    width = max([figure.width, *(text_width(text) + 30 for _, text in legend)]) + 2 * BORDER
    height = figure.height + 2 * BORDER + LEGEND_LINE * len(legend)
    placed = figure.moved((width - figure.width) / 2, BORDER)
    frames = [box for box in placed.boxes if box.box.inside]
    leaves = [box for box in placed.boxes if not box.box.inside]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_number(width)}" '
        f'height="{_number(height)}" viewBox="0 0 {_number(width)} {_number(height)}" '
        f'role="img" font-family="{FONTS}" text-anchor="middle">',
        f"<title>{escape(title)}</title>",
        '<rect class="background" width="100%" height="100%" fill="#ffffff"/>',
        *(line for frame in frames for line in _box(frame)),
        *(line for arrow in placed.lines for line in _arrow(arrow, horizontal)),
        *(line for box in leaves for line in _box(box)),
        *(line for frame in frames for line in _header(frame)),
        *_legend_lines(legend, placed.height + 2 * BORDER),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _box(placed: PlacedBox) -> Iterator[str]:
    box = placed.box
    fill, stroke = colours(box)
    radius = {"input": 15.0, "output": 15.0, "function": 2.0, "constant": 2.0}.get(box.kind, 5.0)
    yield f'<g class="box {box.kind}" data-box={quoteattr(box.key)}>'
    yield f"<title>{escape(_tooltip(box))}</title>"
    yield _rect(
        placed, 0.0, radius, fill, stroke, width=2.2 if box.shared else 1.2,
        dash="4 3" if box.kind == "constant" else "",
    )  # fmt: skip
    if box.kind == "model" and not box.inside:
        yield _rect(placed, 3.0, radius - 2.0, "none", stroke, width=1.0)
    if not box.inside:
        yield from (_text_line(text) for text in placed.texts)
    yield "</g>"


def _header(frame: PlacedBox) -> Iterator[str]:
    """The text of a frame, on a ground that keeps arrows away from it."""
    for text in frame.texts:
        yield (
            f'<rect x="{_number(text.x - 3)}" y="{_number(text.y - 13)}" '
            f'width="{_number(text_width(text.text, NAME_FONT))}" height="17" '
            f'fill="{colours(frame.box)[0]}"/>'
        )
        yield _text_line(text)


def _tooltip(box: Box) -> str:
    shared = [str(box.shared)] if box.shared else []
    return "; ".join([f"{box.name}: {box.type}", *box.lines, *shared])


def _rect(
    placed: PlacedBox, inset: float, radius: float, fill: str, stroke: str, width: float,
    dash: str = "",
) -> str:  # fmt: skip
    x, y, w, h = (
        _number(value)
        for value in (
            placed.x + inset, placed.y + inset, placed.width - 2 * inset, placed.height - 2 * inset
        )
    )  # fmt: skip
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{_number(radius)}" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="{width}"{dashes}/>'
    )


def _text_line(text: Text) -> str:
    colour, size, weight, style = TEXTS[text.role]
    look = f'font-size="{size}" fill="{colour}"'
    look += f' font-weight="{weight}"' if weight != "normal" else ""
    look += f' font-style="{style}"' if style != "normal" else ""
    look += ' text-anchor="start"' if text.role == "header" else ""
    return f'<text x="{_number(text.x)}" y="{_number(text.y)}" {look}>{escape(text.text)}</text>'


def _arrow(line: Line, horizontal: bool) -> Iterator[str]:
    arrow = line.arrow
    source = arrow.source_inside or arrow.source
    target = arrow.target_inside or arrow.target
    yield f'<g class="arrow" data-source={quoteattr(source)} data-target={quoteattr(target)}>'
    path, head = _path(line, horizontal)
    yield f'<path d="{path}" fill="none" stroke="#6b7280" stroke-width="1.4"/>'
    yield f'<path class="head" d="{head}" fill="#6b7280"/>'
    yield "</g>"


def _path(line: Line, horizontal: bool) -> tuple[str, str]:
    """The line, which ends inside the arrow's head, and the head."""
    *parts, (start, tip) = line.parts
    length, half = HEAD
    if horizontal:
        neck = (tip[0] - length, tip[1])
        corners = [tip, (neck[0], tip[1] - half), (neck[0], tip[1] + half)]
        start = (min(start[0], neck[0]), start[1])
    else:
        neck = (tip[0], tip[1] - length)
        corners = [tip, (tip[0] - half, neck[1]), (tip[0] + half, neck[1])]
        start = (start[0], min(start[1], neck[1]))
    parts.append((start, neck))
    words = [f"M {_point(parts[0][0])}"]
    for index, (begin, end) in enumerate(parts):
        if index:
            words.append(_curve(parts[index - 1][1], begin, horizontal))
        if end != begin:
            words.append(f"L {_point(end)}")
    return " ".join(words), f"M {' L '.join(map(_point, corners))} Z"


def _curve(start: Point, end: Point, horizontal: bool) -> str:
    """From one layer to the next, along the arrows at both ends."""
    if horizontal:
        middle = (start[0] + end[0]) / 2
        controls = (middle, start[1]), (middle, end[1])
    else:
        middle = (start[1] + end[1]) / 2
        controls = (start[0], middle), (end[0], middle)
    return f"C {_point(controls[0])} {_point(controls[1])} {_point(end)}"


def _legend(boxes: list[Box]) -> list[tuple[Shared, str]]:
    """One line for each layer that is called several times."""
    return [
        (shared, f"{name}: one {box.type}, called {shared.calls} times, same weights")
        for box in boxes
        if (shared := box.shared) and shared.call == 1
        for name in [shortened(shared.layer, LONGEST)]
    ]


def _legend_lines(legend: list[tuple[Shared, str]], top: float) -> Iterator[str]:
    for index, (shared, text) in enumerate(legend):
        fill, stroke = shared_colours(shared)
        y = top + index * LEGEND_LINE
        yield (
            f'<rect class="legend" x="{BORDER}" y="{_number(y)}" width="14" height="14" rx="3" '
            f'fill="{fill}" stroke="{stroke}" stroke-width="2"/>'
        )
        yield (
            f'<text x="{BORDER + 22}" y="{_number(y + 11)}" font-size="{TEXT_FONT}" '
            f'fill="#374151" text-anchor="start">{escape(text)}</text>'
        )


def _point(point: Point) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
