"""The predictions of all members for some samples, and which samples these are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchbp.ensemble.tasks import Task, as_columns, check_values, tasks_by_output
from torchbp.errors import DataError
from torchbp.train.tensors import as_tensors, named_tensors


@dataclass(frozen=True, eq=False)
class Predictions:
    """What each member says of each sample: all that pooling, weights and diversity need.

    Args:
        names: of the members.
        values: by output, the predictions of all members (M, N, C), float64.
        tasks: the task of each output.
        rows: (N,) int64, a number for each sample that is the same for the same inputs.
        architectures: of each member, None where it is not known.
    """

    names: tuple[str, ...]
    values: dict[str, Tensor]
    tasks: dict[str, Task]
    rows: Tensor
    architectures: tuple[str | None, ...]

    @classmethod
    def of(
        cls, arrays: Mapping[str, Any], task: Task | Mapping[str, Task] = "classification"
    ) -> Predictions:
        """Predictions that were computed elsewhere, of members that need not be here.

        Args:
            arrays: member name -> array (N, C), or a dict of these by output.
            task: as in `Ensemble`.

        Raises:
            DataError: no members, or members that disagree on samples or classes.

        Example:
            >>> p = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
            >>> kept = Predictions.of({"net": p, "forest": p.flip(0)})
            >>> kept, len(kept)
            (Predictions(2 samples of net, forest), 2)

        The samples are known by what the members say of them, as their inputs are not here.
        """
        tasks = tasks_by_output(task)
        members = {
            name: {
                output: as_columns(as_tensors(value, torch.float64, name), tasks[output], name)
                for output, value in (
                    array.items() if isinstance(array, Mapping) else [(next(iter(tasks)), array)]
                )
            }
            for name, array in arrays.items()
        }
        values = stacked(members, tasks)
        rows = rows_of([value.transpose(0, 1) for value in values.values()])
        return cls(tuple(members), values, tasks, rows, (None,) * len(members))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Predictions({len(self)} samples of {', '.join(self.names)})"

    def without(self, rows: Tensor) -> tuple[Predictions, Tensor]:
        """Those of the samples that are not among `rows`, and where these were, (N,) bool."""
        kept = ~torch.isin(self.rows, rows)
        values = {name: value[:, kept] for name, value in self.values.items()}
        return (
            Predictions(self.names, values, self.tasks, self.rows[kept], self.architectures),
            kept,
        )


def stacked(
    members: Mapping[str, Mapping[str, Tensor]], tasks: Mapping[str, Task]
) -> dict[str, Tensor]:
    """The columns of all members by output, (M, N, C) in float64, after they were checked.

    Raises:
        DataError: no members, or members that disagree, or predictions that cannot be pooled.
    """
    if not members:
        raise DataError(
            "ensemble: expected at least one member, got none.\n"
            "  To mend it: pass a dict of name -> model, estimator or function."
        )
    result = {}
    for output, task in tasks.items():
        columns = {name: own[output].to("cpu", torch.float64) for name, own in members.items()}
        for name, own in columns.items():
            check_values(own, task, f"member {name!r}")
        _check_agreement(columns, task)
        result[output] = torch.stack(list(columns.values()))  # (M, N, C)
    return result


def rows_of(inputs: Any) -> Tensor:
    """A number for each sample, (N,) int64, the same for the same values in any type.

    Raises:
        DataError: inputs that are no arrays, or that disagree on the number of samples.

    Example:
        >>> first, second = rows_of(torch.tensor([[1, 2], [1, 2]]))
        >>> bool(first == second == rows_of([torch.tensor([[1.0, 2.0]])])[0])
        True
    """
    found = dict(named_tensors(as_tensors(inputs, torch.float32, "inputs"), "inputs"))
    counts = {name: len(tensor) for name, tensor in found.items()}
    if len(set(counts.values())) != 1:
        raise DataError(
            f"inputs: expected arrays of the same number of samples, got {counts or 'none'}.\n"
            "  To mend it: pass an array, or a list or dict of arrays; datasets and loaders go to "
            "each member's own Trainer.predict, and their results to Predictions.of."
        )
    parts = [found[name].detach().cpu().float().flatten(1) for name in sorted(found)]
    table = (torch.cat(parts, dim=1) + 0.0).contiguous().numpy()  # -0.0 becomes 0.0
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in table]
    numbers = [int.from_bytes(digest, "little", signed=True) for digest in digests]
    return torch.tensor(numbers, dtype=torch.int64)


def key_of(rows: Tensor, fingerprint: str) -> str:
    """What names the predictions of a member for some samples."""
    digest = hashlib.blake2b(rows.numpy().tobytes(), digest_size=8)
    digest.update(fingerprint.encode())
    return digest.hexdigest()


def _check_agreement(columns: Mapping[str, Tensor], task: Task) -> None:
    what = "columns" if task == "regression" else "classes"
    for place, thing in ((0, "samples"), (1, what)):
        counts = {name: own.shape[place] for name, own in columns.items()}
        if len(set(counts.values())) > 1:
            raise DataError(
                f"members: expected predictions of the same {thing}, got {_listed(counts)}.\n"
                f"  To mend it: give all members the same {thing}."
            )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name!r}: {count}" for name, count in counts.items())


def check_names(names: Sequence[str]) -> None:
    """Refuses names that a state dict or a file could not hold.

    Raises:
        DataError: an empty name, or one with a dot or a slash.
    """
    wrong = [name for name in names if not name or any(sign in name for sign in "./\\")]
    if wrong:
        raise DataError(
            f"members: expected names without dots and slashes, got {wrong}.\n"
            "  To mend it: name them with letters, digits, spaces and underscores."
        )
