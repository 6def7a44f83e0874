"""Recurrent weights: the order of axes and of gates.

Letters: D features in, H hidden units.
"""

import torch
from torch import Tensor

from torchbp.port.weights.check import check_ndim, copied, wrong_shape


def lstm_to_torch(
    kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Reorder the weights of an LSTM for `LSTM(single_bias=True)`.

    The gates are in the same order on both sides: input, forget, cell, output. torch's own LSTM
    has a second bias, which is then zero.

    Args:
        kernel: (D, 4H).
        recurrent_kernel: (H, 4H).
        bias: (4H,), or None.

    Returns:
        weight_ih (4H, D), weight_hh (4H, H) and bias_ih (4H,), or None.

    Raises:
        ShapeError: the three do not fit.

    Example:
        >>> from torchbp.port import weights
        >>> shapes = (4, 20), (5, 20), (20,)
        >>> [tuple(w.shape) for w in weights.lstm_to_torch(*map(torch.zeros, shapes))]
        [(20, 4), (20, 5), (20,)]
    """
    weight_ih, weight_hh = _transposed("LSTM", kernel), _transposed("LSTM", recurrent_kernel)
    _check_gates("LSTM", 4, weight_ih, weight_hh, bias)
    return weight_ih, weight_hh, None if bias is None else copied(bias)


def lstm_to_keras(
    weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Reorder the weights of an `LSTM(single_bias=True)` for Keras's LSTM.

    Args:
        weight_ih: (4H, D).
        weight_hh: (4H, H).
        bias_ih: (4H,), or None. Of a layer with two biases it is their sum.

    Returns:
        kernel (D, 4H), recurrent_kernel (H, 4H) and bias (4H,), or None.

    Raises:
        ShapeError: the three do not fit.

    Example:
        >>> from torchbp.port import weights
        >>> shapes = (20, 4), (20, 5), (20,)
        >>> [tuple(w.shape) for w in weights.lstm_to_keras(*map(torch.zeros, shapes))]
        [(4, 20), (5, 20), (20,)]
    """
    kernel, recurrent_kernel = _transposed("LSTM", weight_ih), _transposed("LSTM", weight_hh)
    _check_gates("LSTM", 4, weight_ih, weight_hh, bias_ih)
    return kernel, recurrent_kernel, None if bias_ih is None else copied(bias_ih)


def gru_to_torch(
    kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Reorder the weights of a GRU with reset_after=True for `GRU`.

    Keras's gates are update z, reset r and candidate; torch's are reset, update and candidate.

    Args:
        kernel: (D, 3H).
        recurrent_kernel: (H, 3H).
        bias: (2, 3H), that of the input and that of the recurrence; or None.

    Returns:
        weight_ih (3H, D), weight_hh (3H, H), bias_ih and bias_hh (3H,), or None twice.

    Raises:
        ShapeError: the three do not fit, or the bias is that of reset_after=False, which is
            another formula.

    Example:
        >>> from torchbp.port import weights
        >>> shapes = (4, 15), (5, 15), (2, 15)
        >>> [tuple(w.shape) for w in weights.gru_to_torch(*map(torch.zeros, shapes))]
        [(15, 4), (15, 5), (15,), (15,)]
    """
    if bias is not None and (bias.ndim != 2 or len(bias) != 2):
        raise wrong_shape("GRU bias", "(2, 3H) of reset_after=True", bias)
    weight_ih, weight_hh = _transposed("GRU", kernel), _transposed("GRU", recurrent_kernel)
    _check_gates("GRU", 3, weight_ih, weight_hh, None if bias is None else bias[0])
    weight_ih, weight_hh = _exchange_gates(weight_ih), _exchange_gates(weight_hh)
    if bias is None:
        return weight_ih, weight_hh, None, None
    return weight_ih, weight_hh, _exchange_gates(bias[0]), _exchange_gates(bias[1])


def gru_to_keras(
    weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor | None, bias_hh: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Reorder the weights of a `GRU` for Keras's GRU with reset_after=True.

    Args:
        weight_ih: (3H, D).
        weight_hh: (3H, H).
        bias_ih: (3H,), or None.
        bias_hh: (3H,), or None like the other.

    Returns:
        kernel (D, 3H), recurrent_kernel (H, 3H) and bias (2, 3H), or None.

    Raises:
        ShapeError: the four do not fit.

    Example:
        >>> from torchbp.port import weights
        >>> shapes = (15, 4), (15, 5), (15,), (15,)
        >>> [tuple(w.shape) for w in weights.gru_to_keras(*map(torch.zeros, shapes))]
        [(4, 15), (5, 15), (2, 15)]
    """
    _check_gates("GRU", 3, weight_ih, weight_hh, bias_ih, bias_hh)
    kernel = _transposed("GRU", _exchange_gates(weight_ih))
    recurrent_kernel = _transposed("GRU", _exchange_gates(weight_hh))
    if bias_ih is None or bias_hh is None:
        return kernel, recurrent_kernel, None
    bias = torch.stack((_exchange_gates(bias_ih), _exchange_gates(bias_hh)))
    return kernel, recurrent_kernel, bias


def _transposed(who: str, weight: Tensor) -> Tensor:
    check_ndim(f"{who} weight", weight, "two dimensions", 2)
    return copied(weight.T)


def _exchange_gates(weight: Tensor) -> Tensor:
    """Exchange the first two of a GRU's three gates: Keras's order to torch's and back."""
    first, second, third = weight.chunk(3)
    return torch.cat((second, first, third))


def _check_gates(
    who: str, num_gates: int, weight_ih: Tensor, weight_hh: Tensor, *biases: Tensor | None
) -> None:
    """Refuse weights that do not fit each other; they are in torch's layout, the gates first."""
    units = weight_hh.shape[-1]
    rows = num_gates * units
    expected = [(weight_ih, (rows, weight_ih.shape[-1])), (weight_hh, (rows, units))]
    given = [bias for bias in biases if bias is not None]
    if 0 < len(given) < len(biases):
        raise wrong_shape(f"{who} biases", "all of them or none", given[0])
    for tensor, sizes in expected + [(bias, (rows,)) for bias in given]:
        if tensor.shape != sizes:
            raise wrong_shape(f"{who} of {units} units", f"{sizes} in torch's order", tensor)
