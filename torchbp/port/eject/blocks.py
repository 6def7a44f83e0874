"""Repeated runs of steps as classes of their own, and rows of these as `nn.Sequential`."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from torchbp.graph.names import Taken
from torchbp.port.eject.creation import Argument, Creation
from torchbp.port.eject.repeats import Form, Span, is_number, own_prefix, repeats
from torchbp.port.eject.steps import Graph, Shape, Step, names_in, uses
from torchbp.port.eject.text import listed, name as named

MOST_PARAMETERS = 6
OFTEN = 3  # uses of a number that make it a variable
LEAST_SAVED = 3.0  # lines that a class must save to be worth it


@dataclass
class Block:
    """A class for a part of a graph that is repeated.

    Args:
        name: of the class.
        graph: of one value in, one out.
        parameters: the arguments of the class, and their types.
        stored: those that the calls need, too.
        derived: numbers that follow from the arguments and are used often.
        about: what it is, for its docstring.
    """

    name: str
    graph: Graph
    parameters: dict[str, str] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    derived: dict[str, ast.expr] = field(default_factory=dict)
    about: str = ""


def with_blocks(graph: Graph, class_names: Taken) -> tuple[Graph, list[Block]]:
    """A graph with blocks in place of what is repeated, and the blocks."""
    blocks: list[Block] = []
    members: set[str] = set()
    forms: tuple[Form, ...] = ("gate", "branched", "row")
    for form in forms:
        while (made := _best(graph, form)) is not None:
            block = made.block(class_names)
            blocks.append(block)
            graph = made.replaced(block, members)
    return (_with_rows(graph, members) if blocks else graph), blocks


def _best(graph: Graph, form: Form) -> _Maker | None:
    """What makes the class that saves most; None if none is worth it."""
    found = sorted(repeats(graph, form), key=lambda pair: -pair[1])
    best, most = None, LEAST_SAVED
    for spans, lines in found:
        if lines <= most:
            break
        made = _Maker(graph, spans)
        saved = lines - len(made.parameters) * (1 + 0.4 * len(spans))
        if saved > most and len(made.parameters) <= MOST_PARAMETERS:
            best, most = made, saved
    return best


@dataclass
class _Slot:
    """Numbers that differ from block to block, and the arguments that they are."""

    values: tuple[Any, ...]
    roles: list[str] = field(default_factory=list)


class _Maker:
    """Makes one class of several spans."""

    def __init__(self, graph: Graph, spans: list[Span]) -> None:
        self.graph, self.spans = graph, spans
        self.runs = [graph.steps[span.start : span.stop] for span in spans]
        self.slots: dict[tuple[Any, ...], _Slot] = {}
        self.derived: dict[str, _Slot] = {}
        self._collect()
        self.parameters = self._named()

    def _collect(self) -> None:
        """Finds the slots, in the order of their first use."""
        wide = [step for step in self.runs[0] if step.module and _is_wide(self._part(step))]
        for steps in zip(*self.runs, strict=True):
            if steps[0].module is not None:
                for key in self._part(steps[0]).arguments:
                    where = "first " * (steps[0] in wide[:1]) + "last " * (steps[0] in wide[-1:])
                    self._merged_argument(steps, key, where + key)
            self._merged([step.value for step in steps], "size", self._slot)

    def _part(self, step: Step) -> Creation:
        assert step.module is not None
        return self.graph.parts[step.module]

    def _merged_argument(self, steps: tuple[Step, ...], key: str, role: str) -> ast.expr:
        trees = [self._part(step).arguments[key].value for step in steps]
        return self._merged(trees, role, self._slot)

    def _slot(self, trees: list[ast.expr], role: str) -> ast.expr:
        values = _values(trees)
        self.slots.setdefault(values, _Slot(values)).roles.append(role)
        return trees[0]

    def _merged(
        self, trees: list[Any], role: str, on_slot: Callable[[list[ast.expr], str], ast.expr]
    ) -> Any:
        """One tree of several that differ in numbers, and in names, only."""
        if all(isinstance(tree, ast.AST) and is_number(tree) for tree in trees):
            if len({ast.dump(tree) for tree in trees}) == 1:
                return trees[0]
            if _differ_in_one_number(trees):
                items = zip(*(tree.elts for tree in trees), strict=True)
                return ast.Tuple([self._merged(list(part), role, on_slot) for part in items])
            return on_slot(trees, role)
        if isinstance(trees[0], list):
            return [self._merged(list(items), role, on_slot) for items in zip(*trees, strict=True)]
        if not isinstance(trees[0], ast.AST):
            return trees[0]
        fields = {
            key: self._merged([getattr(tree, key) for tree in trees], role, on_slot)
            for key in trees[0]._fields
            if hasattr(trees[0], key)
        }
        return type(trees[0])(**fields)

    def _named(self) -> dict[str, _Slot]:
        """The arguments of the class, and numbers that are used often, by name."""
        taken = Taken({"x", "y", "z"})
        bases = [slot for slot in self.slots.values() if self._base(slot) is None]
        bases.sort(key=lambda slot: _rank(_name_of(slot.roles)))
        named = {taken.free(_name_of(slot.roles)): slot for slot in bases}
        for slot in self.slots.values():
            if self._base(slot) is not None and len(slot.roles) >= OFTEN:
                self.derived[taken.free(_name_of(slot.roles))] = slot
        return named

    def _base(self, slot: _Slot) -> tuple[int, _Slot] | None:
        """Another slot of which this one is a multiple."""
        for other in self.slots.values():
            factor = _factor(slot.values, other.values)
            if factor is not None and self._base(other) is None:
                return factor, other
        return None

    def _expression(self, slot: _Slot, prefix: str = "") -> ast.expr:
        """A slot by the arguments of the class."""
        factor, owner = self._base(slot) or (1, slot)
        [parameter] = [key for key, own in self.parameters.items() if own is owner]
        tree = named(prefix + parameter)
        return ast.BinOp(ast.Constant(factor), ast.Mult(), tree) if factor > 1 else tree

    def _slot_of(self, trees: list[ast.expr]) -> _Slot:
        return self.slots[_values(trees)]

    def block(self, class_names: Taken) -> Block:
        """The class, with the names of the first of the spans."""
        run, entry = self.runs[0], self.spans[0].entry
        prefix = own_prefix(self.graph, run)
        names = _local_names([step.module for step in run if step.module is not None], prefix)
        values = _local_names([step.name for step in run], prefix, {"x", *names.values()})
        stored: set[str] = set()
        steps, parts = [], {}
        for own in zip(*self.runs, strict=True):
            value = self._merged(
                [step.value for step in own], "size", lambda t, _: self._stored(t, stored)
            )
            value = _renamed(value, {**values, entry: "x"}, names)
            module = own[0].module
            if module is not None:
                parts[names[module]] = self._part_of_block(own)
            step = own[0]
            new_name = values[step.name]
            steps.append(Step(new_name, new_name, value, None, module and names[module]))
        graph = Graph(steps, {"x": None}, named(steps[-1].name), parts, {}, None)
        kind, about = _described(run, entry, graph)
        types = {key: _type_of(slot.values) for key, slot in self.parameters.items()}
        derived = {key: self._expression(slot) for key, slot in self.derived.items()}
        return Block(_free(class_names, kind), graph, types, stored, derived, about)

    def _part_of_block(self, steps: tuple[Step, ...]) -> Creation:
        made = self._part(steps[0])

        def filled(trees: list[ast.expr], role: str) -> ast.expr:
            slot = self._slot_of(trees)
            local = [key for key, own in self.derived.items() if own is slot]
            return named(local[0]) if local else self._expression(slot)

        arguments = {
            key: self._merged([self._part(s).arguments[key].value for s in steps], key, filled)
            for key in made.arguments
        }
        return made.with_values(arguments)

    def _stored(self, trees: list[ast.expr], stored: set[str]) -> ast.expr:
        tree = self._expression(self._slot_of(trees), "self.")
        stored |= {part.attr for part in ast.walk(tree) if isinstance(part, ast.Attribute)}
        return tree

    def replaced(self, block: Block, members: set[str]) -> Graph:
        """The graph with a call of the block in place of each span."""
        steps = list(self.graph.steps)
        parts = dict(self.graph.parts)
        taken = Taken([*parts, *self.graph.constants, *dir(nn.Module)])
        for number in reversed(range(len(self.spans))):
            span, run = self.spans[number], self.runs[number]
            modules = [step.module for step in run if step.module is not None]
            keys = dict(zip(block.graph.parts, modules, strict=True))
            prefix = own_prefix(self.graph, run).strip("_")
            name = taken.free(prefix if prefix.isidentifier() else f"block_{number + 1}")
            arguments = {
                key: Argument(_literal(slot.values[number]), is_positional=_rank(key) < 5)
                for key, slot in self.parameters.items()
            }
            parts[name] = Creation(
                block.name,
                arguments,
                keys={
                    f"{own}.{key}": was
                    for own, module in keys.items()
                    for key, was in self.graph.parts[module].keys.items()
                },
                has_weights=True,
                kind="gate" if block.name.startswith("Gate") else "block",
            )
            last = run[-1]
            call = ast.Call(named(f"self.{name}"), [named(span.entry)], [])
            steps[span.start : span.stop] = [dataclasses.replace(last, value=call, module=name)]
            members.add(name)
        return _ordered(dataclasses.replace(self.graph, steps=steps, parts=parts))


def _ordered(graph: Graph) -> Graph:
    """The graph with the parts in the order of their first calls, and only these."""
    order = dict.fromkeys(step.module for step in graph.steps if step.module is not None)
    return dataclasses.replace(graph, parts={key: graph.parts[key] for key in order})


def _with_rows(graph: Graph, members: set[str]) -> Graph:
    """The graph with an nn.Sequential for blocks that follow one another."""
    counts = uses(graph)
    rows = [row for row in _rows(graph.steps, members, counts) if len(row) > 1]
    steps, parts = list(graph.steps), dict(graph.parts)
    taken = Taken([*parts, *graph.constants, *dir(nn.Module)])
    for row in rows:
        modules = [step.module for step in row if step.module is not None]
        name = taken.free("blocks")
        parts[name] = Creation(
            "nn.Sequential",
            {str(i): Argument(parts[key].call()) for i, key in enumerate(modules)},
            keys={
                f"{i}.{key}": was
                for i, module in enumerate(modules)
                for key, was in parts[module].keys.items()
            },
            has_weights=True,
            kind="row",
            shapes=tuple(step.shape for step in row),
        )
        call = ast.Call(named(f"self.{name}"), [named(row[0].used()[0])], [])
        start = steps.index(row[0])
        steps[start : start + len(row)] = [dataclasses.replace(row[-1], value=call, module=name)]
    return _ordered(dataclasses.replace(graph, steps=steps, parts=parts))


def _rows(steps: list[Step], members: set[str], counts: Any) -> Iterator[list[Step]]:
    row: list[Step] = []
    for step in steps:
        follows = row and step.used() == [row[-1].name] and counts[row[-1].name] == 1
        if step.module in members and follows:
            row.append(step)
        elif step.module in members:
            yield row
            row = [step]
        else:
            yield row
            row = []
    yield row


def _factor(values: tuple[Any, ...], others: tuple[Any, ...]) -> int | None:
    """The number of which the values are multiples of the others."""
    if values == others or not all(type(v) is int and v > 0 for v in (*values, *others)):
        return None
    factors = {a / b for a, b in zip(values, others, strict=True)}
    factor = factors.pop()
    return int(factor) if not factors and factor == int(factor) and factor > 1 else None


def _name_of(roles: list[str]) -> str:
    """What an argument of the class is called."""
    words = {role.split()[-1] for role in roles}
    kind = "features" if words & {"in_features", "out_features"} else "channels"
    is_in = any("first " in r and r.endswith(("in_channels", "in_features")) for r in roles)
    is_out = any("last " in r and r.endswith(("out_channels", "out_features")) for r in roles)
    if words & {"in_channels", "out_channels", "in_features", "out_features"}:
        if is_in != is_out:
            return f"in_{kind}" if is_in else f"out_{kind}"
        return kind if is_in else f"hidden_{kind}"
    if words & {"num_features", "num_channels", "normalized_shape"}:
        return kind
    return next(iter(role.split()[-1] for role in roles))


def _rank(name: str) -> int:
    """Numbers of channels come first, from the input to the output."""
    order = ("in_", "channels", "features", "hidden_", "out_")
    return next((i for i, start in enumerate(order) if name.startswith(start)), len(order))


def _type_of(values: tuple[Any, ...]) -> str:
    kinds = {type(value) for value in values}
    if tuple in kinds:
        return "tuple[int, ...]" if kinds == {tuple} else "int | tuple[int, ...]"
    return "float" if float in kinds else "int"


def _literal(value: Any) -> ast.expr:
    return ast.parse(repr(value), mode="eval").body


def _local_names(names: list[str], prefix: str, reserved: set[str] | None = None) -> dict[str, str]:
    """Names within a block: without what they have in common, or without their numbers."""
    taken = Taken({*(reserved or ()), *dir(nn.Module)})
    return {
        name: taken.free(_tidy(name.removeprefix(prefix), bool(prefix) and name.startswith(prefix)))
        for name in names
    }


def _tidy(name: str, is_told: bool) -> str:
    """`conv_1` for `1_conv`; `conv2d` for `conv2d_17`, which only counts."""
    if not is_told:
        name = re.sub(r"_\d+$", "", name)
    found = re.fullmatch(r"(\d+)_(\w+)", name)
    name = f"{found[2]}_{found[1]}" if found else name
    return name.lower() if name.isidentifier() else "part"


def _renamed(tree: ast.expr, values: dict[str, str], modules: dict[str, str]) -> ast.expr:
    return _Renaming(values, modules).visit(tree)


class _Renaming(ast.NodeTransformer):
    def __init__(self, values: dict[str, str], modules: dict[str, str]) -> None:
        self.values, self.modules = values, modules

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self.values.get(node.id, node.id))

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return ast.Attribute(node.value, self.modules.get(node.attr, node.attr))
        return ast.Attribute(self.visit(node.value), node.attr)


def _described(run: list[Step], entry: str, graph: Graph) -> tuple[str, str]:
    """A name for the class, and what it is."""
    last = run[-1].value
    layers = [key for key, part in graph.parts.items() if "Norm" not in part.function]
    what = listed(layers if len(layers) > 1 else list(graph.parts))
    functions = [part.function for part in graph.parts.values()]
    if isinstance(last, ast.BinOp) and isinstance(last.op, ast.Add | ast.Mult):
        ends = {part.id for part in (last.left, last.right) if isinstance(part, ast.Name)}
        if isinstance(last.op, ast.Mult) and entry in ends:
            return "Gate", f"The input times what {what} make of it"
        if isinstance(last.op, ast.Mult):
            return "GatedBlock", f"The product of branches: {what}"
        if entry in ends:
            return "ResidualBlock", f"The input plus what {what} make of it"
        if any("Pool" in function for function in functions):
            return "PoolingBlock", f"The sum of two branches: {what}"
        return "ShortcutBlock", f"The sum of two branches: {what}"
    if len(set(names_in(last))) > 1 and entry in names_in(last):
        return "ConcatBlock", f"The input, joined with what {what} make of it"
    if len(set(names_in(last))) > 1:
        return "BranchedBlock", f"Branches that are joined: {what}"
    for word in ("Attention", "Conv", "Linear"):
        if any(word in function for function in functions):
            return f"{word}Block", f"In a row: {what}"
    return "Block", f"In a row: {what}"


def _free(class_names: Taken, name: str) -> str:
    """The name of a class; `Block2` for a second one."""
    number, numbered = 1, name
    while class_names.free(numbered, python=False) != numbered:
        number += 1
        numbered = f"{name}{number}"
    return numbered


def _values(trees: list[ast.expr]) -> tuple[Any, ...]:
    return tuple(ast.literal_eval(ast.unparse(tree)) for tree in trees)


def _differ_in_one_number(trees: list[Any]) -> bool:
    """Whether they are tuples of which one item, or several alike, differ."""
    if not all(isinstance(tree, ast.Tuple) for tree in trees):
        return False
    if len({len(tree.elts) for tree in trees}) > 1:
        return False
    columns = {tuple(map(ast.dump, part)) for part in zip(*(t.elts for t in trees), strict=True)}
    return sum(len(set(column)) > 1 for column in columns) == 1


def _is_wide(part: Creation) -> bool:
    """Whether it takes and gives features of numbers that its arguments tell."""
    return bool({"out_channels", "out_features"} & set(part.arguments))


def shape_text(shape: Shape | None) -> str:
    """`(N, 64, T)`; letters for what may be any number."""
    if shape is None:
        return ""
    letters = {2: "NT", 3: "NCT", 4: "NCHW", 5: "NCDHW"}.get(len(shape), "N" + "S" * len(shape))
    if len(shape) == 3 and shape[1] is None:
        letters = "NTC"
    sizes = [letters[i] if size is None else str(size) for i, size in enumerate(shape)]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
