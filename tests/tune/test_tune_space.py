"""Declared spaces and the parts of the data."""

import numpy as np
import optuna
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, RMSprop

from torchbp.errors import DataError
from torchbp.tune import Choice, Float, Int, Space, Split
from torchbp.tune.digits import SPACE, mlp


def trial_of(**params):
    return optuna.trial.FixedTrial(params)


def build(units, dropout=0.0):
    return nn.Linear(4, units)


def test_a_builder_gets_its_parameters_and_the_optimizer_the_rest():
    space = Space(units=Int(2, 9), lr=Float(1e-4, 1, log=True), batch_size=Choice(8, 16))
    plan = space.search(build)(trial_of(units=5, lr=0.25, batch_size=16))
    optimizer = plan.optimizer(plan.model.parameters())
    assert (plan.model.out_features, plan.batch_size) == (5, 16)
    assert isinstance(optimizer, Adam)
    assert optimizer.defaults["lr"] == 0.25


@pytest.mark.parametrize(
    ("name", "given", "momentum"), [("SGD", {"momentum": 0.5}, 0.5), ("RMSprop", {}, 0)]
)
def test_a_conditional_parameter_is_there_only_if_its_condition_holds(name, given, momentum):
    space = Space(
        units=Int(2, 9),
        optimizer=Choice(SGD, RMSprop),
        lr=Float(0.1, 1),
        momentum=Float(0.1, 0.9).when(optimizer="SGD"),
    )
    trial = trial_of(units=2, optimizer=name, lr=0.5, **given)
    plan = space.search(build)(trial)
    assert plan.optimizer(plan.model.parameters()).defaults["momentum"] == momentum
    assert ("momentum" in trial.params) == bool(given)


def test_a_repeated_parameter_is_a_list_as_long_as_another_says():
    params = {"layers": 2, "units_0": 16, "units_1": 8, "activation": "Tanh", "batch_norm": True}
    params |= {"dropout": 0.5, "optimizer": "Adam", "lr": 0.1, "batch_size": 32}
    model = SPACE.search(mlp)(trial_of(**params)).model
    sizes = [m.out_features for m in model if isinstance(m, nn.Linear)]
    kinds = [type(module).__name__ for module in model]
    assert sizes == [16, 8, 10]
    assert kinds == ["Flatten", *["Linear", "BatchNorm1d", "Tanh", "Dropout"] * 2, "Linear"]


def test_values_stay_in_their_bounds():
    space = Space(a=Int(2, 64, log=True), b=Float(1e-3, 1e-1, log=True), c=Choice(1, "x", None))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.suggest(study.ask()) for _ in range(50)]
    assert {min(d["a"] for d in drawn) < 8, max(d["a"] for d in drawn) > 32} == {True}
    assert all(2 <= d["a"] <= 64 and 1e-3 <= d["b"] <= 1e-1 for d in drawn)
    assert {d["c"] for d in drawn} == {1, "x", None}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Space(depth=Int(1, 3)).search(lambda: None), "take, got 'depth'"),
        (lambda: Space(lr=Float(0.1, 1)).search(build), "'units', which build needs.*not have it"),
        (
            lambda: Space(a=Int(1, 2), units=Int(2, 9).when(a=1)).search(build),
            "'units', which build needs, in every trial; the space has Int",
        ),
        (
            lambda: Space(
                units=Int(2, 9), optimizer=Choice(SGD, Adam), momentum=Float(0, 1)
            ).search(build),
            r"'momentum' only with optimizers that take it, \['SGD'\].*there with \['Adam'\]",
        ),
        (lambda: Space(a=Int(1, 2).when(b=1)), r"'a' to depend .* got \['b'\]"),
        (lambda: Space(a=Int(1, 2).each("n")), r"'a' to depend .* got \['n'\]"),
        (lambda: Space(a=3), "expected Int, Float or Choice for 'a', got 3"),
        (lambda: Int(5, 2), "Int: expected low <= high, got 5 and 2"),
        (lambda: Float(0, 1, log=True), "both positive for a logarithm, got 0 and 1"),
        (Choice, r"different names to choose from, got \[\]"),
        (lambda: Choice(1, 1), "different names"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()


X = np.arange(200).reshape(100, 2)
Y = np.arange(100) % 4


def rows(part):
    return set(part.inputs[:, 0].tolist())


def test_the_parts_share_no_sample_and_leave_none_out():
    split = Split(X, Y, validation=0.2, test=0.3, seed=1)
    train, validation = split.round(0)
    assert (len(train), len(validation), len(split._test)) == (50, 20, 30)
    assert rows(train) | rows(validation) | rows(split._test) == set(X[:, 0].tolist())


def test_classes_keep_their_shares():
    split = Split(X, Y, validation=0.2, test=0.2)
    for part, count in zip((*split.round(0), split._test), (15, 5, 5), strict=True):
        assert np.bincount(part.targets).tolist() == [count] * 4


def test_each_sample_is_in_one_fold():
    split = Split({"x": torch.tensor(X)}, torch.tensor(Y), test=0.2, folds=4)
    folds = [set(split.round(i).validation.inputs["x"][:, 0].tolist()) for i in range(4)]
    assert [len(fold) for fold in folds] == [20] * 4
    assert len(set.union(*folds)) == 80


def test_parts_that_are_given_stay_as_they_are():
    split = Split(X[:60], Y[:60], validation=(X[60:80], Y[60:80]), test=(X[80:], Y[80:]))
    assert rows(split.round(0).validation) == set(X[60:80, 0].tolist())
    assert rows(split._test) == set(X[80:, 0].tolist())
    assert len(split.round(0).train) == 60


def test_the_fingerprint_tells_other_data_and_other_cuts():
    prints = [Split(X, Y).fingerprint(), Split(X, Y).fingerprint()]
    others = [Split(X, Y, seed=1), Split(X, Y[::-1].copy()), Split(X, Y, folds=2)]
    assert len(set(prints)) == 1
    assert len({*prints, *(split.fingerprint() for split in others)}) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Split(X, Y[:50]), r"one row a sample .* got lengths \[100\] and \(50,\)"),
        (lambda: Split([[1, 2]], Y), "one row a sample"),
        (lambda: Split(X, Y, test=0.001), "test to be a fraction between 0 and 1 of 100"),
        (lambda: Split(X, Y, validation=3), "validation to be a fraction"),
        (lambda: Split(X, Y, validation=0.5, test=0.5), "can be cut as asked for"),
        (lambda: Split(X, Y, folds=1), "can be cut as asked for"),
    ],
)
def test_data_that_cannot_be_cut_are_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()
