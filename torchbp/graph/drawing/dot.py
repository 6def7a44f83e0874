"""A picture as text for graphviz, which finds the places itself."""

from __future__ import annotations

from collections.abc import Iterator

from torchbp.graph.drawing.palette import colours
from torchbp.graph.drawing.picture import Arrow, Box, Picture


def dot(picture: Picture, title: str, rankdir: str) -> str:
    """The text of a .dot file.

    Args:
        picture: what to draw.
        title: of the drawing.
        rankdir: "TB" or "LR".
    """
    lines = [
        f"digraph {_quoted(title)} {{",
        f'  rankdir={rankdir}; bgcolor="#ffffff";',
        '  node [shape=box, style=filled, fontname="Helvetica", fontsize=11];',
        '  edge [color="#6b7280", fontname="Helvetica", fontsize=9];',
        *(f"  {line}" for line in _statements(picture)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _statements(picture: Picture) -> Iterator[str]:
    for box in picture.boxes:
        yield from _cluster(box, box.inside) if box.inside else [_node(box)]
    for arrow in picture.arrows:
        yield _edge(arrow)


def _cluster(box: Box, inside: Picture) -> Iterator[str]:
    fill, stroke = colours(box)
    shared = f", {box.shared}" if box.shared else ""
    yield f"subgraph {_quoted('cluster ' + box.key)} {{"
    yield f"  label={_quoted(f'{box.name} ({box.type}){shared}')}; labeljust=l;"
    yield f'  style=filled; fillcolor="{fill}"; color="{stroke}"; fontname="Helvetica";'
    yield from (f"  {line}" for line in _statements(inside))
    yield "}"


def _node(box: Box) -> str:
    fill, stroke = colours(box)
    label = "\n".join([box.name, box.type, *box.lines, *([str(box.shared)] if box.shared else [])])
    look = f'fillcolor="{fill}", color="{stroke}"'
    look += ', style="filled,rounded"' if box.kind in ("input", "output") else ""
    look += ', style="filled,dashed"' if box.kind == "constant" else ""
    look += ", peripheries=2" if box.kind == "model" else ""
    return f"{_quoted(box.key)} [label={_quoted(label)}, {look}];"


def _edge(arrow: Arrow) -> str:
    source = _quoted(arrow.source_inside or arrow.source)
    target = _quoted(arrow.target_inside or arrow.target)
    label = f" [taillabel={_quoted(arrow.part)}]" if arrow.part else ""
    return f"{source} -> {target}{label};"


def _quoted(text: str) -> str:
    """A string of graphviz: quotes and backslashes are escaped, lines are centred."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
