"""The forward of a model as Python source: the one that runs, and the one to read."""

from __future__ import annotations

import ast
import hashlib
import linecache
import operator
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import BuiltinFunctionType
from typing import Any

import torch
from torch.nn import functional as F

from torchbp.graph.functions import qualified_name
from torchbp.graph.lower import Node, Path, Ref, TensorInfo
from torchbp.graph.names import Taken
from torchbp.graph.structure import field_names, leaves

UNPACKED = 8  # what has more parts is indexed instead


def compile_forward(nodes: tuple[Node, ...], outputs: Any) -> Callable[..., Any]:
    """The function `forward(self, ...)` that the nodes stand for.

    It frees each value after its last use, so that it needs no more memory than a hand-written
    one, and takes submodules from where nn.Module keeps them, without its `__getattr__`: that
    pays for the check of the arguments. In tracebacks and debuggers its lines are the readable
    ones.
    """
    writer = _Writer(nodes, outputs, runs=True)
    source, shown = writer.source(), readable(nodes, outputs)
    filename = f"<forward {hashlib.sha256(source.encode()).hexdigest()[:12]}>"
    linecache.cache[filename] = (len(shown), None, shown.splitlines(keepends=True), filename)
    namespace = {"torch": torch, "F": F, **writer.globals}
    exec(compile(source, filename, "exec"), namespace)
    forward: Callable[..., Any] = namespace["forward"]
    return forward


def readable(nodes: tuple[Node, ...], outputs: Any) -> str:
    """The source of `forward` as a person would have written it."""
    return _Writer(nodes, outputs, runs=False).source()


@dataclass
class _Line:
    """`target = value`, and the variables in it."""

    target: str
    value: ast.expr

    def text(self) -> str:
        return f"{self.target} = {ast.unparse(self.value)}"

    def targets(self) -> list[str]:
        return _names_in(_parsed(self.target))


class _Writer:
    """Writes the nodes of a model as lines.

    Constants, and what is no tensor and is used once, stand where they are used; outputs of
    several parts are unpacked. There are two versions, to run and to read, line by line the same.
    """

    def __init__(self, nodes: tuple[Node, ...], outputs: Any, runs: bool) -> None:
        self.runs = runs
        self.nodes = {node.name: node for node in nodes}
        self.outputs = outputs
        self.globals: dict[str, Any] = {}
        used = [ref for node in nodes for ref in node.refs()]
        self.uses = Counter([*used, *(leaf for leaf in leaves(outputs) if isinstance(leaf, Ref))])
        self.parts = _names_of_parts(self.nodes, self.uses)

    def source(self) -> str:
        """The function as text."""
        lines = [
            _Line(self._target(node), self._call(node))
            for node in self.nodes.values()
            if not self._is_inline(node)
        ]
        inputs = [node.name for node in self.nodes.values() if node.kind == "input"]
        result = self._value(self.outputs)
        texts = [line.text() for line in lines]
        if self.runs:
            texts = _with_frees(lines, [*inputs, *_names_in(result)])
        text = ast.unparse(result)
        if type(self.outputs) is tuple and len(self.outputs) > 1:
            text = text[1:-1]  # return a, b
        body = "\n".join(f"    {text}" for text in [*texts, f"return {text}"])
        return f"def forward({', '.join(['self', *inputs])}):\n{body}"

    def _is_inline(self, node: Node) -> bool:
        if node.kind in ("input", "constant"):
            return True
        no_tensor = not any(isinstance(leaf, TensorInfo) for leaf in leaves(node.output))
        return no_tensor and self.uses[Ref(node.name)] == 1

    def _target(self, node: Node) -> str:
        parts = self.parts.get(node.name)
        return _pattern(node.output, parts) if parts else node.name

    def _call(self, node: Node) -> ast.expr:
        if node.kind == "module":
            module = f"self._modules[{node.target!r}]" if self.runs else f"self.{node.target}"
            return self._applied(_parsed(module), node.args, node.kwargs)
        if node.kind == "method":
            method = ast.Attribute(self._value(node.args[0]), node.target)
            return self._applied(method, node.args[1:], node.kwargs)
        if isinstance(node.target, BuiltinFunctionType) and node.target in _OPERATORS:
            return self._operation(node.target, *node.args)
        name = qualified_name(node.target) or self._global(node.target)
        return self._applied(_parsed(name), node.args, node.kwargs)

    def _operation(self, function: Any, first: Any, *others: Any) -> ast.expr:
        left = self._value(first)
        if function is getattr:
            return ast.Attribute(left, others[0])
        if function is operator.getitem:
            return ast.Subscript(left, self._index(others[0]))
        symbol = _OPERATORS[function]
        if isinstance(symbol, ast.unaryop):
            return ast.UnaryOp(symbol, left)
        right = self._value(others[0])
        if isinstance(symbol, ast.cmpop):
            return ast.Compare(left, [symbol], [right])
        return ast.BinOp(left, symbol, right)

    def _applied(self, function: ast.expr, args: Iterable[Any], kwargs: dict[str, Any]) -> ast.expr:
        keywords = [ast.keyword(key, self._value(value)) for key, value in kwargs.items()]
        return ast.Call(function, [self._value(arg) for arg in args], keywords)

    def _global(self, function: Any) -> str:
        """A name for a function or class that is not torch's."""
        for name, known in self.globals.items():
            if known is function:
                return name
        name = getattr(function, "__name__", "")
        base = name if name.isidentifier() else "function"
        name = Taken([*self.nodes, *self.globals]).free(base)
        self.globals[name] = function
        return name

    def _value(self, value: Any) -> ast.expr:
        if isinstance(value, Ref):
            return self._reference(value)
        if isinstance(value, list):
            return ast.List([self._value(item) for item in value])
        if isinstance(value, dict):
            items = [self._value(item) for item in value.values()]
            return ast.Dict([_literal(key) for key in value], items)
        if isinstance(value, slice):
            return self._applied(_parsed("slice"), (value.start, value.stop, value.step), {})
        if not isinstance(value, tuple):
            return _literal(value)
        if hasattr(value, "_fields"):
            return self._applied(_parsed(self._global(type(value))), value, {})
        return ast.Tuple([self._value(item) for item in value])

    def _reference(self, ref: Ref) -> ast.expr:
        named = self.parts.get(ref.name, {}).get(ref.path)
        if named:
            return ast.Name(named)
        if ref.path:
            whole = self._reference(Ref(ref.name, ref.path[:-1]))
            return ast.Subscript(whole, _literal(ref.path[-1]))
        node = self.nodes[ref.name]
        if node.kind == "constant":
            return _parsed(f"self.{node.target}")
        if node.kind != "input" and self._is_inline(node):
            return self._call(node)
        return ast.Name(ref.name)

    def _index(self, index: Any) -> ast.expr:
        if isinstance(index, tuple):
            return ast.Tuple([self._index(part) for part in index])
        if not isinstance(index, slice):
            return self._value(index)
        bounds = (index.start, index.stop, index.step)
        return ast.Slice(*(None if bound is None else self._value(bound) for bound in bounds))


