"""Expressions as text, in the layout of ruff format: lines of at most 100 columns."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Any

WIDTH = 100
INDENT = "    "

_PRECEDENCE: dict[type[ast.AST], tuple[int, str]] = {
    ast.BitOr: (5, "|"), ast.BitXor: (6, "^"), ast.BitAnd: (7, "&"), ast.LShift: (8, "<<"),
    ast.RShift: (8, ">>"), ast.Add: (9, "+"), ast.Sub: (9, "-"), ast.Mult: (10, "*"),
    ast.Div: (10, "/"), ast.FloorDiv: (10, "//"), ast.Mod: (10, "%"), ast.MatMult: (10, "@"),
    ast.Pow: (12, "**"), ast.USub: (11, "-"), ast.UAdd: (11, "+"), ast.Invert: (11, "~"),
    ast.Eq: (4, "=="), ast.NotEq: (4, "!="), ast.Lt: (4, "<"), ast.LtE: (4, "<="),
    ast.Gt: (4, ">"), ast.GtE: (4, ">="),
}  # fmt: skip
_ATOM = 20


def name(text: str) -> ast.expr:
    """A name, or names with dots between them."""
    first, *rest = text.split(".")
    tree: ast.expr = ast.Name(first)
    for part in rest:
        tree = ast.Attribute(tree, part)
    return tree


def called(function: str, args: Iterable[ast.expr], **kwargs: ast.expr) -> ast.Call:
    """A call of a function by its name."""
    return ast.Call(name(function), list(args), [ast.keyword(k, v) for k, v in kwargs.items()])


def flat(tree: ast.expr) -> str:
    """An expression on one line."""
    return _flat(tree)[0]


def statement(
    before: str, tree: ast.expr, depth: int, after: str = "", comma: str = ""
) -> list[str]:
    """The lines of `before` and an expression, indented; `after` is a comment where it fits."""
    margin = INDENT * depth
    line = margin + before + flat(tree) + comma
    if len(line) <= WIDTH:
        with_comment = f"{line}  # {after}"
        return [with_comment if after and len(with_comment) <= WIDTH else line]
    items = _bracketed(tree)
    if items is None:  # an operation or a name, in brackets of its own
        return [f"{margin}{before}(", *statement("", tree, depth + 1), f"{margin}){comma}"]
    opening, parts, closing = items
    return [
        f"{margin}{before}{opening}",
        *_inside(parts, depth + 1, closing),
        margin + closing + comma,
    ]


def listed(names: Sequence[str], most: int = 3) -> str:
    """`a, b and c`; the last ones as a number where they are many."""
    shown = (
        list(names) if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    )
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _inside(parts: Sequence[tuple[str, ast.expr]], depth: int, closing: str) -> list[str]:
    """What stands within brackets: on one line, or on one each."""
    line = INDENT * depth + ", ".join(before + flat(tree) for before, tree in parts)
    if len(line) <= WIDTH and closing == ")":
        return [line]
    lines: list[str] = []
    for before, tree in parts:
        lines += statement(before, tree, depth, comma=",")
    return lines


def _bracketed(tree: ast.expr) -> tuple[str, list[tuple[str, ast.expr]], str] | None:
    """The text up to a bracket, what stands in it, and the bracket's end."""
    if isinstance(tree, ast.Call) and (tree.args or tree.keywords):
        parts = [("", arg) for arg in tree.args]
        parts += [(f"{keyword.arg}=", keyword.value) for keyword in tree.keywords]
        return f"{flat(tree.func)}(", parts, ")"
    if isinstance(tree, ast.Tuple | ast.List) and tree.elts:
        ends = "()" if isinstance(tree, ast.Tuple) else "[]"
        return ends[0], [("", item) for item in tree.elts], ends[1] if ends == "[]" else ")"
    if isinstance(tree, ast.Dict) and tree.keys:
        pairs = zip(tree.keys, tree.values, strict=True)
        return "{", [(f"{flat(key)}: ", value) for key, value in pairs if key is not None], "}"
    return None


