"""The convnet of scripts/patterns.py, with and without the patterns."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from torchbp import Input, Model, call, layers
from torchbp.blocks import ConvNormAct, Residual
from torchbp.layers import init

DEPTHS = (10, 20, 40)
WIDTH = 8  # channels, twice as many in the second half
INITS = {"Glorot": init.glorot_, "He": init.he_, "torch": lambda model: model}


@dataclass(frozen=True)
class Variant:
    """A net: its number of 3x3 convolutions, and the patterns that it has."""

    depth: int
    residual: bool = False
    norm: bool = False
    separable: bool = False

    def __str__(self) -> str:
        return f"{self.depth} convolutions, {self.patterns}"

    @property
    def patterns(self) -> str:
        """The patterns in words."""
        names = {"residual": self.residual, "BatchNorm": self.norm, "separable": self.separable}
        return " + ".join(name for name, has in names.items() if has) or "plain"


VARIANTS = [
    *(Variant(d, res, norm) for d in DEPTHS for norm in (False, True) for res in (False, True)),
    *(Variant(d, residual=True, norm=True, separable=True) for d in DEPTHS),
]


def convnet(variant: Variant, in_channels: int, num_classes: int) -> Model:
    """Images (N, in_channels, H, W) -> scores (N, num_classes).

    The first convolution and the one with stride 2 stand alone. All others come in pairs, around
    each of which there is a shortcut in a residual net. Without shortcuts this is the usual chain
    of convolution, BatchNorm and ReLU.
    """
    norm = layers.BatchNorm2d if variant.norm else None
    conv = layers.SeparableConv2d if variant.separable else layers.Conv2d
    step = partial(ConvNormAct, conv=conv, norm=norm, order=("activation", "conv", "norm"))
    image = Input((in_channels, None, None), name="image")
    x = ConvNormAct(in_channels, WIDTH, norm=norm, activation=None)(image)
    width, num_pairs = WIDTH, (variant.depth - 2) // 2
    for i in range(num_pairs):
        if i == num_pairs // 2:
            x = step(width, 2 * width, stride=2)(x)
            width = 2 * width
        pair = nn.Sequential(step(width, width), step(width, width))
        x = Residual(pair)(x) if variant.residual else call(pair, x)
    x = layers.GlobalAvgPool2d()(F.relu(x))  # (N, width)
    return Model(image, layers.Linear(width, num_classes)(x))


def started(variant: Variant, start: str, in_channels: int, num_classes: int, seed: int) -> Model:
    """A net with its first weights."""
    torch.manual_seed(seed)
    return INITS[start](convnet(variant, in_channels, num_classes))
