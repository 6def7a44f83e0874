"""Layers with weights of chosen axes: EinsumDense and PReLU; pooling into a chosen number."""

import math
from typing import Any

from torch import nn

from torchbp import layers
from torchbp.port.config import UnsupportedError
from torchbp.port.converters.activation import activated
from torchbp.port.converters.convolution import spatial
from torchbp.port.registry import Layer, Weights, keras_layer
from torchbp.port.values import Value


@keras_layer("EinsumDense")
def _einsum_dense(layer: Layer, x: Value) -> Value:
    config = layer.config
    config.only("lora_rank", None)
    config.only("quantization_config", None)
    equation, output_shape = config.get("equation"), config.get("output_shape")
    if not isinstance(equation, str):
        raise UnsupportedError(f"equation={equation!r}")
    sizes = list(output_shape) if isinstance(output_shape, list | tuple) else [output_shape]
    weight, bias = _shapes(equation, list(x.shape), sizes, config.get("bias_axes", None))
    names = ("kernel",) if bias is None else ("kernel", "bias")
    einsum = layer.module(layers.Einsum, equation, weight, bias, weights=Weights("plain", names))
    return activated(layer, Value(einsum(x.as_keras())))


def _shapes(
    equation: str, input_shape: list[Any], output_shape: list[Any], bias_axes: Any
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Sizes of the weight and the bias."""
    parts = equation.replace(" ", "").replace("->", ",").split(",")
    if len(parts) != 3:
        raise UnsupportedError(f"equation={equation!r}")
    ins, weight, outs = (part.replace("...", "") for part in parts)
    is_left, is_right = parts[0].startswith("..."), parts[0].endswith("...")
    if not all(part.isalpha() for part in (ins, weight, outs)) or (is_left and is_right):
        raise UnsupportedError(f"equation={equation!r}")
    elided = len(input_shape) - len(ins)
    if elided < 0 or (elided > 0) != (is_left or is_right):
        raise UnsupportedError(f"equation={equation!r} of an input with {len(input_shape)} axes")
    shape = [None, *output_shape]
    if is_left:
        shape[1:1] = input_shape[1:elided]
    elif is_right:
        shape += input_shape[len(input_shape) - elided :]
    ahead = elided if is_left else 0
    if len(shape) != len(outs) + elided:
        raise UnsupportedError(f"output_shape={output_shape!r} for {equation!r}")
    sizes = dict(zip(ins, input_shape[ahead:], strict=False))
    sizes |= dict(zip(outs, shape[ahead:], strict=False))
    bias: tuple[int, ...] | None = None
    if bias_axes:
        first = min(outs.find(axis) for axis in bias_axes)
        if first < 0:
            raise UnsupportedError(f"bias_axes={bias_axes!r}")
        kept = [sizes[axis] if axis in bias_axes else 1 for axis in outs[first:]]
        bias = _known([*kept, *[1] * (elided if is_right else 0)])
    return _known([sizes.get(axis) for axis in weight]), bias


def _known(sizes: list[Any]) -> tuple[int, ...]:
    if not all(type(size) is int for size in sizes):
        raise UnsupportedError("weights of unknown size")
    return tuple(sizes)


@keras_layer("PReLU", masks="passed")
def _prelu(layer: Layer, x: Value) -> Value:
    shared = layer.config.get("shared_axes", None) or []
    shared = shared if isinstance(shared, list | tuple) else [shared]
    if any(type(axis) is not int or not 0 < axis < x.ndim for axis in shared):
        raise UnsupportedError(f"shared_axes={shared!r}")
    shape = [1 if axis in shared else size for axis, size in enumerate(x.shape)][1:]
    if None in shape:
        raise UnsupportedError("an axis of unknown size that is not shared")
    keras = _known(shape)
    if x.flattened is not None or not x.channels_at_1:
        x, own = Value(x.as_keras()), keras
    elif math.prod(keras[:-1]) == 1:
        own = (keras[-1], *keras[:-1])
    else:
        x, own = Value(x.as_keras()), keras
    weights = Weights("plain", ("alpha",), shapes=((keras, own),))
    return x.like(layer.module(layers.PReLUOver, own, 0.0, weights=weights)(x.tensor))


def _adaptive(num_dims: int, make: type[nn.Module]) -> Any:
    def port(layer: Layer, x: Value) -> Value:
        x = spatial(layer, x, num_dims)
        sizes = layer.config.sizes("output_size", num_dims)
        return x.like(layer.module(make, sizes)(x.tensor))

    return port


for _num_dims in (1, 2, 3):
    for _keras, _torch in (("Average", "Avg"), ("Max", "Max")):
        _make = getattr(layers, f"Adaptive{_torch}Pool{_num_dims}d")
        keras_layer(f"Adaptive{_keras}Pooling{_num_dims}D")(_adaptive(_num_dims, _make))
