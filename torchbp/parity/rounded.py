"""TensorFlow's constants in float64, for the time of a comparison.

Keras rounds Python's numbers through float32 on TensorFlow, even where it computes in float64: the
root of a half in gelu, the slope of a leaky relu. Right and wrong differ by less elsewhere, so the
torch half is given the same constants.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def rounded_constants(reference: str, dtype: str) -> AbstractContextManager[object]:
    """Let torch compute gelu and leaky relu with TensorFlow's constants, if they are compared."""
    if (reference, dtype) == ("keras-tensorflow", "float64"):
        return _RoundedConstants()
    return nullcontext()


class _RoundedConstants(TorchFunctionMode):
    """Answers for the functions whose constants TensorFlow rounds; leaves all others alone."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        chosen: Callable[..., Any] = _ROUNDED.get(func, func)
        return chosen(*args, **(kwargs or {}))


def _float32(number: float) -> float:
    return torch.tensor(number, dtype=torch.float32).item()


_ROOT = _float32(1 / sqrt(2))


def _gelu(input: Tensor, approximate: str = "none") -> Tensor:
    if approximate != "none" or input.dtype is not torch.float64:
        return F.gelu(input, approximate=approximate)
    return 0.5 * input * torch.special.erfc(-input * _ROOT)


def _leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return F.leaky_relu(input, _float32(negative_slope), inplace)


_ROUNDED: dict[Callable[..., Any], Callable[..., Tensor]] = {
    F.gelu: _gelu,
    F.leaky_relu: _leaky_relu,
}
