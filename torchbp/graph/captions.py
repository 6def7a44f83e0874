"""What tables and drawings say of a step: what it is, what comes out, which weights it has."""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.graph.lower import Node, Path, TensorInfo

ELLIPSIS = "..."


def type_text(node: Node, model: nn.Module) -> str:
    """What a step is: `Linear`, `F.relu`, `torch.cat`, `Tensor.softmax`, `[:, -1]`, `Input`."""
    if node.kind == "module":
        return type(model.get_submodule(node.target)).__name__
    if node.kind == "method":
        return f"Tensor.{node.target}"
    if node.kind == "function":
        return _function_text(node)
    return node.kind.capitalize()


def output_parts(output: Any, path: Path = ()) -> Iterator[tuple[Path, TensorInfo]]:
    """The tensors in a step's output, each with the keys that lead to it."""
    if isinstance(output, dict):
        for key, part in output.items():
            yield from output_parts(part, (*path, key))
    elif isinstance(output, list | tuple):
        for index, part in enumerate(output):
            yield from output_parts(part, (*path, index))
    elif isinstance(output, TensorInfo):
        yield path, output


def path_text(path: Path) -> str:
    """`[1][0]`: how a part of an output is written behind its name."""
    return "".join(f"[{key!r}]" for key in path)


def weights(module: nn.Module) -> list[Tensor]:
    """The tensors that count as a module's weights, each once.

    They are its parameters, and of its buffers those of floating-point numbers that belong to
    the state dict: the moving averages of BatchNorm, but not its counter of batches, and no
    masks or constants that are left out of the state dict.
    """
    saved = {id(tensor) for tensor in module.state_dict(keep_vars=True).values()}
    buffers = (b for b in module.buffers() if id(b) in saved and b.is_floating_point())
    return [*module.parameters(), *buffers]


def columns(text: str) -> int:
    """How many columns of a terminal a text takes; wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def shortened(text: str, width: int) -> str:
    """The text, with its end replaced by an ellipsis if it takes more columns than `width`."""
    if columns(text) <= width:
        return text
    while columns(text) + len(ELLIPSIS) > width:
        text = text[:-1]
    return text + ELLIPSIS


def _function_text(node: Node) -> str:
    function = node.target
    if function is getattr:
        return f"Tensor.{node.args[1]}"
    if function is operator.getitem:
        return _index_text(node.args[1])
    name = getattr(function, "__name__", type(function).__name__)
    for prefix, namespace in (("operator", operator), ("F", F), ("torch", torch)):
        if getattr(namespace, name, None) is function:
            return f"{prefix}.{name}"
    return str(name)


def _index_text(index: Any) -> str:
    parts = index if isinstance(index, tuple) else (index,)
    return f"[{', '.join(_part_text(part) for part in parts)}]"


def _part_text(part: Any) -> str:
    if part is Ellipsis:
        return "..."
    if not isinstance(part, slice):
        return str(part)
    bounds = [part.start, part.stop] + ([] if part.step is None else [part.step])
    return ":".join("" if bound is None else str(bound) for bound in bounds)
