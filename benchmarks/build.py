"""Building a graph of Xception's size beside creating its layers alone."""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.timing import Comparison, clock_for, compare
from torchbp import Input, Model, layers
from torchbp.graph import SymbolicTensor

CHANNELS = (128, 256, 728, *[728] * 8, 1024)


def run(device: str) -> list[Comparison]:
    return [
        compare(
            "build: graph of Xception's size (122 layers) / its torch modules alone",
            lambda: functional(device),
            lambda: modules_alone(device),
            calls=1,
            turns=7,
            clock=clock_for(device),
        )
    ]


def functional(device: str) -> Model:
    """Twelve residual blocks of three separable convolutions, with the shapes of Xception's."""
    with torch.device(device):
        image = Input((3, 299, 299), name="image")
        x = _norm_relu(layers.Conv2d(3, 64, 3, stride=2, bias=False)(image), 64)
        in_channels = 64
        for channels in CHANNELS:
            shortcut = layers.Conv2d(in_channels, channels, 1, bias=False)(x)
            for i in range(3):
                size = in_channels if i == 0 else channels
                x = layers.Conv2d(size, size, 3, padding=1, groups=size, bias=False)(x)
                x = _norm_relu(layers.Conv2d(size, channels, 1, bias=False)(x), channels)
            x = x + shortcut
            in_channels = channels
        return Model(image, layers.GlobalAvgPool2d()(x))


def modules_alone(device: str) -> nn.ModuleList:
    """The same weights, allocated and initialised by torch, connected to nothing."""
    with torch.device(device):
        modules: list[nn.Module] = [nn.Conv2d(3, 64, 3, bias=False), nn.BatchNorm2d(64)]
        in_channels = 64
        for channels in CHANNELS:
            modules.append(nn.Conv2d(in_channels, channels, 1, bias=False))
            for i in range(3):
                size = in_channels if i == 0 else channels
                modules.append(nn.Conv2d(size, size, 3, groups=size, bias=False))
                modules.append(nn.Conv2d(size, channels, 1, bias=False))
                modules.append(nn.BatchNorm2d(channels))
            in_channels = channels
        return nn.ModuleList(modules)


def _norm_relu(x: SymbolicTensor, channels: int) -> SymbolicTensor:
    return F.relu(layers.BatchNorm2d(channels)(x))
