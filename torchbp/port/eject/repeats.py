"""Where a graph repeats: runs of steps with one value in, one value out, and the same structure."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torchbp.port.eject.creation import Creation
from torchbp.port.eject.steps import Graph, Step, names_in
from torchbp.port.eject.text import flat

LONGEST = 64  # steps of a block

# calls in which numbers are sizes, which may differ from block to block
_OF_KERNELS = {"kernel_size", "padding", "dilation"}
_OF_SIZES = {"reshape", "view", "unflatten", "expand"}


@dataclass(frozen=True)
class Span:
    """A run of steps.

    Args:
        start: of its first step.
        stop: behind its last.
        entry: the value that it takes.
    """

    start: int
    stop: int
    entry: str


def is_number(tree: ast.AST) -> bool:
    """Whether it is a number, or a tuple of numbers."""
    if isinstance(tree, ast.Tuple):
        return bool(tree.elts) and all(is_number(item) for item in tree.elts)
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        tree = tree.operand
    return isinstance(tree, ast.Constant) and type(tree.value) in (int, float)


Form = Literal["gate", "branched", "row"]


def repeats(graph: Graph, form: Form) -> Iterator[tuple[list[Span], float]]:
    """Spans of one structure that do not overlap, and about how many lines a class would save.

    Args:
        graph: to look in.
        form: "gate" for those that end with a product of their input, "branched" for those whose
            last step joins branches, which may have other blocks within, "row" for layers one
            after the other.
    """
    for spans in _Finder(graph, form).groups().values():
        chosen = _apart(spans)
        if len(chosen) > 1:
            yield chosen, _saved(graph, chosen)


def _apart(spans: list[Span]) -> list[Span]:
    """Those that do not overlap, from the first on."""
    chosen: list[Span] = []
    for span in spans:
        if not chosen or span.start >= chosen[-1].stop:
            chosen.append(span)
    return chosen


def _saved(graph: Graph, spans: list[Span]) -> float:
    """Lines saved, but for those that the arguments of the class cost."""
    steps = graph.steps[spans[0].start : spans[0].stop]
    lines = sum(step.module is not None for step in steps) + len(steps) / 2
    bonus = sum(_is_told(graph, span) for span in spans)
    bonus += sum(_is_beside_block(graph, span) for span in spans)
    return (len(spans) - 1) * lines - 6 - len(spans) + bonus


def _is_told(graph: Graph, span: Span) -> float:
    """How far the names of the modules say that they belong together, and that no others do."""
    steps = graph.steps[span.start : span.stop]
    prefix = own_prefix(graph, steps)
    if not prefix:
        return 0.0
    outside = graph.steps[: span.start] + graph.steps[span.stop :]
    if any((step.module or "").startswith(prefix) for step in outside):
        return -2.0
    count = sum(step.module is not None for step in steps)
    return 0.6 * count if count > 2 else 0.0


def _is_beside_block(graph: Graph, span: Span) -> bool:
    """Whether it would lengthen a row of blocks."""
    beside = graph.steps[max(span.start - 1, 0) : span.start] + graph.steps[span.stop :][:1]
    return any(step.module and graph.parts[step.module].kind == "block" for step in beside)


def own_prefix(graph: Graph, steps: list[Step]) -> str:
    """What the names of the modules with weights begin with."""
    named = [s.module for s in steps if s.module and graph.parts[s.module].has_weights]
    return common_prefix(named)


def common_prefix(names: list[str]) -> str:
    """What all names begin with, up to an underscore: `block_2_`."""
    if len(names) < 2:
        return ""
    shortest, longest = min(names), max(names)
    count = next((i for i, c in enumerate(shortest) if longest[i : i + 1] != c), len(shortest))
    return shortest[: shortest.rfind("_", 0, count) + 1]


class _Finder:
    """Collects the spans that could be blocks, by their structure."""

    def __init__(self, graph: Graph, form: Form) -> None:
        self.graph, self.form = graph, form
        self.branched = form != "row"
        self.position = {step.name: i for i, step in enumerate(graph.steps)}
        calls = Counter(step.module for step in graph.steps)
        self.once = {name for name, count in calls.items() if count == 1}
        self.sources = [names_in(step.value) for step in graph.steps]
        self.last_use = self._last_uses()
        self.looks = [self._look(step) for step in graph.steps]

    def groups(self) -> dict[Any, list[Span]]:
        """The spans that could be blocks, by their structure."""
        known: dict[Any, int] = {}
        groups: dict[Any, list[Span]] = defaultdict(list)
        for start, step in enumerate(self.graph.steps):
            if self._may_begin(step):
                self._from(start, known, groups)
        return {key: spans for key, spans in groups.items() if len(spans) > 1}

    def _has_form(self, last: Step, entry: str, branches: bool) -> bool:
        if self.form == "row":
            return not branches
        if self.form == "branched":
            return is_joint(last.value)
        is_product = isinstance(last.value, ast.BinOp) and isinstance(last.value.op, ast.Mult)
        return is_product and entry in last.used()

    def _may_begin(self, step: Step) -> bool:
        """Whether a block may begin here: not with what belongs to the layer before."""
        part = self.graph.parts[step.module] if step.module is not None else None
        if part is not None and part.has_weights and "Norm" not in part.function:
            return True
        if not self.branched:
            return isinstance(step.value, ast.Call) and flat(step.value.func) == "F.pad"
        before = [self.graph.steps[self.position[n]] for n in step.used() if n in self.position]
        if len(before) != 1 or before[0].module is None or is_joint(step.value):
            return True
        return not self.graph.parts[before[0].module].has_weights or self._is_forked(before[0])

    def _is_forked(self, step: Step) -> bool:
        return sum(names.count(step.name) for names in self.sources) > 1

    def _from(self, start: int, known: dict[Any, int], groups: dict[Any, list[Span]]) -> None:
        """Adds the spans that begin at a step."""
        entry, key, weighted, open_until, branches = "", -1, 0, start, False
        for stop in range(start + 1, min(start + LONGEST, len(self.graph.steps)) + 1):
            step, look = self.graph.steps[stop - 1], self.looks[stop - 1]
            outer = [name for name in self.sources[stop - 1] if self._where(name) < start]
            entry = entry or (outer[0] if outer else "")
            if look is None or set(outer) - {entry}:
                return
            joins = is_joint(step.value)
            branches = branches or joins
            wiring = tuple(self._where(name) - start for name in self.sources[stop - 1])
            key = known.setdefault((key, look, tuple(max(n, -1) for n in wiring)), len(known))
            weighted += step.module is not None and self.graph.parts[step.module].has_weights
            is_closed = open_until < stop  # all values within are used within
            open_until = max(open_until, self.last_use[step.name])
            is_worth = is_closed and entry and weighted > 1 and stop - start > 2
            if is_worth and self._has_form(step, entry, branches):
                groups[key].append(Span(start, stop, entry))
            is_whole = step.module is not None and self.graph.parts[step.module].kind == "block"
            if is_closed and (joins or is_whole) and self.last_use.get(entry, stop) < stop:
                return  # what follows is another block

    def _where(self, name: str) -> int:
        """The step that gives a value; -1 for an argument."""
        return self.position.get(name, -1)

    def _last_uses(self) -> dict[str, int]:
        """The last step that uses each value; the number of steps if it is returned."""
        found = dict.fromkeys(self.position, len(self.graph.steps))
        for number, names in enumerate(self.sources):
            found.update(dict.fromkeys(names, number))
        return found | dict.fromkeys(names_in(self.graph.result), len(self.graph.steps))

    def _look(self, step: Step) -> str | None:
        """What a step must have in common with that of another block; None if it is in none."""
        if step.target != step.name or (step.module and step.module not in self.once):
            return None
        if any(_attribute(part) in self.graph.constants for part in ast.walk(step.value)):
            return None
        look = _masked(step.value, _OF_SIZES)
        if step.module is None:
            return look
        made = self.graph.parts[step.module]
        if made.kind == "model" or (made.kind == "block" and not self.branched):
            return None
        look = look.replace(repr(step.module), "module")
        return "|".join([look, made.function, made.why, str(made.fixed), *self._arguments(made)])

    def _arguments(self, made: Creation) -> Iterator[str]:
        """The arguments; numbers that are sizes are left out."""
        for key, argument in made.arguments.items():
            if key == "groups":
                yield "grouped" * (flat(argument.value) != "1")
            elif key in _OF_KERNELS and not self.branched:
                yield flat(argument.value)
            else:
                yield _masked(argument.value, None)


def is_joint(value: ast.expr) -> bool:
    """Whether it joins branches."""
    return len(set(names_in(value))) > 1


def _attribute(tree: ast.AST) -> str:
    is_own = isinstance(tree, ast.Attribute) and isinstance(tree.value, ast.Name)
    return tree.attr if is_own and tree.value.id == "self" else ""  # type: ignore[attr-defined]


def _masked(tree: ast.expr, methods: set[str] | None) -> str:
    """The structure of an expression, without names and, in these methods or all, numbers."""
    return ast.dump(_Mask(methods).visit(ast.parse(ast.unparse(tree), mode="eval").body))


class _Mask(ast.NodeTransformer):
    def __init__(self, methods: set[str] | None) -> None:
        self.methods = methods
        self.masks = methods is None

    def visit(self, node: ast.AST) -> Any:
        if self.masks and is_number(node):
            return ast.Constant("#")
        return super().visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return node if node.id in ("self", "torch", "F", "nn", "layers", "slice") else ast.Name("_")

    def visit_Call(self, node: ast.Call) -> ast.AST:
        before = self.masks
        func = self.visit(node.func)
        if self.methods and isinstance(node.func, ast.Attribute):
            self.masks = node.func.attr in self.methods
        args = [self.visit(arg) for arg in node.args]
        keywords = [ast.keyword(word.arg, self.visit(word.value)) for word in node.keywords]
        self.masks = before
        return ast.Call(func, args, keywords)
