"""Functions of Keras's that take several numbers together: sums, maxima, norms, running sums."""

import math
from collections.abc import Callable
from typing import Any

import torch

from torchbp.port.config import UnsupportedError
from torchbp.port.converters.operations import check_dtypes, floating, is_number, value_of
from torchbp.port.registry import Layer, keras_operation
from torchbp.port.values import Value

Reduction = Callable[[Any, tuple[int, ...], bool], Any]


def axes_of(axis: Any, x: Value) -> tuple[int, ...]:
    """Axes of Keras's from 0 on, all of them for None.

    Raises:
        UnsupportedError: they are none of the input's, or one comes twice.
    """
    if axis is None:
        return tuple(range(x.ndim))
    axes = axis if isinstance(axis, list | tuple) else [axis]
    if any(type(a) is not int or not -x.ndim <= a < x.ndim for a in axes):
        raise UnsupportedError(f"axis={axis!r} of an input with {x.ndim} axes")
    found = tuple(a % x.ndim for a in axes)
    if not found or len(set(found)) < len(found):
        raise UnsupportedError(f"axis={axis!r}")
    return found


def axis_of(axis: Any, x: Value) -> int:
    """One axis of Keras's, from 0 on."""
    if type(axis) is not int:
        raise UnsupportedError(f"axis={axis!r}")
    return axes_of(axis, x)[0]


def reduced(x: Value, axis: Any, keepdims: bool, function: Reduction) -> Value:
    """What a function of a tensor, its dims and keepdim gives, in what is left of the order."""
    if x.ndim == 0:
        raise UnsupportedError("an input without axes")
    axes = axes_of(axis, x)
    if x.flattened is not None or (0 in axes and not keepdims):
        x = Value(x.as_keras())
    result = function(x.tensor, tuple(x.dim(a) for a in axes), keepdims)
    if keepdims:
        return x.like(result)
    return Value(result, channels_at_1=x.channels_at_1 and x.ndim - 1 not in axes)


