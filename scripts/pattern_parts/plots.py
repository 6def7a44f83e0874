"""The plots of scripts/patterns.py: accuracy by depth, and gradients before training."""

from pathlib import Path
from statistics import median
from typing import Any

from torchbp.errors import missing_extra

from .findings import Figures, variant_of

# colours that are told apart with any kind of colour vision (Okabe and Ito), markers and lines
STYLES = {
    "plain": {"color": "#000000", "marker": "o", "linestyle": "-"},
    "residual": {"color": "#0072B2", "marker": "s", "linestyle": "-"},
    "BatchNorm": {"color": "#E69F00", "marker": "^", "linestyle": "-"},
    "residual + BatchNorm": {"color": "#009E73", "marker": "D", "linestyle": "-"},
    "residual + BatchNorm + separable": {"color": "#CC79A7", "marker": "v", "linestyle": "--"},
}
LONG_NAMES = {"Glorot": "Glorot (Keras's default)", "He": "He", "torch": "torch's default"}


def plot_accuracy(figures: Figures, path: Path) -> None:
    """Accuracy against depth, a panel for each initialisation; bars are the seeds' range."""
    inits = list(figures["nets"][0]["accuracy"])
    depths = list(dict.fromkeys(net["depth"] for net in figures["nets"]))
    figure, axes = panels(inits, width=4.6)
    for axis, init in zip(axes, inits, strict=True):
        for i, (patterns, style) in enumerate(STYLES.items()):
            parts = [n["accuracy"][init] for n in figures["nets"] if named(n) == patterns]
            middle = [100 * median(part) for part in parts]
            low = [m - 100 * min(part) for m, part in zip(middle, parts, strict=True)]
            high = [100 * max(part) - m for m, part in zip(middle, parts, strict=True)]
            x = [place + 0.05 * (i - 2) for place in range(len(depths))]  # side by side
            axis.errorbar(x, middle, [low, high], label=patterns, capsize=3, ms=6, **style)
        axis.axhline(100 * figures["images"]["most_frequent"], color="grey", ls=":", label="chance")
        axis.set_xticks(range(len(depths)), depths)
        axis.set(xlabel="3x3 convolutions", ylim=(0, 102))
    axes[0].set_ylabel(f"test accuracy, % ({figures['images']['dataset']})")
    save(figure, axes, path)


def plot_gradients(figures: Figures, path: Path) -> None:
    """The gradient's norm by layer, a panel for each initialisation; bands are the seeds' range."""
    inits = list(dict.fromkeys(row["init"] for row in figures["gradients"]))
    figure, axes = panels(inits, width=3.9)
    for axis, init in zip(axes, inits, strict=True):
        for row in figures["gradients"]:
            if row["init"] != init:
                continue
            of_layer = list(zip(*row["norms"], strict=True))
            x, style = range(1, len(of_layer) + 1), STYLES[named(row)]
            middle = [median(norms) for norms in of_layer]
            axis.plot(x, middle, label=named(row), ms=4, markevery=3, **style)
            low, high = map(min, of_layer), map(max, of_layer)
            axis.fill_between(x, list(low), list(high), color=style["color"], alpha=0.2, lw=0)
        axis.set(xlabel="convolution (1 is next to the image)", yscale="log")
    axes[0].set_ylabel("gradient norm of the weights before training")
    save(figure, axes, path)


def named(net: dict[str, Any]) -> str:
    """The patterns of a net, the key of its style."""
    return variant_of(net).patterns


def panels(inits: list[str], width: float) -> tuple[Any, Any]:
    """A figure with a panel for each initialisation, `width` inches each."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise missing_extra("matplotlib", "plot") from None
    figure = Figure(figsize=(width * len(inits), 4.4), layout="constrained")
    axes = figure.subplots(1, len(inits), sharey=True)
    for axis, init in zip(axes, inits, strict=True):
        axis.set_title(f"initialisation: {LONG_NAMES[init]}")
        axis.grid(alpha=0.3)
    return figure, axes


def save(figure: Any, axes: Any, path: Path) -> None:
    """Write the figure, with one legend for all its panels above them."""
    import matplotlib as mpl

    handles, labels = axes[0].get_legend_handles_labels()
    ncols = len(labels) if len(labels) < 5 else 3
    figure.legend(handles, labels, loc="outside upper center", ncols=ncols, frameon=False)
    with mpl.rc_context({"svg.hashsalt": path.stem}):  # the same figures, the same file
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