def _names_of_parts(nodes: dict[str, Node], uses: Iterable[Ref]) -> dict[str, dict[Path, str]]:
    """Variables for the used parts of the outputs that are unpacked, by node.

    A part that is the only one used has the name of its node, as in `output, _ = self.lstm(x)`.
    """
    used: dict[str, list[Path]] = {}
    for ref in uses:
        if ref.path:
            used.setdefault(ref.name, []).append(ref.path)
    taken = Taken(nodes)
    names: dict[str, dict[Path, str]] = {}
    for node, paths in used.items():
        output = nodes[node].output
        if not all(_can_unpack(output, path) for path in paths):
            continue
        if len(paths) == 1:
            names[node] = {paths[0]: node}
        else:
            parts = {path: "_".join([node, *_words(output, path)]) for path in sorted(paths)}
            names[node] = {path: taken.free(name) for path, name in parts.items()}
    return names


def _can_unpack(tree: Any, path: Path) -> bool:
    for key in path:
        if not isinstance(tree, tuple) or len(tree) > UNPACKED:
            return False
        tree = tree[int(key)]
    return True


def _words(tree: Any, path: Path) -> list[str]:
    """`["1", "0"]`, or `["values"]` where the parts have names."""
    words = []
    for key in path:
        fields = field_names(tree)
        words.append(fields[int(key)] if fields else str(key))
        tree = tree[int(key)]
    return words


def _pattern(tree: Any, parts: dict[Path, str], path: Path = ()) -> str:
    """`output, (_, cell)`: names for the parts that are used."""
    if path in parts:
        return parts[path]
    if not any(used[: len(path)] == path for used in parts):
        return "_"
    items = [_pattern(item, parts, (*path, i)) for i, item in enumerate(tree)]
    text = ", ".join(items) if len(items) > 1 else f"{items[0]},"
    return f"({text})" if path else text


def _with_frees(lines: list[_Line], kept: list[str]) -> list[str]:
    """The lines' text, each with the end of the values that nothing below it uses."""
    needed = set(kept)
    variables = {name for line in lines for name in line.targets()}
    texts: list[str] = []
    for line in reversed(lines):
        names = dict.fromkeys([*_names_in(line.value), *line.targets()])
        ended = [name for name in names if name in variables and name not in needed]
        needed.update(ended)
        texts.append(line.text() + (f"; del {', '.join(ended)}" if ended else ""))
    return texts[::-1]


def _names_in(tree: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _literal(value: Any) -> ast.expr:
    """A number, a string, or one of torch's own values; `-1` as an operation, for `(-1) ** x`."""
    if value is Ellipsis:
        return ast.Constant(...)
    if isinstance(value, torch.device):
        return _parsed(f"torch.device({str(value)!r})")
    if isinstance(value, float) and value - value != 0:  # inf, -inf and nan
        return _parsed(repr(value).replace("inf", "torch.inf").replace("nan", "torch.nan"))
    return _parsed(repr(value))


_OPERATORS: dict[Any, Any] = {
    operator.add: ast.Add(), operator.sub: ast.Sub(), operator.mul: ast.Mult(),
    operator.truediv: ast.Div(), operator.floordiv: ast.FloorDiv(), operator.mod: ast.Mod(),
    operator.pow: ast.Pow(), operator.matmul: ast.MatMult(), operator.and_: ast.BitAnd(),
    operator.or_: ast.BitOr(), operator.xor: ast.BitXor(), operator.lshift: ast.LShift(),
    operator.rshift: ast.RShift(), operator.eq: ast.Eq(), operator.ne: ast.NotEq(),
    operator.lt: ast.Lt(), operator.le: ast.LtE(), operator.gt: ast.Gt(), operator.ge: ast.GtE(),
    operator.neg: ast.USub(), operator.pos: ast.UAdd(), operator.invert: ast.Invert(),
    operator.getitem: None, getattr: None,
}  # fmt: skip
