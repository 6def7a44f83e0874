"""TimeDistributed: a layer for each step of a sequence."""

from collections.abc import Mapping
from typing import Any

from torchbp.port.architecture import Call, LayerSpec
from torchbp.port.config import UnsupportedError
from torchbp.port.converters.recurrent_config import inner
from torchbp.port.registry import LAYERS, Layer, keras_layer
from torchbp.port.values import Value

# On the last axis or on every number alone: they take the sequence as it is.
_OF_THE_LAST_AXIS = {
    "Activation", "ActivityRegularization", "Dense", "Dropout", "ELU", "GaussianDropout",
    "GaussianNoise", "Identity", "LeakyReLU", "ReLU",
}  # fmt: skip
# On each sample alone: they take the steps of all samples as samples.
_OF_EACH_SAMPLE = {
    "AlphaDropout", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "Bidirectional",
    "Conv1D", "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose",
    "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Cropping1D", "Cropping2D", "Cropping3D",
    "DepthwiseConv1D", "DepthwiseConv2D", "EinsumDense", "Embedding", "Flatten", "GRU",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D",
    "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "GroupNormalization", "LSTM",
    "LayerNormalization", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "PReLU", "Permute",
    "RMSNormalization", "RepeatVector", "Rescaling", "Reshape", "SeparableConv1D",
    "SeparableConv2D", "SimpleRNN", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
    "TimeDistributed", "UnitNormalization", "UpSampling1D", "UpSampling2D", "UpSampling3D",
    "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
}  # fmt: skip
_TAKE_A_MASK = {
    "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRU", "GlobalAveragePooling1D",
    "LSTM", "SimpleRNN", "TimeDistributed",
}  # fmt: skip


@keras_layer("TimeDistributed", masks="passed")
def _time_distributed(layer: Layer, x: Value) -> Value:
    class_name, values = inner(layer, layer.config.get("layer"))
    within = layer.inner(_spec(layer, class_name, values))
    within.trainable = layer.trainable and values.get("trainable") is not False
    if x.ndim < 3:
        raise UnsupportedError(f"an input with {x.ndim} axes")
    if class_name in _OF_THE_LAST_AXIS:
        return _called(layer, within, class_name, Value(x.as_keras()))
    if class_name not in _OF_EACH_SAMPLE:
        raise UnsupportedError(f"a {class_name} within")
    if x.mask is not None and class_name in _TAKE_A_MASK:
        raise UnsupportedError(f"a mask for each step of a {class_name}")
    sequence = x.as_keras()
    result = _called(layer, within, class_name, Value(sequence.flatten(0, 1)))
    steps = x.shape[1]
    tensor = result.as_keras()
    if steps is not None:
        return Value(tensor.unflatten(0, (-1, steps)))
    sizes = sequence.shape[:2]
    return Value(tensor.reshape(sizes[0], sizes[1], *tensor.shape[1:]))


def _spec(layer: Layer, class_name: str, values: Mapping[str, Any]) -> LayerSpec:
    """The layer within, under the name of the one around it."""
    module = layer.spec.module
    return LayerSpec(layer.spec.name, class_name, module, values, (Call(()),))


def _called(layer: Layer, within: Layer, class_name: str, x: Value) -> Value:
    """What the layer within gives; its module is that of the layer around it."""
    if class_name not in LAYERS:
        raise UnsupportedError(f"a {class_name} within")
    result = LAYERS[class_name].function(within, x)
    within.config.check_all_read()
    if not isinstance(result, Value):
        raise UnsupportedError(f"a {class_name} within that gives several tensors")
    layer.made, layer.weights = within.made, within.weights
    return result.masked(None)
