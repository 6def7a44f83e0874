"""The picture of scripts/ensemble_digits.py: all rows with their intervals."""

from pathlib import Path
from typing import Any

from torchbp.errors import missing_extra

KINDS = {  # colours that are told apart with any kind of colour vision (Okabe and Ito)
    "member": "#666666",
    "pooling": "#0072B2",
    "comparison": "#E69F00",
}
NAMES = {
    "member": "single models",
    "pooling": "all six pooled",
    "comparison": "one architecture",
}


def plot_scores(figures: dict[str, Any], path: Path) -> None:
    """Loss and accuracy on the test images, a line for each row."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise missing_extra("matplotlib", "plot") from None
    own = figures["rows"]
    figure = Figure(figsize=(10, 0.27 * len(own) + 1.3), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, kind, scale in zip(panels, ("loss", "accuracy"), (1, 100), strict=True):
        draw(axes, own, kind, scale)
        axes.set_xlabel("test loss (cross entropy)" if kind == "loss" else "test accuracy, %")
    panels[0].set_yticks(range(len(own)), list(own))
    panels[0].invert_yaxis()
    for label in panels[0].get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == figures["chosen"] else "normal")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def draw(axes: Any, rows: dict[str, Any], kind: str, scale: float) -> None:
    """Dots and bars of one figure."""
    for group, colour in KINDS.items():
        places = [place for place, row in enumerate(rows.values()) if row["kind"] == group]
        picked = [list(rows.values())[place][kind] for place in places]
        values = [scale * figure["value"] for figure in picked]
        low = [scale * (figure["value"] - figure["low"]) for figure in picked]
        high = [scale * (figure["high"] - figure["value"]) for figure in picked]
        style = {"fmt": "o", "ms": 5, "capsize": 3, "color": colour, "label": NAMES[group]}
        axes.errorbar(values, places, xerr=[low, high], **style)
    best = min(row[kind]["value"] for row in rows.values() if row["kind"] == "member")
    if kind == "accuracy":
        best = max(row[kind]["value"] for row in rows.values() if row["kind"] == "member")
    axes.axvline(scale * best, color="#bbbbbb", lw=1, zorder=0)
    if kind == "loss":
        axes.set_xscale("log")
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
