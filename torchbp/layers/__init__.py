"""torch.nn's layers, callable on symbolic tensors, and what torch.nn lacks.

Names, arguments, defaults and initialisation are torch's. What torch has not: padding "same" for
every stride and for pooling, "causal" convolution, depthwise and separable convolution, the biased
running variance of batch normalisation, cropping, global pooling, merges of several tensors,
`Transpose`, and recurrent layers with `single_bias` and `last_output`.
`init` gives a model the starting weights that Keras would give it; `check_layer` tests a layer,
these or your own. Losses are not here, and blocks of several layers neither.
"""

from torchbp.layers import init
from torchbp.layers.activation import (
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from torchbp.layers.adaptive_pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
)
from torchbp.layers.attention import MultiheadAttention
from torchbp.layers.axis_normalization import LayerNormOver
from torchbp.layers.check import check_layer
from torchbp.layers.conv import Conv1d, Conv2d, Conv3d
from torchbp.layers.conv_transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from torchbp.layers.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d
from torchbp.layers.einsum import Einsum, PReLUOver
from torchbp.layers.embedding import Embedding
from torchbp.layers.global_pooling import (
    GlobalAvgPool1d,
    GlobalAvgPool2d,
    GlobalAvgPool3d,
    GlobalMaxPool1d,
    GlobalMaxPool2d,
    GlobalMaxPool3d,
)
from torchbp.layers.grouped_attention import GroupedQueryAttention
from torchbp.layers.image_augmentation import (
    RandomBrightness,
    RandomContrast,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
)
from torchbp.layers.image_resize import Resize
from torchbp.layers.linear import LazyLinear, Linear
from torchbp.layers.merge import (
    Add,
    Average,
    Concat,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
)
from torchbp.layers.noise import GaussianDropout, GaussianNoise, SharedDropout
from torchbp.layers.normalization import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    LayerNorm,
    RMSNorm,
)
from torchbp.layers.pooling import (
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from torchbp.layers.recurrent import GRU, LSTM, RNN
from torchbp.layers.recurrent_loops import BidirectionalRNN, CellRNN, MaskedRNN
from torchbp.layers.reshape import Flatten, Identity, Transpose, Unflatten
from torchbp.layers.resize import (
    Crop1d,
    Crop2d,
    Crop3d,
    Upsample,
    ZeroPad1d,
    ZeroPad2d,
    ZeroPad3d,
)
from torchbp.layers.score_attention import BahdanauAttention, LuongAttention
from torchbp.layers.separable import (
    DepthwiseConv1d,
    DepthwiseConv2d,
    SeparableConv1d,
    SeparableConv2d,
)
from torchbp.layers.standardize import LayerScale, Standardize

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "Add",
    "AlphaDropout",
    "Average",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BahdanauAttention",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "BidirectionalRNN",
    "CellRNN",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Crop1d",
    "Crop2d",
    "Crop3d",
    "DepthwiseConv1d",
    "DepthwiseConv2d",
    "Dot",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Einsum",
    "Embedding",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAvgPool1d",
    "GlobalAvgPool2d",
    "GlobalAvgPool3d",
    "GlobalMaxPool1d",
    "GlobalMaxPool2d",
    "GlobalMaxPool3d",
    "GroupNorm",
    "GroupedQueryAttention",
    "Hardsigmoid",
    "Hardswish",
    "Identity",
    "LayerNorm",
    "LayerNormOver",
    "LayerScale",
    "LazyLinear",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "LuongAttention",
    "MaskedRNN",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Maximum",
    "Minimum",
    "Mish",
    "MultiheadAttention",
    "Multiply",
    "PReLU",
    "PReLUOver",
    "RMSNorm",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "Resize",
    "SeparableConv1d",
    "SeparableConv2d",
    "SharedDropout",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Standardize",
    "Subtract",
    "Tanh",
    "Transpose",
    "Unflatten",
    "Upsample",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
    "check_layer",
    "init",
]
