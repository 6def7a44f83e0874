"""A call runs on stand-in tensors, and leaves everything outside as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from torchbp.errors import GraphError
from torchbp.graph.functions import is_torchs
from torchbp.graph.meta_rules import MetaRules
from torchbp.graph.structure import leaves, map_leaves
from torchbp.graph.symbolic import Call, Symbolic

State = dict[str, Tensor]
"""Weights and buffers that a module runs with, by name."""


def run_twice(device: str, call: Call, states: tuple[State, State]) -> tuple[Any, Any]:
    """The outputs of a call for the two stand-in sizes.

    Args:
        device: "meta", or "cpu" for what looks at data: zeros in the first run, ones in the
            second.
        call: what to call, on what.
        states: what a module runs with, as `copied_state` gives it.

    Raises:
        GraphError: the call works in place, or a function has tensors of its own.
        Exception: what the callee raises.
    """
    with torch.inference_mode(False), torch.no_grad():
        samples = [_sampled(call, device, run) for run in (0, 1)]
    with _isolated(device, call):
        first, second = (_run(call, samples[run], states[run]) for run in (0, 1))
    return first, second


def copied_state(call: Call, device: str, fill: int = 0) -> State:
    """Copies of a module's weights and buffers; a function has none."""
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


def _sampled(call: Call, device: str, run: int) -> Any:
    """Positional and keyword arguments with stand-ins for what is symbolic."""

    def sample(leaf: Any) -> Any:
        value = leaf.samples[run] if isinstance(leaf, Symbolic) else leaf
        if isinstance(value, Tensor):
            return copied(value, device, run)
        return torch.device(device) if isinstance(value, torch.device) else value

    return map_leaves(sample, (call.args, call.kwargs))


def _run(call: Call, sample: tuple[Any, Any], state: State) -> Any:
    given = [leaf for leaf in leaves(sample) if isinstance(leaf, Tensor)]
    versions = [tensor._version for tensor in given]
    output = _execute(call, *sample, state)
    if versions != [tensor._version for tensor in given]:
        raise GraphError(
            f"{call.label()} changes its input in place; in a graph that would be a cycle: the "
            "tensor would be made from itself.\n"
            "  To mend it: use the form that returns a new tensor (inplace=False)."
        )
    return output


def _execute(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], state: State) -> Any:
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
            stack.enter_context(MetaRules())
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
