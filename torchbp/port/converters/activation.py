"""Activations, by name and as layers."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from torchbp import layers
from torchbp.port.config import UnsupportedError
from torchbp.port.registry import Layer, keras_layer
from torchbp.port.values import Value


def activated(layer: Layer, value: Value, default: Any = "linear") -> Value:
    """The value after the activation that the layer's configuration asks for."""
    return apply(layer.config.get("activation", default), value)


def apply(name: Any, value: Value) -> Value:
    """The value after an activation of Keras's.

    Raises:
        UnsupportedError: it is none that is known by name.
    """
    if name is None:
        return value
    if name in _OF_AN_AXIS:
        dim = value.dim(-1)
        return value.like(_OF_AN_AXIS[name](value.tensor, dim=dim))
    if not isinstance(name, str) or name not in _OF_EACH:
        raise UnsupportedError(f"activation={name!r}")
    return value.like(_OF_EACH[name](value.tensor))


def _hard_sigmoid(x: Any) -> Any:
    return F.relu6(x + 3.0) / 6.0  # F.hardsigmoid's gradient is rounded to float32


def _gelu(x: Any) -> Any:
    """Keras takes the square root of a half in float32."""
    return F.gelu(x)


# the slope of Keras's function; its layer has another
_OF_EACH: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": partial(F.leaky_relu, negative_slope=0.2),
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "gelu": _gelu,
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": lambda x: -F.logsigmoid(-x),  # F.softplus is linear from 20 on
    "softsign": F.softsign,
    "exponential": torch.exp,
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": lambda x: x * _hard_sigmoid(x),
    "hard_swish": lambda x: x * _hard_sigmoid(x),
    "hard_tanh": lambda x: torch.clamp(x, -1.0, 1.0),
    "hard_shrink": F.hardshrink,
    "soft_shrink": F.softshrink,
    "tanh_shrink": F.tanhshrink,
    "log_sigmoid": F.logsigmoid,
}
_OF_AN_AXIS: dict[str, Callable[..., Any]] = {
    "softmax": torch.softmax,
    "log_softmax": torch.log_softmax,
}


@keras_layer("Activation", masks="passed")
def _activation(layer: Layer, x: Value) -> Value:
    return apply(layer.config.get("activation"), x)


@keras_layer("ReLU", masks="passed")
def _relu(layer: Layer, x: Value) -> Value:
    slope = layer.config.number("negative_slope", 0.0)
    threshold = layer.config.number("threshold", 0.0)
    highest = layer.config.get("max_value", None)
    if threshold != 0.0:
        if slope != 0.0 or highest is not None:
            raise UnsupportedError(f"threshold={threshold} with a slope or a max_value")
        return x.like(F.threshold(x.tensor, threshold, 0.0))
    if highest is not None:
        highest = layer.config.number("max_value")
        if slope != 0.0:
            return x.like(torch.clamp(F.leaky_relu(x.tensor, slope), max=highest))
        return x.like(torch.clamp(x.tensor, 0.0, highest))
    if slope != 0.0:
        return x.like(layer.module(layers.LeakyReLU, slope)(x.tensor))
    return x.like(layer.module(layers.ReLU)(x.tensor))


@keras_layer("LeakyReLU", masks="passed")
def _leaky_relu(layer: Layer, x: Value) -> Value:
    old = layer.config.get("alpha", 0.3)  # as tf.keras calls it
    slope = layer.config.get("negative_slope", old)
    if not isinstance(slope, int | float) or not math.isfinite(slope):
        raise UnsupportedError(f"negative_slope={slope!r}")
    return x.like(layer.module(layers.LeakyReLU, float(slope))(x.tensor))


@keras_layer("ELU", masks="passed")
def _elu(layer: Layer, x: Value) -> Value:
    return x.like(layer.module(layers.ELU, layer.config.number("alpha", 1.0))(x.tensor))


@keras_layer("Softmax")
def _softmax(layer: Layer, x: Value) -> Value:
    axis = layer.config.get("axis", -1)
    if isinstance(axis, list) and len(axis) == 1:
        [axis] = axis
    if type(axis) is not int:
        raise UnsupportedError(f"axis={axis!r}")
    if x.flattened is not None:
        x = Value(x.as_keras())
    return x.like(layer.module(layers.Softmax, dim=x.dim(axis))(x.tensor))
