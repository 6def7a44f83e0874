"""Functions that port Keras's layers, a file a family; importing them registers them."""

from torchbp.port.converters import (
    activation,
    convolution,
    core,
    merging,
    normalization,
    operations,
    pooling,
    reshaping,
    stochastic,
)

__all__ = [
    "activation",
    "convolution",
    "core",
    "merging",
    "normalization",
    "operations",
    "pooling",
    "reshaping",
    "stochastic",
]
