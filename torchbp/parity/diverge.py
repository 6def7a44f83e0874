"""Where two models part: the first layer in the order of computation that gives other values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from torchbp.parity.case import Case, Pair
from torchbp.parity.compare import relative_error

Values = dict[str, list[Tensor]]

# What a torch layer may lack: applied to its value, it gives Keras's.
_FORGOTTEN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: x.softmax(-1),
}


@dataclass(frozen=True)
class Parting:
    """The place where two models part.

    Attributes:
        layer: the Keras layer, or the output where no layer parts.
        module: the torch module that stands for it.
        cause: what is known of the reason; may be empty.
    """

    layer: str
    module: str
    cause: str = ""


def first_shape(case: Case, keras: Values, torch_: Values) -> Parting | None:
    """The first layer whose values have other shapes, or that is called another number of times."""
    for pair, ours, theirs in _matched(case, keras, torch_):
        if ours is None:
            return Parting(pair.keras, pair.torch, f"the torch model never calls {pair.torch!r}")
        if len(ours) != len(theirs):
            cause = f"called {len(theirs)} times in Keras, {len(ours)} times in torch"
            return Parting(pair.keras, pair.torch, cause)
        for value, expected in zip(ours, theirs, strict=True):
            if value.shape != expected.shape:
                cause = f"expected shape {tuple(expected.shape)}, got {tuple(value.shape)}"
                return Parting(pair.keras, pair.torch, cause)
    return None


def first_value(case: Case, keras: Values, torch_: Values, bound: float) -> Parting | None:
    """The first layer whose values are further apart than `bound`."""
    other_shape = first_shape(case, keras, torch_)
    for pair, ours, theirs in _matched(case, keras, torch_):
        if other_shape and other_shape.layer == pair.keras:
            return other_shape
        for value, expected in zip(ours or [], theirs, strict=True):
            if not relative_error(value, expected) <= bound:
                return Parting(pair.keras, pair.torch, _guess(value, expected, bound))
    return None


def _matched(
    case: Case, keras: Values, torch_: Values
) -> Iterator[tuple[Pair, list[Tensor] | None, list[Tensor]]]:
    for pair in case.pairs:
        if pair.keras in keras:  # layers of a model inside show no values of their own
            yield pair, _values_of(pair, torch_), keras[pair.keras]


def _values_of(pair: Pair, values: Values) -> list[Tensor] | None:
    """The torch values of a pair; those of the module where the model lacks the named ones."""
    if pair.values and all(name in values for name in pair.values):
        found: Sequence[Tensor] = [value for name in pair.values for value in values[name]]
    elif pair.torch in values:
        found = values[pair.torch]
    else:
        return None
    return [v.permute(pair.axes) if pair.axes and len(pair.axes) == v.ndim else v for v in found]


def _guess(value: Tensor, expected: Tensor, bound: float) -> str:
    for name, function in _FORGOTTEN.items():
        if value.ndim and relative_error(function(value), expected) <= bound:
            return f"{name} is missing on the torch side"
    return ""
