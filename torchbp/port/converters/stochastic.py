"""Layers that change their input in training alone."""

from typing import Any

from torch import nn

from torchbp import layers
from torchbp.port.config import UnsupportedError
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
    """Nothing happens where the layer is called as in evaluation."""
    return x if layer.is_frozen else x.like(layer.module(make, rate)(x.tensor))


@keras_layer("Dropout", masks="passed")
def _dropout(layer: Layer, x: Value) -> Value:
    layer.config.only("noise_shape", None)
    return _stochastic(layer, x, layers.Dropout, rate_of(layer))


@keras_layer("AlphaDropout", masks="passed")
def _alpha_dropout(layer: Layer, x: Value) -> Value:
    layer.config.only("noise_shape", None)
    return _stochastic(layer, x, layers.AlphaDropout, rate_of(layer))


def _spatial_dropout(num_dims: int, make: type[nn.Module]) -> Any:
    def port(layer: Layer, x: Value) -> Value:
        x = spatial(layer, x, num_dims)
        return _stochastic(layer, x, make, rate_of(layer))

    return port


for _num_dims, _make in enumerate((layers.Dropout1d, layers.Dropout2d, layers.Dropout3d), 1):
    keras_layer(f"SpatialDropout{_num_dims}D", masks="passed")(_spatial_dropout(_num_dims, _make))
