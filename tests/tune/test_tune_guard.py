"""The guard of the test set, against figures that are known from elsewhere."""

import math
from statistics import NormalDist

import numpy as np
import optuna
import pytest
import torch
from torch import nn

from tests.tune.search import X, Y, accuracy, make_study, run
from torchbp.tune import Plan, Split
from torchbp.tune.guard import optimism_of
from torchbp.tune.score import Predicted, Score, interval

SAME = Score(lambda output, target: (output == target).double().mean(), rises=True)


def coins(num_candidates, num_samples, skill=0.5, seed=0):
    """Candidates that are right with probability `skill`, each independently of the others."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.zeros(num_samples)
    draws = torch.rand(num_candidates, num_samples, generator=generator)
    return [Predicted((draw > skill).double(), targets) for draw in draws]


def expected_maximum(count):
    """Of `count` standard normal numbers, by numerical integration of its density."""
    x = np.linspace(-8, 8, 20001)
    normal = NormalDist()
    density = np.array([normal.pdf(v) * normal.cdf(v) ** (count - 1) for v in x])
    return float(np.trapezoid(x * count * density, x))


@pytest.mark.parametrize(("num_candidates", "num_samples"), [(20, 400), (40, 100)])
def test_optimism_is_the_expected_excess_of_the_best_of_equals(num_candidates, num_samples):
    """Coins are all worth 0.5: what the best of them has above it is optimism and nothing else."""
    error = math.sqrt(0.25 / num_samples)
    found = [optimism_of(coins(num_candidates, num_samples, seed=s), SAME) for s in range(4)]
    expected = expected_maximum(num_candidates) * error
    assert sum(found) / len(found) == pytest.approx(expected, rel=0.25)


def test_no_optimism_where_one_candidate_is_clearly_the_best():
    candidates = [*coins(30, 400), *coins(1, 400, skill=0.9, seed=1)]
    assert abs(optimism_of(candidates, SAME)) < 0.005


def test_candidates_that_predict_the_same_have_no_optimism():
    candidates = coins(1, 400) * 30
    assert abs(optimism_of(candidates, SAME)) < 0.005  # a formula from n alone gives 0.05


def test_optimism_of_a_loss_is_positive_too():
    candidates = [Predicted(1 - part.outputs, part.targets) for part in coins(50, 100)]
    loss = Score(lambda output, target: (output == target).double().mean(), rises=False)
    assert optimism_of(candidates, loss) > 0.05


def test_the_interval_is_that_of_the_binomial_distribution():
    right = torch.arange(400) < 320  # 80 % of 400: standard error 0.02
    values = SAME.resampled(
        [Predicted(right.double(), torch.ones(400))], same_samples=False, seed=0, count=2000
    )
    low, high = interval(values)
    assert low == pytest.approx(0.8 - 1.96 * 0.02, abs=0.004)
    assert high == pytest.approx(0.8 + 1.96 * 0.02, abs=0.004)


def guess(trial):
    """A model of random weights: its rate is so small that training changes nothing."""
    trial.suggest_float("nothing", 0, 1)
    hidden = nn.Linear(4, 64)
    nn.init.normal_(hidden.weight, std=3.0)  # so that no two guesses are alike
    model = nn.Sequential(hidden, nn.Tanh(), nn.Linear(64, 2))
    return Plan(model, lambda p: torch.optim.SGD(p, lr=1e-12), batch_size=64)


def test_says_that_a_validation_set_is_over_used(tmp_path):
    """80 guesses at labels that have nothing to do with the inputs; 40 samples to choose by."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(840, 4, generator=generator)
    y = torch.randint(2, (840,), generator=generator)
    split = Split(x[:80], y[:80], validation=0.5, test=(x[80:], y[80:]))
    study = run(make_study(tmp_path, guess, split, score=accuracy, epochs=1), 80)
    report = study.report()
    assert report.validation > 0.6
    assert report.test_interval[0] < 0.5 < report.test_interval[1]
    assert report.optimism == pytest.approx(report.gap, abs=0.1)
    assert report.verdict == "over-used"
    assert "The validation set has been over-used" in str(report)


def test_says_nothing_of_the_kind_of_a_single_trial(tmp_path):
    report = run(make_study(tmp_path, score=accuracy), 1).report()
    assert report.verdict == "sound"
    assert "No sign that the validation set has been over-used" in str(report)


def test_the_report_is_that_of_the_best_models_predictions(tmp_path):
    study = run(make_study(tmp_path, score=accuracy), 3)
    report, model = study.report(), study.rebuild()
    test = study.split._test
    x, y = study.split.round(0).validation
    assert report.test == pytest.approx(accuracy(model(test.inputs), test.targets).item())
    assert report.validation == pytest.approx(accuracy(model(x), y).item())
    assert report.gap == pytest.approx(report.validation - report.test)
    best = max(trial.value for trial in study.optuna.trials)
    assert report.validation == pytest.approx(best)


def test_each_opening_is_told_by_the_next_report(tmp_path):
    settings = {"storage": tmp_path / "study.db", "score": accuracy}
    first = run(make_study(tmp_path / "weights", **settings), 2).report()
    assert "opened for the first time" in str(first)
    second = run(make_study(tmp_path / "weights", **settings), 5).report()
    assert "this is time 2" in str(second)
    assert "3 trials have been run since then" in str(second)
    assert second.openings[0] == first.openings[0]


def test_the_search_sees_no_test_sample(tmp_path):
    seen = []

    def watching(trial):
        model = nn.Linear(4, 2)
        model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        return Plan(model, torch.optim.Adam)

    study = run(make_study(tmp_path, watching), 2)
    study.optimism()
    study.page(tmp_path / "page.html")
    rows = {tuple(row.tolist()) for batch in seen for row in batch}
    closed = {tuple(row.tolist()) for row in study.split._test.inputs}
    assert len(closed) == 30
    assert not rows & closed
    assert len(rows) == 90


def test_folds_are_reported_by_the_mean_of_their_models(tmp_path):
    study = make_study(tmp_path, split=Split(X, Y, test=0.25, folds=3), score=accuracy)
    report = run(study, 2).report()
    test = study.split._test
    scores = [
        accuracy(study.rebuild(fold=fold)(test.inputs), test.targets).item() for fold in range(3)
    ]
    assert report.test == pytest.approx(sum(scores) / 3)
    assert (report.num_validation, report.num_test) == (90, 30)


def test_torchmetrics_score(tmp_path):
    from torchmetrics.classification import MulticlassAccuracy

    metric = MulticlassAccuracy(2, average="micro")
    study = run(make_study(tmp_path, score=metric), 2)
    assert study.optuna.direction == optuna.study.StudyDirection.MAXIMIZE
    report = study.report()
    test = study.split._test
    expected = accuracy(study.rebuild()(test.inputs), test.targets).item()
    assert report.test == pytest.approx(expected)
