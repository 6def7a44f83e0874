"""Pooling, and global pooling."""

from typing import Any

import torch
from torch import nn

from torchbp import layers
from torchbp.port.converters.convolution import spatial
from torchbp.port.converters.masking import boolean
from torchbp.port.registry import Layer, keras_layer
from torchbp.port.values import Value


def _pool(num_dims: int, make: type[nn.Module]) -> Any:
    def port(layer: Layer, x: Value) -> Value:
        x = spatial(layer, x, num_dims)
        config = layer.config
        size = config.sizes("pool_size", num_dims, 2)
        stride = config.sizes("strides", num_dims, list(size))
        padding = config.word("padding", "valid", "same", default="valid")
        pool = layer.module(make, size, stride, 0 if padding == "valid" else padding)
        return x.like(pool(x.tensor))

    return port


def _global_pool(num_dims: int, make: type[nn.Module], function: str) -> Any:
    def port(layer: Layer, x: Value) -> Value:
        x = spatial(layer, x, num_dims)
        if not layer.config.flag("keepdims", False):
            return Value(layer.module(make)(x.tensor))
        dims = tuple(range(2, num_dims + 2))
        return x.like(getattr(x.tensor, function)(dims, keepdim=True))

    return port


for _num_dims, _makes in enumerate(
    [
        (layers.MaxPool1d, layers.AvgPool1d, layers.GlobalMaxPool1d, layers.GlobalAvgPool1d),
        (layers.MaxPool2d, layers.AvgPool2d, layers.GlobalMaxPool2d, layers.GlobalAvgPool2d),
        (layers.MaxPool3d, layers.AvgPool3d, layers.GlobalMaxPool3d, layers.GlobalAvgPool3d),
    ],
    1,
):
    keras_layer(f"MaxPooling{_num_dims}D")(_pool(_num_dims, _makes[0]))
    keras_layer(f"AveragePooling{_num_dims}D")(_pool(_num_dims, _makes[1]))
    keras_layer(f"GlobalMaxPooling{_num_dims}D")(_global_pool(_num_dims, _makes[2], "amax"))
    keras_layer(f"GlobalAveragePooling{_num_dims}D")(_global_pool(_num_dims, _makes[3], "mean"))


@keras_layer("GlobalAveragePooling1D")
def _global_mean(layer: Layer, x: Value) -> Value:
    """Of the steps that count, where there is a mask."""
    if x.mask is None:
        return _global_pool(1, layers.GlobalAvgPool1d, "mean")(layer, x)
    counts = boolean(x.mask).unsqueeze(1)  # (N, 1, T)
    tensor = spatial(layer, x, 1).tensor
    total = torch.where(counts, tensor, 0.0).sum(2, keepdim=True)
    mean = total / counts.type_as(tensor).sum(2, keepdim=True)
    if not layer.config.flag("keepdims", False):
        return Value(mean.squeeze(2))
    return spatial(layer, x, 1).like(mean)
