"""What torch's meta device lacks in shape runs: recurrent kernels, speed, a sense of dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from torchbp.graph.structure import leaves


class MetaRules(TorchFunctionMode):
    """Answers for functions that the meta device runs slowly or wrongly.

    What no rule has an answer for is left to torch, and with it the errors for what does not fit.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer, or call the function."""
        kwargs, rule, answer = kwargs or {}, _RULES.get(function), None
        if rule and all(leaf.is_meta for leaf in leaves(args) if isinstance(leaf, Tensor)):
            answer = rule(*args, **kwargs)
        return function(*args, **kwargs) if answer is None else answer


def _one_dtype(input: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> None:
    """Torch would compute with different dtypes on the meta device, and there alone."""
    if input.dtype != weight.dtype:
        raise RuntimeError(f"expected inputs of one dtype, got {input.dtype} and {weight.dtype}")


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    """The answer, which a decomposition in Python takes a hundred times as long for."""
    _one_dtype(input, weight)
    if not input.ndim or weight.ndim != 2 or input.shape[-1] != weight.shape[1]:
        return None
    return input.new_empty(*input.shape[:-1], weight.shape[0])


def _relu(input: Tensor, inplace: bool = False) -> Tensor | None:
    """As for linear."""
    return None if inplace or input.dtype is torch.bool else torch.empty_like(input)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor | None:
    """As for linear: the decomposition is slow. The statistics have no data to change."""
    per_channel = [t for t in (running_mean, running_var, weight, bias) if t is not None]
    if not input.is_floating_point() or input.ndim < 2:
        return None
    return torch.empty_like(input) if all(len(t) == input.shape[1] for t in per_channel) else None


def _recurrent(sequence: Tensor, state: Any, third: Any, *args: Any) -> Any:
    """What the kernels return; on the meta device torch would go through the steps one by one."""
    if isinstance(third, Tensor | tuple):
        return None  # the overload for packed data
    hidden = state[0] if isinstance(state, tuple) else state
    directions = 2 if args[4] else 1
    output = sequence.new_empty(*sequence.shape[:-1], directions * hidden.shape[-1])
    return (output, *state) if isinstance(state, tuple) else (output, state)


def _moved(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A tensor that has no data is on no other device."""
    rest = [arg for arg in args if not isinstance(arg, str | torch.device)]
    others = {name: value for name, value in kwargs.items() if name != "device"}
    return input.to(*rest, **others) if rest or others else input


def _unmoved(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return input


_RULES: dict[Any, Callable[..., Any]] = {
    F.linear: _linear,
    F.relu: _relu,
    F.batch_norm: _batch_norm,
    Tensor.to: _moved,
    Tensor.cpu: _unmoved,
    Tensor.cuda: _unmoved,
    **dict.fromkeys(
        (torch._VF.lstm, torch._VF.gru, torch._VF.rnn_tanh, torch._VF.rnn_relu), _recurrent
    ),
    **dict.fromkeys(
        (
            torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__,
            F.conv1d, F.conv2d, F.conv3d,
            F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
        ),
        _one_dtype,
    ),
}  # fmt: skip
