"""Layers that make one value of several."""

from typing import Any

from torch import nn

from torchbp import layers
from torchbp.port.config import UnsupportedError
from torchbp.port.registry import Layer, keras_layer
from torchbp.port.values import Value, aligned


def _several(inputs: Any) -> list[Value]:
    if not isinstance(inputs, list | tuple) or not all(isinstance(x, Value) for x in inputs):
        raise UnsupportedError("a call with something else than a list of tensors")
    return list(inputs)


def _merge(make: type[nn.Module]) -> Any:
    def port(layer: Layer, inputs: Any) -> Value:
        tensors, order = aligned(_several(inputs))
        rank = max(tensor.ndim for tensor in tensors)
        # Keras gives tensors of lower rank new axes after the batch's
        tensors = [tensor[(slice(None), *(None,) * (rank - tensor.ndim))] for tensor in tensors]
        return order.like(layer.module(make)(*tensors))

    return port


for _name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
    keras_layer(_name)(_merge(getattr(layers, _name)))


@keras_layer("Concatenate")
def _concatenate(layer: Layer, inputs: Any) -> Value:
    values = _several(inputs)
    axis = layer.config.get("axis", -1)
    if type(axis) is not int or len({value.ndim for value in values}) > 1:
        raise UnsupportedError(f"axis={axis!r} of inputs with different numbers of axes")
    values = [Value(x.as_keras()) if x.flattened is not None else x for x in values]
    tensors, order = aligned(values)
    return order.like(layer.module(layers.Concat, order.dim(axis))(*tensors))
