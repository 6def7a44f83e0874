"""The certificate of a port: what is right passes all levels, what is wrong is named."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from parity_tests.porting import randomize
from torchbp.layers import Conv2d
from torchbp.parity import certify
from torchbp.port import PortError, from_keras
from torchbp.port.registry import LAYERS, Converter

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def keras(keras_float64):
    keras_float64.config.set_floatx("float32")
    keras_float64.config.set_dtype_policy("float32")
    return keras_float64


@pytest.fixture(scope="module")
def model(keras):
    image = keras.Input((12, 12, 3), name="image")
    base = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="stem")
    x = keras.layers.BatchNormalization(name="norm")(base(image))
    x = keras.layers.Add(name="sum")([x, keras.layers.Conv2D(6, 1, name="side")(x)])
    inner = keras.Sequential([keras.Input((6, 6, 6)), keras.layers.Conv2D(4, 3)], name="inner")
    x = keras.layers.Dropout(0.3, name="drop")(keras.layers.Flatten(name="flat")(inner(x)))
    scores = keras.layers.Dense(5, activation="softmax", name="scores")(x)
    return randomize(
        keras.Model(image, {"scores": scores, "age": keras.layers.Dense(1, name="age")(x)})
    )


def failed(records):
    return [record for record in records if not record["ok"]]


@pytest.mark.parametrize("suffix", ["keras", "h5", None])
def test_a_port_passes_all_levels(model, suffix, tmp_path):
    source = model
    if suffix:
        source = tmp_path / f"model.{suffix}"
        model.save(source)
    records = certify(source)
    assert not failed(records)
    assert {r["level"] for r in records if r["dtype"] == "float64"} == set(range(1, 8))
    assert {r["level"] for r in records if r["dtype"] == "float32"} == {1, 2, 3, 7}
    assert any("adam" not in r["what"] for r in records if r["level"] == 6)


def wrong_epsilon(port):
    port.norm.eps = 1e-5


def wrong_side_of_padding(port):
    wrong = Conv2d(3, 6, 3, stride=2, padding=1, dtype=torch.float64)
    wrong.load_state_dict(port.stem.state_dict())
    port.stem = wrong


def wrong_weight(port):
    with torch.no_grad():
        port.side.weight[0, 0] *= 1.001


def wrong_order_after_flatten(port):
    with torch.no_grad():
        port.scores.weight.copy_(port.scores.weight.flip(1))


def wrong_precision(port):
    class Rounded(type(port.side)):
        def forward(self, x):
            return super().forward(x.float().double())

    port.side.__class__ = Rounded


WRONG = [
    (wrong_epsilon, "norm", "epsilon: Keras has 0.001, the module 1e-05"),
    (wrong_side_of_padding, "stem", "padding side: the module pads (1, 1) on both sides"),
    (wrong_weight, "side", "1 of 36 numbers are others"),
    (wrong_order_after_flatten, "scores", "layout: axis 1 runs backwards"),
    (wrong_precision, "side", "dtype: they differ by what float32 rounds"),
]


@pytest.mark.parametrize(("spoil", "layer", "cause"), WRONG)
def test_the_first_wrong_layer_is_named_and_the_cause(model, spoil, layer, cause):
    port = from_keras(model, "last")
    spoil(port)
    records = failed(certify(model, port, dtypes=["float64"], levels=[3]))
    assert records[0]["layer"] == layer
    assert cause in records[0]["cause"]


def test_what_only_training_shows_is_found(model):
    port = from_keras(model, "last")
    port.norm.momentum = 0.1
    records = failed(certify(model, port, dtypes=["float64"], levels=[3, 4]))
    assert {(record["level"], record["what"]) for record in records} == {(4, "moving statistics")}
    assert records[0]["layer"] == "norm"
    assert "momentum: Keras keeps 0.99 of the statistics, the module 0.9" in records[0]["cause"]


class OtherGates(nn.LSTM):
    """An LSTM that someone wrote with its gates in another order."""

    ORDER = (0, 1, 3, 2)

    def forward(self, x):
        own = [parameter.detach().clone() for parameter in self.parameters()]
        with torch.no_grad():
            for parameter, values in zip(self.parameters(), own, strict=True):
                parameter.copy_(torch.cat([values.chunk(4)[gate] for gate in self.ORDER]))
            outputs = super().forward(x)
            for parameter, values in zip(self.parameters(), own, strict=True):
                parameter.copy_(values)
        return outputs


class ByHand(nn.Module):
    """What someone might have written for the Keras model of `by_hand`, wrong in one place."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong
        self.conv = nn.Conv2d(3, 4, 3)
        self.pool = nn.AvgPool2d(3, 2, 1, count_include_pad=wrong == "pool")
        self.norm = nn.BatchNorm2d(4, eps=1e-5 if wrong == "norm" else 1e-3)
        self.hidden = nn.Linear(36, 8)
        self.act = nn.GELU("tanh" if wrong == "act" else "none")
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        x = self.conv(x.movedim(-1, 1))
        x = self.pool(x if self.wrong == "conv" else x.relu())
        x = self.norm(x)
        x = (x.movedim(1, -1) if self.wrong == "hidden" else x).flatten(1)
        x = self.act(self.hidden(x))
        return self.out(x).tanh()


