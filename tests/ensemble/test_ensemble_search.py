"""Weights: found by each search, on validation data, and never on the test's."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from tests.ensemble.ensembles import data, kept, nets, of_kept, probabilities
from torchbp.ensemble import (
    Ensemble,
    GreedySelection,
    Mean,
    NelderMead,
    Predictions,
    RandomSearch,
    RankMean,
    Stacking,
)
from torchbp.errors import DataError

SEARCHES = [NelderMead(), RandomSearch(), GreedySelection()]


def cross_entropy(x, y):
    return -np.log(np.clip(x[np.arange(len(y)), y], 1e-7, 1 - 1e-7)).mean()


@pytest.mark.parametrize("search", SEARCHES)
def test_weights_are_on_the_simplex_and_near_the_optimum(search):
    """The cross entropy is convex in the weights; SLSQP finds its minimum by gradients."""
    x, y = probabilities(count=300)
    found = of_kept(x).fit_weights(validation=(kept(x), y), search=search)["output"]
    w = np.array(list(found.values()))
    assert w.min() >= 0
    assert w.sum() == pytest.approx(1, abs=1e-12)

    def loss(w):
        return cross_entropy(np.einsum("m,mnc->nc", w, x), y)

    best = minimize(
        loss,
        np.full(3, 1 / 3),
        bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
    )
    assert loss(w) == pytest.approx(best.fun, abs=5e-4)


@pytest.mark.parametrize(
    "search", [NelderMead(num_starts=1, max_iterations=1), RandomSearch(1), GreedySelection(1)]
)
def test_a_search_is_never_worse_than_equal_weights_and_each_member(search):
    x, y = probabilities(count=100)
    ensemble = of_kept(x)
    ensemble.fit_weights(validation=(kept(x), y), search=search)
    losses = [cross_entropy(own, y) for own in (*x, x.mean(axis=0))]
    assert ensemble.validation.losses["output"].loss <= min(losses) + 1e-12


@pytest.mark.parametrize("kind", [NelderMead, RandomSearch, GreedySelection])
def test_a_seed_gives_the_same_weights_again(kind):
    x, y = probabilities(count=60, members=4)
    first, again = (
        of_kept(x).fit_weights(validation=(kept(x), y), search=kind(seed=3)) for _ in range(2)
    )
    assert first == again


def test_another_seed_draws_other_weights():
    first, other = (RandomSearch(5, seed=seed)(lambda w: w.max(), 2) for seed in (0, 1))
    assert list(first) == list(other) == [0.5, 0.5]
    first, other = (RandomSearch(5, seed=seed)(lambda w: abs(w[0] - 0.7), 2) for seed in (0, 1))
    assert list(first) != list(other)


@pytest.mark.parametrize("num_rounds", [3, 4])
def test_greedy_selection_counts_as_worked_out_by_hand(num_rounds):
    """b, then a, then b again: 1/3 and 2/3 give 0.4 exactly from 0 and 0.6. A fourth is worse."""
    values = np.array([0.0, 0.6])
    weights = GreedySelection(num_rounds)(lambda w: abs(w @ values - 0.4), 2)
    np.testing.assert_allclose(weights, [1 / 3, 2 / 3])


def test_bags_select_from_a_part_of_the_members():
    seen = []

    def loss(w):
        seen.append(tuple(w))
        return float(w[0])

    GreedySelection(num_rounds=1, num_bags=1, bag_fraction=0.5)(loss, 4)
    assert len(seen) == 2 + 1 + 1 + 4  # the bag; then what is compared at the end


def test_a_loss_of_the_users_own_is_made_small():
    x, y = probabilities()
    calls = []

    def loss(pooled, target):
        calls.append(pooled.shape)
        return ((pooled - torch.tensor(x[0])) ** 2).sum()

    weights = of_kept(x).fit_weights(validation=(kept(x), y), search=NelderMead(), loss=loss)[
        "output"
    ]
    assert weights["a"] == pytest.approx(1, abs=1e-4)
    assert set(calls) == {(50, 4)}


def test_numbers_get_the_weights_of_least_squares():
    rng = np.random.default_rng(0)
    target = rng.normal(size=400)
    x = np.stack([target + rng.normal(size=400), target + 2 * rng.normal(size=400)])[..., None]
    found = of_kept(x, "regression").fit_weights(
        validation=(kept(x, "regression"), target), search=NelderMead()
    )["output"]
    errors = x[..., 0] - target
    gap = errors[1] - errors[0]
    assert found["a"] == pytest.approx(errors[1] @ gap / (gap @ gap), abs=1e-4)


def test_test_samples_that_weights_were_learned_on_are_refused():
    (x, y), ensemble = data(), Ensemble(nets())
    ensemble.fit_weights(validation=(x[:20], y[:20]), search=RandomSearch(10))
    with pytest.raises(DataError, match="test: expected samples that are new, got 1 of 11 that"):
        ensemble.report(test=(x[19:30], y[19:30]), progress=False)


def test_validation_samples_that_a_report_has_seen_are_refused():
    (x, y), ensemble = data(), Ensemble(nets())
    ensemble.report(test=(x[20:], y[20:]))
    with pytest.raises(DataError, match=r"validation: .* 20 of 40 that a report has tested"):
        ensemble.pooled_by(Mean()).fit_weights(validation=(x, y))


def test_known_samples_can_be_left_out_of_the_test():
    (x, y), ensemble = data(), Ensemble(nets())
    ensemble.fit_weights(validation=(x[:20], y[:20]))
    assert ensemble.report(test=(x[10:], y[10:]), drop_known=True).num_samples == 20
    with pytest.raises(DataError, match="got none that are new"):
        ensemble.report(test=(x[:20], y[:20]), drop_known=True)


@pytest.mark.parametrize("retyped", [lambda x: x.numpy().astype("float64"), torch.Tensor.double])
def test_the_same_samples_in_another_type_are_known(retyped):
    (x, y), ensemble = data(), Ensemble({"a": lambda x: np.full((len(x), 3), 1 / 3)})
    ensemble.fit_weights(validation=(x, y))
    with pytest.raises(DataError, match="40 of 40"):
        ensemble.report(test=(retyped(x), y))


@pytest.mark.parametrize(
    "make", [lambda kept, y: RankMean(kept), lambda kept, y: Stacking(kept, y)]
)
def test_samples_that_a_pooling_was_learned_on_are_refused_as_a_test(make):
    x, y = data()
    members = nets()
    pooling = make(Ensemble(members).predictions(x), y)
    with pytest.raises(DataError, match="40 of 40 that weights were learned on"):
        Ensemble(members, pooling=pooling).report(test=(x, y))


def test_neither_weights_nor_report_take_data_without_saying_what_it_is():
    (x, y), ensemble = data(), Ensemble(nets())
    for function in (ensemble.fit_weights, ensemble.report):
        with pytest.raises(TypeError):
            function((x, y))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1}, r"expected one for each of the members \['a', 'b', 'c'\], got \{'a': 1\}"),
        ({"a": 1, "b": -1, "c": 1}, "not negative"),
        ({"a": 0, "b": 0, "c": 0}, "one above 0"),
        ({"a": 1, "b": float("nan"), "c": 1}, "not negative"),
    ],
)
def test_weights_that_do_not_match_are_refused(weights, message):
    with pytest.raises(DataError, match=message):
        Ensemble(nets()).set_weights(weights)


def test_weights_are_those_of_each_output():
    x, y = probabilities(members=2)
    values = {
        name: {"left": own, "right": own[:, ::-1].copy()} for name, own in zip("ab", x, strict=True)
    }
    task = {"left": "classification", "right": "classification"}

    ensemble = Ensemble({"a": print, "b": print}, task)
    weights = ensemble.fit_weights(
        validation=(Predictions.of(values, task), {"left": y, "right": 3 - y}),
        search=NelderMead(),
    )
    assert weights["left"] == pytest.approx(weights["right"], abs=1e-3)
    with pytest.raises(DataError, match=r"expected a dict by the outputs \['left', 'right'\]"):
        ensemble.fit_weights(validation=(Predictions.of(values, task), y))


def test_a_stacking_has_no_weights_to_learn():
    x, y = probabilities()
    ensemble = of_kept(x, pooling=Stacking(kept(x), y))
    with pytest.raises(DataError, match="expected a pooling with weights, got Stacking"):
        ensemble.fit_weights(validation=(kept(x), y), search=RandomSearch())


def test_learned_weights_are_those_that_predict():
    (x, y), ensemble = data(), Ensemble(nets())
    ensemble.fit_weights(validation=(x, y), search=RandomSearch(50))
    w = torch.tensor(list(ensemble.weights["output"].values()), dtype=torch.float64)
    values = ensemble.predictions(x).values["output"]
    torch.testing.assert_close(ensemble.predict(x), torch.einsum("m,mnc->nc", w, values))
