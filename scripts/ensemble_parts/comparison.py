"""Every pooling and every search, chosen between on the validation data, tested once."""

import time
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from torchbp.ensemble import (
    Ensemble,
    ExponentialMean,
    GeometricMean,
    GreedySelection,
    MajorityVote,
    Mean,
    Median,
    NelderMead,
    PowerMean as Power,
    Predictions,
    RandomSearch,
    RankMean,
    Stacking,
)

from .digits import Digits

MEAN = "uniform mean"


def ways(
    validation: Predictions, out_of_fold: Predictions, targets: Tensor, seed: int
) -> dict[str, Any]:
    """Name -> (pooling, search for weights or None)."""
    return {
        MEAN: (Mean(), None),
        "weights by Nelder-Mead": (Mean(), NelderMead(seed=seed)),
        "weights by random search": (Mean(), RandomSearch(seed=seed)),
        "weights by greedy selection": (Mean(), GreedySelection(seed=seed)),
        "geometric mean": (GeometricMean(), None),
        "geometric mean, Nelder-Mead": (GeometricMean(), NelderMead(seed=seed)),
        "quadratic mean": (Power(2), None),
        "harmonic mean": (Power(-1), None),
        "exponential mean, t = 5": (ExponentialMean(5.0), None),
        "median": (Median(), None),
        "majority vote": (MajorityVote(), None),
        "rank mean": (RankMean(validation), None),
        "stacking, out of fold": (Stacking(out_of_fold, targets, strength=0.1), None),
    }


def compare(
    members: dict[str, Any], digits: Digits, out_of_fold: Predictions, seed: int
) -> tuple[dict[str, Any], Ensemble]:
    """The figures of all ways, and the ensemble that was the best on the validation data."""
    ensemble = Ensemble(members)
    on_val = ensemble.predictions(digits.x_val)
    candidates, rows = {}, {}
    for name, (pooling, search) in ways(on_val, out_of_fold, digits.y_train, seed).items():
        start, own = time.perf_counter(), ensemble.pooled_by(pooling)
        own.fit_weights(validation=(on_val, digits.y_val), search=search)
        seconds = time.perf_counter() - start
        candidates[name] = own
        rows[name] = {
            "validation loss": own.validation.losses["output"].loss,
            "weights": own.weights["output"] if search else None,
            "seconds": seconds,
        }
    chosen = min(rows, key=lambda name: rows[name]["validation loss"])
    on_test = ensemble.predictions(digits.x_test)  # from here on nothing is learned any more
    for name, own in candidates.items():
        report = own.report(test=(on_test, digits.y_test), seed=seed).as_dict()
        rows[name] |= report["figures"]["output"]["ensemble"]
        rows[name]["gains"] = report["gains"]["output"]
    return {"ways": rows, "chosen": chosen}, candidates[chosen]


def single_ways(
    chosen: Ensemble, others: dict[str, Ensemble], digits: Digits, seed: int
) -> dict[str, Any]:
    """The figures of the members, and of ensembles of one architecture."""
    report = chosen.report(test=(digits.x_test, digits.y_test), seed=seed).as_dict()
    losses = chosen.validation.losses["output"].members
    rows = {
        name: {"kind": "member", "validation loss": own["loss"].mean().item()}
        | report["figures"]["output"][name]
        for name, own in losses.items()
    }
    for name, ensemble in others.items():
        ensemble.fit_weights(validation=(digits.x_val, digits.y_val))
        report = ensemble.report(test=(digits.x_test, digits.y_test), seed=seed).as_dict()
        rows[name] = {
            "kind": "comparison",
            "validation loss": ensemble.validation.losses["output"].loss,
            **report["figures"]["output"]["ensemble"],
        }
    return rows


def all_rows(singles: dict[str, Any], pooled: dict[str, Any]) -> dict[str, Any]:
    """Members, then ways of pooling, then what they are compared with."""
    ways = {name: {"kind": "pooling", **row} for name, row in pooled.items()}
    members = {name: row for name, row in singles.items() if row["kind"] == "member"}
    return members | ways | {n: row for n, row in singles.items() if n not in members}


def warning_of_look_alikes(caught: Iterable[Any]) -> str | None:
    """What was said of members that are too much alike, in one line."""
    told = [" ".join(str(warning.message).split()) for warning in caught]
    return next((text for text in told if "same architecture" in text), None)
