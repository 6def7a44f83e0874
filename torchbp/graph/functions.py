"""torch's functions by the names that people write: in code, in messages, in pickles."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch.nn import functional as F

# Where code looks first: F.conv2d is also torch.conv2d.
_HOMES: dict[str, types.ModuleType] = {
    "F": F, "torch": torch, "torch.linalg": torch.linalg, "torch.fft": torch.fft,
    "torch.special": torch.special,
}  # fmt: skip


def qualified_name(function: Callable[..., Any]) -> str | None:
    """`F.relu`, `torch.cat`, `torch.linalg.norm`; None for what is not torch's."""
    return _names().get(function) if isinstance(function, Hashable) else None


def is_torchs(function: Callable[..., Any]) -> bool:
    """Whether it is a function of torch, or an operator of Python, which tensors take."""
    operation = function is getattr or getattr(function, "__module__", "") == "_operator"
    return operation or qualified_name(function) is not None


def function_named(name: str) -> Callable[..., Any]:
    """The function of a qualified name."""
    home, _, attribute = name.rpartition(".")
    function: Callable[..., Any] = getattr(_HOMES[home], attribute)
    return function


def plain_name(function: Callable[..., Any]) -> str:
    """What results of the function are called: `relu`, `norm`; `call` where it has no name."""
    full = qualified_name(function) or getattr(function, "__name__", "")
    name = str(full).rpartition(".")[2].strip("_")
    return name if name.isidentifier() else "call"


@functools.cache
def _names() -> dict[Any, str]:
    names: dict[Any, str] = {}
    for home, module in _HOMES.items():
        for name, value in vars(module).items():
            if callable(value) and not name.startswith("_"):
                names.setdefault(value, f"{home}.{name}")
    return names
