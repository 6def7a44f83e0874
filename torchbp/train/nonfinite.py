"""Which layer makes a number that is not finite."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from torchbp.train.module import call_model, device_of
from torchbp.train.tensors import named_tensors


def first_nonfinite_layer(model: nn.Module, inputs: Any) -> str | None:
    """What in a model first gives NaN or infinity, found by running a batch again.

    The run leaves no trace: buffers, such as BatchNorm's statistics, and random states are as
    they were. Dropout draws anew in it.

    Args:
        model: in the mode in which it gave the number.
        inputs: of the batch, in any form that the Trainer gives the model.

    Returns:
        The layer and what is wrong with it, or that the inputs are; None if all of its outputs
        are finite.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> _ = nn.init.constant_(model[1].weight, torch.nan)
        >>> first_nonfinite_layer(model, torch.ones(1, 2))
        "'1' (Linear): its weight is not finite"
    """
    for name, tensor in named_tensors(inputs, "inputs"):
        if not is_finite(tensor):
            return f"the batch itself: its {name} is not finite"
    finder = _Finder()
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(_without_trace(model))
        for name, module in model.named_modules():
            stack.enter_context(finder.watch(name, module))
        call_model(model, inputs)
    return finder.found


def is_finite(value: Any) -> bool:
    """Whether all numbers of all tensors in a structure are finite; waits for the device."""
    return all(bool(tensor.isfinite().all()) for _, tensor in named_tensors(value, ""))


class _Finder:
    """Hears modules begin and end, and keeps the first that is not finite."""

    def __init__(self) -> None:
        self.found: str | None = None

    @contextmanager
    def watch(self, name: str, module: nn.Module) -> Iterator[None]:
        def begins(_: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
            if self.found is None and not (is_finite(args) and is_finite(kwargs)):
                self.found = (
                    f"an operation before {_named(name, module)}, outside of a layer: it gives "
                    "that one an input that is not finite"
                )

        def ends(_: nn.Module, args: Any, output: Any) -> None:
            if self.found is None and not is_finite(output):
                self.found = f"{_named(name, module)}: {_fault(module)}"

        handles = (
            module.register_forward_pre_hook(begins, with_kwargs=True),
            module.register_forward_hook(ends),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _named(name: str, module: nn.Module) -> str:
    return f"{name!r} ({type(module).__name__})" if name else f"the model ({type(module).__name__})"


def _fault(module: nn.Module) -> str:
    """Why the output is not finite, the input having been."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if not is_finite(tensor):
            return f"its {name} is not finite"
    return "its output is not finite while its input is"


@contextmanager
def _without_trace(model: nn.Module) -> Iterator[None]:
    """Brings buffers and random states back afterwards."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    device = device_of(model)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            for buffer, value in before:
                buffer.copy_(value)
