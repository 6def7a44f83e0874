"""A training run as a figure: a panel for each number, drawn by matplotlib without pyplot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torchbp.errors import DataError, missing_extra
from torchbp.train.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from torchbp.train.history import History

_TRAIN, _VALIDATION, _BEST, _CHANGE, _INK = "#2f6db3", "#e07b1a", "#2e8b57", "#888888", "#444444"
_COLUMNS = 3
_PANEL_SIZE = 4.4, 3.1  # inches
_LOG_FROM = 50  # largest over smallest number, from which an axis is logarithmic
_MANY_EPOCHS = 40  # more are drawn without a dot for each
_MANY_CHANGES = 8  # more changes of the learning rate are drawn as short strokes


class Curve(NamedTuple):
    """The numbers under one name, and the epochs that they belong to, counted from 1."""

    epochs: list[int]
    values: list[float]


class Best(NamedTuple):
    """The best epoch, counted from 1, and what it is the best by."""

    epoch: int
    monitor: str
    value: float


def plot_history(history: History, path: str | Path | None = None) -> Figure:
    """The figure of `History.plot`, which says what is in it."""
    file_format = None if path is None else picture_format("history", path)
    if not history:
        raise DataError(
            "history: expected numbers of at least one epoch to plot, got none.\n"
            "  To mend it: plot after fit."
        )
    figure = _draw(history)
    if path is not None:
        write_atomically(path, lambda file: figure.savefig(file, format=file_format, dpi=150))
    return figure


def best_epoch(history: History) -> Best | None:
    """The epoch with the lowest `val_loss`, or `loss` if there is none; the first of equals."""
    for monitor in ("val_loss", "loss"):
        finite = _finite(curve_of(history, monitor))
        if finite.values:
            lowest = min(range(len(finite.values)), key=finite.values.__getitem__)
            return Best(finite.epochs[lowest], monitor, finite.values[lowest])
    return None


def lr_changes(history: History) -> list[float]:
    """Where another learning rate comes into force: between two epochs, counted from 1."""
    epochs, rates = curve_of(history, "lr")
    return [
        epoch - 0.5
        for epoch, old, new in zip(epochs[1:], rates[:-1], rates[1:], strict=True)
        if new != old
    ]


def curve_of(history: History, name: str) -> Curve:
    """The curve of a name, empty if it was not logged."""
    if name not in history:
        return Curve([], [])
    return Curve([epoch + 1 for epoch in history.epochs_of(name)], list(history[name]))


def _draw(history: History) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("matplotlib", "plot") from error
    names = list(dict.fromkeys(name.removeprefix("val_") for name in history if name != "lr"))
    names += ["lr"] if "lr" in history else []
    columns = min(len(names), _COLUMNS)
    rows = math.ceil(len(names) / columns)
    width, height = _PANEL_SIZE
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    for place, name in enumerate(names, start=1):
        _draw_panel(figure.add_subplot(rows, columns, place), history, name)
    _share_epochs(figure, history)
    _draw_legend(figure, columns)
    return figure


def _draw_panel(axes: Axes, history: History, name: str) -> None:
    axes.set_title("learning rate (lr)" if name == "lr" else name, loc="left", color=_INK)
    axes.set_xlabel("epoch", color=_INK)
    axes.set_axisbelow(True)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK, labelsize=9)
    training, validation = curve_of(history, name), curve_of(history, f"val_{name}")
    _scale(axes, training.values + validation.values)
    if name == "lr":
        _draw_curve(axes, "learning rate", training, _INK, drawstyle="steps-mid")
        return
    _draw_curve(axes, "training", training, _TRAIN)
    _draw_curve(axes, "validation", validation, _VALIDATION)
    _mark_changes(axes, lr_changes(history))
    if (best := best_epoch(history)) is not None:
        _mark_best(axes, best, [training, validation])


def _scale(axes: Axes, values: list[float]) -> None:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        axes.set_yticks([])
    elif min(finite) > 0 and max(finite) > _LOG_FROM * min(finite):
        axes.set_yscale("log")


def _draw_curve(
    axes: Axes, label: str, curve: Curve, color: str, drawstyle: str = "default"
) -> None:
    if not curve.values:
        return
    axes.plot(
        curve.epochs,
        curve.values,
        color=color,
        marker="o" if len(curve.epochs) <= _MANY_EPOCHS else None,
        markersize=3.5,
        linewidth=1.6,
        drawstyle=drawstyle,
        label=label,
    )
    broken = [epoch for epoch, value in zip(*curve, strict=True) if not math.isfinite(value)]
    if broken:
        height = 0.04 if label == "validation" else 0.0  # both may break in one epoch
        axes.plot(
            broken,
            [height] * len(broken),
            color=color,
            marker="x",
            linestyle="none",
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label=f"{label} not finite",
        )


def _mark_changes(axes: Axes, changes: list[float]) -> None:
    foot, style = (0.97, "-") if len(changes) > _MANY_CHANGES else (0.0, ":")
    for position in changes:
        axes.axvline(position, foot, color=_CHANGE, linestyle=style, label="lr changes", zorder=1)


def _mark_best(axes: Axes, best: Best, curves: list[Curve]) -> None:
    """A line at the best epoch, rings around its numbers, and these above the panel."""
    label = f"best {best.monitor}: epoch {best.epoch}"
    axes.axvline(best.epoch, color=_BEST, linewidth=1, alpha=0.6, label=label, zorder=1)
    there = [
        value
        for curve in curves
        for epoch, value in zip(*_finite(curve), strict=True)
        if epoch == best.epoch
    ]
    axes.plot(
        [best.epoch] * len(there), there, "o", markersize=8, color=_BEST, fillstyle="none", zorder=3
    )
    numbers = " | ".join(f"{value:.4g}" for value in there)
    axes.set_title(numbers, loc="right", fontsize=8.5, color=_BEST)


def _draw_legend(figure: Figure, columns: int) -> None:
    """One legend below the panels, each kind of mark in it once."""
    marks: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            marks.setdefault(label, handle)
    marks.pop("learning rate", None)  # its panel says so
    figure.legend(
        handles=list(marks.values()),
        labels=list(marks),
        loc="outside lower center",
        ncols=min(len(marks), 2 * columns),
        fontsize=9,
        frameon=False,
        labelcolor=_INK,
    )


def _share_epochs(figure: Figure, history: History) -> None:
    """The same epochs in all panels, at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    first, last = min(history.epochs) + 1, max(history.epochs) + 1
    for axes in figure.axes:
        axes.set_xlim(first - 0.5, last + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def _finite(curve: Curve) -> Curve:
    kept = [pair for pair in zip(*curve, strict=True) if math.isfinite(pair[1])]
    return Curve([epoch for epoch, _ in kept], [value for _, value in kept])


def picture_format(who: str, path: str | Path) -> str:
    """The format that a picture's path asks for, "png" or "svg".

    Raises:
        DataError: it asks for another one, or for none.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".svg"):
        raise DataError(
            f"{who}: expected a path that ends in .png or .svg, got {str(path)!r}.\n"
            "  To mend it: give it one of these suffixes."
        )
    return suffix.removeprefix(".")
