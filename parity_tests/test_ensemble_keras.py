"""Averages and learned weights on Keras members equal plain numpy and scipy on what Keras predicts.

Three models of Keras, in float64, predict a validation and a test batch. Their weights are
converted, so that the members of the ensemble are the same models in torch. numpy averages what
Keras gave, scipy's Nelder-Mead minimises the cross entropy of these averages.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import minimize

from parity_tests.cases import MLP
from torchbp.ensemble import Ensemble, GeometricMean, Mean, Median, NelderMead, PowerMean
from torchbp.parity import Sizes
from torchbp.parity.keras_side import KerasSide
from torchbp.parity.torch_side import TorchSide

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]

ATOL = 1e-12  # rounding of float64 is some 1e-16; a fault in a weight shows from 1e-3 on
SIZES = Sizes(batch_size=60)
NAMES = ("first", "second", "third")


class BothSides:
    """What Keras predicts, and the ensemble of the same models in torch."""

    def __init__(self):
        self.validation, self.test = MLP.batches(SIZES, 2)
        self.keras, members = [], {}
        for seed, name in enumerate(NAMES):
            case = replace(MLP, seed=seed)
            there, here = (
                KerasSide(case, SIZES, "float64"),
                TorchSide(case, SIZES, "float64", "cpu"),
            )
            here.load(there.weights())
            members[name] = here.model
            self.keras.append(there.model)
        self.members = members

    def predicted(self, batch):
        """(M, N, C), by Keras."""
        x = batch.inputs["features"]
        return np.stack([model.predict(x, verbose=0) for model in self.keras])

    def ensemble(self, pooling):
        return Ensemble(self.members, pooling=pooling)


@pytest.fixture(scope="module")
def both(keras_float64):
    return BothSides()


def to_one(x):
    return x / x.sum(axis=1, keepdims=True)


POOLINGS = [
    (Mean(), lambda x: x.mean(axis=0)),
    (GeometricMean(), lambda x: to_one(stats.gmean(x, axis=0))),
    (PowerMean(2), lambda x: to_one(np.sqrt((x**2).mean(axis=0)))),
    (Median(), lambda x: to_one(np.median(x, axis=0))),
]


@pytest.mark.parametrize(("pooling", "expected"), POOLINGS)
def test_averages_equal_numpys_of_what_keras_predicts(both, pooling, expected):
    found = both.ensemble(pooling).predict(torch.tensor(both.test.inputs["features"]))
    np.testing.assert_allclose(found, expected(both.predicted(both.test)), rtol=0, atol=ATOL)


def test_a_weighted_average_equals_the_chapters(both):
    ensemble = both.ensemble(Mean())
    ensemble.set_weights(dict(zip(NAMES, (0.5, 0.3, 0.2), strict=True)))
    a, b, c = both.predicted(both.test)
    found = ensemble.predict(torch.tensor(both.test.inputs["features"]))
    np.testing.assert_allclose(found, 0.5 * a + 0.3 * b + 0.2 * c, rtol=0, atol=ATOL)


def learned(both, max_iterations):
    """The weights and their loss: by the ensemble, and by numpy and scipy."""
    x, y = both.predicted(both.validation), both.validation.targets["classes"]

    def normalised(v):
        return np.abs(v) / np.abs(v).sum()

    def loss(v):
        p = np.einsum("m,mnc->nc", normalised(v), x)
        return -np.log((p * y).sum(axis=1)).mean()

    settings = {"maxiter": max_iterations, "xatol": 1e-6, "fatol": 1e-6}
    best = minimize(loss, np.full(3, 1 / 3), method="Nelder-Mead", options=settings)
    expected = min([normalised(best.x), *np.eye(3), np.full(3, 1 / 3)], key=loss)
    ensemble = both.ensemble(Mean())
    search = NelderMead(num_starts=1, max_iterations=max_iterations)
    validation = torch.tensor(both.validation.inputs["features"]), y
    found = ensemble.fit_weights(validation=validation, search=search)["output"]
    return ensemble, np.array(list(found.values())), expected, loss


@pytest.mark.parametrize("max_iterations", [5, 15, 30])
def test_learned_weights_equal_scipys(both, max_iterations):
    ensemble, found, expected, _ = learned(both, max_iterations)
    assert expected.max() < 0.999  # a mixture, so that all weights are tested
    np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)
    pooled = ensemble.predict(torch.tensor(both.test.inputs["features"]))
    by_hand = np.einsum("m,mnc->nc", expected, both.predicted(both.test))
    np.testing.assert_allclose(pooled, by_hand, rtol=0, atol=ATOL)


def test_a_search_to_the_end_reaches_scipys_minimum(both):
    """Near the minimum rounding decides which point is better, and where the search ends.

    There the loss is flat: weights that differ by 1e-7 have losses that differ by 1e-13.
    """
    ensemble, found, expected, loss = learned(both, 1000)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert loss(found) == pytest.approx(loss(expected), rel=0, abs=ATOL)
    assert ensemble.validation.losses["output"].loss == pytest.approx(loss(found), abs=ATOL)