def _flat(tree: ast.AST) -> tuple[str, int]:
    """The text, and how strongly it binds."""
    if isinstance(tree, ast.Constant):
        return _constant(tree.value), _ATOM
    if isinstance(tree, ast.Name):
        return tree.id, _ATOM
    if isinstance(tree, ast.Attribute):
        return f"{_operand(tree.value, _ATOM)}.{tree.attr}", _ATOM
    if isinstance(tree, ast.Call):
        args = [_flat(arg)[0] for arg in tree.args]
        args += [f"{keyword.arg}={_flat(keyword.value)[0]}" for keyword in tree.keywords]
        return f"{_operand(tree.func, _ATOM)}({', '.join(args)})", _ATOM
    if isinstance(tree, ast.Tuple):
        items = ", ".join(_flat(item)[0] for item in tree.elts)
        return f"({items},)" if len(tree.elts) == 1 else f"({items})", _ATOM
    if isinstance(tree, ast.List):
        return f"[{', '.join(_flat(item)[0] for item in tree.elts)}]", _ATOM
    if isinstance(tree, ast.Dict):
        pairs = zip(tree.keys, tree.values, strict=True)
        items = ", ".join(f"{_flat(k)[0]}: {_flat(v)[0]}" for k, v in pairs if k is not None)
        return f"{{{items}}}", _ATOM
    if isinstance(tree, ast.Subscript):
        return f"{_operand(tree.value, _ATOM)}[{_index(tree.slice)}]", _ATOM
    if isinstance(tree, ast.Starred):
        return f"*{_flat(tree.value)[0]}", 0
    return _operation(tree)


def _operation(tree: ast.AST) -> tuple[str, int]:
    if isinstance(tree, ast.UnaryOp):
        rank, symbol = _PRECEDENCE[type(tree.op)]
        return symbol + _operand(tree.operand, rank), rank
    if isinstance(tree, ast.Compare):
        rank, symbol = _PRECEDENCE[type(tree.ops[0])]
        left, right = _operand(tree.left, rank + 1), _operand(tree.comparators[0], rank + 1)
        return f"{left} {symbol} {right}", rank
    assert isinstance(tree, ast.BinOp), type(tree)
    rank, symbol = _PRECEDENCE[type(tree.op)]
    if isinstance(tree.op, ast.Pow):
        left, right = _operand(tree.left, rank + 1), _operand(tree.right, rank - 1)
        hugs = _is_simple(tree.left) and _is_simple(tree.right)
        return f"{left}**{right}" if hugs else f"{left} ** {right}", rank
    return f"{_operand(tree.left, rank)} {symbol} {_operand(tree.right, rank + 1)}", rank


def _operand(tree: ast.AST, rank: int) -> str:
    text, own = _flat(tree)
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int | float):
        own = 11 if tree.value < 0 else own
        is_bare = rank == _ATOM and not isinstance(tree.value, bool)
        return f"({text})" if is_bare or own < rank else text
    return text if own >= rank else f"({text})"


def _is_simple(tree: ast.AST) -> bool:
    """What ruff hugs in a power."""
    if isinstance(tree, ast.UnaryOp):
        return isinstance(tree.op, ast.USub) and isinstance(tree.operand, ast.Name | ast.Constant)
    while isinstance(tree, ast.Attribute):
        tree = tree.value
    return isinstance(tree, ast.Name) or (
        isinstance(tree, ast.Constant) and type(tree.value) in (int, float)
    )


def _index(tree: ast.AST) -> str:
    if isinstance(tree, ast.Tuple) and tree.elts:
        text = ", ".join(_index(item) for item in tree.elts)
        return text + "," if len(tree.elts) == 1 else text
    if not isinstance(tree, ast.Slice):
        return _flat(tree)[0]
    bounds = [part for part in (tree.lower, tree.upper, tree.step) if part is not None]
    gap = "" if all(_is_simple(part) for part in bounds) else " "
    lower, upper = (_flat(part)[0] if part else "" for part in (tree.lower, tree.upper))
    text = f"{lower}{gap if lower else ''}:{gap if upper else ''}{upper}"
    if tree.step is not None:
        text += f"{gap if upper else ''}:{gap}{_flat(tree.step)[0]}"
    return text


def _constant(value: Any) -> str:
    if value is Ellipsis:
        return "..."
    text = repr(value)
    if isinstance(value, str) and text.startswith("'") and '"' not in text:
        return f'"{text[1:-1]}"'
    return text
