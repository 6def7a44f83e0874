"""A search as figures, drawn by matplotlib without pyplot.

Optuna draws such pictures as well. These show what a search with conditional parameters, pruned
and failed trials needs: Optuna's leave out trials that lack a parameter, and do not tell pruned
trials from others.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torchbp.errors import missing_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

    from torchbp.tune.study import Study

BLUE, ORANGE, RED, GREY, INK = "#2f6db3", "#e07b1a", "#b3123d", "#a8adb5", "#444444"
_LOG_FROM = 50  # largest over smallest number, from which an axis is logarithmic
_COLUMNS = 4
MAP = "viridis_r"  # from late, or good, which is dark, to early, or bad


def plot_history(study: Study) -> Figure:
    """The score of each trial, and the best so far.

    Raises:
        DataError: no trial is complete.
        MissingExtraError: matplotlib is not installed.
    """
    complete = study.complete()
    trials = study.optuna.get_trials(deepcopy=False)
    figure, axes = new_figure(8.4, 3.6)
    style(axes, "trial", study.monitor)
    numbers, scores = [t.number for t in complete], [t.values[0] for t in complete]
    better = max if study.score.rises else min
    best = [better(scores[: i + 1]) for i in range(len(scores))]
    low, high = focus(axes, study, scores)
    axes.plot(
        numbers,
        clipped(scores, low, high),
        "o",
        color=BLUE,
        ms=4.5,
        clip_on=False,
        label="complete",
    )
    pruned = [(t.number, v) for t in trials if (v := last_of(t)) is not None and is_pruned(t)]
    if pruned:
        places = clipped([value for _, value in pruned], low, high)
        axes.plot(
            [number for number, _ in pruned],
            places,
            "x",
            color=GREY,
            ms=5,
            clip_on=False,
            label="pruned",
        )
    axes.step(
        [*numbers, trials[-1].number],
        clipped([*best, best[-1]], low, high),
        where="post",
        color=ORANGE,
        linewidth=1.8,
        label="best so far",
    )
    failed = [t.number for t in trials if t.state.name == "FAIL"]
    if failed:
        place = axes.get_xaxis_transform()
        axes.plot(
            failed,
            [0.02] * len(failed),
            "|",
            color=RED,
            transform=place,
            markersize=9,
            label="failed",
        )
    whole_numbers(axes)
    add_legend(axes)
    return figure


def plot_importances(study: Study) -> Figure:
    """How much of the spread of the scores each parameter explains, by Optuna's PED-ANOVA.

    Raises:
        DataError: no trial is complete.
        MissingExtraError: matplotlib is not installed.
    """
    from optuna.importance import get_param_importances

    complete = study.complete()
    figure, axes = new_figure(8.4, 3.6)
    if len(complete) < 4 or len({trial.values[0] for trial in complete}) < 2:
        axes.axis("off")
        axes.text(0.5, 0.5, "too few different scores to tell", ha="center", color=INK)
        return figure
    sign = -1 if study.score.rises else 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it looks at low values, which is meant
        parts = get_param_importances(study.optuna, target=lambda trial: sign * trial.values[0])
    shown = sorted(parts.items(), key=lambda item: item[1])
    figure.set_size_inches(8.4, 0.9 + 0.3 * len(shown))
    bars = axes.barh([name for name, _ in shown], [part for _, part in shown], color=BLUE)
    axes.bar_label(bars, [f"{part:.2f}" for _, part in shown], padding=4, color=INK, fontsize=9)
    style(axes, f"importance for {study.monitor}, all together 1", "")
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1.12 * max(part for _, part in shown))
    return figure


def plot_slices(study: Study) -> Figure:
    """The score against each parameter; late trials are darker.

    Raises:
        DataError: no trial is complete.
        MissingExtraError: matplotlib is not installed.
    """
    complete = study.complete()
    names = names_of(complete)
    columns = min(len(names), _COLUMNS) or 1
    rows = max(math.ceil(len(names) / columns), 1)
    figure, first = new_figure(2.6 * columns + 0.6, 2.5 * rows)
    first.remove()
    points = None
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, place)
        own = [trial for trial in complete if name in trial.params]
        low, high = focus(axes, study, [trial.values[0] for trial in complete])
        points = axes.scatter(
            set_positions(axes, own, name),
            clipped([trial.values[0] for trial in own], low, high),
            c=[trial.number for trial in own],
            cmap=MAP,
            vmin=0,
            vmax=max(complete[-1].number, 1),
            s=18,
            clip_on=False,
        )
        style(axes, name, study.monitor if place % columns == 1 or columns == 1 else "")
    if points is not None:
        figure.colorbar(points, ax=figure.axes, label="trial", pad=0.01, aspect=30 * rows)
    return figure


def plot_intermediate(study: Study) -> Figure:
    """The score of each trial after each epoch, and where trials were pruned.

    Raises:
        DataError: no trial is complete.
        MissingExtraError: matplotlib is not installed.
    """
    best = study.best
    trials = [t for t in study.optuna.get_trials(deepcopy=False) if t.intermediate_values]
    figure, axes = new_figure(8.4, 3.8)
    step = "fold" if study.split.num_rounds > 1 else "epoch"
    style(axes, step, study.monitor)
    labels = {"complete", "pruned"}
    for trial in trials:
        steps, values = zip(*sorted(trial.intermediate_values.items()), strict=True)
        kind = "pruned" if is_pruned(trial) else "complete"
        label = kind if kind in labels else None
        labels.discard(kind)
        color = GREY if kind == "pruned" else BLUE
        line: dict[str, Any] = {"color": color, "linewidth": 1, "alpha": 0.55, "label": label}
        if trial.number == best.number:
            line |= {"color": ORANGE, "linewidth": 2.2, "alpha": 1.0}
            line["label"] = f"the best, trial {best.number}"
        axes.plot(steps, values, marker="o" if len(steps) == 1 else None, markersize=3, **line)
        if kind == "pruned":
            axes.plot(steps[-1], values[-1], "x", color="#6d737c", markersize=5, zorder=3)
    shown = [value for trial in trials for value in trial.intermediate_values.values()]
    if not study.score.rises and 0 < _LOG_FROM * min(shown) < max(shown):
        axes.set_yscale("log")
    whole_numbers(axes)
    add_legend(axes)
    return figure


def plot_front(study: Study) -> Figure:
    """With a cost: the score against it, and the trials to which no other is better in both.

    Raises:
        DataError: no trial is complete.
        MissingExtraError: matplotlib is not installed.
    """
    complete, front = study.complete(), study.front
    figure, axes = new_figure(8.4, 3.8)
    style(axes, study.cost_name or "", study.monitor)
    others = [trial for trial in complete if trial.number not in {t.number for t in front}]
    axes.plot(*_numbers(others), "o", color=GREY, markersize=4.5, label="another is better in both")
    axes.plot(
        *_numbers(front), "o-", color=ORANGE, linewidth=1.4, markersize=6, label="none is: a choice"
    )
    for trial in front:
        axes.annotate(
            f"{trial.number}",
            (trial.values[-1], trial.values[0]),
            xytext=(4, -10),
            textcoords="offset points",
            fontsize=8,
            color=INK,
        )
    axes.set_xscale("log")
    add_legend(axes)
    return figure


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one panel."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("matplotlib", "tune") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def style(axes: Axes, x_label: str, y_label: str) -> None:
    """Axes as in all pictures."""
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.set_axisbelow(True)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def focus(axes: Axes, study: Study, scores: Sequence[float]) -> tuple[float, float]:
    """Sets an axis to where the good half of the scores is; bad ones would hide differences.

    Returns:
        The lowest and the highest number on it; what is beyond is drawn on the edge.
    """
    ranked = sorted((s for s in scores if math.isfinite(s)), reverse=study.score.rises)
    best, middle, worst = ranked[0], ranked[len(ranked) // 2], ranked[-1]
    reach = 3 * (middle - best)  # negative if the score is to grow
    end = worst if abs(worst - best) <= abs(reach) else best + reach
    margin = 0.06 * abs(best - end) or 0.01
    low, high = min(best, end) - margin, max(best, end) + margin
    if not study.score.rises and 0 < best * _LOG_FROM < end:
        axes.set_yscale("log")
        low = best / 1.3
    axes.set_ylim(low, high)
    return low, high


def clipped(values: Sequence[float], low: float, high: float) -> list[float]:
    """The values, those beyond an axis on its edge."""
    return [min(max(value, low), high) for value in values]


def whole_numbers(axes: Axes) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def add_legend(axes: Axes) -> None:
    """A legend above the panel."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=9, labelcolor=INK
    )


