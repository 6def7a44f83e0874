"""Layers that networks of keras.applications bring with them."""

from typing import Any

from torchbp import layers
from torchbp.port.config import UnsupportedError
from torchbp.port.registry import Layer, Weights, keras_layer
from torchbp.port.values import Value, aligned


def require_module(layer: Layer) -> None:
    """Refuses a class that may be anybody's, as a `.h5` file does not say whose it is."""
    if layer.spec.module is None:
        raise UnsupportedError(
            "a class that may be keras.applications' or another's, which a .h5 file does not "
            "tell; save the model as .keras"
        )


@keras_layer("LayerScale")
def _layer_scale(layer: Layer, x: Value) -> Value:
    """Of keras.applications.convnext."""
    require_module(layer)
    count, start = layer.config.count("projection_dim"), layer.config.number("init_values")
    if count not in (1, x.channels):
        raise UnsupportedError(f"projection_dim={count} for {x.channels} features")
    x = Value(x.as_keras()) if x.flattened is not None else x
    weights = Weights("same", ("weight",))
    scale = layer.module(layers.LayerScale, count, x.dim(-1), start, weights=weights)
    return x.like(scale(x.tensor))


@keras_layer("CustomScaleLayer")
def _custom_scale(layer: Layer, inputs: Any) -> Value:
    """Of keras.applications.inception_resnet_v2: a shortcut and a scaled branch."""
    require_module(layer)
    if not isinstance(inputs, list | tuple) or len(inputs) != 2:
        raise UnsupportedError("a call with something else than two tensors")
    scale = layer.config.number("scale")
    if len({x.ndim for x in inputs}) > 1:
        raise UnsupportedError("inputs with different numbers of axes")
    (shortcut, branch), order = aligned(list(inputs))
    return order.like(shortcut + branch * scale)
