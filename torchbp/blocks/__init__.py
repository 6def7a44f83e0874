"""Modules of several layers, from which networks are built: inception, residual, conv-norm-act.

Each is an `nn.Module` with explicit channels that can be called on tensors and, in a graph, on
symbolic tensors. Single layers are in `torchbp.layers`, whole networks in `torchbp.models`.
"""

from torchbp.blocks.conv_norm_act import ConvNormAct
from torchbp.blocks.inception import ConvStep, Inception, PoolStep, four_branches
from torchbp.blocks.inception_v3 import (
    InceptionA,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)
from torchbp.blocks.residual import Bottleneck, Residual, XceptionBlock

__all__ = [
    "Bottleneck",
    "ConvNormAct",
    "ConvStep",
    "Inception",
    "InceptionA",
    "InceptionB",
    "InceptionC",
    "InceptionD",
    "InceptionE",
    "PoolStep",
    "Residual",
    "XceptionBlock",
    "four_branches",
]
