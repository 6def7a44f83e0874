"""The forward of a model as Python source: the one that runs, and the one to read."""

import ast
import hashlib
import linecache
from collections.abc import Callable
from typing import Any

from torch import fx


def compile_forward(graph: fx.Graph) -> Callable[..., Any]:
    """The function `forward(self, ...)` that a graph stands for.

    It frees each value after its last use, as torch.fx's source does. Its lines show in
    tracebacks and debuggers.
    """
    code = graph.python_code("self")
    source = code.src.lstrip("\n")
    filename = f"<forward {hashlib.sha256(source.encode()).hexdigest()[:12]}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = dict(code.globals)
    exec(compile(source, filename, "exec"), namespace)
    forward: Callable[..., Any] = namespace["forward"]
    return forward


def readable(graph: fx.Graph) -> str:
    """The source of a graph's forward as a person would write it.

    `F.relu` stands for `torch.nn.functional.relu`, `x[:, -1]` for an index by slice objects, and
    the lines that free values are left out.
    """
    tree = ast.parse(graph.python_code("self").src)
    forward = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    forward.body = [line for line in forward.body if not _frees_a_value(line)]
    return ast.unparse(ast.fix_missing_locations(_Rewrite().visit(forward)))


def _frees_a_value(line: ast.stmt) -> bool:
    return (
        isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Constant)
        and line.value.value is None
    )


class _Rewrite(ast.NodeTransformer):
    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:  # noqa: N802 - ast's name
        if ast.unparse(node) == "torch.nn.functional":
            return ast.Name("F")
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:  # noqa: N802 - ast's name
        if isinstance(node.slice, ast.Tuple):
            node.slice.elts = [_as_slice(part) for part in node.slice.elts]
        else:
            node.slice = _as_slice(node.slice)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:  # noqa: N802 - ast's name
        self.generic_visit(node)
        if ast.unparse(node.func) in ("getattr", "builtins.getattr", "_getattr"):
            owner, attribute = node.args
            if isinstance(attribute, ast.Constant):
                return ast.Attribute(owner, attribute.value)
        return node


def _as_slice(part: ast.expr) -> ast.expr:
    """`slice(1, None, None)` as `1:`."""
    if not (isinstance(part, ast.Call) and ast.unparse(part.func) == "slice"):
        return part
    bounds = [None if ast.unparse(bound) == "None" else bound for bound in part.args]
    return ast.Slice(*bounds)