def names_of(trials: Sequence[FrozenTrial]) -> list[str]:
    """All parameters that some trial has, those that most have first."""
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    return sorted(names, key=lambda name: -sum(name in trial.params for trial in trials))


def set_positions(axes: Axes, trials: Sequence[FrozenTrial], name: str) -> list[Any]:
    """Where the values of a parameter stand on the axis below, which gets its ticks."""
    distribution: Any = trials[0].distributions[name]
    values = [trial.params[name] for trial in trials]
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        texts = [str(choice) for choice in choices]
        axes.set_xticks(range(len(texts)), texts, rotation=30 if len(texts) > 3 else 0)
        axes.set_xlim(-0.5, len(texts) - 0.5)
        return [choices.index(value) for value in values]
    if getattr(distribution, "log", False):
        axes.set_xscale("log")
        if isinstance(distribution.low, int):
            powers = [2**i for i in range(31) if distribution.low <= 2**i <= distribution.high]
            powers = powers[:: len(powers) // 6 + 1]
            axes.set_xticks(powers, [str(power) for power in powers])
        axes.set_xticks([], minor=True)
    elif isinstance(distribution.low, int):
        whole_numbers(axes)
    return values


def is_pruned(trial: FrozenTrial) -> bool:
    """Whether a trial was cut short."""
    return trial.state.name == "PRUNED"


def last_of(trial: FrozenTrial) -> float | None:
    """The last number that a trial has reported."""
    values = trial.intermediate_values
    return values[max(values)] if values else None


def _numbers(trials: Sequence[FrozenTrial]) -> tuple[list[float], list[float]]:
    return [trial.values[-1] for trial in trials], [trial.values[0] for trial in trials]
