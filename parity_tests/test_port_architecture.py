"""What is read of a file's layers and calls is what Keras has in the model that it saved."""

import os

import pytest

from torchbp.port import Source, read_architecture

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
keras = pytest.importorskip("keras")
from keras import layers as L  # noqa: E402  # needs the backend

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]


def shared_and_nested():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    shared = L.Dense(3)
    inner = keras.Sequential([keras.Input((3,)), L.Dense(2)])
    first, second = inner(shared(a)), inner(shared(b))
    return keras.Model({"a": a, "b": b}, [L.Concatenate()([first, second * 2.0]), first])


def masked_states():
    words = keras.Input((None,))
    x = L.Embedding(10, 4, mask_zero=True)(words)
    x, *states = L.LSTM(3, return_sequences=True, return_state=True)(x)
    return keras.Model(words, L.LSTM(3)(x, initial_state=states))


def application(name, size=64):
    return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))


MODELS = {
    "shared_and_nested": shared_and_nested,
    "masked_states": masked_states,
    "resnet50v2": lambda: application("ResNet50V2"),
    "mobilenet_v3": lambda: application("MobileNetV3Small"),
    "convnext": lambda: application("ConvNeXtTiny"),
}


def keras_calls(model):
    """Each call in the model with the tensors that it takes; its layers are in no other model."""
    nodes = [
        ((layer.name, index), node)
        for layer in model.operations
        for index, node in enumerate(layer._inbound_nodes)
        if not node.is_input
    ]
    return {
        place: [
            Source(h.operation.name, h.node_index, h.tensor_index)
            for h in (tensor._keras_history for tensor in node.input_tensors)
        ]
        for place, node in nodes
    }


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", MODELS)
def test_layers_and_calls_are_those_of_keras(name, suffix, tmp_path):
    model = MODELS[name]()
    path = tmp_path / f"model{suffix}"
    model.save(path)
    found = read_architecture(path)
    layers = [(spec.name, spec.class_name) for spec in found.layers]
    assert layers == [(layer.name, type(layer).__name__) for layer in model.operations]
    calls = {(spec.name, index): list(spec.calls[index].sources()) for spec, index in found.calls()}
    assert calls == keras_calls(model)
