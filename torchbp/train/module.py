"""What the Trainer does with a module: call it on a batch, hold it in a mode, find where it is."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchbp.errors import DataError


def call_model(model: nn.Module, inputs: Any) -> Any:
    """The outputs; a dict of inputs is given by name, a list or tuple by position."""
    if isinstance(inputs, Tensor):  # first, since it is the usual case
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, list | tuple) else model(inputs)


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """The model in one mode, and afterwards each of its parts in the one that it had."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


def device_of(model: nn.Module) -> torch.device:
    """Where the first parameter or buffer is; the CPU if there is none."""
    return next(_tensors(model), torch.zeros(())).device


def float_dtype_of(model: nn.Module) -> torch.dtype:
    """The floating type that the model computes in, as its first parameter tells."""
    dtypes = (tensor.dtype for tensor in _tensors(model) if tensor.is_floating_point())
    return next(dtypes, torch.get_default_dtype())


def make_optimizer(
    optimizer: Optimizer | Callable[..., Optimizer] | None, model: nn.Module
) -> Optimizer | None:
    """The optimizer itself, or the one that a function makes of the model's parameters.

    Raises:
        DataError: it would train none of them.
    """
    if optimizer is None:
        return None
    made = optimizer if isinstance(optimizer, Optimizer) else optimizer(model.parameters())
    own = {id(parameter) for parameter in model.parameters()}
    groups = made.param_groups if isinstance(made, Optimizer) else []
    if not any(id(parameter) in own for group in groups for parameter in group["params"]):
        raise DataError(
            f"optimizer: expected one of the model's parameters, or a function that makes it of "
            f"them, got {type(made).__name__} with none of them.\n"
            "  To mend it: pass torch.optim.Adam, or torch.optim.Adam(model.parameters())."
        )
    return made


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
