"""Weight files fill ports, and modules that somebody wrote by hand."""

import os

import numpy as np
import pytest
import torch
from torch import nn

from parity_tests.porting import close, normal, randomize
from torchbp.errors import DataError, ShapeError
from torchbp.layers import GRU, DepthwiseConv2d
from torchbp.port import from_keras, load, load_weights

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
keras = pytest.importorskip("keras")

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", autouse=True)
def in_float64(keras_float64):
    return keras_float64


def vision():
    """Every class of layer that a module by hand may stand for, and a Dense after Flatten."""
    layers, image = keras.layers, keras.Input((9, 8, 3))
    x = layers.Conv2D(6, 3, strides=2, activation="relu", name="stem")(image)
    x = layers.DepthwiseConv2D(2, depth_multiplier=2, use_bias=False, name="spread")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2DTranspose(5, 2, name="up")(x)
    x = layers.Dense(7, activation="tanh", name="hidden")(layers.Flatten()(x))
    x = layers.LayerNormalization(name="scale")(x)
    return keras.Model(image, layers.Dense(2, name="out")(x))


class Vision(nn.Module):
    def __init__(self, depthwise=False):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        if depthwise:
            self.spread = DepthwiseConv2d(6, 2, multiplier=2, bias=False)
        else:
            self.spread = nn.Conv2d(6, 12, 2, groups=6, bias=False)
        self.norm = nn.BatchNorm2d(12, eps=1e-3)
        self.body = nn.ModuleDict({"up": nn.ConvTranspose2d(12, 5, 2)})
        self.hidden, self.scale = nn.Linear(5 * 4 * 3, 7), nn.LayerNorm(7, eps=1e-3)
        self.head = nn.Linear(7, 2)

    def forward(self, x):
        x = self.norm(self.spread(self.stem(x).relu()))
        x = self.hidden(self.body["up"](x).flatten(1)).tanh()
        return self.head(self.scale(x))


def words():
    layers, given = keras.layers, keras.Input((5,), dtype="int32")
    x = layers.LSTM(4, return_sequences=True, name="first")(
        layers.Embedding(9, 3, name="table")(given)
    )
    x = layers.SimpleRNN(4, return_sequences=True, name="third")(x)
    return keras.Model(given, layers.GRU(3, name="second")(x))


class Words(nn.Module):
    def __init__(self, gru=nn.GRU):
        super().__init__()
        self.table = nn.Embedding(9, 3)
        self.first = nn.LSTM(3, 4, batch_first=True)
        self.third = nn.RNN(4, 4, batch_first=True)
        self.second = gru(4, 3, batch_first=True)

    def forward(self, x):
        x = self.second(self.third(self.first(self.table(x))[0])[0])[0]
        return x[:, -1]


HEAD = {"out": "head"}
FLATTENED = {"hidden": (4, 3, 5)}
FILES = ["m.keras", "m.h5", "m.weights.h5"]


def save(model, path):
    (model.save_weights if "weights" in path.name else model.save)(path)
    return path


def images():
    return normal(4, 9, 8, 3)


def outputs(module, x):
    with torch.no_grad():
        return module.double().eval()(torch.from_numpy(np.ascontiguousarray(x)))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_network_by_hand_takes_any_file(file, depthwise, tmp_path):
    model = randomize(vision())
    flattened = FLATTENED if "weights" in file else None
    network = Vision(depthwise).double()
    path = save(model, tmp_path / file)
    assert load_weights(network, path, names=HEAD, flattened=flattened) is network
    close(outputs(network, images().transpose(0, 3, 1, 2)), model(images()), 1e-13, "output")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("gru", [nn.GRU, GRU])
def test_recurrent_networks_by_hand(file, gru, tmp_path):
    model = randomize(words())
    network = load_weights(Words(gru).double(), save(model, tmp_path / file))
    tokens = np.random.default_rng(0).integers(0, 9, (4, 5))
    close(outputs(network, tokens), model(tokens), 1e-13, "output")


@pytest.mark.parametrize("file", FILES)
def test_a_port_takes_the_weights_of_another_training(file, tmp_path):
    model = randomize(vision())
    port = from_keras(model, "last")
    save(randomize(model, seed=1), tmp_path / file)
    close(outputs(load_weights(port, tmp_path / file), images()), model(images()), 1e-13, "output")


def test_a_loaded_port_takes_weights_too(tmp_path):
    model = randomize(words())
    port = load(save(model, tmp_path / "m.keras"))
    save(randomize(model, seed=1), tmp_path / "m.weights.h5")
    tokens = np.random.default_rng(0).integers(0, 9, (4, 5))
    load_weights(port, tmp_path / "m.weights.h5")
    close(outputs(port, tokens), model(tokens), 1e-13, "output")


# What does not fit is refused, and nothing is written


class Other(Vision):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


REFUSED = [
    (
        Vision,
        {},
        DataError,
        r"(?s)got 6; layers without one: 'out' \(7, 2\) \(2,\); .*'head' \(2, 7\)",
    ),
    (Vision, {"names": {"out": "tail"}}, DataError, "layers without one: 'out'"),
    (Vision, {"names": HEAD | {"more": "stem"}}, DataError, "'more' in names"),
    (Vision, {"names": {"out": "hidden"}}, DataError, "'hidden' twice"),
    (
        lambda: Other(more=nn.Linear(2, 2)),
        {"names": HEAD},
        DataError,
        r"modules .*: 'more' \(2, 2\)",
    ),
    (lambda: Other(stem=nn.Conv2d(3, 6, 5)), {"names": HEAD}, ShapeError, "stem.weight of shape"),
    (
        lambda: Other(stem=nn.Conv2d(3, 6, 3, bias=False)),
        {"names": HEAD},
        ShapeError,
        "stem: expected",
    ),
    (lambda: Other(stem=nn.Linear(3, 6)), {"names": HEAD}, ShapeError, "stem"),
    (lambda: Other(scale=nn.PReLU(7)), {"names": HEAD}, (DataError, ShapeError), "scale: expected"),
]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("make", "options", "error", "message"), REFUSED)
def test_what_does_not_fit_is_refused(make, options, error, message, file, tmp_path):
    path, network = save(randomize(vision()), tmp_path / file), make()
    if "weights" in file:
        options = options | {"flattened": FLATTENED}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(error, match=message):
        load_weights(network, path, **options)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_a_file_of_weights_alone_does_not_tell_what_was_flattened(tmp_path):
    path = save(randomize(vision()), tmp_path / "m.weights.h5")
    with pytest.raises(ShapeError, match=r"(?s)hidden: .*60.*flattened=.*'hidden'"):
        load_weights(Vision(), path, names=HEAD)
    with pytest.raises(ShapeError, match=r"expected a flattened shape of \(60,\) numbers"):
        load_weights(Vision(), path, names=HEAD, flattened={"hidden": (4, 3, 6)})
    with pytest.raises(DataError, match="expected layers of the file in flattened"):
        load_weights(Vision(), path, names=HEAD, flattened=FLATTENED | {"more": (1, 2, 3)})
    load_weights(Vision(), path, names=HEAD, flattened={"hidden": None})


def test_what_is_known_takes_no_names(tmp_path):
    model = randomize(words())
    path = save(model, tmp_path / "m.keras")
    with pytest.raises(DataError, match="only for a module of your own"):
        load_weights(from_keras(model), path, names={"first": "first"})


def test_weights_of_another_model_do_not_fit_a_port(tmp_path):
    path = save(randomize(vision()), tmp_path / "m.weights.h5")
    with pytest.raises(DataError, match="expected weights of the model's layers"):
        load_weights(from_keras(randomize(words())), path)
