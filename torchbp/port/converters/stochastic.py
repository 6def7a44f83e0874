"""Layers that change their input in training alone."""

from typing import Any

from torch import nn

from torchbp import layers
from torchbp.port.config import UnsupportedError
from torchbp.port.converters.applications import require_module
from torchbp.port.converters.convolution import spatial
from torchbp.port.registry import Layer, keras_layer
from torchbp.port.values import Value


def rate_of(layer: Layer) -> float:
    """The share that is dropped."""
    rate = layer.config.number("rate")
    if not 0.0 <= rate <= 1.0:
        raise UnsupportedError(f"rate={rate}")
    return rate


def _stochastic(layer: Layer, x: Value, make: type[nn.Module], rate: float) -> Value:
    return x.like(layer.module(make, rate)(x.tensor))


@keras_layer("Dropout", masks="passed")
def _dropout(layer: Layer, x: Value) -> Value:
    """Where `noise_shape` has a 1, all cells along the axis share their fate."""
    shape, rate = layer.config.get("noise_shape", None), rate_of(layer)
    if shape is None or all(size is None for size in shape):
        return _stochastic(layer, x, layers.Dropout, rate)
    if len(shape) != x.ndim or any(
        given not in (None, 1, own) for given, own in zip(shape, x.shape, strict=True)
    ):
        raise UnsupportedError(f"noise_shape={shape!r} of an input of shape {x.shape}")
    x = Value(x.as_keras()) if x.flattened is not None else x
    dims = sorted(x.dim(axis) for axis, size in enumerate(shape) if size == 1)
    return _shared_dropout(layer, x, rate, tuple(dims))


def _shared_dropout(layer: Layer, x: Value, rate: float, dims: tuple[int, ...]) -> Value:
    return x.like(layer.module(layers.SharedDropout, rate, dims)(x.tensor))


@keras_layer("StochasticDepth")
def _stochastic_depth(layer: Layer, x: Value) -> Value:
    """Of keras.applications.convnext: each sample is there or not."""
    require_module(layer)
    rate = layer.config.number("drop_path_rate")
    if not 0.0 <= rate < 1.0:
        raise UnsupportedError(f"drop_path_rate={rate}")
    return _shared_dropout(layer, x, rate, tuple(range(1, x.ndim)))


@keras_layer("AlphaDropout", masks="passed")
def _alpha_dropout(layer: Layer, x: Value) -> Value:
    shape = layer.config.get("noise_shape", None)
    if shape is not None and any(size is not None for size in shape):
        raise UnsupportedError(f"noise_shape={shape!r}")
    return _stochastic(layer, x, layers.AlphaDropout, _less_than_all(layer))


@keras_layer("GaussianNoise", masks="passed")
def _gaussian_noise(layer: Layer, x: Value) -> Value:
    return _stochastic(layer, x, layers.GaussianNoise, layer.config.number("stddev"))


@keras_layer("GaussianDropout", masks="passed")
def _gaussian_dropout(layer: Layer, x: Value) -> Value:
    return _stochastic(layer, x, layers.GaussianDropout, _less_than_all(layer))


def _less_than_all(layer: Layer) -> float:
    """The rate; with 1 Keras divides by zero."""
    rate = rate_of(layer)
    if rate == 1.0:
        raise UnsupportedError("rate=1")
    return rate


def _spatial_dropout(num_dims: int, make: type[nn.Module]) -> Any:
    def port(layer: Layer, x: Value) -> Value:
        x = spatial(layer, x, num_dims)
        return _stochastic(layer, x, make, rate_of(layer))

    return port


for _num_dims, _make in enumerate((layers.Dropout1d, layers.Dropout2d, layers.Dropout3d), 1):
    keras_layer(f"SpatialDropout{_num_dims}D", masks="passed")(_spatial_dropout(_num_dims, _make))
