"""Pairs of members as squares of colour, drawn by matplotlib without pyplot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from torchbp.errors import missing_extra
from torchbp.train.files import write_atomically
from torchbp.train.plot import picture_format

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NOTES = {
    "disagreement": "share of samples answered differently",
    "error correlation": "0 independent, 1 the same errors",
    "Q statistic": "0 independent, 1 right about the same samples",
}
_INK, _NOTHING = "#444444", "#f0f0f0"


def draw(
    names: Sequence[str], tables: Mapping[str, Tensor | None], path: str | Path | None
) -> Figure:
    """A panel for each measure; dark squares are members that are alike."""
    suffix = None if path is None else picture_format("heat_map", path)
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("matplotlib", "plot") from error
    shown = {name: table for name, table in tables.items() if table is not None}
    side = 0.62 * max(len(names), 3)  # of the squares of a panel, inches
    margin = 0.35 + 0.075 * max(map(len, names))  # of the names
    size = margin + (side + 0.5) * len(shown), side + margin + 0.8
    figure = Figure(figsize=size, layout="compressed")  # for squares
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for place, (axes, (name, table)) in enumerate(zip(panels, shown.items(), strict=True)):
        _draw_panel(axes, name, table, names, with_names=place == 0)
    if path is not None:
        write_atomically(path, lambda file: figure.savefig(file, format=suffix, dpi=150))
    return figure


def _draw_panel(
    axes: Axes, name: str, table: Tensor, names: Sequence[str], with_names: bool
) -> None:
    from matplotlib import colormaps

    shown = table.clone()
    shown.fill_diagonal_(math.nan)  # a member beside itself says nothing
    is_distance = name == "disagreement"
    finite = shown[shown.isfinite()]
    top = finite.max().item() if len(finite) else 1.0
    high = 1.15 * max(top, 1e-9) if is_distance else 1.0
    colours = colormaps["Blues_r" if is_distance else "Blues"].with_extremes(bad=_NOTHING)
    axes.imshow(shown.numpy(), cmap=colours, vmin=0.0, vmax=high)
    for i in range(len(names)):
        for j in range(len(names)):
            if i != j:
                _write(axes, i, j, shown[i, j].item(), is_distance, high)
    axes.set_title(name, loc="left", color=_INK, fontsize=11, fontweight="bold", pad=20)
    axes.text(0, 1.03, _NOTES[name], transform=axes.transAxes, color=_INK, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", color=_INK)
    axes.set_yticks(range(len(names)), names if with_names else [""] * len(names), color=_INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _write(axes: Axes, i: int, j: int, value: float, is_distance: bool, high: float) -> None:
    """The number, light on dark squares."""
    if math.isnan(value):
        axes.text(j, i, "-", ha="center", va="center", color=_INK)
        return
    darkness = 1 - value / high if is_distance else value / high
    text = f"{100 * value:.1f}%" if is_distance else f"{value:.2f}"
    colour = "white" if darkness > 0.55 else "black"
    axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=8.5)
