"""What an ensemble is given: targets, weights and poolings by output; samples that are new."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torchbp.ensemble.pooling import Pooling
from torchbp.ensemble.tasks import Task, as_targets
from torchbp.errors import DataError


def targets_by_output(
    given: Any,
    values: Mapping[str, Tensor],
    tasks: Mapping[str, Task],
    classes: Sequence[Any] | None,
    who: str,
) -> dict[str, Tensor]:
    """The targets of each output, class indices (N,) or numbers (N, K).

    Args:
        given: those of the one output, or a dict by output.
        values: the predictions (M, N, C) that they belong to.
        tasks: of the outputs.
        classes: the label of each column, None if these are 0, 1, 2 ...
        who: what an error calls them.

    Raises:
        DataError: targets that do not fit.
    """
    if not isinstance(given, Mapping) and len(tasks) == 1:
        given = {next(iter(tasks)): given}
    if not isinstance(given, Mapping) or set(given) != set(tasks):
        got = list(given) if isinstance(given, Mapping) else type(given).__name__
        raise DataError(
            f"{who}: expected a dict by the outputs {list(tasks)}, got {got}.\n"
            "  To mend it: pass the target of each output by its name."
        )
    targets = {
        name: as_targets(given[name], task, values[name].shape[2], classes, who)
        for name, task in tasks.items()
    }
    for name, target in targets.items():
        if len(target) != values[name].shape[1]:
            raise DataError(
                f"{who}: expected {values[name].shape[1]}, as many as inputs, got {len(target)}.\n"
                "  To mend it: pass the target of each sample."
            )
    return targets


def joined(rows: Sequence[Tensor]) -> Tensor:
    """All samples of several sets, (n,) int64."""
    return torch.cat(list(rows)) if rows else torch.zeros(0, dtype=torch.int64)


def refuse_known(rows: Tensor, known: Sequence[Tensor], what: str, why: str) -> None:
    """Refuses samples that are known.

    Raises:
        DataError: some of them are.
    """
    shared = int(torch.isin(rows, joined(known)).sum())
    if shared:
        mend = "keep the samples of the test apart from all others"
        mend += "; drop_known=True leaves those out that are known" if what == "test" else ""
        raise DataError(
            f"{what}: expected samples that are new, got {shared} of {len(rows)} that {why}.\n"
            f"  To mend it: {mend}."
        )


def poolings_by_output(
    pooling: Pooling | Mapping[str, Pooling], tasks: Mapping[str, Task]
) -> dict[str, Pooling]:
    """The pooling of each output.

    Raises:
        DataError: not one for each.
    """
    if isinstance(pooling, Pooling):
        return dict.fromkeys(tasks, pooling)
    if not isinstance(pooling, Mapping) or set(pooling) != set(tasks):
        got = list(pooling) if isinstance(pooling, Mapping) else type(pooling).__name__
        raise DataError(
            f"pooling: expected one, or one for each of the outputs {list(tasks)}, got {got}.\n"
            "  To mend it: pass Mean(), or a dict by the names of the outputs."
        )
    return {name: pooling[name] for name in tasks}


def checked_weights(weights: Mapping[str, float], names: Sequence[str]) -> Tensor:
    """Weights in the order of the members, (M,) with the sum 1.

    Raises:
        DataError: names that are not the members', negative weights, or only zeros.
    """
    got = dict(weights) if isinstance(weights, Mapping) else weights
    if not isinstance(got, dict) or set(got) != set(names):
        raise DataError(
            f"weights: expected one for each of the members {list(names)}, got {got}.\n"
            "  To mend it: pass a dict of member name -> weight."
        )
    values = torch.tensor([float(got[name]) for name in names], dtype=torch.float64)
    if not values.isfinite().all() or bool((values < 0).any()) or not bool(values.sum() > 0):
        raise DataError(
            f"weights: expected numbers that are not negative, and one above 0, got {got}.\n"
            "  To mend it: give a member that is to have no say the weight 0."
        )
    return values / values.sum()


def check_count(values: Mapping[str, Tensor], rows: Tensor) -> None:
    """Refuses predictions (M, N, C) that are not one for each sample.

    Raises:
        DataError: another number of them.
    """
    for output, own in values.items():
        if own.shape[1] != len(rows):
            raise DataError(
                f"members: expected a prediction for each of {len(rows)} samples, got "
                f"{own.shape[1]} in {output!r}.\n"
                "  To mend it: let the members' inputs functions keep dimension 0."
            )
