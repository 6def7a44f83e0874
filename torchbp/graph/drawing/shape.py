"""How large a box is, and where its texts stand in it."""

from __future__ import annotations

import itertools
import unicodedata
from dataclasses import dataclass, replace

from torchbp.graph.captions import shortened
from torchbp.graph.drawing.picture import Box

NAME_FONT, TEXT_FONT = 13.0, 11.5  # sizes in pixels
NAME_LINE, TEXT_LINE = 18.0, 15.0  # heights
PADDING = 12.0  # beside the texts
MARGIN = 6.0  # above and below them
LONGEST = 44  # columns of a text


@dataclass(frozen=True)
class Text:
    """A line of text: what it says, what it is, its middle (a header's start), its baseline."""

    text: str
    role: str
    x: float
    y: float

    def moved(self, x: float, y: float) -> Text:
        """The text at another place."""
        return replace(self, x=self.x + x, y=self.y + y)


@dataclass(frozen=True)
class Shape:
    """The size of a box and its texts.

    Attributes:
        width: in pixels.
        height: in pixels.
        texts: in coordinates from the left upper corner.
        ports: where arrows meet the box that do not meet its middle: distances from there,
            across the arrows, by the part that they take.
    """

    width: float
    height: float
    texts: tuple[Text, ...]
    ports: dict[str, float]


def box_shape(box: Box, horizontal: bool) -> Shape:
    """A box as large as its texts, with a strip of parts on the side where arrows leave."""
    notes = [(box.type, "type"), *((line, "line") for line in box.lines)]
    notes += [(str(box.shared), "shared")] if box.shared else []
    block = _block(box.name, notes)
    if not box.parts:
        return block
    strip = _strip(box.parts, horizontal)
    if horizontal:
        width, height = block.width + strip.width, max(block.height, strip.height)
        block_at, strip_at = (
            (0.0, (height - block.height) / 2),
            (block.width, (height - strip.height) / 2),
        )
    else:
        width, height = max(block.width, strip.width), block.height + strip.height
        block_at, strip_at = (
            ((width - block.width) / 2, 0.0),
            ((width - strip.width) / 2, block.height),
        )
    texts = [text.moved(*block_at) for text in block.texts]
    texts += [text.moved(*strip_at) for text in strip.texts]
    return Shape(width, height, tuple(texts), strip.ports)


def header_shape(box: Box) -> Shape:
    """The one line of text above what a frame contains."""
    calls = f", call {box.shared.call} of {box.shared.calls}" if box.shared else ""
    text = shortened(f"{box.name} ({box.type})", LONGEST) + calls
    width = text_width(text, NAME_FONT)
    return Shape(width, NAME_LINE, (Text(text, "header", 0.0, 13.0),), {})


def text_width(text: str, font: float = TEXT_FONT) -> float:
    """How wide a text is in a sans-serif font, rather too wide than too narrow."""
    return font * sum(map(_char_width, text))


def _block(name: str, notes: list[tuple[str, str]]) -> Shape:
    """A name, and lines below it."""
    name = shortened(name, LONGEST)
    notes = [(shortened(note, LONGEST), role) for note, role in notes]
    widths = [text_width(name, NAME_FONT), *(text_width(note) for note, _ in notes)]
    width = max(widths) + 2 * PADDING
    texts = [Text(name, "name", width / 2, MARGIN + 13.0)]
    for index, (note, role) in enumerate(notes):
        texts.append(Text(note, role, width / 2, MARGIN + NAME_LINE + 11.0 + index * TEXT_LINE))
    height = NAME_LINE + len(notes) * TEXT_LINE + 2 * MARGIN
    return Shape(width, height, tuple(texts), {})


def _strip(parts: list[str], horizontal: bool) -> Shape:
    """Parts side by side, or below each other where arrows run to the right."""
    shown = [shortened(part, LONGEST) for part in parts]
    widths = [text_width(text) + PADDING for text in shown]
    extents = [TEXT_LINE] * len(parts) if horizontal else widths
    total = sum(extents)
    middles = [
        end - extent / 2 for end, extent in zip(itertools.accumulate(extents), extents, strict=True)
    ]
    width, height = (max(widths), total + 2 * MARGIN) if horizontal else (total, TEXT_LINE)
    texts = [
        Text(text, "part", width / 2, MARGIN + middle + 4.0)
        if horizontal
        else Text(text, "part", middle, 9.0)
        for text, middle in zip(shown, middles, strict=True)
    ]
    ports = {part: middle - total / 2 for part, middle in zip(parts, middles, strict=True)}
    return Shape(width, height, tuple(texts), ports)


def _char_width(char: str) -> float:
    """Width in parts of the font's size, for the wider of the usual sans-serif fonts, bold."""
    if char in "ijl.,:;'|!()[]{} fIt-":
        return 0.42
    if char in "mwMW@%":
        return 1.0
    if unicodedata.east_asian_width(char) in "WF":
        return 1.0
    return 0.74 if char.isupper() else 0.66
