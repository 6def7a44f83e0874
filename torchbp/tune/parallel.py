"""All parameters of all trials in one picture: an axis for each, a line for each trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torchbp.tune.pictures import INK, MAP, ORANGE, clipped, focus, names_of, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

    from torchbp.tune.study import Study

_ABSENT = -0.13  # where the lines of trials without a parameter pass


class Scale(NamedTuple):
    """One axis: heights from 0 to 1 of values, and what is written at some heights."""

    name: str
    heights: list[float | None]
    ticks: list[tuple[float, str]]


def plot_parallel(study: Study) -> Figure:
    """Parallel coordinates of the complete trials; good trials are dark, the best is orange.

    Raises:
        DataError: no trial is complete.
        MissingExtraError: matplotlib is not installed.
    """
    better = sorted(study.complete(), key=lambda t: t.values[0], reverse=study.score.rises)
    trials = better[::-1]  # the best is drawn last
    scales = [_scale_of(trials, name) for name in names_of(trials)]
    scales = [_score_scale(study, trials), *scales]
    figure, axes = new_figure(max(8.4, 1.15 * len(scales)), 4.2)
    axes.axis("off")
    axes.set_xlim(-0.4, len(scales) - 0.4)
    axes.set_ylim(_ABSENT - 0.07, 1.12)
    from matplotlib import colormaps

    for i, trial in enumerate(trials):
        heights = [scale.heights[i] for scale in scales]
        path = [_ABSENT if height is None else height for height in heights]
        is_best = trial.number == study.best.number
        place = (i + 1) / len(trials)  # of the best 1
        color = ORANGE if is_best else colormaps[MAP](0.1 + 0.9 * place)
        width, alpha = (2.6, 1.0) if is_best else (1.0, 0.25 + 0.5 * place)
        axes.plot(range(len(scales)), path, color=color, linewidth=width, alpha=alpha)
    for place, scale in enumerate(scales):
        _draw_scale(axes, place, scale)
    return figure


def _draw_scale(axes: Axes, place: int, scale: Scale) -> None:
    axes.plot([place, place], [0, 1], color=INK, linewidth=1)
    axes.text(place, 1.06, scale.name, ha="center", color=INK, fontsize=9, fontweight="bold")
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
    for height, label in scale.ticks:
        axes.plot([place - 0.03, place], [height, height], color=INK, linewidth=1)
        axes.text(
            place - 0.05, height, label, ha="right", va="center", fontsize=8, color=INK, bbox=box
        )
    if None in scale.heights:
        axes.plot(place, _ABSENT, "o", color=INK, markersize=2.5)
        axes.text(
            place - 0.05, _ABSENT, "none", ha="right", va="center", fontsize=8, color=INK, bbox=box
        )


def _score_scale(study: Study, trials: Sequence[FrozenTrial]) -> Scale:
    """The axis of the score; bad ones stand on its end."""
    scores = [trial.values[0] for trial in trials]
    _, unseen = new_figure(1, 1)
    low, high = focus(unseen, study, scores)
    scale = _numeric(study.monitor, clipped(scores, low, high), is_log=False)
    if min(scores) < low or max(scores) > high:
        end, sign = (0, "<") if study.score.rises else (-1, ">")
        at, text = scale.ticks[end]
        scale.ticks[end] = (at, f"{sign} {text}")
    return scale


def _scale_of(trials: Sequence[FrozenTrial], name: str) -> Scale:
    distribution: Any = next(t.distributions[name] for t in trials if name in t.params)
    choices = getattr(distribution, "choices", None)
    values = [trial.params.get(name) if name in trial.params else math.nan for trial in trials]
    if choices is None:
        return _numeric(name, values, getattr(distribution, "log", False))
    steps = [0.5] if len(choices) == 1 else [i / (len(choices) - 1) for i in range(len(choices))]
    heights = [
        steps[choices.index(trial.params[name])] if name in trial.params else None
        for trial in trials
    ]
    return Scale(name, heights, list(zip(steps, map(str, choices), strict=True)))


def _numeric(name: str, values: Sequence[Any], is_log: bool) -> Scale:
    there = [value for value in values if not math.isnan(value)]
    low, high = min(there), max(there)

    def height(value: float) -> float | None:
        if math.isnan(value):
            return None
        if high == low:
            return 0.5
        if is_log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    heights = [height(value) for value in values]
    if all(isinstance(value, int) for value in there) and high - low <= 6:
        marks: list[float] = list(range(int(low), int(high) + 1))
    elif is_log:
        marks = [low * (high / low) ** (i / 4) for i in range(5)]
    else:
        marks = [low + (high - low) * i / 4 for i in range(5)]
    is_whole = all(isinstance(value, int) for value in there)
    labels = [f"{mark:.0f}" if is_whole else f"{mark:.3g}" for mark in marks]
    ticks = [
        (at, text)
        for mark, text in zip(marks, labels, strict=True)
        if (at := height(mark)) is not None
    ]
    return Scale(name, heights, ticks)
