"""Convolutions: of sequences, images and volumes, depthwise, separable, transposed."""

from typing import Any

from torch import nn

from torchbp import layers
from torchbp.port.config import UnsupportedError
from torchbp.port.converters.activation import activated
from torchbp.port.layer_weights import Kind
from torchbp.port.registry import Layer, Weights, keras_layer
from torchbp.port.values import Value

Make = type[nn.Module]


def spatial(layer: Layer, x: Value, num_dims: int) -> Value:
    """The input as torch's layers for so many dimensions take it.

    With `data_format="channels_first"` Keras has it so, too, and the result keeps Keras's order.
    """
    if x.ndim != num_dims + 2:
        raise UnsupportedError(f"an input with {x.ndim} axes")
    data_format = layer.config.word(
        "data_format", "channels_last", "channels_first", default="channels_last"
    )
    if data_format == "channels_first":
        return Value(x.as_keras())
    return Value(x.with_channels_at_1(), channels_at_1=True)


def channels_of(x: Value) -> int:
    """The size at 1 of what `spatial` gives."""
    size = x.tensor.shape[1]
    if not isinstance(size, int):
        raise UnsupportedError("an input whose number of channels is unknown")
    return size


def _names(*kernels: str, bias: bool) -> tuple[str, ...]:
    return (*kernels, "bias") if bias else kernels


def _options(layer: Layer, num_dims: int, *paddings: str) -> dict[str, Any]:
    config = layer.config
    return {
        "kernel_size": config.sizes("kernel_size", num_dims),
        "stride": config.sizes("strides", num_dims, 1),
        "padding": config.word("padding", "valid", "same", *paddings, default="valid"),
        "dilation": config.sizes("dilation_rate", num_dims, 1),
        "bias": config.flag("use_bias", True),
    }


def _conv(num_dims: int, make: Make) -> Any:
    def port(layer: Layer, x: Value) -> Value:
        x = spatial(layer, x, num_dims)
        options = _options(layer, num_dims, *(["causal"] if num_dims == 1 else []))
        layer.config.only("lora_rank", None)
        filters, groups = layer.config.count("filters"), layer.config.count("groups", 1)
        weights = Weights("conv", _names("kernel", bias=options["bias"]))
        conv = layer.module(
            make, channels_of(x), filters, groups=groups, weights=weights, **_plain(options)
        )
        return activated(layer, x.like(conv(x.tensor)))

    return port


def _depthwise(num_dims: int, make: Make) -> Any:
    def port(layer: Layer, x: Value) -> Value:
        x = spatial(layer, x, num_dims)
        options = _options(layer, num_dims)
        multiplier = layer.config.count("depth_multiplier", 1)
        for name in ("groups", "filters"):  # tf.keras has them beside
            layer.config.get(name, None)
        weights = Weights("depthwise", _names("kernel", bias=options["bias"]))
        conv = layer.module(
            make, channels_of(x), multiplier=multiplier, weights=weights, **_plain(options)
        )
        return activated(layer, x.like(conv(x.tensor)))

    return port


def _separable(num_dims: int, make: Make) -> Any:
    def port(layer: Layer, x: Value) -> Value:
        x = spatial(layer, x, num_dims)
        options = _options(layer, num_dims, *(["causal"] if num_dims == 1 else []))
        layer.config.only("groups", 1)
        filters, multiplier = (
            layer.config.count("filters"),
            layer.config.count("depth_multiplier", 1),
        )
        names = _names("depthwise_kernel", "pointwise_kernel", bias=options["bias"])
        conv = layer.module(
            make,
            channels_of(x),
            filters,
            multiplier=multiplier,
            weights=Weights("separable", names),
            **_plain(options),
        )
        return activated(layer, x.like(conv(x.tensor)))

    return port


def _transposed(num_dims: int, make: Make) -> Any:
    def port(layer: Layer, x: Value) -> Value:
        x = spatial(layer, x, num_dims)
        options = _options(layer, num_dims)
        layer.config.only("groups", 1)
        if layer.config.get("output_padding", None) is not None:
            options["output_padding"] = _output_padding(layer, num_dims)
        weights = Weights("conv_transpose", _names("kernel", bias=options["bias"]))
        conv = layer.module(
            make, channels_of(x), layer.config.count("filters"), weights=weights, **options
        )
        return activated(layer, x.like(conv(x.tensor)))

    return port


def _output_padding(layer: Layer, num_dims: int) -> tuple[int, ...]:
    value = layer.config.get("output_padding")
    sizes = value if isinstance(value, list | tuple) else [value] * num_dims
    if len(sizes) != num_dims or any(type(n) is not int or n < 0 for n in sizes):
        raise UnsupportedError(f"output_padding={value!r}")
    return tuple(sizes)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Torch's own word for no padding, which is what it runs fastest."""
    return options | {"padding": 0} if options["padding"] == "valid" else options


_FAMILIES: list[tuple[str, Any, Kind, list[Make]]] = [
    ("Conv{}D", _conv, "conv", [layers.Conv1d, layers.Conv2d, layers.Conv3d]),
    ("DepthwiseConv{}D", _depthwise, "depthwise", [layers.DepthwiseConv1d, layers.DepthwiseConv2d]),
    ("SeparableConv{}D", _separable, "separable", [layers.SeparableConv1d, layers.SeparableConv2d]),
    (
        "Conv{}DTranspose",
        _transposed,
        "conv_transpose",
        [layers.ConvTranspose1d, layers.ConvTranspose2d, layers.ConvTranspose3d],
    ),
]
for _name, _port, _, _makes in _FAMILIES:
    for _num_dims, _make in enumerate(_makes, 1):
        keras_layer(_name.format(_num_dims))(_port(_num_dims, _make))
