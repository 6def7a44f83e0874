"""Dense layers and embeddings, and layers that do nothing."""

from typing import Any

from torchbp import layers
from torchbp.port.config import UnsupportedError
from torchbp.port.converters.activation import activated
from torchbp.port.registry import Layer, Weights, keras_layer
from torchbp.port.values import Value


@keras_layer("Dense", masks="passed")
def _dense(layer: Layer, x: Value) -> Value:
    """On the last axis; on a vector in torch's order with its weights in that order."""
    config = layer.config
    units, bias = config.count("units"), config.flag("use_bias", True)
    config.only("lora_rank", None)
    weights = Weights("linear", ("kernel", "bias") if bias else ("kernel",), x.flattened)
    linear = layer.module(layers.Linear, x.channels, units, bias, weights=weights)
    vector = x.tensor if x.flattened is not None else x.as_keras()
    return activated(layer, Value(linear(vector)))


@keras_layer("Embedding", masks="own")
def _embedding(layer: Layer, x: Value) -> Value:
    config = layer.config
    config.only("lora_rank", None)
    config.get("input_length", None)  # of tf.keras; it changes nothing
    count, size = config.count("input_dim"), config.count("output_dim")
    embedding = layer.module(
        layers.Embedding, count, size, weights=Weights("embedding", ("embeddings",))
    )
    ids = x.as_keras()
    vectors = Value(embedding(ids.long() if ids.is_floating_point() else ids))
    return vectors.masked(ids != 0) if config.flag("mask_zero", False) else vectors


@keras_layer("Identity", masks="passed")
def _identity(layer: Layer, x: Any) -> Any:
    return x


@keras_layer("ActivityRegularization", masks="passed")
def _activity_regularization(layer: Layer, x: Value) -> Value:
    for name in ("l1", "l2"):
        if layer.config.number(name, 0.0) != 0.0:
            raise UnsupportedError(f"{name}: a cost of activities")
    return x
