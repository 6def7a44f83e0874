"""Activations, by name, as configured objects and as layers.

At its kinks a function has the gradient that TensorFlow gives it, which is not always torch's.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional as F

from torchbp import layers
from torchbp.port.config import Config, UnsupportedError
from torchbp.port.registry import Layer, keras_layer
from torchbp.port.values import Value

SELU_SCALE = 1.0507009873554804934193349852946


def activated(layer: Layer, value: Value, default: Any = "linear") -> Value:
    """The value after the activation that the layer's configuration asks for."""
    return apply(layer.config.get("activation", default), value)


def apply(activation: Any, value: Value) -> Value:
    """The value after an activation of Keras's.

    Args:
        activation: its name, or a layer as the file has it; None for none.
        value: what it is applied to.

    Raises:
        UnsupportedError: it is none that is known.
    """
    if activation is None:
        return value
    if isinstance(activation, Mapping):
        return _configured(activation, value)
    if not isinstance(activation, str):
        raise UnsupportedError(f"activation={activation!r}")
    if activation in _OF_AN_AXIS:
        return _OF_AN_AXIS[activation](value, -1)
    if activation not in _OF_EACH:
        raise UnsupportedError(f"activation={activation!r}")
    return value.like(_OF_EACH[activation](value.tensor))


def _configured(activation: Mapping[str, Any], value: Value) -> Value:
    """After a layer, or a function of Keras's, that is given as an activation."""
    name, module = activation.get("class_name"), activation.get("module")
    values = activation.get("config")
    if name == "function" and module == "keras.activations" and isinstance(values, str):
        return apply(values, value)
    if module != "keras.layers" or name not in _LAYERS or not isinstance(values, Mapping):
        raise UnsupportedError(f"activation={activation!r}")
    config = Config(values)
    result = _LAYERS[name](config, value)
    config.check_all_read()
    return result


def relu(x: Any, negative_slope: float, max_value: float | None, threshold: float) -> Any:
    """Keras's, whose gradient is 0 at 0, and is 1 at a max_value other than 6."""
    if negative_slope != 0.0 and max_value is None and threshold == 0.0:
        return F.leaky_relu(x, negative_slope)
    negative = F.relu(threshold - x) if negative_slope != 0.0 else None
    if threshold != 0.0:
        x = F.threshold(x, threshold, 0.0)
    elif max_value == 6.0:
        x = F.relu6(x)
    else:
        x = F.relu(x)
    if max_value is not None and (threshold != 0.0 or max_value != 6.0):
        x = torch.clamp(x, 0.0, max_value) if threshold != 0.0 else torch.clamp(x, max=max_value)
    return x if negative is None else x - negative_slope * negative


def elu(x: Any, alpha: float) -> Any:
    """Linear above 0, exponential below."""
    return F.elu(x, alpha)


def selu(x: Any) -> Any:
    """With the gradient of the linear part at 0."""
    return torch.where(x < 0.0, F.selu(x), SELU_SCALE * x)


def celu(x: Any, alpha: float = 1.0) -> Any:
    """With both parts' gradient at 0."""
    return x.clamp(min=0.0) + alpha * torch.expm1(x.clamp(max=0.0) / alpha)


def squareplus(x: Any, b: float = 4.0) -> Any:
    """A smooth relu without exponentials."""
    return (x + torch.sqrt(x * x + b)) / 2.0


def softplus(x: Any) -> Any:
    """F.softplus is linear from 20 on."""
    return -F.logsigmoid(-x)


def hard_sigmoid(x: Any) -> Any:
    """The gradient of F.hardsigmoid is rounded to float32."""
    return F.relu6(x + 3.0) / 6.0


def sparse_plus(x: Any) -> Any:
    """0, a parabola, and linear from 1 on."""
    curve = torch.where(x < 1.0, 0.25 * (x + 1.0) ** 2, x)
    return torch.where(x <= -1.0, 0.0, curve)


def sparse_sigmoid(x: Any) -> Any:
    """0, a line, and 1."""
    line = torch.where(x >= 1.0, 1.0, 0.5 * (x + 1.0))
    return torch.where(x <= -1.0, 0.0, line)


def hard_silu(x: Any) -> Any:
    """The input times its hard sigmoid."""
    return x * hard_sigmoid(x)


def softmax(x: Value, axis: int) -> Value:
    """Positive numbers whose sum over an axis is 1."""
    return x.like(torch.softmax(x.tensor, dim=x.dim(axis)))


def log_softmax(x: Value, axis: int) -> Value:
    """The logarithms of softmax."""
    return x.like(torch.log_softmax(x.tensor, dim=x.dim(axis)))


def glu(x: Value, axis: int) -> Value:
    """The first half of an axis times the sigmoid of the second."""
    x = Value(x.as_keras()) if x.flattened is not None else x
    size = x.shape[axis]
    if size is None or size % 2:
        raise UnsupportedError(f"an axis of size {size}, which is not halved")
    return x.like(F.glu(x.tensor, dim=x.dim(axis)))


def sparsemax(x: Value, axis: int) -> Value:
    """As Keras has it, whose threshold is that of Martins and Astudillo 2016 only for one class.

    It takes the sum of the sums of the largest numbers for the sum of these.
    """
    x = Value(x.as_keras()) if x.flattened is not None else x
    dim, size = x.dim(axis), x.shape[axis]
    if size is None:
        raise UnsupportedError("an axis of unknown size")
    ordered = torch.sort(x.tensor, dim=dim, descending=True, stable=True)[0]
    total = ordered.cumsum(dim)
    counts = torch.arange(1.0, size + 1.0, dtype=torch.float64)
    counts = counts.reshape(-1, *(1,) * (x.ndim - 1 - dim)).type_as(x.tensor)
    support = ordered - (total - 1.0) / counts > 0.0
    sums = torch.where(support, total, 0.0).sum(dim, keepdim=True)
    threshold = (sums - 1.0) / support.sum(dim, keepdim=True)
    return x.like((x.tensor - threshold).clamp(min=0.0))


