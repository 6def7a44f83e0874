"""Normalisations."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp import layers
from torchbp.layers.standardize import LEAST_DEVIATION
from torchbp.port.config import UnsupportedError
from torchbp.port.converters.convolution import channels_of
from torchbp.port.registry import Layer, Weights, keras_layer
from torchbp.port.values import Value

_BATCH_NORMS: dict[int, type[nn.Module]] = {
    2: layers.BatchNorm1d,
    3: layers.BatchNorm1d,
    4: layers.BatchNorm2d,
    5: layers.BatchNorm3d,
}


def _axis(layer: Layer) -> int:
    axis = layer.config.get("axis", -1)
    if isinstance(axis, list) and len(axis) == 1:
        [axis] = axis
    if type(axis) is not int:
        raise UnsupportedError(f"axis={axis!r}")
    return axis


@keras_layer("BatchNormalization", masks="own")
def _batch_norm(layer: Layer, x: Value) -> Value:
    config = layer.config
    config.only("synchronized", False)
    config.only("renorm", False)
    for name in ("renorm_momentum", "renorm_clipping"):  # of what is off
        config.get(name, None)
    scale, center = config.flag("scale", True), config.flag("center", True)
    axis = _axis(layer)
    if x.ndim not in _BATCH_NORMS or not -x.ndim <= axis < x.ndim:
        raise UnsupportedError(f"axis={axis} of an input with {x.ndim} axes")
    if axis % x.ndim == x.ndim - 1:
        x = Value(x.with_channels_at_1(), channels_at_1=True)
    elif axis % x.ndim == 1:
        x = Value(x.as_keras())
    else:
        raise UnsupportedError(f"axis={axis} of an input with {x.ndim} axes")
    if x.mask is not None:
        raise UnsupportedError("an input with a mask: statistics of the unmasked steps")
    names = [name for name, used in (("gamma", scale), ("beta", center)) if used]
    norm = layer.module(
        _BATCH_NORMS[x.ndim],
        x.tensor.shape[1],
        eps=config.number("epsilon", 1e-3),
        momentum=1.0 - config.number("momentum", 0.99),
        scale=scale,
        shift=center,
        biased_running_var=True,
        frozen=not layer.trainable,
        weights=Weights("batch_norm", (*names, "moving_mean", "moving_variance")),
    )
    return x.like(norm(x.tensor))


@keras_layer("LayerNormalization", masks="passed")
def _layer_norm(layer: Layer, x: Value) -> Value:
    config = layer.config
    config.only("rms_scaling", False)
    scale, center = config.flag("scale", True), config.flag("center", True)
    eps = config.number("epsilon", 1e-3)
    axes = axes_of(layer, x)
    names = [name for name, used in (("gamma", scale), ("beta", center)) if used]
    weights = Weights("norm", tuple(names)) if names else ()
    sizes = _known_sizes(x, axes)
    if axes == tuple(range(x.ndim - len(axes), x.ndim)):
        norm = layer.module(
            layers.LayerNorm, sizes, eps=eps, bias=center, scale=scale, weights=weights
        )
        return Value(norm(x.as_keras()))
    x, dims = _with_dims(x, axes)
    norm = layer.module(
        layers.LayerNormOver, sizes, dims, eps, scale=scale, shift=center, weights=weights
    )
    return x.like(norm(x.tensor))


@keras_layer("RMSNormalization")
def _rms_norm(layer: Layer, x: Value) -> Value:
    eps, axes = layer.config.number("epsilon", 1e-6), axes_of(layer, x)
    sizes, weights = _known_sizes(x, axes), Weights("norm", ("scale",))
    if axes != tuple(range(x.ndim - len(axes), x.ndim)):  # whose scale Keras has at other axes
        raise UnsupportedError(f"axis={layer.config.get('axis')!r}, which are not the last")
    norm = layer.module(layers.RMSNorm, sizes, eps=eps, weights=weights)
    return Value(norm(x.as_keras()))


@keras_layer("UnitNormalization", masks="passed")
def _unit_norm(layer: Layer, x: Value) -> Value:
    x, dims = _with_dims(x, axes_of(layer, x))
    return x.like(F.normalize(x.tensor, dim=dims, eps=1e-12))  # type: ignore[arg-type]  # many, too


@keras_layer("GroupNormalization", masks="passed")
def _group_norm(layer: Layer, x: Value) -> Value:
    config = layer.config
    scale, center = config.flag("scale", True), config.flag("center", True)
    axis = _axis(layer)
    if axis in (-1, x.ndim - 1):
        x = Value(x.with_channels_at_1(), channels_at_1=True)
    elif axis == 1:
        x = Value(x.as_keras())
    else:
        raise UnsupportedError(f"axis={axis} of an input with {x.ndim} axes")
    channels, groups = channels_of(x), config.get("groups", 32)
    groups = channels if groups == -1 else groups
    if type(groups) is not int or groups < 1 or channels % groups:
        raise UnsupportedError(f"groups={groups!r} for {channels} channels")
    names = [name for name, used in (("gamma", scale), ("beta", center)) if used]
    norm = layer.module(
        layers.GroupNorm,
        groups,
        channels,
        eps=config.number("epsilon", 1e-3),
        scale=scale,
        shift=center,
        weights=Weights("norm", tuple(names)) if names else (),
    )
    return x.like(norm(x.tensor))


def axes_of(layer: Layer, x: Value) -> tuple[int, ...]:
    """The axes that the layer is for, counted from the start, in ascending order."""
    axis = layer.config.get("axis", -1)
    axes = list(axis) if isinstance(axis, list | tuple) else [axis]
    if not axes or any(type(a) is not int or not -x.ndim <= a < x.ndim for a in axes):
        raise UnsupportedError(f"axis={axis!r} of an input with {x.ndim} axes")
    found = sorted({a % x.ndim for a in axes})
    if len(found) < len(axes) or len({a < 0 for a in axes}) > 1:  # which Keras sorts in its own way
        raise UnsupportedError(f"axis={axis!r}")
    if 0 in found:
        raise UnsupportedError(f"axis={axis!r}: the samples of a batch")
    return tuple(found)


def _known_sizes(x: Value, axes: tuple[int, ...]) -> tuple[int, ...]:
    sizes = [x.shape[axis] for axis in axes]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        raise UnsupportedError(f"axes {axes} of unknown size")
    return tuple(known)


def _with_dims(x: Value, axes: tuple[int, ...]) -> tuple[Value, tuple[int, ...]]:
    """The value, in no order but its own or Keras's, and where the axes are in it."""
    x = Value(x.as_keras()) if x.flattened is not None else x
    return x, tuple(x.dim(axis) for axis in axes)


