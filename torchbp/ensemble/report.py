"""The test result: members, plain mean and ensemble, each with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchbp.ensemble.tasks import Task, figures_of

if TYPE_CHECKING:
    from rich.table import Table

MEAN, ENSEMBLE = "uniform mean", "ensemble"


@dataclass(frozen=True, eq=False)
class Scores:
    """Figures of each sample, of one output.

    Args:
        members: member -> figure -> (N,).
        mean: of the plain mean of the members.
        ensemble: of the ensemble.
    """

    members: dict[str, dict[str, Tensor]]
    mean: dict[str, Tensor]
    ensemble: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        members: Mapping[str, Tensor],
        mean: Tensor,
        ensemble: Tensor,
        target: Tensor,
        task: Task,
    ) -> Scores:
        """Those of predictions (N, C) of each member, of their mean, and of the ensemble."""
        return cls(
            {name: figures_of(own, target, task) for name, own in members.items()},
            figures_of(mean, target, task),
            figures_of(ensemble, target, task),
        )

    @property
    def best_single(self) -> str:
        """The member with the smallest loss."""
        return min(self.members, key=lambda name: _loss(self.members[name]).mean().item())

    @property
    def loss(self) -> float:
        """The loss of the ensemble."""
        return _loss(self.ensemble).mean().item()


@dataclass(frozen=True)
class Figure:
    """A mean over the test samples, and between what it lies in 95 of 100 resamples."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Report:
    """What a test has shown; `table` draws it, `as_dict` is for a JSON file.

    Attributes:
        num_samples: of the test.
        figures: output -> member, "uniform mean" or "ensemble" -> figure -> its mean.
        gains: output -> "uniform mean", or the best single member -> figure -> by how much the
            ensemble's is higher, on the same resamples.
        best_single: output -> the member that was the best on the validation data; empty if
            there were none.
    """

    num_samples: int
    figures: dict[str, dict[str, dict[str, Figure]]]
    gains: dict[str, dict[str, dict[str, Figure]]]
    best_single: dict[str, str]

    @classmethod
    def of(
        cls, scores: Mapping[str, Scores], best: Mapping[str, str], num_resamples: int, seed: int
    ) -> Report:
        """The report of figures sample by sample."""
        num_samples = len(_loss(next(iter(scores.values())).mean))
        generator = torch.Generator().manual_seed(seed)
        # how often each sample is in a resample: one table for all, so that differences are paired
        draws = torch.randint(num_samples, (num_resamples, num_samples), generator=generator)
        counts = torch.zeros(num_resamples, num_samples, dtype=torch.float64)
        counts.scatter_add_(1, draws, torch.ones_like(draws, dtype=torch.float64))

        figures, gains = {}, {}
        for output, own in scores.items():
            rows = {**own.members, MEAN: own.mean, ENSEMBLE: own.ensemble}
            figures[output] = {name: _figures(row, counts) for name, row in rows.items()}
            rivals = [MEAN, *([best[output]] if output in best else [])]
            gains[output] = {
                rival: _figures({f: own.ensemble[f] - x for f, x in rows[rival].items()}, counts)
                for rival in rivals
            }
        return cls(num_samples, figures, gains, dict(best))

    def table(self, output: str | None = None) -> Table:
        """A table of all rows, for rich to print; of several outputs the first, or the named."""
        from rich.table import Table

        name = output or next(iter(self.figures))
        rows = self.figures[name]
        kinds = list(rows[ENSEMBLE])
        title = f"{self.num_samples} test samples, means and 95% bootstrap intervals"
        table = Table("", *kinds, title=title)
        for row, own in rows.items():
            label = f"{row} (best on validation)" if row == self.best_single.get(name) else row
            table.add_row(label, *(str(own[kind]) for kind in kinds), style=_style(row))
        table.add_section()
        for rival, own in self.gains[name].items():
            table.add_row(f"{ENSEMBLE} minus {rival}", *(str(own[kind]) for kind in kinds))
        return table

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        from dataclasses import asdict

        return asdict(self)


def _loss(figures: Mapping[str, Tensor]) -> Tensor:
    return list(figures.values())[-1]


def _figures(row: Mapping[str, Tensor], counts: Tensor) -> dict[str, Figure]:
    return {kind: _figure(values, counts) for kind, values in row.items()}


def _figure(values: Tensor, counts: Tensor) -> Figure:
    """The mean, and the quantiles of the means of the resamples."""
    means = counts @ values / len(values)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return Figure(values.mean().item(), low, high)


def _style(row: str) -> str | None:
    return "bold" if row == ENSEMBLE else None
