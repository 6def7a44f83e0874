"""The guard of the test set: what a search is worth on data that it has not seen.

Choosing the best of many trials by a validation set fits that set: of equally good models the one
is chosen that chance favours there. Two figures tell how far this has gone.

The *optimism* is estimated on the validation data alone (BBC-CV). Validation samples are drawn
with replacement, the trial that is best on the drawn ones is chosen, and scored on the samples
that were not drawn. The validation score of the study's best trial minus the mean of these scores
is what the choice among its trials has added. Trials are compared on the same samples, so that
what they have in common cancels, which a formula from the spread of the scores would miss.

The *gap* is the validation score minus the test score of the chosen trial. Both are resampled
(percentile bootstrap, 95 %), which gives the interval of their difference.

The validation set is called over-used if the whole interval of the gap is above zero: chance in
drawing the samples does not explain it. It is called strained if the gap may be chance, but the
optimism is larger than the standard error of the validation score: the choice then rests on
differences that are no larger than noise. What neither sees: the choice of the best epoch within
a trial, and trials that were compared before this study.

Source: Tsamardinos, Greasidou, Borboudakis 2018, "Bootstrapping the out-of-sample predictions for
efficient and accurate cross-validation", Machine Learning 107, 1895,
https://doi.org/10.1007/s10994-018-5714-4
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from torchbp.train import Trainer
from torchbp.train.processes import rank
from torchbp.tune.record import Records
from torchbp.tune.score import NUM_RESAMPLES, Predicted, Score, interval

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from torchbp.tune.study import Study

_CHOICES = 200  # resamples of the choice among all trials
_MOST_TRIALS = 100  # the best; the others are next to never chosen

Verdict = Literal["sound", "strained", "over-used"]


@dataclass(frozen=True)
class Report:
    """What the chosen trial is worth; `print(report)` says it in words.

    Args:
        trial: its number.
        params: its parameters.
        score: the name of the number.
        num_trials: that it was chosen among, those with a score.
        validation: its score on the validation data.
        test: its score on the test data.
        test_interval: of 95 %, by the bootstrap.
        gap: by how much the validation score is better than the test score.
        gap_interval: of 95 %.
        optimism: by how much the validation score is expected to be too good.
        standard_error: of the validation score.
        num_validation: samples.
        num_test: samples.
        verdict: on the use of the validation set.
        openings: of the test set, this one last: when, of which trial, with which test score,
            and how many trials there were.
    """

    trial: int
    params: dict[str, Any]
    score: str
    num_trials: int
    validation: float
    test: float
    test_interval: tuple[float, float]
    gap: float
    gap_interval: tuple[float, float]
    optimism: float
    standard_error: float
    num_validation: int
    num_test: int
    verdict: Verdict
    openings: list[dict[str, Any]]

    def __str__(self) -> str:
        low, high = self.test_interval
        gap_low, gap_high = self.gap_interval
        return "\n".join(
            [
                f"trial {self.trial}, the choice among {self.num_trials} by {self.score}",
                f"  validation  {self.validation:8.4f}  {self.num_validation} samples",
                f"  test        {self.test:8.4f}  {self.num_test} samples, "
                f"95 % interval {low:.4f} to {high:.4f}",
                f"  gap         {self.gap:8.4f}  95 % interval {gap_low:.4f} to {gap_high:.4f}",
                f"  optimism    {self.optimism:8.4f}  expected of this choice; the standard error "
                f"of the validation score is {self.standard_error:.4f}",
                self.words(),
                self.history(),
            ]
        )

    def words(self) -> str:
        """The verdict in words."""
        if self.verdict == "over-used":
            return (
                f"The validation set has been over-used: its score is {self.gap:.4f} better than "
                f"the test score, more than chance explains ({self.gap_interval[0]:.4f} at least, "
                "with 95 % confidence). Believe the test score; choose among fewer trials, by "
                "more validation samples, or by folds. If the test data are of another kind, that "
                "may be the cause, too."
            )
        if self.verdict == "strained":
            return (
                "The validation set is strained: choosing among these trials is expected to add "
                f"{self.optimism:.4f} to its score, more than its standard error of "
                f"{self.standard_error:.4f}. Differences between the best trials are no larger "
                "than noise. Further trials need more validation samples, or folds."
            )
        return (
            "No sign that the validation set has been over-used: chance explains the gap, and the "
            "optimism is within the standard error."
        )

    def history(self) -> str:
        """Whether the test set had been opened before, in words."""
        if len(self.openings) == 1:
            return "The test set was opened for the first time."
        first, last = self.openings[0], self.openings[-1]
        later = last["num_trials"] - first["num_trials"]
        return (
            f"The test set was opened before: this is time {len(self.openings)}, the first was "
            f"{first['time']}, with a test score of {first['test']:.4f}. {later} trials have been "
            "run since then. A choice that knows a test score makes the test set a second "
            "validation set, and this report too good."
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return asdict(self)


def make_report(study: Study, trial: FrozenTrial, trainers: Sequence[Trainer]) -> Report:
    """Opens the test set, writes down that it was opened, and judges.

    Args:
        study: whose test set it is.
        trial: the chosen one.
        trainers: of its models, one for each fold.
    """
    closed = study.split._test
    targets = torch.as_tensor(closed.targets).cpu()
    tested = [Predicted(t.predict(closed.inputs, 256, progress=False), targets) for t in trainers]
    chosen = study.records.predicted(trial.number, study.split.num_rounds)
    score, seed = study.score, trial.number
    on_validation = score.resampled(chosen, same_samples=False, seed=seed, count=NUM_RESAMPLES)
    on_test = score.resampled(tested, same_samples=True, seed=seed + 1, count=NUM_RESAMPLES)
    validation, test = score.of(chosen), score.of(tested)
    num_complete = len(study.complete())
    gap_interval = interval(score.excess(on_validation, on_test))
    expected, error = study.optimism(), float(on_validation.std())
    return Report(
        trial=trial.number,
        params=dict(trial.params),
        score=study.monitor.removeprefix("val_"),
        num_trials=num_complete,
        validation=validation,
        test=test,
        test_interval=interval(on_test),
        gap=score.excess(validation, test),
        gap_interval=gap_interval,
        optimism=expected,
        standard_error=error,
        num_validation=study.split.num_validation,
        num_test=len(targets),
        verdict=verdict(gap_interval, expected, error),
        openings=_record(study, trial.number, test),
    )


def verdict(gap_interval: tuple[float, float], optimism: float, standard_error: float) -> Verdict:
    """What the figures say of the use of the validation set.

    Example:
        >>> verdict((0.01, 0.05), 0.0, 0.01), verdict((-0.01, 0.05), 0.02, 0.01)
        ('over-used', 'strained')
    """
    if gap_interval[0] > 0:
        return "over-used"
    return "strained" if optimism > standard_error else "sound"


def optimism(
    trials: Sequence[FrozenTrial], records: Records, score: Score, num_rounds: int
) -> float:
    """By how much the best score among trials is expected to be too good.

    Args:
        trials: with a score.
        records: of what they predict for the validation data.
        score: that they are compared by.
        num_rounds: models of each.
    """
    ranked = sorted(trials, key=lambda trial: trial.values[0], reverse=score.rises)
    candidates = [
        _joined(records.predicted(trial.number, num_rounds)) for trial in ranked[:_MOST_TRIALS]
    ]
    return optimism_of(candidates, score)


def optimism_of(candidates: Sequence[Predicted], score: Score) -> float:
    """The optimism of the best among candidates that predict the same samples.

    Example:
        >>> targets = torch.arange(100) % 2
        >>> accuracy = Score(lambda output, target: (output == target).float().mean(), True)
        >>> optimism_of([Predicted(targets, targets)], accuracy)
        0.0
    """
    better = max if score.rises else min
    best = better(score.of([candidate]) for candidate in candidates)
    generator = torch.Generator().manual_seed(0)
    count = len(candidates[0].targets)
    held_out = []
    for _ in range(_CHOICES):
        drawn = torch.randint(count, (count,), generator=generator)
        others = _not_drawn(drawn, count)
        if len(others) == 0:
            continue
        scores = [score.of([candidate.some(drawn)]) for candidate in candidates]
        chosen = candidates[scores.index(better(scores))]
        held_out.append(score.of([chosen.some(others)]))
    finite = [value for value in held_out if math.isfinite(value)]
    return float(score.excess(best, sum(finite) / len(finite)))


def _joined(parts: Sequence[Predicted]) -> Predicted:
    """The predictions of all folds as one."""
    if len(parts) == 1:
        return parts[0]
    outputs = torch.cat([part.outputs for part in parts])
    return Predicted(outputs, torch.cat([part.targets for part in parts]))


def _not_drawn(drawn: Tensor, count: int) -> Tensor:
    is_left = torch.ones(count, dtype=torch.bool)
    is_left[drawn] = False
    return is_left.nonzero().flatten()


def _record(study: Study, number: int, test: float) -> list[dict[str, Any]]:
    """Writes an opening into the storage; all openings so far."""
    before = study.optuna.user_attrs.get("test_openings", [])
    opening = {
        "time": datetime.now().isoformat(" ", "seconds"),
        "trial": number,
        "test": test,
        "num_trials": len(study.optuna.get_trials(deepcopy=False)),
    }
    if rank() == 0:
        study.optuna.set_user_attr("test_openings", [*before, opening])
    return [*before, opening]
