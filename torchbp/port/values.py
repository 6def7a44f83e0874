"""Values of a graph that is ported: a symbolic tensor, and where its channels stand.

Keras has the channels last, torch's layers for sequences and images have them at 1. A value knows
which of the two its tensor has; a layer asks for the one that it needs, and only where they differ
is an axis moved, once for all layers that ask. A vector that was flattened in torch's order knows
that, too, so that the layer after it can have its weights in that order instead.
"""

from __future__ import annotations

import math
from typing import Any

from torchbp.port.config import UnsupportedError


class Value:
    """A tensor of the graph.

    Args:
        tensor: symbolic.
        channels_at_1: whether the last axis that Keras has is the one at 1 here.
        flattened: of a vector: the channels and sizes that it was flattened from, in the order in
            which they stand in it, where Keras has the channels last; None if as Keras has it.
        mask: which steps of a sequence count, symbolic and boolean; None if all do.
    """

    def __init__(
        self,
        tensor: Any,
        channels_at_1: bool = False,
        flattened: tuple[int, ...] | None = None,
        mask: Any = None,
    ) -> None:
        self.tensor = tensor
        self.channels_at_1 = channels_at_1 and tensor.ndim > 2
        self.flattened = flattened
        self.mask = mask
        self._other: Any = None

    @property
    def ndim(self) -> int:
        """How many axes, the batch included."""
        return int(self.tensor.ndim)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Sizes in Keras's order; None where unknown."""
        sizes = [size if isinstance(size, int) else None for size in self.tensor.shape]
        if self.channels_at_1:
            sizes.append(sizes.pop(1))
        return tuple(sizes)

    @property
    def channels(self) -> int:
        """The size of Keras's last axis, which must be known."""
        size = self.shape[-1]
        if size is None:
            raise UnsupportedError("an input whose number of channels is unknown")
        return size

    def like(self, tensor: Any) -> Value:
        """Another tensor with the same order of axes, and no mask."""
        return Value(tensor, self.channels_at_1, self.flattened)

    def masked(self, mask: Any) -> Value:
        """The same tensor with a mask."""
        other = Value(self.tensor, self.channels_at_1, self.flattened, mask)
        other._other = self._other
        return other

    def as_keras(self) -> Any:
        """The tensor with its axes and numbers as Keras has them."""
        if self.flattened is not None:
            return self._cached(lambda: _unshuffled(self.tensor, self.flattened))
        if self.channels_at_1:
            return self._cached(lambda: self.tensor.movedim(1, -1))
        return self.tensor

    def with_channels_at_1(self) -> Any:
        """The tensor with Keras's last axis at 1."""
        if self.channels_at_1 or self.ndim <= 2:
            return self.as_keras() if self.ndim <= 2 else self.tensor
        return self._cached(lambda: self.tensor.movedim(-1, 1))

    def dim(self, axis: int) -> int:
        """Where an axis of Keras's is in the tensor."""
        if not -self.ndim <= axis < self.ndim:
            raise UnsupportedError(f"axis={axis} of an input with {self.ndim} axes")
        axis %= self.ndim
        if not self.channels_at_1 or axis == 0:
            return axis
        return 1 if axis == self.ndim - 1 else axis + 1

    def _cached(self, make: Any) -> Any:
        if self._other is None:
            self._other = make()
        return self._other


class LostMask:
    """A mask that a model within the model has made and does not give.

    It may be passed on, and be dropped; whatever takes it for a tensor is refused.
    """

    def __getattr__(self, name: str) -> Any:
        raise UnsupportedError("a mask that comes out of a model within the model")


def aligned(values: list[Value]) -> tuple[list[Any], Value]:
    """The tensors in one order of axes, and a value that has it.

    It is the order that they all have; if they differ, that with the channels at 1 for tensors of
    one rank of at least 3, and Keras's for others.
    """
    first = values[0]
    orders = {(value.ndim, value.channels_at_1, value.flattened) for value in values}
    if len(orders) == 1:
        return [value.tensor for value in values], first
    if len({value.ndim for value in values}) == 1 and first.ndim > 2:
        tensors = [value.with_channels_at_1() for value in values]
        return tensors, Value(tensors[0], channels_at_1=True)
    tensors = [value.as_keras() for value in values]
    return tensors, Value(max(tensors, key=lambda tensor: tensor.ndim))


def _unshuffled(vector: Any, flattened: tuple[int, ...] | None) -> Any:
    """A vector of torch's order in Keras's."""
    assert flattened is not None
    channels, cells = flattened[0], math.prod(flattened[1:])
    return vector.unflatten(1, (channels, cells)).transpose(1, 2).flatten(1)
