"""Keras's initialisers, in place: of a whole model, and of one weight.

`glorot_(model)` gives every layer of a model the weights that Keras's layers start with; `he_` and
`lecun_` do the same with another scheme for the kernels. The others draw one weight. All draw
from `generator`, or from torch's global one.
"""

from torchbp.layers.init.model import glorot_, he_, lecun_
from torchbp.layers.init.weight import (
    embedding_uniform_,
    fans_of,
    glorot_normal_,
    glorot_uniform_,
    he_normal_,
    he_uniform_,
    lecun_normal_,
    lecun_uniform_,
    orthogonal_,
    unit_forget_bias_,
)

__all__ = [
    "embedding_uniform_",
    "fans_of",
    "glorot_",
    "glorot_normal_",
    "glorot_uniform_",
    "he_",
    "he_normal_",
    "he_uniform_",
    "lecun_",
    "lecun_normal_",
    "lecun_uniform_",
    "orthogonal_",
    "unit_forget_bias_",
]