def _mean(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    return x.mean(dims, keepdim=keepdim)


def _sum(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    return x.sum(dims, keepdim=keepdim)


def _prod(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    for dim in sorted(dims, reverse=True):
        x = x.prod(dim, keepdim=keepdim)
    return x


def _amax(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    return x.any(dims, keepdim=keepdim) if x.dtype is torch.bool else x.amax(dims, keepdim=keepdim)


def _amin(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    return x.all(dims, keepdim=keepdim) if x.dtype is torch.bool else x.amin(dims, keepdim=keepdim)


def _var(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    return x.var(dims, correction=0, keepdim=keepdim)


def _std(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    """The root of the variance: the gradient of torch.std is another where that is 0."""
    return torch.sqrt(_var(x, dims, keepdim))


def _count_nonzero(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    return (x != 0).sum(dims, keepdim=keepdim)


def _logsumexp(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    return torch.logsumexp(x, dims, keepdim=keepdim)


def _ptp(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    return x.amax(dims, keepdim=keepdim) - x.amin(dims, keepdim=keepdim)


def _all(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    return (x if x.dtype is torch.bool else x != 0).all(dims, keepdim=keepdim)


def _any(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    return (x if x.dtype is torch.bool else x != 0).any(dims, keepdim=keepdim)


def _reduction(function: Reduction, floats: bool = False) -> Any:
    def port(layer: Layer, x: Any) -> Value:
        check_dtypes(layer)
        value = floating(value_of(x)) if floats else value_of(x)
        layer.config.only("initial", None)
        layer.config.only("dtype", None)
        axis, keepdims = layer.config.get("axis"), layer.config.flag("keepdims", False)
        return reduced(value, axis, keepdims, function)

    return port


for _name, _function in {
    "All": _all,
    "Any": _any,
    "Amax": _amax,
    "Amin": _amin,
    "CountNonzero": _count_nonzero,
    "Max": _amax,
    "Min": _amin,
    "Prod": _prod,
    "Ptp": _ptp,
    "Sum": _sum,
}.items():
    keras_operation(_name)(_reduction(_function))
for _name, _function in {
    "Logsumexp": _logsumexp,
    "Mean": _mean,
    "Std": _std,
    "Var": _var,
}.items():
    keras_operation(_name)(_reduction(_function, floats=True))


@keras_operation("Average")
def _average(layer: Layer, x: Any, weights: Any = None) -> Value:
    if weights is not None:
        raise UnsupportedError("weights")
    check_dtypes(layer)
    return reduced(floating(value_of(x)), layer.config.get("axis"), False, _mean)


@keras_operation("Moments")
def _moments(layer: Layer, x: Any) -> list[Value]:
    layer.config.only("synchronized", False)
    check_dtypes(layer)
    value, axes = floating(value_of(x)), layer.config.get("axes")
    keepdims = layer.config.flag("keepdims", False)
    return [reduced(value, axes, keepdims, function) for function in (_mean, _var)]


def _extreme(function: Callable[..., Any]) -> Any:
    def port(layer: Layer, x: Any) -> Value:
        """The first of equal numbers; Keras has -0.0 for less than 0.0."""
        check_dtypes(layer)
        value, axis = value_of(x), layer.config.get("axis")
        keepdims = layer.config.flag("keepdims", False)
        if value.tensor.dtype is torch.bool:
            value = value.like(value.tensor.long())
        elif value.tensor.is_floating_point():
            is_negative_zero = (value.tensor == 0.0) & torch.signbit(value.tensor)
            tiny = torch.finfo(torch.float32).tiny
            value = value.like(torch.where(is_negative_zero, -tiny, value.tensor))
        if axis is None:
            flat = value.as_keras().flatten()
            place = function(flat, 0)
            return Value(place.reshape((1,) * value.ndim) if keepdims else place)
        axis = axis_of(axis, value)
        return reduced(value, axis, keepdims, lambda t, dims, k: function(t, dims[0], k))

    return port


keras_operation("Argmax")(_extreme(torch.argmax))
keras_operation("Argmin")(_extreme(torch.argmin))


def _cumulative(function: Callable[..., Any]) -> Any:
    def port(layer: Layer, x: Any) -> Value:
        check_dtypes(layer)
        layer.config.only("dtype", None)
        value, axis = value_of(x), layer.config.get("axis")
        if value.flattened is not None or axis is None:
            value = Value(value.as_keras())
        if axis is None:
            return Value(function(value.tensor.flatten(), 0))
        return value.like(function(value.tensor, value.dim(axis_of(axis, value))))

    return port


keras_operation("Cumsum")(_cumulative(torch.cumsum))
keras_operation("Cumprod")(_cumulative(torch.cumprod))


def _root_of_squares(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    return torch.sqrt((x * x).sum(dims, keepdim=keepdim))


def _of_powers(order: float) -> Reduction:
    def norm(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
        return (x.abs() ** order).sum(dims, keepdim=keepdim) ** (1.0 / order)

    return norm


def _norm_of(order: Any, num_axes: int) -> Reduction:
    """The function for an order of a vector's norm, or for that of all numbers of a matrix."""
    if order is None or (num_axes == 1 and order == 2) or (num_axes == 2 and order == "fro"):
        return _root_of_squares
    if num_axes == 1 and is_number(order):
        if order == math.inf:
            return lambda x, dims, keepdim: x.abs().amax(dims, keepdim=keepdim)
        if order == -math.inf:
            return lambda x, dims, keepdim: x.abs().amin(dims, keepdim=keepdim)
        if order > 0:
            return _of_powers(float(order))
    raise UnsupportedError(f"ord={order!r} of {num_axes} axes")


@keras_operation("Norm")
def _norm(layer: Layer, x: Any) -> Value:
    check_dtypes(layer)
    value, axis = floating(value_of(x)), layer.config.get("axis")
    axes = axes_of(axis, value)
    if len(axes) > 2:
        raise UnsupportedError(f"axis={axis!r}, a norm over {len(axes)} axes")
    norm = _norm_of(layer.config.get("ord"), len(axes))
    return reduced(value, axis, layer.config.flag("keepdims", False), norm)


@keras_operation("Normalize")
def _normalize(layer: Layer, x: Any) -> Value:
    check_dtypes(layer)
    value, order = floating(value_of(x)), layer.config.count("order", 2)
    epsilon = layer.config.get("epsilon", None)
    epsilon = 1e-7 if epsilon is None else layer.config.number("epsilon")
    axes = axes_of(layer.config.get("axis"), value)
    dims = tuple(value.dim(axis) for axis in axes)
    if order == 2:
        factor = torch.rsqrt((value.tensor * value.tensor).sum(dims, keepdim=True))
        return value.like(value.tensor * factor.clamp(max=1.0 / epsilon))
    if len(axes) > 1:
        raise UnsupportedError(f"order={order} over {len(axes)} axes")
    norm = _norm_of(order, 1)(value.tensor, dims, True)
    return value.like(value.tensor / norm.clamp(min=epsilon))
