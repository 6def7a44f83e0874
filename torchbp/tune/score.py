"""The number that trials are compared by, of all samples or of some of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchbp.tune.split import pick

NUM_RESAMPLES = 2000
_COVERED = (0.025, 0.975)


class Predicted(NamedTuple):
    """A model's outputs for samples, and their targets."""

    outputs: Any
    targets: Tensor

    def some(self, index: Tensor) -> Predicted:
        """Those of some samples."""
        return Predicted(pick(self.outputs, index), self.targets[index])


class Score:
    """A function(output, target) -> scalar, or an object of torchmetrics, over whole sets.

    Args:
        function: computes it.
        rises: whether more is better.
    """

    def __init__(self, function: Any, rises: bool) -> None:
        self._function = copy.deepcopy(function)
        self.rises = rises

    def of(self, parts: Sequence[Predicted]) -> float:
        """The mean of the scores of one or several models, each on its samples."""
        return sum(self._of_one(part) for part in parts) / len(parts)

    def resampled(
        self, parts: Sequence[Predicted], *, same_samples: bool, seed: int, count: int
    ) -> Tensor:
        """The scores of sets drawn from the samples with replacement, (count,).

        Args:
            parts: what models predict.
            same_samples: whether the models have predicted the same samples.
            seed: of the draws.
            count: of the sets.
        """
        generator = torch.Generator().manual_seed(seed)
        scores = []
        for _ in range(count):
            draws = [_draw(part, generator) for part in (parts[:1] if same_samples else parts)]
            draws = draws * len(parts) if same_samples else draws
            drawn = [part.some(index) for part, index in zip(parts, draws, strict=True)]
            scores.append(self.of(drawn))
        return torch.tensor(scores, dtype=torch.float64)

    def excess(self, first: Any, second: Any) -> Any:
        """By how much the first looks better than the second; negative if it looks worse."""
        return first - second if self.rises else second - first

    def _of_one(self, part: Predicted) -> float:
        if hasattr(self._function, "reset") and hasattr(self._function, "compute"):
            self._function.reset()
            self._function.update(part.outputs, part.targets)
            return float(self._function.compute())
        with torch.no_grad():
            return float(self._function(part.outputs, part.targets))


def interval(values: Tensor) -> tuple[float, float]:
    """From where to where the middle 95 % of the values go."""
    low, high = torch.quantile(values, torch.tensor(_COVERED, dtype=values.dtype)).tolist()
    return low, high


def _draw(part: Predicted, generator: torch.Generator) -> Tensor:
    count = len(part.targets)
    return torch.randint(count, (count,), generator=generator)
