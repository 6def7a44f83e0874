"""Masks: which steps of a sequence count.

A mask is a boolean tensor that a value has beside its own. Keras finds it on the tensor that a
layer is called with, and its files name it in the calls of some layers, too; both are the same.
"""

from typing import Any

import torch

from torchbp.port.config import UnsupportedError
from torchbp.port.registry import Layer, keras_layer
from torchbp.port.values import Value


@keras_layer("Masking", masks="own")
def _masking(layer: Layer, x: Value) -> Value:
    """Steps all of whose features are the mask's value become zero, and do not count."""
    value = layer.config.number("mask_value", 0.0)
    tensor = x.as_keras()
    if not tensor.is_floating_point():
        raise UnsupportedError("numbers that are no floats")
    rounded = torch.tensor(value, dtype=torch.float32).item()  # as TensorFlow takes it
    counts = (tensor != rounded).any(-1)
    return Value(torch.where(counts.unsqueeze(-1), tensor, 0.0), mask=counts)


def is_mask_given(layer: Layer) -> bool:
    """Whether the file names a mask in the layer's calls.

    Raises:
        UnsupportedError: in some and not in others.
    """
    given = {call.kwargs.get("mask") is not None for call in layer.spec.calls}
    if len(given) > 1:
        raise UnsupportedError("calls with a mask and others without")
    return True in given


def of_each_step(x: Value) -> Any:
    """The mask of a value with an axis for the features, for a tensor in Keras's order.

    Raises:
        UnsupportedError: it is none of all axes but the last.
    """
    if x.mask.ndim != x.ndim - 1:
        raise UnsupportedError(f"a mask of {x.mask.ndim} axes for an input of {x.ndim}")
    return boolean(x.mask).unsqueeze(-1)


def boolean(mask: Any) -> Any:
    """A mask whose numbers may be others than True and False."""
    return mask if mask.dtype is torch.bool else mask != 0


def any_of(masks: list[Any]) -> Any:
    """What counts in one of the masks; None if one of them is none.

    Raises:
        UnsupportedError: they have different numbers of axes.
    """
    if any(mask is None for mask in masks):
        return None
    if len({mask.ndim for mask in masks}) > 1:
        raise UnsupportedError("masks with different numbers of axes")
    result = boolean(masks[0])
    for mask in masks[1:]:
        result = result | boolean(mask)
    return result
