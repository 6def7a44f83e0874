"""The graph of a model as steps of source: values, the modules that give them, and constants."""

from __future__ import annotations

import ast
import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.errors import DataError
from torchbp.graph import Model
from torchbp.graph.lower import Node, Ref, TensorInfo
from torchbp.graph.source import _Writer
from torchbp.port.eject import modules
from torchbp.port.eject.creation import Creation, literal
from torchbp.port.eject.text import called, name

LITERAL_SIZE = 32  # larger constants are kept with the weights

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Step:
    """`target = value`.

    Args:
        name: of the step; that of the value if there is one.
        target: what the value is assigned to: a name, or a pattern of names.
        value: an expression of other steps' names and of `self`'s modules.
        shape: of the value, None if it is no tensor or several.
        module: the name of the module that is called.
    """

    name: str
    target: str
    value: ast.expr
    shape: Shape | None = None
    module: str | None = None

    def targets(self) -> list[str]:
        """The names that are assigned to."""
        return [word for word in re.findall(r"\w+", self.target) if word != "_"]

    def used(self) -> list[str]:
        """The names in the value, in order, each once."""
        return list(dict.fromkeys(names_in(self.value)))


@dataclass
class Graph:
    """A model as source is written of it.

    Args:
        steps: in the order of computation.
        inputs: the names of the arguments, and their shapes.
        result: what is returned.
        parts: the modules of the steps, by name.
        constants: tensors that the steps use, by name.
        outputs: the structure of the outputs, for its type.
    """

    steps: list[Step]
    inputs: dict[str, Shape | None]
    result: ast.expr
    parts: dict[str, Creation]
    constants: dict[str, Tensor]
    outputs: Any


Write = Callable[[str, nn.Module], Creation]
_GLOBALS = {"self", "torch", "F", "slice"}


def graph_of(model: Model, write: Write) -> Graph:
    """The steps of a model.

    Args:
        model: to be written.
        write: gives the call that makes a module, by its name in the model.

    Raises:
        DataError: it calls something that no source can be written for.
    """
    writer = _Steps(model)
    steps = list(writer.steps())
    if writer.globals:
        raise DataError(
            f"eject: expected functions of torch, got {sorted(writer.globals)}.\n"
            "  To mend it: make a module of each, in a file that can be imported, and call that."
        )
    called_modules = dict.fromkeys(step.module for step in steps if step.module is not None)
    parts = {key: write(key, model.get_submodule(key)) for key in called_modules}
    constants = {
        node.name: getattr(model, node.target) for node in model.nodes if node.kind == "constant"
    }
    inputs = {node.name: _shape(node.output) for node in model.nodes if node.kind == "input"}
    return Graph(steps, inputs, writer.result(), parts, constants, model.outputs)


class _Steps(_Writer):
    """Writes the nodes of a model as steps, calls of layers without weights as expressions."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.nodes, model.outputs, runs=False)
        self._model = model

    def steps(self) -> Iterator[Step]:
        """A step for each node that is a line of its own."""
        for node in self.nodes.values():
            if self._is_inline(node):
                continue
            value = self._call(node)
            is_called = isinstance(value, ast.Call) and _is_of_self(value.func)
            module = node.target if node.kind == "module" and is_called else None
            yield Step(node.name, self._target(node), value, _shape(node.output), module)

    def result(self) -> ast.expr:
        """What the model returns."""
        return self._value(self.outputs)

    def _call(self, node: Node) -> ast.expr:
        if node.kind == "module" and not node.kwargs:
            given = [arg for arg in node.args if isinstance(arg, Ref)]
            if len(given) == len(node.args):
                module = self._model.get_submodule(node.target)
                args = [self._value(arg) for arg in given]
                first = _tensor_info(self.nodes[given[0].name].output, given[0].path)
                num_dims = None if first is None else len(first.shape)
                found = modules.expression(module, args, num_dims)
                if found is not None:
                    return found
        return super()._call(node)


def _is_of_self(function: ast.expr) -> bool:
    while isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name) and function.id == "self"


def _tensor_info(output: Any, path: Any) -> TensorInfo | None:
    for key in path:
        output = output[key]
    return output if isinstance(output, TensorInfo) else None


def _shape(output: Any) -> Shape | None:
    return output.shape if isinstance(output, TensorInfo) else None


def uses(graph: Graph) -> Counter[str]:
    """How often each value is used, the result included."""
    trees = (*(step.value for step in graph.steps), graph.result)
    return Counter(name for tree in trees for name in names_in(tree))


def names_in(tree: ast.AST) -> list[str]:
    """The values in an expression."""
    found = [part.id for part in ast.walk(tree) if isinstance(part, ast.Name)]
    return [name for name in found if name not in _GLOBALS]


def substituted(tree: ast.expr, values: dict[str, ast.expr]) -> ast.expr:
    """An expression with others in place of names."""
    return _Substitution(values).visit(copy.deepcopy(tree))


class _Substitution(ast.NodeTransformer):
    def __init__(self, values: dict[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.values.get(node.id, node)


def constant_source(tensor: Tensor) -> ast.expr | None:
    """A constant as an expression; None for one that is kept with the weights."""
    is_usual = tensor.dtype in (torch.float32, torch.int64, torch.bool)
    kwargs = {} if is_usual else {"dtype": name(str(tensor.dtype))}
    if tensor.numel() > 1 and (tensor == tensor.flatten()[0]).all():
        value = tensor.flatten()[0].item()
        size = ast.Tuple([ast.Constant(n) for n in tensor.shape])
        return called("torch.full", [size, _listed(value)], **kwargs)
    if tensor.ndim == 1 and len(tensor) > 4 and _is_range(tensor):
        return called("torch.arange", [ast.Constant(len(tensor))])
    if tensor.numel() > LITERAL_SIZE or tensor.numel() == 0 or tensor.dtype.is_complex:
        return None
    return called("torch.tensor", [_listed(tensor.tolist())], **kwargs)


def _is_range(tensor: Tensor) -> bool:
    return tensor.dtype is torch.int64 and torch.equal(tensor, torch.arange(len(tensor)))


def _listed(value: Any) -> ast.expr:
    if isinstance(value, list):
        return ast.List([_listed(item) for item in value])
    return literal(value, set())
