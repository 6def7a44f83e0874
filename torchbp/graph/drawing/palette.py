"""The colours of boxes, the same in every kind of drawing."""

from torchbp.graph.drawing.picture import Box, Shared

Colours = tuple[str, str]  # of the area and of its border

KINDS: dict[str, Colours] = {
    "input": ("#dcf5e3", "#2b8a3e"),
    "output": ("#ffe8d6", "#c2410c"),
    "module": ("#e3eefb", "#3b6ea8"),
    "model": ("#e3eefb", "#3b6ea8"),
    "function": ("#f3f4f6", "#9ca3af"),
    "constant": ("#ffffff", "#9ca3af"),
}
FRAME: Colours = ("#f8fafc", "#7c9cc4")
SHARED: tuple[Colours, ...] = (
    ("#fff3bf", "#e08e00"),
    ("#f3d9fa", "#9c36b5"),
    ("#c3fae8", "#099268"),
    ("#ffdeeb", "#d6336c"),
    ("#dbe4ff", "#3b5bdb"),
    ("#e9fac8", "#66a80f"),
)


def colours(box: Box) -> Colours:
    """The colours of a box; all calls of a shared layer have the same border."""
    area, border = FRAME if box.inside else KINDS[box.kind]
    if box.shared:
        light, border = shared_colours(box.shared)
        area = area if box.inside else light
    return area, border


def shared_colours(shared: Shared) -> Colours:
    """The colours of a layer that is called several times."""
    return SHARED[shared.number % len(SHARED)]
