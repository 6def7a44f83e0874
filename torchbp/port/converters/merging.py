"""Layers that make one value of several."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from torchbp import layers
from torchbp.port.config import UnsupportedError
from torchbp.port.converters.masking import any_of, of_each_step
from torchbp.port.registry import Layer, keras_layer
from torchbp.port.values import Value, aligned


def _several(inputs: Any) -> list[Value]:
    if not isinstance(inputs, list | tuple) or not all(isinstance(x, Value) for x in inputs):
        raise UnsupportedError("a call with something else than a list of tensors")
    return list(inputs)


def _aligned(inputs: Any) -> tuple[list[Any], Value]:
    """The tensors of one rank: Keras gives those of a lower one new axes after the batch's."""
    values = _several(inputs)
    tensors, order = aligned(values)
    ranks = {tensor.ndim for tensor in tensors}
    if len(ranks) > 1 and any(value.mask is not None for value in values):
        raise UnsupportedError("inputs with a mask and different numbers of axes")
    missing = [max(ranks) - tensor.ndim for tensor in tensors]
    widened = [
        tensor[(slice(None), *(None,) * count)] if count else tensor
        for tensor, count in zip(tensors, missing, strict=True)
    ]
    return widened, order


def _merge(make: type[nn.Module]) -> Any:
    def port(layer: Layer, inputs: Any) -> Value:
        tensors, order = _aligned(inputs)
        result = order.like(layer.module(make)(*tensors))
        return result.masked(any_of([value.mask for value in _several(inputs)]))

    return port


for _name in ("Add", "Subtract", "Average"):
    keras_layer(_name, masks="own")(_merge(getattr(layers, _name)))


@keras_layer("Multiply", masks="own")
def _multiply(layer: Layer, inputs: Any) -> Value:
    """A step that does not count multiplies by one; one that never does is zero."""
    values = _several(inputs)
    if all(value.mask is None for value in values):
        return _merge(layers.Multiply)(layer, inputs)
    _aligned(inputs)
    tensors = [
        x.as_keras() if x.mask is None else torch.where(of_each_step(x), x.as_keras(), 1.0)
        for x in values
    ]
    product = layer.module(layers.Multiply)(*tensors)
    mask = any_of([value.mask for value in values])
    if mask is not None:
        product = torch.where(mask.unsqueeze(-1), product, 0.0)
    return Value(product, mask=mask)


def _larger(a: Any, b: Any) -> Any:
    """Of two equal numbers the first gets the gradient, as TensorFlow has it."""
    return torch.where((a >= b) | (a != a), a, b)


def _smaller(a: Any, b: Any) -> Any:
    return torch.where((a <= b) | (a != a), a, b)


def _extremum(choose: Callable[[Any, Any], Any]) -> Any:
    def port(layer: Layer, inputs: Any) -> Value:
        tensors, order = _aligned(inputs)
        if any(value.mask is not None for value in _several(inputs)):
            return _masked_extremum(choose, _several(inputs))
        result = tensors[0]
        for tensor in tensors[1:]:
            result = choose(result, tensor)
        return order.like(result)

    return port


def _masked_extremum(choose: Callable[[Any, Any], Any], values: list[Value]) -> Value:
    """A step that does not count in one of two takes what the other has."""
    result, counts = values[0].as_keras(), None
    if values[0].mask is not None:
        counts = of_each_step(values[0])
    for value in values[1:]:
        tensor, own = value.as_keras(), None
        if value.mask is not None:
            own = of_each_step(value)
            tensor = torch.where(own, tensor, result)
        if counts is not None:
            result = torch.where(counts, result, tensor)
        counts = None if own is None or counts is None else counts | own
        result = choose(result, tensor)
    return Value(result, mask=any_of([value.mask for value in values]))


keras_layer("Maximum", masks="own")(_extremum(_larger))
keras_layer("Minimum", masks="own")(_extremum(_smaller))


@keras_layer("Concatenate", masks="own")
def _concatenate(layer: Layer, inputs: Any) -> Value:
    values = _several(inputs)
    axis = layer.config.get("axis", -1)
    if type(axis) is not int or len({value.ndim for value in values}) > 1:
        raise UnsupportedError(f"axis={axis!r} of inputs with different numbers of axes")
    values = [Value(x.as_keras()).masked(x.mask) if x.flattened is not None else x for x in values]
    tensors, order = aligned(values)
    result = order.like(layer.module(layers.Concat, order.dim(axis))(*tensors))
    return result.masked(_concatenated_mask(values, axis))


def _concatenated_mask(values: list[Value], axis: int) -> Any:
    """Along the features a step counts if it does in one of the inputs.

    An input without a mask counts everywhere.
    """
    if all(value.mask is None for value in values):
        return None
    masks = [
        torch.ones_like(x.as_keras()[..., 0], dtype=torch.bool)
        if x.mask is None
        else of_each_step(x)[..., 0]
        for x in values
    ]
    if axis % values[0].ndim == values[0].ndim - 1:
        return any_of(masks)
    return torch.cat(masks, axis % values[0].ndim)


@keras_layer("Dot")
def _dot(layer: Layer, inputs: Any) -> Value:
    values = _several(inputs)
    axes = layer.config.get("axes")
    axes = axes if isinstance(axes, list | tuple) else [axes, axes]
    if len(values) != 2 or len(axes) != 2 or any(type(axis) is not int for axis in axes):
        raise UnsupportedError(f"axes={axes!r} of {len(values)} inputs")
    tensors = [value.as_keras() for value in values]
    if not all(-t.ndim < a < t.ndim and a % t.ndim for a, t in zip(axes, tensors, strict=True)):
        raise UnsupportedError(f"axes={axes!r}")
    dims = tuple(axis % t.ndim for axis, t in zip(axes, tensors, strict=True))
    normalize = layer.config.flag("normalize", False)
    return Value(layer.module(layers.Dot, dims, normalize)(*tensors))
