"""Members, data and a small ensemble that the tests share."""

import itertools

import numpy as np
import torch
from torch import nn

from torchbp.ensemble import Ensemble, Predictions

NAMES = ("a", "b", "c")


def net(sizes=(4, 3)):
    """Linear layers and a softmax."""
    layers = [nn.Linear(*pair) for pair in itertools.pairwise(sizes)]
    return nn.Sequential(*layers, nn.Softmax(dim=1))


def nets():
    """Three architectures."""
    return {"a": net((4, 3)), "b": net((4, 5, 3)), "c": net((4, 6, 3))}


def data(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=generator)
    return x, torch.randint(3, (count,), generator=generator)


def probabilities(count=50, members=3, classes=4, seed=0):
    """Predictions (M, N, C) of numpy, and classes that the members know something of."""
    rng = np.random.default_rng(seed)
    target = rng.integers(classes, size=count)
    scores = rng.normal(size=(members, count, classes))
    scores += np.eye(classes)[target] * np.linspace(0.5, 2.0, members)[:, None, None]
    values = np.exp(scores)
    return values / values.sum(axis=2, keepdims=True), target


def kept(values, task="classification"):
    """Predictions as an ensemble of functions gives them."""
    return Predictions.of(dict(zip("abcdefgh", values, strict=False)), task)


def of_kept(values, task="classification", pooling=None):
    """An ensemble for predictions that are there: its members are never called."""
    members = {name: never for name, _ in zip("abcdefgh", values, strict=False)}
    return Ensemble(members, task, pooling)


def never(inputs):
    raise AssertionError("called")
