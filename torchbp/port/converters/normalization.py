"""Normalisations."""

from typing import Any

from torch import nn

from torchbp import layers
from torchbp.port.config import UnsupportedError
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
        frozen=layer.is_frozen or not layer.trainable,
        weights=Weights("batch_norm", (*names, "moving_mean", "moving_variance")),
    )
    return x.like(norm(x.tensor))


@keras_layer("LayerNormalization", masks="passed")
def _layer_norm(layer: Layer, x: Value) -> Value:
    config = layer.config
    config.only("rms_scaling", False)
    scale, center = config.flag("scale", True), config.flag("center", True)
    if _axis(layer) not in (-1, x.ndim - 1):
        raise UnsupportedError(f"axis={_axis(layer)} of an input with {x.ndim} axes")
    if not scale:
        raise UnsupportedError("scale=False")
    norm = layer.module(
        layers.LayerNorm,
        x.channels,
        eps=config.number("epsilon", 1e-3),
        bias=center,
        weights=Weights("norm", ("gamma", "beta") if center else ("gamma",)),
    )
    return Value(norm(x.as_keras()))


@keras_layer("GroupNormalization", masks="passed")
def _group_norm(layer: Layer, x: Value) -> Value:
    config = layer.config
    if _axis(layer) not in (-1, x.ndim - 1):
        raise UnsupportedError(f"axis={_axis(layer)} of an input with {x.ndim} axes")
    if not (config.flag("scale", True) and config.flag("center", True)):
        raise UnsupportedError("scale=False or center=False")
    groups = config.get("groups", 32)
    channels = x.channels
    groups = channels if groups == -1 else groups
    if type(groups) is not int or groups < 1 or channels % groups:
        raise UnsupportedError(f"groups={groups!r} for {channels} channels")
    norm = layer.module(
        layers.GroupNorm,
        groups,
        channels,
        eps=config.number("epsilon", 1e-3),
        weights=Weights("norm", ("gamma", "beta")),
    )
    return Value(norm(x.with_channels_at_1()), channels_at_1=True)


def per_channel(numbers: Any, x: Value) -> Any:
    """One number, or one a channel, in the shape in which it meets the tensor."""
    import torch

    if isinstance(numbers, int | float) and not isinstance(numbers, bool):
        return float(numbers)
    if not isinstance(numbers, list) or len(numbers) not in (1, x.channels):
        raise UnsupportedError(f"{numbers!r} for {x.channels} channels")
    if not all(isinstance(n, int | float) for n in numbers):
        raise UnsupportedError(f"{numbers!r} for {x.channels} channels")
    vector = torch.tensor(numbers, dtype=x.tensor.dtype)
    return vector.reshape(-1, *(1,) * (x.ndim - 2)) if x.channels_at_1 else vector


@keras_layer("Rescaling", masks="passed")
def _rescaling(layer: Layer, x: Value) -> Value:
    scale, offset = layer.config.get("scale"), layer.config.get("offset", 0.0)
    x = Value(x.as_keras()) if x.flattened is not None else x
    y = x.tensor * per_channel(scale, x)
    return x.like(y if offset == 0 else y + per_channel(offset, x))
