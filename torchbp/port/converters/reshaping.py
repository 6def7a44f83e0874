"""Layers that move, add, cut and repeat cells, and change none."""

import math
from typing import Any

from torch import nn

from torchbp import layers
from torchbp.port.config import UnsupportedError
from torchbp.port.converters.convolution import spatial
from torchbp.port.registry import Layer, keras_layer
from torchbp.port.values import Value


@keras_layer("Flatten")
def _flatten(layer: Layer, x: Value) -> Value:
    """In torch's order where the channels are at 1; the next Dense has its weights in it."""
    data_format = layer.config.word(
        "data_format", "channels_last", "channels_first", default="channels_last"
    )
    if data_format == "channels_first" and x.ndim > 2:
        x = Value(x.as_keras().movedim(1, -1))  # Keras flattens in the other order there, too
    if x.ndim == 1:
        raise UnsupportedError("an input without axes but the batch")
    if x.ndim == 2:
        return x
    sizes = x.shape[1:]
    flatten = layer.module(layers.Flatten)
    if not x.channels_at_1:
        return Value(flatten(x.tensor))
    if None in sizes:
        return Value(flatten(x.as_keras()))
    *cells, channels = (size for size in sizes if size is not None)
    is_same = channels == 1 or math.prod(cells) == 1
    return Value(flatten(x.tensor), flattened=None if is_same else (channels, *cells))


@keras_layer("Reshape")
def _reshape(layer: Layer, x: Value) -> Value:
    shape = layer.config.get("target_shape")
    if not isinstance(shape, list | tuple) or any(type(n) is not int or n < -1 for n in shape):
        raise UnsupportedError(f"target_shape={shape!r}")
    shape = tuple(shape)
    if shape.count(-1) > 1 or 0 in shape:
        raise UnsupportedError(f"target_shape={shape!r}")
    vector = x.as_keras()
    if x.ndim > 2:
        vector = vector.flatten(1)
    elif x.ndim == 1:
        vector = vector.unsqueeze(1)
    if len(shape) > 1 and all(n == 1 for n in shape[:-1]):  # one cell: any order is Keras's
        return Value(vector.unflatten(1, (shape[-1], *shape[:-1])), channels_at_1=True)
    return Value(vector.unflatten(1, shape) if len(shape) > 1 else vector)


@keras_layer("Permute")
def _permute(layer: Layer, x: Value) -> Value:
    dims = layer.config.get("dims")
    if not isinstance(dims, list | tuple) or sorted(dims) != list(range(1, x.ndim)):
        raise UnsupportedError(f"dims={dims!r} of an input with {x.ndim} axes")
    return Value(x.as_keras().permute(0, *dims))


@keras_layer("RepeatVector")
def _repeat_vector(layer: Layer, x: Value) -> Value:
    times = layer.config.count("n")
    return Value(x.as_keras().unsqueeze(1).expand(-1, times, -1))


def _resized(num_dims: int, make: type[nn.Module], argument: str) -> Any:
    """Padding or cropping: torch names the sides from the last dimension to the first."""

    def port(layer: Layer, x: Value) -> Value:
        x = spatial(layer, x, num_dims)
        sides = layer.config.sides(argument, num_dims)
        flat = tuple(cells for pair in reversed(sides) for cells in pair)
        return x.like(layer.module(make, flat)(x.tensor))

    return port


def _upsampling(num_dims: int) -> Any:
    def port(layer: Layer, x: Value) -> Value:
        x = spatial(layer, x, num_dims)
        config = layer.config
        times = config.sizes("size", num_dims, 2)
        words = ("nearest", "bilinear") if num_dims == 2 else ("nearest",)
        mode = config.word("interpolation", *words, default="nearest")
        scale = tuple(map(float, times))
        upsample = layer.module(layers.Upsample, scale_factor=scale, mode=mode)
        return x.like(upsample(x.tensor))

    return port


for _num_dims, (_pad, _crop) in enumerate(
    [
        (layers.ZeroPad1d, layers.Crop1d),
        (layers.ZeroPad2d, layers.Crop2d),
        (layers.ZeroPad3d, layers.Crop3d),
    ],
    1,
):
    keras_layer(f"ZeroPadding{_num_dims}D")(_resized(_num_dims, _pad, "padding"))
    keras_layer(f"Cropping{_num_dims}D")(_resized(_num_dims, _crop, "cropping"))
    keras_layer(f"UpSampling{_num_dims}D")(_upsampling(_num_dims))
