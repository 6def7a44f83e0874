"""The measures: how far a tensor is from what it should be.

Each takes the tensor, what is expected, and the largest entry of all expected tensors of the same
layer. It is 0 where the two are equal and infinity where shapes differ or anything is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from torch import Tensor

from torchbp.parity.tolerances import gradient_floor

Measure = Callable[[Tensor, Tensor, float], float]


def difference(value: Tensor, expected: Tensor, layer_scale: float = 0.0) -> float:
    """max|value - expected|."""
    if value.shape != expected.shape:
        return math.inf
    return _finite(_largest(value.double() - expected.double()))


def relative_error(value: Tensor, expected: Tensor, layer_scale: float = 0.0) -> float:
    """max|value - expected| / max|expected|.

    Example:
        >>> relative_error(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]))
        0.25
    """
    return _ratio(difference(value, expected), _largest(expected))


def relative_error_in_layer(value: Tensor, expected: Tensor, layer_scale: float) -> float:
    """The relative error, with a floor for what is zero in theory and rounding in practice."""
    size = max(_largest(expected), gradient_floor(layer_scale))
    return _ratio(difference(value, expected), size)


def difference_in_layer(value: Tensor, expected: Tensor, layer_scale: float) -> float:
    """max|value - expected| / the layer's largest entry, for what is zero in theory."""
    return _ratio(difference(value, expected), layer_scale)


def relative_l2(value: Tensor, expected: Tensor, layer_scale: float) -> float:
    """Length of the difference over the length of what is expected."""
    if value.shape != expected.shape:
        return math.inf
    length = _finite((value.double() - expected.double()).norm().item())
    return _ratio(length, max(expected.double().norm().item(), gradient_floor(layer_scale)))


def cosine_distance(value: Tensor, expected: Tensor, layer_scale: float = 0.0) -> float:
    """1 - cosine of the angle between the two."""
    if value.shape != expected.shape:
        return math.inf
    a, b = value.double().flatten(), expected.double().flatten()
    if a.equal(b):
        return 0.0
    return _finite(max(1 - (a @ b / (a.norm() * b.norm())).item(), 0.0))


def worst(figures: Iterable[float]) -> float:
    """The largest of the figures; 0 where there are none."""
    return max(figures, default=0.0)


def _largest(tensor: Tensor) -> float:
    return tensor.double().abs().max().item() if tensor.numel() else 0.0


def _ratio(difference: float, size: float) -> float:
    if difference == 0:
        return 0.0
    return difference / size if size else math.inf


def _finite(figure: float) -> float:
    return figure if math.isfinite(figure) else math.inf
