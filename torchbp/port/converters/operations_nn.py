"""Functions of Keras's for networks: over an axis, of classes, on images."""

from typing import Any

import torch
from torch.nn import functional as F

from torchbp import layers
from torchbp.port.config import UnsupportedError
from torchbp.port.converters import activation
from torchbp.port.converters.convolution import spatial
from torchbp.port.converters.operations import check_dtypes, check_few, value_of
from torchbp.port.converters.operations_elementwise import cast
from torchbp.port.registry import Layer, keras_operation
from torchbp.port.values import Value


def _of_an_axis(function: Any) -> Any:
    def port(layer: Layer, x: Any) -> Value:
        check_dtypes(layer)
        value, axis = value_of(x), layer.config.get("axis", -1)
        if not value.tensor.is_floating_point():
            raise UnsupportedError("an input of ints")
        if type(axis) is not int or not -value.ndim <= axis < value.ndim:
            raise UnsupportedError(f"axis={axis!r} of an input with {value.ndim} axes")
        result: Value = function(value, axis)
        return result

    return port


keras_operation("Softmax")(_of_an_axis(activation.softmax))
keras_operation("LogSoftmax")(_of_an_axis(activation.log_softmax))
keras_operation("Glu")(_of_an_axis(activation.glu))
keras_operation("Sparsemax")(_of_an_axis(activation.sparsemax))


@keras_operation("OneHot")
def _one_hot(layer: Layer, x: Any) -> Value:
    """All zeros for a number that is no class."""
    config, value = layer.config, value_of(x)
    count, axis, rank = config.count("num_classes"), config.get("axis", -1), value.ndim + 1
    dtype = config.get("dtype", None)  # "dtype" is no argument that must be read
    config.only("sparse", False)
    if type(axis) is not int or not -rank <= axis < rank:
        raise UnsupportedError(f"axis={axis!r} of an input with {value.ndim} axes")
    check_few(count, "classes", 1 << 24)
    axis %= rank
    classes = torch.arange(count).reshape(-1, *(1,) * (rank - 1 - axis))
    is_class = value.as_keras().long().unsqueeze(axis) == classes
    return cast(Value(is_class), "float32" if dtype is None else dtype)


def _pool(names: str) -> Any:
    def port(layer: Layer, inputs: Any) -> Value:
        check_dtypes(layer)
        value = value_of(inputs)
        num_dims = value.ndim - 2
        if num_dims not in (1, 2, 3) or not value.tensor.is_floating_point():
            raise UnsupportedError(f"an input with {value.ndim} axes, or of ints")
        if layer.config.get("data_format", None) is not None:
            value = spatial(layer, value, num_dims)
        else:
            value = Value(value.with_channels_at_1(), channels_at_1=True)
        size = layer.config.sizes("pool_size", num_dims)
        strides = layer.config.get("strides", None)
        stride = size if strides is None else layer.config.sizes("strides", num_dims)
        padding = layer.config.word("padding", "valid", "same", default="valid")
        make = getattr(layers, f"{names}{num_dims}d")
        pool = layer.module(make, size, stride, 0 if padding == "valid" else padding)
        return value.like(pool(value.tensor))

    return port


keras_operation("MaxPool")(_pool("MaxPool"))
keras_operation("AveragePool")(_pool("AvgPool"))


@keras_operation("Resize")
def _resize(layer: Layer, images: Any) -> Value:
    config, value = layer.config, value_of(images)
    check_dtypes(layer)
    if value.ndim != 4 or not value.tensor.is_floating_point():
        raise UnsupportedError(f"an input with {value.ndim} axes, or of ints")
    config.only("crop_to_aspect_ratio", False)
    config.only("pad_to_aspect_ratio", False)
    for name in ("fill_mode", "fill_value"):  # of what is padded
        config.get(name, None)
    if config.get("data_format", None) is not None:
        value = spatial(layer, value, 2)
    size = config.sizes("size", 2)
    mode = config.word("interpolation", "nearest", "bilinear", default="bilinear")
    antialias = config.flag("antialias", False)
    if mode == "nearest":
        if antialias:
            raise UnsupportedError("antialias of nearest")
        options: dict[str, Any] = {"mode": "nearest-exact"}
    else:
        options = {"mode": "bilinear", "antialias": antialias}
    if config.get("data_format", None) == "channels_first":
        return value.like(F.interpolate(value.tensor, size, **options))
    image = value.with_channels_at_1()
    return Value(F.interpolate(image, size, **options), channels_at_1=True)
