"""A forward as a person would write it: few variables, calls within calls, shapes as comments."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from torchbp.graph.names import Taken
from torchbp.graph.structure import leaves
from torchbp.port.eject.blocks import shape_text
from torchbp.port.eject.steps import Graph, Shape, Step, names_in, substituted, uses
from torchbp.port.eject.text import INDENT, flat, name, statement

DEEPEST = 3  # calls within one another on a line
WIDEST = 84  # columns of these, without a comment
_VARIABLES = ("x", "y", "z", "u", "v", "w")
_NAMELESS = re.compile(r"(input|inputs|input_layer|input_tensor|keras_tensor|x)(_?\d+)*")


def forward_of(graph: Graph) -> list[str]:
    """The lines of a forward, indented for a class."""
    inputs = _input_names(graph)
    steps, result = _folded(graph)
    variables = _Variables(inputs, steps, result)
    arguments = ", ".join(["self", *(f"{new}: Tensor" for new in inputs.values())])
    lines = [f"{INDENT}def forward({arguments}) -> {type_of(graph.outputs)}:"]
    last_shape = next(iter(graph.inputs.values()))
    for number, step in enumerate(steps):
        value = substituted(step.value, variables.before(number))
        shown = shape_text(step.shape) if step.shape != last_shape else ""
        last_shape = step.shape or last_shape
        lines += statement(f"{variables.target(number)} = ", value, 2, shown)
    tree = substituted(result, variables.before(len(steps)))
    if isinstance(tree, ast.Tuple) and len(tree.elts) > 1:
        line = f"{INDENT * 2}return {flat(tree)[1:-1]}"
        if len(line) <= 100:
            return [*lines, line]
    final = shape_text(_only_shape(graph)) if not isinstance(tree, ast.Name) else ""
    return [*lines, *statement("return ", tree, 2, final)]


def type_of(outputs: Any) -> str:
    """The annotation of what a model returns; None is one tensor."""
    if isinstance(outputs, dict):
        kinds = {type_of(item) for item in outputs.values()}
        return f"dict[str, {' | '.join(sorted(kinds))}]"
    if isinstance(outputs, list):
        return f"list[{' | '.join(sorted({type_of(item) for item in outputs}))}]"
    if isinstance(outputs, tuple):
        return f"tuple[{', '.join(type_of(item) for item in outputs)}]"
    return "Tensor"


def _only_shape(graph: Graph) -> Shape | None:
    """The shape of the output, if there is one output."""
    found = [step.shape for step in graph.steps if step.target == flat(graph.result)]
    return found[0] if found and len(list(leaves(graph.outputs))) == 1 else None


def _input_names(graph: Graph) -> dict[str, str]:
    """The arguments: `x` for a single one whose name says nothing."""
    if len(graph.inputs) == 1:
        [only] = graph.inputs
        if _NAMELESS.fullmatch(only):
            return {only: "x"}
    return {given: given for given in graph.inputs}


def _folded(graph: Graph) -> tuple[list[Step], ast.expr]:
    """The steps, those that only the next one uses within that one; and what is returned."""
    counts = uses(graph)
    folded: list[Step] = []
    following = [*(step.value for step in graph.steps[1:]), graph.result]
    for step, after in zip(graph.steps, following, strict=True):
        deepest = DEEPEST - _is_activation(after)  # which is to find room on the line
        if folded and _fits(folded[-1], step.value, graph, counts, deepest):
            before = folded.pop()
            value = substituted(step.value, {before.name: before.value})
            step = dataclasses.replace(step, value=value)
        folded.append(step)
    result = graph.result
    is_last = folded and isinstance(result, ast.Name) and result.id == folded[-1].target
    if is_last and counts[folded[-1].target] == 1:
        result = folded.pop().value
    return folded, result


def _fits(before: Step, value: ast.expr, graph: Graph, counts: Counter[str], deepest: int) -> bool:
    """Whether a step can stand within the value of the next one."""
    if before.target != before.name or counts[before.name] != 1:
        return False
    if before.name not in names_in(value) or _ends_line(before, value, graph):
        return False
    whole = substituted(value, {before.name: before.value})
    short = {variable: name("x") for variable in names_in(whole)}
    return _depth(whole) <= deepest and len(flat(substituted(whole, short))) <= WIDEST


def _ends_line(before: Step, value: ast.expr, graph: Graph) -> bool:
    """A line ends after activations, and norms and joints before others; padding begins one."""
    if _is_activation(before.value) or _is_call_of(value, "F.pad"):
        return True
    is_norm = before.module is not None and "Norm" in graph.parts[before.module].function
    return (is_norm or len(names_in(before.value)) > 1) and not _is_activation(value)


def _is_call_of(value: ast.expr, function: str) -> bool:
    return isinstance(value, ast.Call) and flat(value.func) == function


def _is_activation(value: ast.expr) -> bool:
    """After it a line ends."""
    if not isinstance(value, ast.Call):
        return False
    function = flat(value.func)
    others = ("torch.softmax", "torch.sigmoid", "torch.tanh", "torch.log_softmax")
    return (function.startswith("F.") and function != "F.pad") or function in others


def _depth(tree: ast.AST) -> int:
    """How many calls stand in one another; padding is part of a convolution."""
    own = isinstance(tree, ast.Call | ast.BinOp | ast.Compare)
    if isinstance(tree, ast.expr) and _is_call_of(tree, "F.pad"):
        own = False
    return own + max((_depth(child) for child in ast.iter_child_nodes(tree)), default=0)


class _Variables:
    """Which variable holds each value, and when."""

    def __init__(self, inputs: dict[str, str], steps: list[Step], result: ast.expr) -> None:
        self.kept = {new for new in inputs.values() if new != "x"}
        self.taken = Taken([*inputs.values(), *_VARIABLES])
        self.last_use = dict(_last_uses(steps, result))
        self.holds = dict(inputs)  # the variable of each value
        self._before: list[dict[str, ast.expr]] = []
        self._targets: list[str] = []
        for number, step in enumerate(steps):
            self._before.append({key: name(value) for key, value in self.holds.items()})
            self._targets.append(self._assign(number, step))
        self._before.append({key: name(value) for key, value in self.holds.items()})

    def before(self, number: int) -> dict[str, ast.expr]:
        """The variables of the values before a step."""
        return self._before[number]

    def target(self, number: int) -> str:
        """What a step assigns to."""
        return self._targets[number]

    def _assign(self, number: int, step: Step) -> str:
        arguments = [used for used in step.used() if used in self.holds]
        alive = {
            variable
            for value, variable in self.holds.items()
            if self.last_use.get(value, -1) > number or variable in self.kept
        }
        if step.target != step.name:
            for target in step.targets():
                self.holds[target] = target
            return step.target
        self.holds[step.name] = self._free(step, arguments, alive)
        return self.holds[step.name]

    def _free(self, step: Step, arguments: list[str], alive: set[str]) -> str:
        """The variable of the only argument, if it ends here; else a short one that is free."""
        if len(arguments) == 1 and self.holds[arguments[0]] not in alive:
            return self.holds[arguments[0]]
        for variable in _VARIABLES:
            if variable not in alive:
                return variable
        return self.taken.free(step.name)


def _last_uses(steps: list[Step], result: ast.expr) -> Iterator[tuple[str, int]]:
    for number, step in enumerate(steps):
        for used in step.used():
            yield used, number
    for part in ast.walk(result):
        if isinstance(part, ast.Name):
            yield part.id, len(steps)
