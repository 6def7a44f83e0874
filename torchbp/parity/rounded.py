"""TensorFlow's constants in float64, for the time of a comparison.

Keras rounds Python's numbers through float32 on TensorFlow, even where it computes in float64: the
root of a half in gelu, the slope of a leaky relu. Right and wrong differ by less elsewhere, so the
torch half is given the same constants.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@contextmanager
def rounded_constants(reference: str, dtype: str) -> Iterator[None]:
    """Let torch compute gelu and leaky relu with TensorFlow's constants, if they are compared."""
    if (reference, dtype) != ("keras-tensorflow", "float64"):
        yield
        return
    before = F.gelu, F.leaky_relu
    F.gelu, F.leaky_relu = _gelu(F.gelu), _leaky_relu(F.leaky_relu)
    try:
        yield
    finally:
        F.gelu, F.leaky_relu = before


def _float32(number: float) -> float:
    return torch.tensor(number, dtype=torch.float32).item()


def _gelu(plain: Callable[..., Tensor]) -> Any:
    root = _float32(1 / sqrt(2))

    def gelu(input: Tensor, approximate: str = "none") -> Tensor:
        if approximate != "none" or input.dtype is not torch.float64:
            return plain(input, approximate=approximate)
        return 0.5 * input * torch.special.erfc(-input * root)

    return gelu


def _leaky_relu(plain: Callable[..., Tensor]) -> Any:
    @wraps(plain)
    def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
        return plain(input, _float32(negative_slope), inplace)

    return leaky_relu
