"""A layer's weights: Keras's list against the names and layout of the torch module.

The axis and gate orders are those of `torchbp.port.weights`; here is only which array of the list
is which tensor of the module. Gradients have the axes of their weights and take the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from torchbp.parity.case import Kind
from torchbp.port import weights

Order = Callable[[Tensor], Tensor]


def to_torch(kind: Kind, arrays: Sequence[Tensor]) -> dict[str, Tensor]:
    """The weights of a Keras layer under the names of the torch module.

    Args:
        kind: how the two correspond.
        arrays: the layer's `weights`, in Keras's order.

    Raises:
        ShapeError: the arrays are not those of such a layer.

    Example:
        >>> {name: tuple(w.shape) for name, w in to_torch("linear", [torch.ones(4, 3)]).items()}
        {'weight': (3, 4)}
    """
    if kind in _KERNELS:
        reorder = _KERNELS[kind][0]
        return dict(zip(("weight", "bias"), [reorder(arrays[0]), *arrays[1:]], strict=False))
    if kind == "batch_norm":
        return _present(_BATCH_NORM, weights.batch_norm_to_torch(*arrays))
    kernel, recurrent_kernel, *biases = arrays
    convert = weights.lstm_to_torch if kind == "lstm" else weights.gru_to_torch
    return _present(_RECURRENT, convert(kernel, recurrent_kernel, biases[0] if biases else None))


def to_keras(kind: Kind, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """The way back: the list that a Keras layer's `set_weights` takes.

    Args:
        kind: how the two correspond.
        tensors: what `to_torch` gives.
    """
    if kind in _KERNELS:
        reorder = _KERNELS[kind][1]
        return [reorder(tensors["weight"]), *([tensors["bias"]] if "bias" in tensors else [])]
    if kind == "batch_norm":
        found = weights.batch_norm_to_keras(*(tensors[name] for name in _BATCH_NORM))
        return [w for w in found if w is not None]
    weight_ih, weight_hh = (tensors[name] for name in _RECURRENT[:2])
    bias_ih, bias_hh = (tensors.get(name) for name in _RECURRENT[2:])
    if kind == "lstm":
        kernels = weights.lstm_to_keras(weight_ih, weight_hh, bias_ih)
    else:
        kernels = weights.gru_to_keras(weight_ih, weight_hh, bias_ih, bias_hh)
    return [w for w in kernels if w is not None]


def _present(names: Sequence[str], tensors: Sequence[Tensor | None]) -> dict[str, Tensor]:
    return {name: w for name, w in zip(names, tensors, strict=False) if w is not None}


_KERNELS: dict[str, tuple[Order, Order]] = {
    "linear": (weights.dense_kernel_to_torch, weights.dense_kernel_to_keras),
    "conv": (weights.conv_kernel_to_torch, weights.conv_kernel_to_keras),
    "embedding": (weights.embedding_to_torch, weights.embedding_to_keras),
}
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
_RECURRENT = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
