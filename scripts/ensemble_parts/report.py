"""The figures of scripts/ensemble_digits.py as tables, a page and pictures."""

import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sklearn
import torch
from rich.box import SIMPLE
from rich.table import Table
from shared_parts.pages import filled

from .plots import plot_scores

Figures = dict[str, Any]


def ranged(figure: dict[str, float], percent: bool = False) -> str:
    """A mean and its interval."""
    scale, digits = (100, 1) if percent else (1, 3)
    value, low, high = (f"{scale * figure[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


HEADS = ["", "validation loss", "test loss", "test accuracy %"]


def rows(figures: Figures) -> Iterator[list[str]]:
    """A row for each member, each way of pooling and each comparison."""
    for name, own in figures["rows"].items():
        label = f"{name} (chosen)" if name == figures["chosen"] else name
        validation = own.get("validation loss")
        loss = "" if validation is None else f"{validation:.3f}"
        yield [label, loss, ranged(own["loss"]), ranged(own["accuracy"], percent=True)]


def table(figures: Figures) -> Table:
    """The table for the terminal."""
    result = Table(box=SIMPLE)
    for head in HEADS:
        result.add_column(head, no_wrap=True, justify="right" if head else "left")
    for row in rows(figures):
        result.add_row(*row, style="bold" if row[0].endswith("(chosen)") else None)
    return result


def write(figures: Figures, folder: Path, pictures: Path) -> None:
    """The figures, the page and its plot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ensembling.json").write_text(json.dumps(figures, indent=2) + "\n")
    (folder / "ensembling.md").write_text(markdown(figures))
    pictures.mkdir(parents=True, exist_ok=True)
    plot_scores(figures, pictures / "scores.svg")


def machine_and_versions() -> Figures:
    """What the figures were made on."""
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "sklearn": sklearn.__version__,
    }
    machine = {"device": platform.machine(), "cores": os.cpu_count()}
    return {"machine": machine, "versions": versions}


def markdown(figures: Figures) -> str:
    """The page: how the figures were made, the table, what they show."""
    lines = [HEADS, ["---", "---:", "---:", "---:"], *rows(figures)]
    page = PAGE.format(
        **figures["images"] | figures["machine"] | figures["versions"],
        command=figures["command"],
        seed=figures["seed"],
        table="\n".join(f"| {' | '.join(line)} |" for line in lines),
        findings="\n\n".join(f"- {finding}" for finding in findings(figures)),
    )
    return filled(page)


def findings(figures: Figures) -> Iterator[str]:
    """What the figures show, in words."""
    chosen = figures["rows"][figures["chosen"]]
    for rival, gain in chosen["gains"].items():
        loss, right = gain["loss"], gain["accuracy"]
        sign = "clearly" if loss["low"] * loss["high"] > 0 else "not clearly"
        yield (
            f"**{figures['chosen']} beside {rival}**, on the same resamples: loss "
            f"{ranged(loss)}, {sign} another; accuracy {ranged(right, percent=True)} points."
        )
    for name, own in figures["diversity"].items():
        pairs = own["mean of pairs"]
        yield (
            f"**Diversity of {name}**, on the validation images: two members disagree on "
            f"{pairs['disagreement']:.1%}, their errors correlate by "
            f"{pairs['error correlation']:.2f}, Q is {pairs['Q statistic']:.2f}. Pooling takes "
            f"{own['gain']:.0%} of the members' mean squared error away, from "
            f"{sum(own['member errors']) / len(own['member errors']):.4f} to "
            f"{own['ensemble error']:.4f}."
        )
    yield f"**Warning of look-alikes**: {figures['warning'] or 'none'}"


PAGE = """\
# Ensembles of digits

    {command}

Six kinds of models are trained on {train} of scikit-learn's digits. {validation} others serve to
learn weights, and to choose between the ways of pooling: the chosen one is that with the smallest
validation loss. {test} more are the test, which is opened after that. In brackets are 95% bootstrap
intervals of 2000 resamples of the test images; they tell of the chance in these images, not of that
in training. The seed is {seed}. On {device}, {cores} cores; Python {python}, torch {torch},
scikit-learn {sklearn}.

{table}

The validation losses of learned weights, and of the rank mean, are of the images that they were
learned on. Votes and ranks are no probabilities, so that their loss says little.

![Test accuracy and loss with their intervals](../ensembling/scores.svg)

## What the figures show

{findings}
"""
