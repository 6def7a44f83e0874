"""Trials: how they are trained, recorded, rebuilt, pruned, and how they fail."""

from functools import partial

import optuna
import pytest
import torch
from torch import nn

from tests.tune.search import X, Y, accuracy, make_study, run, search
from torchbp.errors import DataError
from torchbp.train import Trainer
from torchbp.tune import Plan, Split, latency, num_parameters

SAMPLERS = {
    "random": optuna.samplers.RandomSampler,
    "tpe": partial(optuna.samplers.TPESampler, n_startup_trials=2),
    "cmaes": partial(optuna.samplers.CmaEsSampler, n_startup_trials=1),
    "gp": partial(optuna.samplers.GPSampler, n_startup_trials=2),
}


def two_parameters(trial):
    units = trial.suggest_int("units", 2, 8)
    plan = search(trial)
    model = nn.Sequential(nn.Linear(4, units), nn.ReLU(), nn.Linear(units, 2))
    return Plan(model, plan.optimizer, plan.batch_size)


@pytest.mark.parametrize("name", SAMPLERS)
def test_searches_with_each_sampler(name, tmp_path):
    study = run(make_study(tmp_path, two_parameters, sampler=SAMPLERS[name](seed=0)), 5)
    assert [trial.state.name for trial in study.optuna.trials] == ["COMPLETE"] * 5
    assert isinstance(study.optuna, optuna.Study)


def test_a_grid_ends_the_search_when_all_of_it_is_done(tmp_path):
    grid = {"lr": [0.01, 0.1, 0.5]}
    study = run(make_study(tmp_path, sampler=optuna.samplers.GridSampler(grid, seed=0)), 9)
    assert sorted(trial.params["lr"] for trial in study.optuna.trials) == [0.01, 0.1, 0.5]


def test_two_objectives_give_a_front(tmp_path):
    sampler = optuna.samplers.NSGAIISampler(population_size=4, seed=0)
    study = run(make_study(tmp_path, two_parameters, cost=num_parameters, sampler=sampler), 8)
    values = [tuple(trial.values) for trial in study.complete()]
    best = [v for v in values if not any(w[0] < v[0] and w[1] < v[1] for w in values)]
    assert {tuple(trial.values) for trial in study.front} <= set(best)
    costs = [trial.values[1] for trial in study.front]
    assert costs == sorted(costs)
    units = study.front[0].params["units"]
    assert costs[0] == 4 * units + units + 2 * units + 2  # weights and biases of both layers


def test_latency_is_that_of_one_sample():
    seen = []
    model = nn.Linear(4, 2)
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    assert latency(model, X) > 0
    assert set(seen) == {1}


def climbing(trial):
    """Each epoch makes the loss larger, so that the first is the best."""
    plan = search(trial)
    return Plan(plan.model, partial(torch.optim.SGD, lr=0.5, maximize=True))


def test_a_trial_is_rebuilt_with_the_weights_of_its_best_epoch(tmp_path):
    study = run(make_study(tmp_path, climbing, epochs=3), 2)
    x, y = study.split.round(0).validation
    for trial in study.optuna.trials:
        loss = nn.functional.cross_entropy(study.rebuild(trial.number)(x), y)
        assert loss.item() == pytest.approx(trial.value)


def test_a_trial_can_be_trained_again_from_its_record(tmp_path):
    study = run(make_study(tmp_path, epochs=1), 2)
    trial, (x, y) = study.optuna.trials[1], study.split.round(0).train
    torch.manual_seed(trial.user_attrs["seed"])
    plan = search(optuna.trial.FixedTrial(trial.params))
    order = torch.Generator().manual_seed(trial.user_attrs["seed"])
    trainer = Trainer(plan.model, nn.CrossEntropyLoss(), plan.optimizer)
    trainer.fit(x, y, batch_size=plan.batch_size, generator=order, progress=False)
    torch.testing.assert_close(plan.model.state_dict(), dict(study.rebuild(1).state_dict()))


