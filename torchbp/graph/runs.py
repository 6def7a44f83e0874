"""One run of a call on stand-in tensors, which leaves everything outside as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from torchbp.errors import GraphError
from torchbp.graph.functions import is_torchs
from torchbp.graph.structure import leaves, map_leaves
from torchbp.graph.symbolic import Call, Symbolic


def run_on(device: str, call: Call, run: int, state: dict[str, Tensor]) -> Any:
    """The outputs of a call for one of the two stand-in sizes.

    Args:
        device: "meta", or "cpu" for what looks at data.
        call: what to call, on what.
        run: 0 or 1; on the CPU all tensors are filled with it.
        state: the weights and buffers that a module runs with, as `copied_state` gives them.

    Raises:
        GraphError: the call works in place, or a function has tensors of its own.
        Exception: what the callee raises.
    """

    def sample(leaf: Any) -> Any:
        value = leaf.samples[run] if isinstance(leaf, Symbolic) else leaf
        if isinstance(value, Tensor):
            return copied(value, device, run)
        return torch.device(device) if isinstance(value, torch.device) else value

    with _isolated(device, call):
        args, kwargs = map_leaves(sample, (call.args, call.kwargs))
        given = [leaf for leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        versions = [tensor._version for tensor in given]
        output = _execute(call, args, kwargs, state)
    if versions != [tensor._version for tensor in given]:
        raise GraphError(
            f"{call.label()} changes its input in place; in a graph that would be a cycle: the "
            "tensor would be made from itself.\n"
            "  To mend it: use the form that returns a new tensor (inplace=False)."
        )
    return output


def copied_state(call: Call, device: str, fill: int = 0) -> dict[str, Tensor]:
    """Copies of a module's weights and buffers, by name; a function has none."""
    if call.kind != "module":
        return {}
    state = dict(call.target.named_parameters()) | dict(call.target.named_buffers())
    return {name: copied(tensor, device, fill) for name, tensor in state.items()}


def copied(tensor: Tensor, device: str, fill: int = 0) -> Tensor:
    """A copy on "meta", or on "cpu", filled where there are no data."""
    if is_lazy(tensor):
        return type(tensor)(device=device, dtype=tensor.dtype)  # type: ignore[call-arg]
    if tensor.is_meta and device != "meta":
        return torch.full_like(tensor, fill, device=device)
    return tensor.detach().to(device, copy=True)


def is_foreign(call: Call) -> bool:
    """Whether a call is of a function that is not torch's."""
    return call.kind == "function" and not is_torchs(call.target)


def own_tensors_error(call: Call) -> GraphError:
    """The error for a function whose result depends on more tensors than its arguments."""
    return GraphError(
        f"{call.label()}: expected a function of its arguments alone, got one that uses other "
        "tensors: in the model they would be neither trained, nor saved, nor moved.\n"
        "  To mend it: connect the module that has them, with torchbp.call(module, x), or pass "
        "constants as arguments."
    )


def _execute(
    call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], state: dict[str, Tensor]
) -> Any:
    if call.kind == "module":
        with _attributes_kept(call.target):
            return functional_call(call.target, state, args, kwargs)
    if call.kind == "method":
        return getattr(args[0], call.target)(*args[1:], **kwargs)
    output = call.target(*args, **kwargs)
    if any(leaf.requires_grad for leaf in leaves(output) if isinstance(leaf, Tensor)):
        raise own_tensors_error(call)
    return output


@contextmanager
def _isolated(device: str, call: Call) -> Iterator[None]:
    """New tensors are stand-ins as well; autograd sees none of them; no random number is drawn."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(is_foreign(call)))  # shows weights of its own
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.device(device))
        if device == "meta":
            stack.enter_context(_MetaRules())
        yield


@contextmanager
def _attributes_kept(module: nn.Module) -> Iterator[None]:
    """Give a module and its parts back the attributes that they had, whatever a call set."""
    parts = [(part, type(part)) for part in module.modules()]
    kept = [(values, values.copy()) for part, _ in parts for values in _containers(part)]
    try:
        yield
    finally:
        for part, kind in parts:
            if type(part) is not kind:
                part.__class__ = kind
        for values, before in kept:
            _restore(values, before)


def _containers(part: nn.Module) -> Iterator[Any]:
    """A module's attributes, and those of them that have members."""
    yield part.__dict__
    for value in part.__dict__.values():
        if isinstance(value, list | dict | set):
            yield value


def _restore(values: Any, before: Any) -> None:
    if isinstance(values, list):
        values[:] = before
    elif isinstance(values, set):
        values.intersection_update(before)
        values.update(before)
    elif values.keys() != before.keys() or any(values[key] is not before[key] for key in before):
        values.clear()
        values.update(before)


class _MetaRules(TorchFunctionMode):
    """What the meta device lacks.

    Recurrent kernels would run step by step there, and different dtypes would not be refused.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function in _RECURRENT and not isinstance(args[2], Tensor | tuple):
            sequence, state = args[0], args[1]  # the other overload, of packed data, has 3 tensors
            hidden = state[0] if isinstance(state, tuple) else state
            directions = 2 if args[7] else 1
            output = sequence.new_empty(*sequence.shape[:-1], directions * hidden.shape[-1])
            return (output, *state) if isinstance(state, tuple) else (output, state)
        if function in _OF_ONE_DTYPE and len({tensor.dtype for tensor in args[:2]}) > 1:
            input, weight = args[:2]
            raise RuntimeError(f"expected inputs of one dtype, got {input.dtype}, {weight.dtype}")
        return function(*args, **(kwargs or {}))


_RECURRENT = {torch._VF.lstm, torch._VF.gru, torch._VF.rnn_tanh, torch._VF.rnn_relu}
_OF_ONE_DTYPE = {
    F.linear, torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__,
    F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
}  # fmt: skip
