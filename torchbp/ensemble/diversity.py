"""How differently members err: what an ensemble of them can gain."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from torchbp.ensemble.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

LOOK_ALIKE = 0.7  # mean correlation of errors above which members of one architecture are alike


@dataclass(frozen=True, eq=False)
class Diversity:
    """Measures of diversity of one output; `table` and `heat_map` show them.

    Attributes:
        names: of the members.
        disagreement: (M, M), the share of samples for which two members name different classes;
            None for numbers.
        q_statistic: (M, M), Yule's Q of two members being right: 1 if they are right about the
            same samples, 0 if independently; NaN where one of them errs never or always. None
            for numbers.
        error_correlation: (M, M), of the errors prediction - target, all columns together.
        member_errors: (M,), the mean squared error of each member; of classes that of their
            probabilities, summed over the classes (Brier's score).
        ensemble_error: that of the plain mean.
        ambiguity: the mean squared distance of the members from their plain mean.
        architectures: of the members, None where it is not known.

    The mean of `member_errors` less `ambiguity` is `ensemble_error`, exactly: what the members
    disagree by is what the mean gains on them.

    Sources: Krogh, Vedelsby 1994, "Neural Network Ensembles, Cross Validation, and Active
    Learning" (ambiguity); Kuncheva, Whitaker 2003, https://doi.org/10.1023/A:1022859003006.
    """

    names: tuple[str, ...]
    disagreement: Tensor | None
    q_statistic: Tensor | None
    error_correlation: Tensor
    member_errors: Tensor
    ensemble_error: float
    ambiguity: float
    architectures: tuple[str | None, ...]

    @classmethod
    def of(
        cls, predictions: Predictions, targets: Mapping[str, Tensor], output: str = "output"
    ) -> Diversity:
        """The measures of the predictions of an output.

        Args:
            predictions: of all members.
            targets: by output, class indices (N,) or numbers (N, K).
            output: the name of the output.

        Example:
            >>> p = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
            >>> kept = Predictions.of({"net": p, "forest": p.flip(1)})
            >>> Diversity.of(kept, {"output": torch.tensor([0, 0])}).disagreement
            tensor([[0., 1.],
                    [1., 0.]], dtype=torch.float64)
        """
        values, target = predictions.values[output], targets[output]
        is_class = predictions.tasks[output] != "regression"
        truth = F.one_hot(target, values.shape[2]).double() if is_class else target.double()
        errors = values - truth  # (M, N, C)
        mean = values.mean(dim=0)
        answers = values.argmax(dim=2)
        return cls(
            predictions.names,
            (answers[:, None] != answers[None]).double().mean(dim=2) if is_class else None,
            _q_statistic(answers == target) if is_class else None,
            _correlation(errors.flatten(1)),
            errors.square().sum(dim=2).mean(dim=1),
            (mean - truth).square().sum(dim=1).mean().item(),
            (values - mean).square().sum(dim=2).mean().item(),
            predictions.architectures,
        )

    @property
    def gain(self) -> float:
        """The part of the members' mean squared error that their plain mean takes away."""
        error = self.member_errors.mean().item()
        return self.ambiguity / error if error > 0 else 0.0

    @property
    def pairs(self) -> dict[str, float]:
        """Each pairwise measure as its mean over the pairs."""
        measures = {name: table for name, table in self._tables().items() if table is not None}
        return {name: _mean_of_pairs(table) for name, table in measures.items()}

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "members": list(self.names),
            "pairs": {
                name: None if table is None else _without_nan(table)
                for name, table in self._tables().items()
            },
            "mean of pairs": self.pairs,
            "member errors": self.member_errors.tolist(),
            "ensemble error": self.ensemble_error,
            "ambiguity": self.ambiguity,
            "gain": self.gain,
        }

    def table(self) -> Table:
        """A row for each pair and their mean, and the ambiguity below, for rich to print."""
        from rich.table import Table

        tables = {name: table for name, table in self._tables().items() if table is not None}
        caption = (
            f"mean squared error of the members {self.member_errors.mean():.4f} - ambiguity "
            f"{self.ambiguity:.4f} = that of their mean {self.ensemble_error:.4f}: "
            f"{self.gain:.0%} less"
        )
        result = Table("pair", *tables, title="diversity", caption=caption)
        for i, j in itertools.combinations(range(len(self.names)), 2):
            cells = [f"{table[i, j].item():.3f}" for table in tables.values()]
            result.add_row(f"{self.names[i]}, {self.names[j]}", *cells)
        result.add_section()
        result.add_row("mean of the pairs", *(f"{value:.3f}" for value in self.pairs.values()))
        return result

    def heat_map(self, path: str | Path | None = None) -> Figure:
        """The pairwise measures as pictures: dark is alike.

        Args:
            path: a .png or .svg file to write as well.

        Raises:
            DataError: a path with another suffix.
            MissingExtraError: matplotlib is not installed.
        """
        from torchbp.ensemble.heat_map import draw

        return draw(self.names, self._tables(), path)

    def _tables(self) -> dict[str, Tensor | None]:
        return {
            "disagreement": self.disagreement,
            "error correlation": self.error_correlation,
            "Q statistic": self.q_statistic,
        }


def warn_of_look_alikes(diversity: Diversity) -> None:
    """Warns where members are one architecture, trained several times, with little diversity.

    The chapter: one thing that is largely not worth doing is ensembling the same network trained
    several times. What it brings is measured: the part of the error that pooling takes away.
    """
    groups: dict[str, list[int]] = {}
    for place, architecture in enumerate(diversity.architectures):
        if architecture is not None:
            groups.setdefault(architecture, []).append(place)
    alike = [places for places in groups.values() if len(places) > 1]
    for places in alike:
        correlation = _mean_of_pairs(diversity.error_correlation[places][:, places])
        if correlation > LOOK_ALIKE:
            names = ", ".join(diversity.names[place] for place in places)
            warnings.warn(
                f"ensemble: {names} are the same architecture and err alike: their errors "
                f"correlate by {correlation:.2f} (1 is the same errors), so that pooling them "
                f"takes away about {_gain_of(correlation, len(places)):.0%} of their squared "
                "error.\n"
                "  To mend it: pool members of other kinds, such as trees beside nets.",
                stacklevel=3,
            )


def _gain_of(correlation: float, count: int) -> float:
    """Of equally good members the part of the squared error that their mean takes away."""
    return (1 - correlation) * (count - 1) / count


def _correlation(errors: Tensor) -> Tensor:
    """(M, M) of errors (M, N): 1 on the diagonal, NaN where a member does not vary."""
    centred = errors - errors.mean(dim=1, keepdim=True)
    scale = centred.norm(dim=1)
    return (centred @ centred.T) / (scale[:, None] * scale[None])


def _q_statistic(right: Tensor) -> Tensor:
    """Yule's Q of each two members, of right answers (M, N) bool."""
    yes = right.double()
    both, neither = yes @ yes.T, (1 - yes) @ (1 - yes).T
    first, second = yes @ (1 - yes).T, (1 - yes) @ yes.T
    concordant, discordant = both * neither, first * second
    return (concordant - discordant) / (concordant + discordant)


def _without_nan(table: Tensor) -> list[list[float | None]]:
    """None where a measure is not defined, as JSON has no NaN."""
    return [[None if value != value else value for value in row] for row in table.tolist()]


def _mean_of_pairs(table: Tensor) -> float:
    """The mean of the upper triangle, without what is not defined."""
    rows, columns = torch.triu_indices(len(table), len(table), offset=1)
    return table[rows, columns].nanmean().item()
