"""What tables and drawings say of a step: what it is, what comes out, which weights it has."""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from torchbp.graph.functions import qualified_name
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


def leaf_paths(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf of nested lists, tuples and dicts, with the keys that lead to it."""
    if isinstance(tree, list | tuple | dict):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, part in items:
            yield from leaf_paths(part, (*path, key))
    else:
        yield path, tree


def output_tensors(node: Node) -> Iterator[tuple[Path, TensorInfo]]:
    """The tensors in a step's output, each with the keys that lead to it."""
    for path, leaf in leaf_paths(node.output):
        if isinstance(leaf, TensorInfo):
            yield path, leaf


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


def printable(text: str) -> str:
    """The text without control characters, which break lines and files."""
    return "".join(char if char.isprintable() else "?" for char in text)


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
    if getattr(function, "__module__", "") == "_operator":
        return f"operator.{name}"
    return qualified_name(function) or str(name)


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
