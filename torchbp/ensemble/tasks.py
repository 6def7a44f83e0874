"""What an output is of: classes, yes or no, or numbers; and what its predictions must look like.

Inside the package the predictions of an output are columns, (N, C): a column for each class, two
for yes or no, one for each number.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from torchbp.errors import DataError
from torchbp.losses import ProbCrossEntropyLoss
from torchbp.train.tensors import as_tensors

Task = Literal["classification", "binary", "regression"]
"""Probabilities of classes (N, C); the probability of a yes (N, 1); numbers (N, K)."""

Loss = Callable[[Tensor, Tensor], Any]
"""loss(pooled (N, C), target) -> a number, the lower the better."""

_SUM_TOLERANCE = 1e-2  # half-precision softmax over many classes sums to 1 within it


def tasks_by_output(task: Task | Mapping[str, Task]) -> dict[str, Task]:
    """The task of each output by its name; "output" where there is one, without a name.

    Raises:
        DataError: no task, or one that is not known.
    """
    tasks: dict[str, Task] = dict(task) if isinstance(task, Mapping) else {"output": task}
    known = ("classification", "binary", "regression")
    for name, own in tasks.items():
        if own not in known:
            raise DataError(
                f"task of {name!r}: expected one of {', '.join(known)}, got {own!r}.\n"
                "  To mend it: 'classification' for probabilities (N, C), 'binary' for (N, 1), "
                "'regression' for numbers."
            )
    if not tasks:
        raise DataError(
            "task: expected a task for each output, got none.\n"
            "  To mend it: pass one, or a dict of output name -> task."
        )
    return tasks


def as_columns(value: Tensor, task: Task, who: str) -> Tensor:
    """Predictions of a member as columns (N, C).

    Raises:
        DataError: a shape that the task does not have.
    """
    if value.ndim == 1 and task != "classification":
        value = value.unsqueeze(1)
    if value.ndim != 2 or (task == "classification" and value.shape[1] < 2):
        raise DataError(
            f"{who}: expected {_SHAPES[task]}, got {tuple(value.shape)}.\n"
            "  To mend it: let it return this shape; task='binary' takes one column."
        )
    if task == "binary" and value.shape[1] == 1:
        return torch.cat([1 - value, value], dim=1)  # (N, 2)
    if task == "binary" and value.shape[1] != 2:
        raise DataError(
            f"{who}: expected {_SHAPES[task]}, got {tuple(value.shape)}.\n"
            "  To mend it: task='classification' takes more than two classes."
        )
    return value


def from_columns(pooled: Tensor, task: Task) -> Tensor:
    """Columns in the shape that a user has them in: yes or no as one column."""
    return pooled[:, 1:] if task == "binary" else pooled


def check_values(columns: Tensor, task: Task, who: str) -> None:
    """Refuses predictions that are not finite, or not the probabilities that they should be.

    Raises:
        DataError: what a member gives cannot be pooled.
    """
    if not columns.isfinite().all():
        count = int((~columns.isfinite()).any(dim=1).sum())
        raise DataError(
            f"{who}: expected finite predictions, got NaN or infinity for {count} of "
            f"{len(columns)} samples.\n"
            "  To mend it: leave this member out, or train it anew."
        )
    if task == "regression":
        return
    low, high = columns.min().item(), columns.max().item()
    off = (columns.sum(dim=1) - 1).abs().max().item()
    if low < 0 or high > 1 + _SUM_TOLERANCE or off > _SUM_TOLERANCE:
        raise DataError(
            f"{who}: expected probabilities that sum to 1, got values from {low:.4g} to "
            f"{high:.4g} and sums up to {off:.4g} away from 1.\n"
            "  To mend it: of logits, pass Member(model, activation=nn.Softmax(dim=1)), or "
            "nn.Sigmoid() for one column."
        )


def as_targets(
    target: Any, task: Task, columns: int, classes: Sequence[Any] | None, who: str
) -> Tensor:
    """Targets as class indices (N,), or as numbers (N, K) in float64.

    Args:
        target: class indices, labels if `classes` names them, one-hot rows, or numbers.
        task: of the output.
        columns: how many the output has.
        classes: the label of each column, None if these are 0, 1, 2 ...
        who: what an error calls them.

    Raises:
        DataError: targets of another form.
    """
    if task == "regression":
        numbers = as_tensors(_plain(target), torch.float64, who).to(torch.float64)
        numbers = numbers.unsqueeze(1) if numbers.ndim == 1 else numbers
        if numbers.ndim != 2 or numbers.shape[1] != columns:
            raise _misfit(who, f"numbers (N, {columns})", f"shape {tuple(numbers.shape)}")
        return numbers
    if classes is not None:
        return _indices_of(target, classes, who)
    values = as_tensors(_plain(target), torch.float64, who)
    if values.ndim == 2 and values.shape[1] == columns > 1:
        if not bool(((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all()):
            raise _misfit(who, "one-hot rows or class indices", "rows that are not one-hot")
        return values.argmax(1)
    values = values.squeeze(1) if values.ndim == 2 and values.shape[1] == 1 else values
    is_index = values.ndim == 1 and bool((values == values.long()).all())
    if not is_index or bool((values < 0).any() or (values >= columns).any()):
        got = f"shape {tuple(values.shape)}"
        got += f", values from {values.min().item():g} to {values.max().item():g}"
        raise _misfit(who, f"class indices from 0 to {columns - 1}, (N,)", got)
    return values.long()


def default_loss(task: Task) -> Loss:
    """The loss that weights are to make small: cross entropy, or the mean squared error."""
    return F.mse_loss if task == "regression" else ProbCrossEntropyLoss()


def figures_of(pooled: Tensor, target: Tensor, task: Task) -> dict[str, Tensor]:
    """Figures of each sample, (N,) in float64, whose means are reported; the loss comes last."""
    if task == "regression":
        error = (pooled - target).to(torch.float64)
        return {
            "absolute error": error.abs().mean(dim=1),
            "squared error": error.square().mean(dim=1),
        }
    right = (pooled.argmax(dim=1) == target).to(torch.float64)
    return {"accuracy": right, "loss": ProbCrossEntropyLoss(reduction="none")(pooled, target)}


def _plain(target: Any) -> Any:
    """A list of numbers as an array; everything else as it is."""
    if not isinstance(target, list | tuple):
        return target
    import numpy as np

    return np.asarray(target)


def _indices_of(target: Any, classes: Sequence[Any], who: str) -> Tensor:
    import numpy as np

    labels = np.asarray(target).reshape(-1).tolist()
    place = {label: index for index, label in enumerate(classes)}
    unknown = sorted({str(label) for label in labels if label not in place})
    if unknown:
        raise _misfit(who, f"labels among {list(classes)}", f"also {unknown[:5]}")
    return torch.tensor([place[label] for label in labels], dtype=torch.int64)


def _misfit(who: str, expected: str, got: str) -> DataError:
    return DataError(
        f"{who}: expected {expected}, got {got}.\n"
        "  To mend it: pass the targets of these samples in this form."
    )


_SHAPES: dict[Task, str] = {
    "classification": "probabilities of two or more classes (N, C)",
    "binary": "the probability of a yes (N, 1), or those of both answers (N, 2)",
    "regression": "numbers (N, K)",
}