BY_HAND = {
    "conv": "relu is missing on the torch side",
    "pool": "padding: Keras leaves padded cells out of an average",
    "norm": "epsilon: Keras has 0.001, the module 1e-05",
    "hidden": "layout: of the flattened 3x3x4 the module has the channels at the other end",
    "act": "activation variant: Keras computes gelu here",
}


@pytest.mark.parametrize("wrong", [None, *BY_HAND])
def test_a_module_written_by_hand(keras, wrong):
    layers = keras.layers
    image = keras.Input((7, 7, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    x = layers.AveragePooling2D(3, 2, padding="same", name="pool")(x)
    x = layers.Flatten(name="flat")(layers.BatchNormalization(name="norm")(x))
    x = layers.Activation("gelu", name="act")(layers.Dense(8, name="hidden")(x))
    model = randomize(keras.Model(image, layers.Dense(2, activation="tanh", name="out")(x)))
    module = ByHand(wrong).double()
    records = failed(certify(model, module, dtypes=["float64"], levels=[3]))
    forward = [record for record in records if record["what"] != "weights"]
    if wrong is None:
        assert not forward
    else:
        assert forward[0]["layer"] == wrong
        assert BY_HAND[wrong] in forward[0]["cause"]


def test_gates_in_another_order(keras):
    words = keras.Input((5, 3))
    x = keras.layers.LSTM(4, return_sequences=True, name="lstm")(words)
    model = randomize(keras.Model(words, keras.layers.Dense(2, name="out")(x)))
    port = from_keras(model, "last")
    with torch.no_grad():
        for parameter in port.lstm.parameters():
            parameter.copy_(torch.cat([parameter.chunk(4)[i] for i in OtherGates.ORDER]))
    [weights, *_] = failed(certify(model, port, dtypes=["float64"], levels=[3]))
    assert "gate order: blocks of rows stand in the order [0, 1, 3, 2]" in weights["cause"]
    port = from_keras(model, "last")
    port.lstm.__class__ = type("Other", (OtherGates, type(port.lstm)), {})
    [output] = failed(certify(model, port, dtypes=["float64"], levels=[3]))
    assert output["layer"] == "lstm"
    assert "gate order: the module's gates stand in Keras's places [0, 1, 3, 2]" in output["cause"]


def test_a_wrong_converter_cannot_make_a_port_of_a_live_model(model, monkeypatch):
    right = LAYERS["BatchNormalization"].function

    def wrong(layer, x):
        layer.config._values = {**layer.config._values, "epsilon": 2e-3}
        return right(layer, x)

    monkeypatch.setitem(LAYERS, "BatchNormalization", Converter(wrong, "own"))
    for channels in ("first", "last"):
        with pytest.raises(PortError, match="norm") as caught:
            from_keras(model, channels)
        assert caught.value.layer == "norm"
    assert from_keras(model, check=False) is not None


def test_the_check_leaves_both_models_as_they_were(model):
    before = copy.deepcopy(model.get_weights())
    port = from_keras(model)
    assert port.training
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert all(parameter.grad is None for parameter in port.parameters())


def test_token_models_of_any_length_are_checked_and_certified(keras):
    words = keras.Input((None,), dtype="int32", name="words")
    x = keras.layers.Conv1D(5, 3, activation="relu")(keras.layers.Embedding(20, 6)(words))
    x = keras.layers.GlobalMaxPooling1D()(x)
    model = randomize(keras.Model(words, keras.layers.Dense(2)(x)))
    assert not failed(certify(model, dtypes=["float64"]))


def test_a_sequential_model_is_checked(keras):
    layers = [keras.Input((4,)), keras.layers.Dense(3), keras.layers.ReLU()]
    model = randomize(keras.Sequential(layers))
    port = from_keras(model)
    with torch.no_grad():
        port.dense.weight.mul_(1.01)
    assert failed(certify(model, port, dtypes=["float64"], levels=[3]))[0]["layer"] == "dense"
