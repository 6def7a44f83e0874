"""What the figures of scripts/patterns.py show, in sentences that are made from them alone."""

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from .net import Variant

Figures = dict[str, Any]
Net = dict[str, Any]

# what is added to what: the base has the patterns named first
COMPARISONS = [
    ("Residual connections in a net without BatchNorm", {}, "residual"),
    ("Residual connections in a net with BatchNorm", {"norm": True}, "residual"),
    ("BatchNorm in a net without residual connections", {}, "norm"),
    ("BatchNorm in a net with residual connections", {"residual": True}, "norm"),
    (
        "Separable convolutions instead of plain ones, in a net with both",
        {"residual": True, "norm": True},
        "separable",
    ),
]


def variant_of(net: Net) -> Variant:
    """The variant that the figures belong to."""
    return Variant(net["depth"], net["residual"], net["norm"], net["separable"])


def findings(figures: Figures) -> Iterator[str]:
    """One paragraph for each thing compared."""
    for title, base, added in COMPARISONS:
        pairs = list(pairs_of(figures, base, added))
        judged = " ".join(f"{init}: {told(pairs, init)}." for init in pairs[0][0]["accuracy"])
        yield f"**{title}.** {judged} {cost(pairs)}"
    yield from unlearned(figures)
    for init in dict.fromkeys(row["init"] for row in figures["gradients"]):
        yield gradient_finding([row for row in figures["gradients"] if row["init"] == init])


def pairs_of(figures: Figures, base: dict[str, bool], added: str) -> Iterator[tuple[Net, Net]]:
    """The nets without and with a pattern, for each depth."""
    nets = {variant_of(net): net for net in figures["nets"]}
    for depth in dict.fromkeys(net["depth"] for net in figures["nets"]):
        yield nets[Variant(depth, **base)], nets[Variant(depth, **base | {added: True})]


def told(pairs: list[tuple[Net, Net]], init: str) -> str:
    """At which depths a pattern helps, judged by whether the ranges of several seeds are apart."""
    groups: dict[str, list[str]] = {"higher": [], "lower": [], "not clearly different": []}
    for before, after in pairs:
        old, new = before["accuracy"][init], after["accuracy"][init]
        verdict = "not clearly different"
        if len(old) > 1 and (min(new) > max(old) or max(new) < min(old)):
            verdict = "higher" if min(new) > max(old) else "lower"
        groups[verdict].append(f"{before['depth']} ({median(old):.1%} to {median(new):.1%})")
    return "; ".join(f"{verdict} with {', '.join(at)}" for verdict, at in groups.items() if at)


def cost(pairs: list[tuple[Net, Net]]) -> str:
    """What a pattern costs, as ratios over all depths."""
    parts = []
    for name in ("parameters", "multiply_adds", "step_ms"):
        ratios = sorted(after[name] / before[name] for before, after in pairs)
        low, high = f"{ratios[0]:.2f}", f"{ratios[-1]:.2f}"
        parts.append(low if low == high else f"{low} to {high}")
    return (
        f"Parameters times {parts[0]}, multiply-adds times {parts[1]}, step time times {parts[2]}."
    )


def unlearned(figures: Figures) -> Iterator[str]:
    """Nets that stayed near chance, and those that had not ended learning."""
    chance, epochs = figures["images"]["most_frequent"], figures["settings"]["epochs"]
    poor = named(figures, lambda net, init: median(net["accuracy"][init]) < 2 * chance)
    yield (
        f"**Near chance.** The most frequent class alone is right for {chance:.1%}. "
        f"A median accuracy below twice that: {poor}."
    )
    unfinished = named(figures, lambda net, init: median(net["loss"][init]) > 0.1)
    yield (
        f"**Not fitted.** A median training loss above 0.1 in epoch {epochs}, so that more epochs "
        f"may change the order: {unfinished}."
    )


def named(figures: Figures, holds: Callable[[Net, str], bool]) -> str:
    """The nets and initialisations for which something holds."""
    parts = []
    for net in figures["nets"]:
        inits = [init for init in net["accuracy"] if holds(net, init)]
        if inits:
            parts.append(f"{variant_of(net)} ({' and '.join(inits)})")
    return "; ".join(parts) or "none"


def gradient_finding(rows: list[dict[str, Any]]) -> str:
    """How large the gradients are, from the first convolution to the last."""
    parts = []
    for row in rows:
        norms = [median(values) for values in zip(*row["norms"], strict=True)]
        first, last = norms[0], norms[-1]
        part = f"{variant_of(row).patterns} {first:.1e} to {last:.1e}"
        if max(norms) < 1e-6:
            part += ", vanished at every depth"
        elif not 0.1 < first / last < 10:
            part += f", the first {first / last:.2g} times the last"
        parts.append(part)
    init = "torch's default" if rows[0]["init"] == "torch" else rows[0]["init"]
    return (
        f"**Gradients at the start, {rows[0]['depth']} convolutions, {init}.** Median norm in the "
        f"first and the last convolution: {'; '.join(parts)}."
    )
