"""The figures of scripts/patterns.py as a table, a page and files."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from rich.box import SIMPLE
from rich.table import Table
from shared_parts.pages import filled

from .findings import Figures, findings, variant_of
from .plots import plot_accuracy, plot_gradients


def columns(figures: Figures) -> list[str]:
    """The heads of the table."""
    inits = figures["nets"][0]["accuracy"]
    return [
        *("depth", "patterns", "parameters", "multiply-adds", "step ms"),
        *(f"accuracy %, {init}" for init in inits),
        *(f"loss, {init}" for init in inits),
    ]


def rows(figures: Figures) -> Iterator[list[str]]:
    """A row for each net, in the order of the columns."""
    for net in figures["nets"]:
        yield [
            str(net["depth"]),
            variant_of(net).patterns,
            f"{net['parameters']:,}",
            f"{net['multiply_adds']:,}",
            f"{net['step_ms']:.1f}",
            *(spread([100 * part for part in parts]) for parts in net["accuracy"].values()),
            *(f"{median(losses):.3g}" for losses in net["loss"].values()),
        ]


def spread(values: list[float]) -> str:
    """The median and, of several values, the range."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def table(figures: Figures) -> Table:
    """The table for the terminal."""
    result = Table(box=SIMPLE)
    for head in columns(figures):
        side = "left" if head == "patterns" else "right"
        result.add_column(head.replace(", ", "\n"), no_wrap=True, justify=side)
    for row in rows(figures):
        result.add_row(*row)
    return result


def markdown(figures: Figures) -> str:
    """The page: how the figures were made, the table, the plots, what they show."""
    heads = columns(figures)
    lines = [heads, ["---" if head == "patterns" else "---:" for head in heads], *rows(figures)]
    page = PAGE.format(
        **figures["images"] | figures["settings"] | figures["machine"] | figures["versions"],
        command=figures["command"],
        table="\n".join(f"| {' | '.join(line)} |" for line in lines),
        size=" x ".join(map(str, figures["images"]["shape"])),
        which=", ".join(map(str, figures["seeds"])),
        findings="\n\n".join(f"- {finding}" for finding in findings(figures)),
    )
    return filled(page)


def write(figures: Figures, folder: Path) -> None:
    """The figures, the page and its two plots."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "patterns.json").write_text(json.dumps(figures, indent=2) + "\n")
    (folder / "patterns.md").write_text(markdown(figures))
    plot_accuracy(figures, folder / "patterns-accuracy.svg")
    plot_gradients(figures, folder / "patterns-gradients.svg")


PAGE = """\
# What residual connections, BatchNorm and separable convolutions bring

    {command}

{train} images of {dataset} ({size}) train each net, {test} others test it. Every net has {width}
channels, twice as many after the convolution with stride 2 in its middle. Adam with a rate of {lr}
trains it, epochs: {epochs}, batches of {batch_size}, seeds: {which}; they draw the first weights
and the order of the batches. Glorot's initialisation is Keras's default, He's is made for ReLU. One
rate and one number of epochs serve all nets; with its own a net may do better. Shortcuts add their
input as it is. The first convolution is a plain one in every net.

{table}

Depth is the number of 3x3 convolutions. Accuracy is that of the test images after the last epoch,
the median and the range of the seeds. The loss is that of the training images, the mean over the
last epoch, of which the median is shown. Multiply-adds are for
one image, half of what torch.utils.flop_counter counts: convolutions and the linear layer, padding
included, without biases, BatchNorm, ReLU, additions and pooling. Step ms is the median time of a
training step of one batch, on {device}, {threads} thread, {cores} cores; on a CPU it is the time of
the process. Python {python}, torch {torch}.

![Accuracy against the number of convolutions](patterns-accuracy.svg)

![Norm of the gradient of each convolution's weights before training](patterns-gradients.svg)

## What the figures show

An accuracy is called higher or lower where the ranges of the seeds do not overlap.

{findings}
"""