_OF_EACH: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),  # the function's; the layer has another
    "elu": F.elu,
    "selu": selu,
    "celu": celu,
    "gelu": F.gelu,
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": softplus,
    "softsign": F.softsign,
    "squareplus": squareplus,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "exponential": torch.exp,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "hard_tanh": lambda x: torch.clamp(x, -1.0, 1.0),  # F.hardtanh has no gradient at the ends
    "hard_shrink": F.hardshrink,
    "soft_shrink": F.softshrink,
    "tanh_shrink": F.tanhshrink,
    "log_sigmoid": F.logsigmoid,
}
_OF_AN_AXIS: dict[str, Callable[[Value, int], Value]] = {
    "softmax": softmax,
    "log_softmax": log_softmax,
    "glu": glu,
    "sparsemax": sparsemax,
}


@keras_layer("Activation", masks="passed")
def _activation(layer: Layer, x: Value) -> Value:
    return apply(layer.config.get("activation"), x)


def _relu_arguments(config: Config) -> tuple[float, float | None, float]:
    slope = config.number("negative_slope", 0.0)
    highest = config.get("max_value", None)
    if highest is not None:
        highest = config.number("max_value")
    return slope, highest, config.number("threshold", 0.0)


def _leaky_slope(config: Config) -> float:
    old = config.get("alpha", 0.3)  # as tf.keras calls it
    return config.number("negative_slope", old)


@keras_layer("ReLU", masks="own")
def _relu(layer: Layer, x: Value) -> Value:
    """The layer; `keras.activations.relu` in a graph, too, which drops a mask."""
    slope, highest, threshold = _relu_arguments(layer.config)
    if (highest, threshold) != (None, 0.0):
        y = x.like(relu(x.tensor, slope, highest, threshold))
    elif slope != 0.0:
        y = x.like(layer.module(layers.LeakyReLU, slope)(x.tensor))
    else:
        y = x.like(layer.module(layers.ReLU)(x.tensor))
    is_layer = ".activations." not in (layer.spec.module or "")
    return y.masked(x.mask) if is_layer else y


@keras_layer("LeakyReLU", masks="passed")
def _leaky_relu(layer: Layer, x: Value) -> Value:
    return x.like(layer.module(layers.LeakyReLU, _leaky_slope(layer.config))(x.tensor))


@keras_layer("ELU", masks="passed")
def _elu(layer: Layer, x: Value) -> Value:
    return x.like(layer.module(layers.ELU, layer.config.number("alpha", 1.0))(x.tensor))


@keras_layer("Softmax", masks="own")
def _softmax(layer: Layer, x: Value) -> Value:
    axes = _softmax_axes(layer.config, x)
    if x.mask is not None:
        return _masked_softmax(layer, x, axes)
    if len(axes) > 1:
        return _joint_softmax(x, axes)
    return x.like(layer.module(layers.Softmax, dim=x.dim(axes[0]))(x.tensor))


def _softmax_axes(config: Config, x: Value) -> tuple[int, ...]:
    axis = config.get("axis", -1)
    axes = axis if isinstance(axis, list | tuple) else [axis]
    if not axes or any(type(a) is not int or not -x.ndim <= a < x.ndim for a in axes):
        raise UnsupportedError(f"axis={axis!r} of an input with {x.ndim} axes")
    if len({a % x.ndim for a in axes}) < len(axes):
        raise UnsupportedError(f"axis={axis!r}")
    return tuple(axes)


def _joint_softmax(x: Value, axes: tuple[int, ...]) -> Value:
    dims = tuple(x.dim(axis) for axis in axes)
    return x.like(torch.exp(x.tensor - torch.logsumexp(x.tensor, dims, keepdim=True)))


def _masked_softmax(layer: Layer, x: Value, axes: tuple[int, ...]) -> Value:
    """What does not count is lowered to -1e9, and gives 0."""
    if x.flattened is not None or x.mask.ndim > x.ndim:
        raise UnsupportedError("a mask that does not fit the input")
    mask = x.mask if x.mask.dtype is torch.bool else x.mask > 0.5
    lowered = Value(torch.where(mask, x.as_keras(), -1e9))
    y = softmax(lowered, axes[0]) if len(axes) == 1 else _joint_softmax(lowered, axes)
    result = Value(torch.where(mask, y.tensor, 0.0))
    is_given = any(call.kwargs.get("mask") is not None for call in layer.spec.calls)
    return result if is_given else result.masked(x.mask)


# layers without weights, as activations of others
_LAYERS: dict[str, Callable[[Config, Value], Value]] = {
    "ReLU": lambda config, x: x.like(relu(x.tensor, *_relu_arguments(config))),
    "LeakyReLU": lambda config, x: x.like(F.leaky_relu(x.tensor, _leaky_slope(config))),
    "ELU": lambda config, x: x.like(elu(x.tensor, config.number("alpha", 1.0))),
    "Activation": lambda config, x: apply(config.get("activation"), x),
    "Softmax": lambda config, x: _plain_softmax(config, x),
}


def _plain_softmax(config: Config, x: Value) -> Value:
    axes = _softmax_axes(config, x)
    return softmax(x, axes[0]) if len(axes) == 1 else _joint_softmax(x, axes)
