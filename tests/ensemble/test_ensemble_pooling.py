"""Each pooling against numpy, scipy or a figure worked out by hand."""

import numpy as np
import pytest
import torch
from scipy import stats

from tests.ensemble.ensembles import kept, never, of_kept, probabilities
from torchbp.ensemble import (
    Ensemble,
    ExponentialMean,
    GeometricMean,
    MajorityVote,
    Mean,
    Median,
    PowerMean,
    Predictions,
    RankMean,
)
from torchbp.errors import DataError

X, Y = probabilities()
WEIGHTS = {"a": 0.2, "b": 0.45, "c": 0.35}  # no two of them are one half
W = np.array([0.2, 0.45, 0.35])


def to_one(x):
    return x / x.sum(axis=1, keepdims=True)


def by_scipy(mean, *exponent):
    """A weighted mean of scipy over the members, brought to the sum 1."""
    return lambda x, w: to_one(mean(x, *exponent, axis=0, weights=w[:, None, None] + 0 * x))


def weighted_median(x, w):
    """By the definition, number by number."""
    result = np.empty(x.shape[1:])
    for place in np.ndindex(result.shape):
        own = x[(slice(None), *place)]
        order = own.argsort()
        result[place] = own[order][np.searchsorted(w[order].cumsum(), 0.5)]
    return result


TABLE = [
    (Mean(), lambda x, w: np.average(x, axis=0, weights=w)),
    (
        GeometricMean(),
        lambda x, w: to_one(stats.gmean(x, axis=0, weights=w[:, None, None] + 0 * x)),
    ),
    (PowerMean(-1), by_scipy(stats.hmean)),
    (
        PowerMean(3),
        lambda x, w: to_one(stats.pmean(x, 3, axis=0, weights=w[:, None, None] + 0 * x)),
    ),
    (
        ExponentialMean(4.0),
        lambda x, w: to_one(np.log(np.average(np.exp(4 * x), axis=0, weights=w)) / 4),
    ),
    (Median(), lambda x, w: to_one(weighted_median(x, w))),
    (MajorityVote(), lambda x, w: np.average(np.eye(4)[x.argmax(axis=2)], axis=0, weights=w)),
]


@pytest.mark.parametrize(("pooling", "expected"), TABLE)
def test_weighted_pooling_equals_numpy_and_scipy(pooling, expected):
    ensemble = of_kept(X, pooling=pooling)
    ensemble.set_weights(WEIGHTS)
    np.testing.assert_allclose(ensemble.predict(kept(X)), expected(X, W), rtol=0, atol=1e-12)


@pytest.mark.parametrize("members", [1, 2, 3, 4, 7])
def test_median_of_equal_weights_is_numpys(members):
    x, _ = probabilities(members=members)
    result = of_kept(x, pooling=Median()).predict(kept(x))
    np.testing.assert_allclose(result, to_one(np.median(x, axis=0)), rtol=0, atol=1e-12)


def test_median_of_float32_is_numpys():
    """Six times float32's 1/6 is not exactly one half after three of them."""
    x = torch.tensor(X[:1]).repeat(6, 1, 1).float() * torch.arange(1.0, 7)[:, None, None]
    expected = np.median(x.numpy(), axis=0)
    np.testing.assert_allclose(Median()(x, torch.full((6,), 1 / 6)), expected, rtol=1e-6)


def test_a_member_of_weight_zero_has_no_say():
    for pooling, _ in TABLE:
        alone, all_three = of_kept(X[1:2], pooling=pooling), of_kept(X, pooling=pooling)
        all_three.set_weights({"a": 0, "b": 1, "c": 0})
        expected = alone.predict(kept(X[1:2]))
        torch.testing.assert_close(all_three.predict(kept(X)), expected, rtol=0, atol=1e-12)


def test_geometric_mean_of_a_zero_is_finite():
    x = np.array([[[0.0, 1.0]], [[1.0, 0.0]]])
    expected = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    assert torch.allclose(of_kept(x, pooling=GeometricMean()).predict(kept(x)), expected)


def test_ranks_are_scipys_percentiles_among_the_reference():
    reference, x = X[:1, :30], X[:1, 20:]  # ten of them are in the reference
    ranks = RankMean(kept(reference))(torch.tensor(x), torch.ones(1).double())
    for column in range(4):
        own = reference[0, :, column]
        percent = [stats.percentileofscore(own, value, "mean") for value in x[0, :, column]]
        expected = (np.array(percent) / 100 * 30 + 0.5) / 31
        np.testing.assert_allclose(ranks[:, column], expected, atol=1e-12)


def test_a_rank_does_not_depend_on_the_other_samples():
    pooling = RankMean(kept(X[:, :30]))
    whole = of_kept(X, pooling=pooling).predict(kept(X[:, 30:]))
    one = of_kept(X, pooling=pooling).predict(kept(X[:, 30:31]))
    torch.testing.assert_close(whole[:1], one)


NUMBERS = np.array([[[1.0], [2.0]], [[4.0], [-2.0]]])


def test_numbers_are_pooled_as_they_are():
    assert of_kept(NUMBERS, "regression").predict(kept(NUMBERS, "regression")).tolist() == [
        [2.5],
        [0.0],
    ]


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        (MajorityVote(), "MajorityVote: expected classes, got the numbers"),
        (RankMean(Predictions.of({"a": X[0]})), "RankMean: expected classes"),
        (GeometricMean(), "GeometricMean: expected positive numbers in 'output', got -2"),
        (PowerMean(2), "PowerMean: expected positive numbers"),
    ],
)
def test_poolings_that_numbers_do_not_have_are_refused(pooling, message):
    with pytest.raises(DataError, match=message):
        of_kept(NUMBERS, "regression", pooling).predict(kept(NUMBERS, "regression"))


@pytest.mark.parametrize("make", [lambda: PowerMean(0), lambda: ExponentialMean(0)])
def test_exponents_of_zero_name_their_limit(make):
    with pytest.raises(DataError, match="is its limit"):
        make()


def test_two_answers_come_back_as_one_column():
    yes = np.array([[0.9], [0.2]])
    both = np.stack([1 - yes[:, 0], yes[:, 0]], axis=1)
    found = Predictions.of({"net": yes, "forest": both}, "binary")
    ensemble = Ensemble({"net": never, "forest": never}, "binary", GeometricMean())
    np.testing.assert_allclose(ensemble.predict(found), yes, atol=1e-12)
