"""Weights of classes as weights of samples, looked up on the device."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from torchbp.errors import DataError
from torchbp.train.tensors import named_tensors, widest_float


class ClassWeight:
    """The weight of each sample by the class of its target; a class not named has weight 1.

    Args:
        weights: class index -> weight.
        device: where the targets are.

    Shape:
        targets (N,) or (N, 1) class indices, floats being rounded, or (N, C) one-hot -> (N,).

    Raises:
        DataError: classes that are not indices, or several targets.

    Example:
        >>> weigh = ClassWeight({1: 3.0}, torch.device("cpu"))
        >>> weigh(torch.tensor([0, 1, 2]))
        tensor([1., 3., 1.], dtype=torch.float64)
    """

    def __init__(self, weights: Mapping[int, float], device: torch.device) -> None:
        if not weights or any(not isinstance(c, int) or c < 0 for c in weights):
            raise DataError(
                f"class_weight: expected a dict of class index -> weight, got {weights!r}.\n"
                "  To mend it: write it as {0: 1.0, 1: 5.0}."
            )
        self._others = max(weights) + 1  # the place in the table of the classes not named
        table = [weights.get(c, 1.0) for c in range(self._others)] + [1.0]
        self._table = torch.tensor(table, dtype=widest_float(device), device=device)

    def __call__(self, targets: Any) -> Tensor:
        """The weights (N,) of samples with these targets."""
        classes = _classes(_only_tensor(targets))
        is_named = (classes >= 0) & (classes < self._others)
        return self._table[torch.where(is_named, classes, self._others)]


def _only_tensor(targets: Any) -> Tensor:
    tensors = list(named_tensors(targets, "targets"))
    if len(tensors) != 1:
        raise DataError(
            f"class_weight: expected a model with one output, got {len(tensors)} targets.\n"
            "  To mend it: pass sample_weight, a dict with the weights of each output."
        )
    return tensors[0][1]


def _classes(targets: Tensor) -> Tensor:
    if targets.ndim not in (1, 2):
        raise DataError(
            "class_weight: expected targets (N,), (N, 1) or one-hot (N, C), got "
            f"{tuple(targets.shape)}: a sample has no one class.\n"
            "  To mend it: pass sample_weight instead."
        )
    if targets.ndim == 2:
        targets = targets.argmax(1) if targets.shape[1] > 1 else targets.squeeze(1)
    return (targets.round() if targets.is_floating_point() else targets).long()