@keras_layer("Normalization", masks="passed")
def _normalization(layer: Layer, x: Value) -> Value:
    """With its own statistics, or with numbers that the configuration has."""
    config = layer.config
    axes = () if config.get("axis", -1) in (None, []) else axes_of(layer, x)
    invert = config.flag("invert", False)
    mean, variance = config.get("mean", None), config.get("variance", None)
    sizes = _known_sizes(x, axes)
    x, dims = _with_dims(x, axes)
    if mean is None and variance is None:
        weights = Weights("same", ("mean", "variance", "count"))
        standardize = layer.module(layers.Standardize, sizes, dims, invert=invert, weights=weights)
        return x.like(standardize(_floating(x.tensor)))
    tensor = _floating(x.tensor)
    mean, variance = (_fixed(n, x, sizes, dims).type_as(tensor) for n in (mean, variance))
    deviation = variance.sqrt().clamp(min=LEAST_DEVIATION)
    return x.like(mean + tensor * deviation if invert else (tensor - mean) / deviation)


def _floating(tensor: Any) -> Any:
    """Whole numbers as the layers' floats."""
    if not tensor.is_floating_point():
        raise UnsupportedError("an input of whole numbers; make it float")
    return tensor


def _fixed(numbers: Any, x: Value, sizes: tuple[int, ...], dims: tuple[int, ...]) -> Tensor:
    """Numbers of the configuration, in the shape in which they meet the tensor."""
    try:
        found = torch.tensor(numbers, dtype=torch.float32)  # as Keras in any precision
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise UnsupportedError(f"mean or variance {numbers!r:.80}") from error
    missing = len(sizes) - found.ndim
    if missing < 0 or any(
        given not in (1, size) for given, size in zip(found.shape, sizes[missing:], strict=True)
    ):
        raise UnsupportedError(f"mean or variance of shape {tuple(found.shape)} for {sizes}")
    view = [1] * x.ndim
    own = dims[missing:]
    for size, dim in zip(found.shape, own, strict=True):
        view[dim] = size
    order = sorted(range(len(own)), key=own.__getitem__)
    return found.permute(order).reshape(view)


def _per_channel(numbers: Any, x: Value) -> Any:
    """One number, or one a channel, in the shape in which it meets the tensor.

    All of them are rounded to float32, as Keras does even in float64.
    """
    each = numbers if isinstance(numbers, list) else [numbers]
    if len(each) not in (1, x.channels) or not all(type(n) in (int, float) for n in each):
        raise UnsupportedError(f"{numbers!r:.80} for {x.channels} channels")
    vector = torch.tensor([float(n) for n in each], dtype=torch.float32)
    if each is not numbers:
        return vector.item()
    vector = vector.to(x.tensor.dtype)
    return vector.reshape(-1, *(1,) * (x.ndim - 2)) if x.channels_at_1 else vector


@keras_layer("Rescaling", masks="passed")
def _rescaling(layer: Layer, x: Value) -> Value:
    scale, offset = layer.config.get("scale"), layer.config.get("offset", 0.0)
    x = Value(x.as_keras()) if x.flattened is not None else x
    y = x.tensor * _per_channel(scale, x)
    return x.like(y if offset == 0 else y + _per_channel(offset, x))
