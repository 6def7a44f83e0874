"""The figures of scripts/tune_digits.py as a table, a page and a picture."""

import json
from itertools import combinations
from pathlib import Path
from statistics import mean, median
from typing import Any

from matplotlib.figure import Figure
from rich.box import SIMPLE
from rich.table import Table
from shared_parts.pages import filled

Figures = dict[str, Any]
COLORS = {"random": "#888888", "TPE": "#2f6db3", "TPE, pruned": "#e07b1a"}
HEADS = (
    *("method", "trials", "of them pruned", "failed", "validation loss", "test loss"),
    *("gap", "optimism"),
)


def of(figures: Figures, method: str, name: str) -> list[float]:
    """A number of all seeds."""
    return [run[name] for run in figures["runs"] if run["method"] == method]


def rows(figures: Figures) -> list[list[str]]:
    """A row for each method, in the order of HEADS."""
    return [
        [
            method,
            *(f"{mean(of(figures, method, name)):.1f}" for name in ("trials", "pruned", "failed")),
            *(spread(of(figures, method, n)) for n in ("validation", "test", "gap", "optimism")),
        ]
        for method in figures["methods"]
    ]


def spread(values: list[float]) -> str:
    """The median and the range."""
    return f"{median(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def table(figures: Figures) -> Table:
    """The table for the terminal."""
    result = Table(box=SIMPLE)
    for head in HEADS:
        result.add_column(head, justify="left" if head == "method" else "right")
    for row in rows(figures):
        result.add_row(*row)
    return result


def best_at(curve: list[list[float]], epochs: float) -> float:
    """The lowest loss of the trials that were over by then; infinite if there were none."""
    return min((loss for spent, loss in curve if spent <= epochs), default=float("inf"))


def findings(figures: Figures) -> list[str]:
    """What the seeds say of each two methods, at half of the budget and at its end."""
    budget, told = figures["settings"]["budget"], []
    for first, second in combinations(figures["methods"], 2):
        parts = []
        for epochs in (budget / 2, budget):
            pairs = list(
                zip(of(figures, first, "curve"), of(figures, second, "curve"), strict=True)
            )
            wins = sum(best_at(b, epochs) < best_at(a, epochs) for a, b in pairs)
            parts.append(f"with {wins} of {len(pairs)} seeds after {epochs:.0f} epochs")
        a, b = of(figures, first, "test"), of(figures, second, "test")
        tested = sum(y < x for x, y in zip(a, b, strict=True))
        told.append(
            f"- {second} has a lower validation loss than {first} {' and '.join(parts)}; the "
            f"chosen model has the lower test loss with {tested}."
        )
    verdicts = [run["verdict"] for run in figures["runs"]]
    told.append(
        f"- Of {len(verdicts)} searches the report calls the validation set over-used in "
        f"{verdicts.count('over-used')}, strained in {verdicts.count('strained')}."
    )
    return told


def plot(figures: Figures, path: Path) -> None:
    """The best so far against the epochs: median of the seeds, and each of them."""
    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    budget = figures["settings"]["budget"]
    epochs = list(range(0, budget + 1, max(figures["settings"]["epochs"] // 4, 1)))
    for method in figures["methods"]:
        curves, color = of(figures, method, "curve"), COLORS[method]
        at = [[best_at(curve, spent) for spent in epochs] for curve in curves]
        for own in at:
            axes.step(epochs, own, where="post", color=color, linewidth=0.9, alpha=0.4)
        middle = [median(values) for values in zip(*at, strict=True)]
        axes.step(epochs, middle, where="post", color=color, linewidth=2.4, label=method)
    losses = [run["curve"][-1][1] for run in figures["runs"]]
    axes.set_yscale("log")
    axes.set_ylim(0.85 * min(losses), 4 * max(losses))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:.2g}")
    axes.tick_params(which="minor", labelsize=7)
    axes.set_xlabel("training epochs spent")
    axes.set_ylabel("lowest validation loss so far")
    axes.set_axisbelow(True)
    axes.grid(color="#e6e6e6", linewidth=0.8, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        frameon=False, title=f"median, and each of {len(figures['settings']['seeds'])} seeds"
    )
    figure.savefig(path, dpi=150)


def write(figures: Figures, folder: Path) -> None:
    """The figures, the page and the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tuning.json").write_text(json.dumps(figures, indent=1) + "\n")
    plot(figures, folder / "tuning.png")
    lines = [HEADS, ["---", *["---:"] * (len(HEADS) - 1)], *rows(figures)]
    page = PAGE.format(
        **figures["settings"] | figures["machine"] | figures["versions"],
        command=figures["command"],
        dataset=figures["dataset"],
        count=len(figures["settings"]["seeds"]),
        table="\n".join(f"| {' | '.join(line)} |" for line in lines),
        findings="\n\n".join(findings(figures)),
    )
    (folder / "tuning.md").write_text(filled(page))


PAGE = """\
# Random search, TPE, and TPE that prunes

    {command}

Each search gets {budget} training epochs on {dataset}, {epochs} for a trial that is not pruned; the
one that begins within the budget is finished. The space is that of `torchbp tune`: layers, units,
activation, BatchNorm, dropout, optimizer, learning rate (from 0.00001 to 1), momentum, batch size.
Trials are compared by the validation loss of their best epoch. The seeds {seeds} draw the cut of
the data, the sampler's choices and the weights; a seed cuts the same data for all methods. An epoch
costs the same here whatever the model and the batch size.

![The lowest validation loss so far](tuning.png)

{table}

Trials are means of the {count} seeds; of the other figures the median is given, and the range. The
gap is the test loss minus the validation loss of the chosen model, the optimism is by how much its
validation loss is expected to be too low. One thread, {device}, {cores} cores, Python {python},
torch {torch}, optuna {optuna}.

{findings}
"""
