"""A layer's weights: Keras's list against the names and layout of the torch module.

The axis and gate orders are those of `torchbp.port.weights`; here is only which array of the list
is which tensor of the module. Gradients have the axes of their weights and take the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from torchbp.port import weights

Kind = Literal[
    "linear",
    "conv",
    "conv_transpose",
    "depthwise",
    "separable",
    "embedding",
    "lstm",
    "gru",
    "rnn",
    "lstm_reverse",
    "gru_reverse",
    "rnn_reverse",
    "lstm_cell",
    "gru_cell",
    "rnn_cell",
    "conv_lstm",
    "batch_norm",
    "norm",
    "plain",
    "same",
]
Order = Callable[[Tensor], Tensor]


def to_torch(kind: Kind, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a Keras layer under the names of the torch module.

    Args:
        kind: how the two correspond.
        arrays: the layer's weights by their names in Keras, in Keras's order. Only those of a
            normalisation are known by name, as it may lack some; of others the order counts.

    Raises:
        ShapeError: the arrays are not those of such a layer.

    Example:
        >>> kernel, bias = torch.ones(4, 3), torch.ones(3)
        >>> tensors = to_torch("linear", {"kernel": kernel, "bias": bias})
        >>> {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        {'weight': (3, 4), 'bias': (3,)}
    """
    if kind == "batch_norm":
        mean, variance = arrays["moving_mean"], arrays["moving_variance"]
        found = weights.batch_norm_to_torch(arrays.get("gamma"), arrays.get("beta"), mean, variance)
        return _present(list(BATCH_NORM_NAMES), found)
    if kind == "norm":
        return {_NORM[name]: array for name, array in arrays.items()}
    if kind == "same":
        return dict(arrays)
    first, *rest = arrays.values()
    if kind in _KERNELS:
        return dict(zip(("weight", "bias"), [_KERNELS[kind][0](first), *rest], strict=False))
    if kind == "depthwise":
        kernel = weights.depthwise_kernel_to_torch(first)
        return dict(zip(("weight", "bias"), [kernel, *rest], strict=False))
    if kind == "separable":
        kernels = weights.separable_kernels_to_torch(first, rest[0])
        return dict(zip(_SEPARABLE, [*kernels, *rest[1:]], strict=False))
    if kind == "conv_lstm":
        both = [weights.conv_kernel_to_torch(kernel) for kernel in (first, rest[0])]
        return _present(_CONV_LSTM, [*both, *rest[1:]])
    return _recurrent_to_torch(kind, first, rest[0], rest[1] if len(rest) > 1 else None)


def to_keras(kind: Kind, tensors: Mapping[str, Tensor], in_channels: int = 0) -> list[Tensor]:
    """The way back: the list that a Keras layer's `set_weights` takes.

    Args:
        kind: how the two correspond.
        tensors: what `to_torch` gives.
        in_channels: channels of the input, for a depthwise or separable convolution.
    """
    if kind == "batch_norm":
        found = weights.batch_norm_to_keras(
            tensors.get("weight"),
            tensors.get("bias"),
            tensors["running_mean"],
            tensors["running_var"],
        )
        return [w for w in found if w is not None]
    if kind == "norm":
        return [tensors[name] for name in ("weight", "bias") if name in tensors]
    if kind == "same":
        return list(tensors.values())
    bias = [tensors["bias"]] if "bias" in tensors else []
    if kind in _KERNELS:
        return [_KERNELS[kind][1](tensors["weight"]), *bias]
    if kind == "depthwise":
        return [weights.depthwise_kernel_to_keras(tensors["weight"], in_channels), *bias]
    if kind == "separable":
        depthwise, pointwise = (tensors[name] for name in _SEPARABLE[:2])
        kernels = weights.separable_kernels_to_keras(depthwise, pointwise, in_channels)
        return [*kernels, *(tensors[name] for name in _SEPARABLE[2:] if name in tensors)]
    if kind == "conv_lstm":
        both = [weights.conv_kernel_to_keras(tensors[name]) for name in _CONV_LSTM[:2]]
        return [*both, *(tensors[name] for name in _CONV_LSTM[2:] if name in tensors)]
    return [w for w in _recurrent_to_keras(kind, tensors) if w is not None]


def _recurrent_to_torch(
    kind: Kind, kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor | None
) -> dict[str, Tensor]:
    found: Sequence[Tensor | None]
    if kind.startswith("lstm"):
        found = weights.lstm_to_torch(kernel, recurrent_kernel, bias)
    elif kind.startswith("rnn"):
        kernels = (weights.dense_kernel_to_torch(w) for w in (kernel, recurrent_kernel))
        found = [*kernels, bias]
    elif bias is not None and bias.ndim == 1:  # of reset_after=False
        both = torch.stack((bias, torch.zeros_like(bias)))
        found = weights.gru_to_torch(kernel, recurrent_kernel, both)[:3]
    else:
        found = weights.gru_to_torch(kernel, recurrent_kernel, bias)
    return _present([name + _suffix(kind) for name in _RECURRENT], found)


def _recurrent_to_keras(kind: Kind, tensors: Mapping[str, Tensor]) -> Sequence[Tensor | None]:
    names = [name + _suffix(kind) for name in _RECURRENT]
    weight_ih, weight_hh = (tensors[name] for name in names[:2])
    bias_ih, bias_hh = (tensors.get(name) for name in names[2:])
    if kind.startswith("lstm"):
        return weights.lstm_to_keras(weight_ih, weight_hh, bias_ih)
    if kind.startswith("rnn"):
        return [*(weights.dense_kernel_to_keras(w) for w in (weight_ih, weight_hh)), bias_ih]
    if bias_ih is None or bias_hh is not None:
        return weights.gru_to_keras(weight_ih, weight_hh, bias_ih, bias_hh)
    *kernels, both = weights.gru_to_keras(weight_ih, weight_hh, bias_ih, torch.zeros_like(bias_ih))
    return [*kernels, None if both is None else both[0].clone()]


def _suffix(kind: Kind) -> str:
    """What torch's layers put behind the names of the first layer's weights; cells nothing."""
    if kind.endswith("_cell"):
        return ""
    return "_l0_reverse" if kind.endswith("_reverse") else "_l0"


def _present(names: Sequence[str], tensors: Sequence[Tensor | None]) -> dict[str, Tensor]:
    return {name: w for name, w in zip(names, tensors, strict=False) if w is not None}


_KERNELS: dict[str, tuple[Order, Order]] = {
    "linear": (weights.dense_kernel_to_torch, weights.dense_kernel_to_keras),
    "conv": (weights.conv_kernel_to_torch, weights.conv_kernel_to_keras),
    "conv_transpose": (
        weights.conv_transpose_kernel_to_torch,
        weights.conv_transpose_kernel_to_keras,
    ),
    "embedding": (weights.embedding_to_torch, weights.embedding_to_keras),
    "plain": (lambda weight: weight, lambda weight: weight),  # and a bias, as Keras has them
}
BATCH_NORM_NAMES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_NORM = {"gamma": "weight", "scale": "weight", "beta": "bias"}
_SEPARABLE = ("depthwise.weight", "pointwise.weight", "pointwise.bias")
_RECURRENT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_CONV_LSTM = ("input_conv.weight", "recurrent_conv.weight", "input_conv.bias")
