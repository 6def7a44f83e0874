"""Precision and recall at every threshold, counted batch by batch on the device."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from torchbp.train.processes import gather

NUM_THRESHOLDS = 127  # what TensorBoard can take
MOST_CLASSES = 10

Form = Literal["labels", "classes"]


class PrecisionRecall:
    """The curves of all outputs that are classifications, over one validation.

    An output counts as one if its targets are zeros and ones in its own shape, or the indices of
    its columns, the classes; of many, the first ten are counted. Outputs that are no
    probabilities are taken for scores, and become some by a sigmoid or a softmax. What an output
    is, its first batch decides, for which the device is awaited.
    """

    def __init__(self) -> None:
        self._counters: dict[str, _Counter | None] = {}

    def add(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Counts a batch."""
        for name, output in outputs.items():
            target: Any = targets.get(name)
            if name not in self._counters:
                self._counters[name] = _counter(output, target)
            counter = self._counters[name]
            if counter is not None:
                counter.add(output.detach(), target)

    def curves(self) -> dict[str, dict[str, Any]]:
        """The curves over all processes, by output and class, for `add_pr_curve_raw`."""
        found = {}
        for name, counts in self._totals().items():
            for index, count in enumerate(counts):
                tag = f"pr/{name}/class_{index}" if len(counts) > 1 else f"pr/{name}"
                found[tag] = _curve(count)
        return found

    def _totals(self) -> dict[str, Tensor]:
        """The counts of all processes, of which one may have had no batch."""
        own = {name: c.counts.cpu() for name, c in self._counters.items() if c is not None}
        totals: dict[str, Tensor] = {}
        for counts in gather(own):
            for name, count in counts.items():
                totals[name] = totals[name] + count if name in totals else count
        return totals


class _Counter:
    """Counts the samples of one output by class, truth and probability.

    Args:
        form: what the targets are.
        squash: makes probabilities (N, C) of the output, None if it has them.
        num_classes: of the output.
        device: where it comes from.

    Attributes:
        counts: (C, 2, thresholds): of each class the negatives and the positives.
    """

    def __init__(
        self,
        form: Form,
        squash: Literal["sigmoid", "softmax"] | None,
        num_classes: int,
        device: torch.device,
    ) -> None:
        self._form = form
        self._squash = squash
        self._num_classes = num_classes
        shape = (min(num_classes, MOST_CLASSES), 2, NUM_THRESHOLDS)
        self.counts = torch.zeros(shape, dtype=torch.int64, device=device)

    def add(self, output: Tensor, target: Tensor) -> None:
        """Counts a batch: output (N, C), target (N, C) or (N,)."""
        output = output.reshape(len(output), self._num_classes).float()
        if self._squash is not None:
            output = output.sigmoid() if self._squash == "sigmoid" else output.softmax(1)
        positive = self._truth(target)[:, : len(self.counts)].long()
        chance = output[:, : len(self.counts)].nan_to_num(0.0).clamp(0, 1)
        bucket = (chance * (NUM_THRESHOLDS - 1)).long()
        which = torch.arange(len(self.counts), device=output.device)
        index = (2 * which + positive) * NUM_THRESHOLDS + bucket
        ones = torch.ones_like(index).flatten()
        self.counts.view(-1).index_add_(0, index.flatten(), ones)

    def _truth(self, target: Tensor) -> Tensor:
        if self._form == "classes":
            return torch.nn.functional.one_hot(target.long(), self._num_classes)
        return target.reshape(len(target), self._num_classes)


def _counter(output: Any, target: Any) -> _Counter | None:
    """The counter that fits an output, None if it is no classification."""
    if not (isinstance(output, Tensor) and isinstance(target, Tensor)):
        return None
    if not output.is_floating_point() or output.ndim not in (1, 2):
        return None
    output, num_classes = output.detach().float(), output[0].numel()
    in_range = bool(((output >= 0) & (output <= 1)).all())
    if target.ndim == 1 and num_classes > 1 and not target.is_floating_point():
        sums_to_one = in_range and bool(((output.sum(1) - 1).abs() < 1e-3).all())
        return _Counter("classes", None if sums_to_one else "softmax", num_classes, output.device)
    if target.numel() != output.numel() or not bool(((target == 0) | (target == 1)).all()):
        return None
    is_one_hot = num_classes > 1 and bool((target.sum(1) == 1).all())
    squash: Literal["sigmoid", "softmax"] = "softmax" if is_one_hot else "sigmoid"
    return _Counter("labels", None if in_range else squash, num_classes, output.device)


def _curve(counts: Tensor) -> dict[str, Any]:
    """From samples at each probability (2, thresholds) to those at or above each threshold."""
    negatives, positives = counts.flip(1).cumsum(1).flip(1).double()
    precision = positives / (positives + negatives).clamp_min(1)
    recall = positives / positives[0].clamp_min(1)
    return {
        "true_positive_counts": positives.numpy(),
        "false_positive_counts": negatives.numpy(),
        "true_negative_counts": (negatives[0] - negatives).numpy(),
        "false_negative_counts": (positives[0] - positives).numpy(),
        "precision": precision.numpy(),
        "recall": recall.numpy(),
        "num_thresholds": NUM_THRESHOLDS,
    }
