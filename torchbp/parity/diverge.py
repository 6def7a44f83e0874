"""Where two models part: the first layer in the order of computation that gives other values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from torchbp.parity.case import Case, Pair
from torchbp.parity.cause import activation_between
from torchbp.parity.compare import relative_error

Values = dict[str, list[Tensor]]


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


def partings(
    case: Case, keras: Values, torch_: Values, bound: float
) -> Iterator[tuple[Parting, str | None]]:
    """The layers whose values are further apart than `bound`, in the order of computation.

    Args:
        case: the case.
        keras: the values of Keras's layers.
        torch_: those of the torch side's modules and nodes.
        bound: how far apart values may be.

    Yields:
        Each layer, and the activation that makes its values Keras's, if one does: the torch model
        lacks it, or applies it to what the module gives.
    """
    other_shape = first_shape(case, keras, torch_)
    for pair, ours, theirs in _matched(case, keras, torch_):
        if other_shape and other_shape.layer == pair.keras:
            yield other_shape, None
        elif not agree(ours or [], theirs, bound):
            lacks = activation_between(ours[0], theirs[0], bound) if ours else None
            yield Parting(pair.keras, pair.torch), lacks


def with_values(case: Case, keras: Values, torch_: Values) -> set[str]:
    """The Keras layers that have values on both sides."""
    return {pair.keras for pair, ours, _ in _matched(case, keras, torch_) if ours}


def agree(ours: Sequence[Tensor], theirs: Sequence[Tensor], bound: float) -> bool:
    """Whether values are as many and as large, and no further apart than `bound`."""
    return len(ours) == len(theirs) and all(
        value.shape == expected.shape and relative_error(value, expected) <= bound
        for value, expected in zip(ours, theirs, strict=True)
    )


def _matched(
    case: Case, keras: Values, torch_: Values
) -> Iterator[tuple[Pair, list[Tensor] | None, list[Tensor]]]:
    for pair in case.pairs:
        if pair.keras in keras:  # layers of a model inside show no values of their own
            yield pair, values_of(pair, torch_), keras[pair.keras]


def values_of(pair: Pair, values: Values) -> list[Tensor] | None:
    """The torch values of a pair in Keras's order of axes; the module's where no named ones are."""
    if pair.values and all(name in values for name in pair.values):
        found: Sequence[Tensor] = [value for name in pair.values for value in values[name]]
    elif pair.torch in values:
        found = values[pair.torch]
    else:
        return None
    return [v.permute(pair.axes) if pair.axes and len(pair.axes) == v.ndim else v for v in found]
