"""Keras's weight arrays in torch's axis and gate orders, and back: one function for each.

Every function takes tensors in one order and gives contiguous copies in the other; each
`..._to_keras` is the exact inverse of its `..._to_torch`. Arrays come in with `torch.from_numpy`
and go out with `.numpy()`. Which array belongs to which layer is not known here.
"""

from torchbp.port.weights.gates import (
    gru_to_keras,
    gru_to_torch,
    lstm_to_keras,
    lstm_to_torch,
)
from torchbp.port.weights.kernels import (
    batch_norm_to_keras,
    batch_norm_to_torch,
    conv_kernel_to_keras,
    conv_kernel_to_torch,
    conv_transpose_kernel_to_keras,
    conv_transpose_kernel_to_torch,
    dense_kernel_to_keras,
    dense_kernel_to_torch,
    depthwise_kernel_to_keras,
    depthwise_kernel_to_torch,
    embedding_to_keras,
    embedding_to_torch,
    separable_kernels_to_keras,
    separable_kernels_to_torch,
)

__all__ = [
    "batch_norm_to_keras",
    "batch_norm_to_torch",
    "conv_kernel_to_keras",
    "conv_kernel_to_torch",
    "conv_transpose_kernel_to_keras",
    "conv_transpose_kernel_to_torch",
    "dense_kernel_to_keras",
    "dense_kernel_to_torch",
    "depthwise_kernel_to_keras",
    "depthwise_kernel_to_torch",
    "embedding_to_keras",
    "embedding_to_torch",
    "gru_to_keras",
    "gru_to_torch",
    "lstm_to_keras",
    "lstm_to_torch",
    "separable_kernels_to_keras",
    "separable_kernels_to_torch",
]
