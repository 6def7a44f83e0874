import math

import pytest
import torch

from torchbp.parity.compare import (
    cosine_distance,
    difference,
    relative_error,
    relative_error_in_layer,
    relative_l2,
)

MEASURES = [difference, relative_error, relative_error_in_layer, relative_l2, cosine_distance]
ONE, TWO = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (difference, 0.5),
        (relative_error, 0.5 / 4.5),
        (relative_error_in_layer, 0.5 / 4.5),
        (relative_l2, 0.5 / math.hypot(3, 4.5)),
        (cosine_distance, 1 - 27 / (5 * math.hypot(3, 4.5))),
    ],
)
def test_measures(measure, expected):
    assert measure(ONE, TWO, 1.0) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_equal_tensors_are_at_distance_zero(measure):
    assert measure(ONE, ONE, 1.0) == 0
    assert measure(torch.zeros(2), torch.zeros(2), 0.0) == 0


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("value", [[3.0, math.nan], [3.0, math.inf], [3.0, 4.0, 5.0]])
def test_what_cannot_be_compared_is_infinitely_far(measure, value):
    assert measure(torch.tensor(value), ONE, 1.0) == math.inf


@pytest.mark.parametrize("measure", [relative_error_in_layer, relative_l2])
def test_rounding_around_a_zero_is_measured_against_the_layer(measure):
    zero, noise = torch.zeros(1), torch.tensor([1e-12])
    assert relative_error(noise, zero) == math.inf
    assert measure(noise, zero, 1.0) == pytest.approx(1e-6)


def test_a_difference_of_float64_is_not_lost():
    one = torch.ones(1, dtype=torch.float64)
    assert relative_error(one + 1e-15, one) == pytest.approx(1e-15, rel=0.2)
