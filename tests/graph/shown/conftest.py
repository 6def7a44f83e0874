"""Models to print and to draw, and texts to compare with."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from torchbp import Input, Model, Sequential, layers, models

EXPECTED = Path(__file__).parent / "expected"


@pytest.fixture
def same_as_stored() -> Callable[[str, str], None]:
    """Compare a text with the stored file; TORCHBP_REWRITE=1 pytest ... stores it anew."""

    def compare(text: str, name: str) -> None:
        path = EXPECTED / name
        if os.environ.get("TORCHBP_REWRITE"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"TORCHBP_REWRITE=1 stores {name} anew"

    return compare


@pytest.fixture
def build() -> Callable[[str], Model]:
    """The model of a name."""
    return lambda name: MODELS[name]()


def inception() -> Model:
    image = Input((16, 28, 28), name="image")
    one = layers.Conv2d(16, 8, 1, name="one")(image)
    three = layers.Conv2d(8, 8, 3, padding=1)(layers.Conv2d(16, 8, 1)(image))
    five = layers.Conv2d(8, 8, 3, padding=1)(layers.Conv2d(16, 8, 1)(image))
    five = layers.Conv2d(8, 8, 3, padding=1)(five)
    pool = layers.Conv2d(16, 8, 1)(layers.AvgPool2d(3, 1, 1)(image))
    return Model(image, torch.cat([one, three, five, pool], dim=1))


def residual() -> Model:
    image = x = Input((8, 32, 32), name="image")
    for _ in range(3):
        inner = F.relu(layers.BatchNorm2d(8)(layers.Conv2d(8, 8, 3, padding=1, bias=False)(x)))
        x = F.relu(layers.BatchNorm2d(8)(layers.Conv2d(8, 8, 3, padding=1)(inner)) + x)
    return Model(image, layers.Linear(8, 10, name="scores")(layers.GlobalAvgPool2d()(x)))


def nested() -> Model:
    """An encoder with two outputs that is called twice."""
    x = Input((32,), name="x")
    hidden = F.relu(layers.Linear(32, 16)(x))
    outputs = {name: layers.Linear(16, 4, name=name)(hidden) for name in ("mean", "spread")}
    encoder = Model(x, outputs, name="encoder")
    first, second = Input((32,), name="first"), Input((32,), name="second")
    a, b = encoder(first), encoder(second)
    joined = torch.cat([a["mean"] - b["mean"], a["spread"], b["spread"]], dim=-1)
    score = layers.Linear(12, 1, name="score")(joined)
    return Model([first, second], {"score": score, "mean": a["mean"]}, name="pair")


def nested_deeply() -> Model:
    """A model in a model in a model; arguments come in another order than inputs stand."""
    i = Input((4,), name="i")
    core = Model(i, layers.Linear(4, 4)(i), name="core")
    j, k = Input((4,), name="j"), Input((4,), name="k")
    middle = Model([j, k], [core(j) + k, F.relu(k)], name="middle")
    x, y = Input((4,), name="x"), Input((4,), name="y")
    a, b = middle(y, layers.Linear(4, 4)(x))
    side = layers.Linear(4, 4, name="side")(layers.Linear(4, 4)(x))
    return Model([x, y], layers.Linear(12, 2, name="out")(torch.cat([a, b, side], -1)))


def parts() -> Model:
    """A layer with nested outputs, a constant, a method, an attribute, a stack of layers."""
    posts, extra = Input((None,), dtype=torch.int64, name="posts"), Input((5,), name="extra")
    words = layers.Embedding(100, 16)(posts)
    out, (state, cell) = layers.LSTM(16, 32, num_layers=2, batch_first=True)(words)
    joined = torch.cat([out[:, -1], state[-1], cell[0], extra], -1) * torch.ones(101)
    head = Sequential(layers.Linear(101, 8), layers.ReLU(), name="head")
    scores = head(joined.reshape(joined.size(0), 101))
    return Model([posts, extra], {"scores": scores, "turned": scores.mT})


MODELS: dict[str, Callable[[], Model]] = {
    "mlp": models.mlp,
    "post_attributes": models.post_attributes,
    "shared_lstm": models.shared_lstm,
    "question_answering": models.question_answering,
    "inception": inception,
    "residual": residual,
    "nested": nested,
    "nested_deeply": nested_deeply,
    "parts": parts,
}