def test_the_random_state_is_left_as_it_was(tmp_path):
    study = make_study(tmp_path)
    before = torch.get_rng_state()
    run(study, 1)
    assert torch.equal(torch.get_rng_state(), before)


def out_of_memory(trial):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def no_memory(trial):
    raise MemoryError


def broken(trial):
    raise ValueError("no such layer")


def diverging(trial):
    plan = search(trial)
    nn.init.constant_(plan.model.weight, torch.inf)
    return plan


@pytest.mark.parametrize(
    ("bad", "failure", "reason"),
    [
        (out_of_memory, "out of memory", "Tried to allocate 2 GiB"),
        (no_memory, "out of memory", "no message"),
        (broken, "error", "ValueError: no such layer"),
        (diverging, "not finite", "its weight is not finite"),
    ],
)
def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(bad, failure, reason, tmp_path):
    study = make_study(tmp_path, lambda trial: (bad if trial.number == 1 else search)(trial))
    trials = run(study, 3).optuna.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert trials[1].user_attrs["failure"] == failure
    assert reason in trials[1].user_attrs["reason"]


def test_a_score_that_is_nan_is_a_failure(tmp_path):
    def no_number(output, target):
        return output.mean() * torch.nan

    study = make_study(tmp_path, score=no_number, mode="max")
    with pytest.raises(DataError, match="5 and all failed"):
        run(study, 9)
    assert {trial.user_attrs["failure"] for trial in study.optuna.trials} == {"not finite"}


def test_a_search_in_which_all_fail_gives_up_and_says_why(tmp_path):
    study = make_study(tmp_path, broken)
    with pytest.raises(
        DataError, match=r"5 and all failed\.\n  - error: ValueError: no such layer"
    ):
        run(study, 50)


@pytest.mark.parametrize(
    ("pruner", "epochs"),
    [
        (optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=2), [4, 2]),
        (optuna.pruners.HyperbandPruner(1, 4, 4), None),
        (optuna.pruners.NopPruner(), [4, 4]),
    ],
)
def test_prunes_a_trial_that_is_worse_than_the_others(pruner, epochs, tmp_path):
    def worsening(trial):  # the first learns, the others do not
        plan = search(trial)
        lr = 0.5 if trial.number == 0 else 0.0
        return Plan(plan.model, partial(torch.optim.SGD, lr=lr))

    study = run(make_study(tmp_path, worsening, pruner=pruner, epochs=4), 2 if epochs else 8)
    spent = [trial.user_attrs["epochs"] for trial in study.optuna.trials]
    if epochs is None:  # which bracket a trial gets is hyperband's own affair
        assert min(spent) < 4
    else:
        assert spent == epochs
    assert [trial.state.name == "PRUNED" for trial in study.optuna.trials] == [n < 4 for n in spent]


def test_ends_when_the_epochs_are_spent(tmp_path):
    study = run(make_study(tmp_path, epochs=3), None, epochs=7)
    assert len(study.optuna.trials) == 3


def test_a_score_with_folds_is_the_mean_of_all(tmp_path):
    split = Split(X, Y, test=0.25, folds=3)
    study = run(make_study(tmp_path, split=split, score=accuracy), 2)
    scores = []
    for fold in range(3):
        x, y = split.round(fold).validation
        scores.append(accuracy(study.rebuild(0, fold)(x), y).item())
    assert study.optuna.trials[0].value == pytest.approx(sum(scores) / 3)
    assert sum(len(split.round(fold).validation) for fold in range(3)) == 90


def test_folds_are_pruned_after_a_fold(tmp_path):
    pruner = optuna.pruners.ThresholdPruner(upper=0.0)
    study = run(make_study(tmp_path, split=Split(X, Y, folds=3), pruner=pruner), 1)
    assert study.optuna.trials[0].intermediate_values.keys() == {1}
    assert study.optuna.trials[0].state.name == "PRUNED"
