"""From symbolic outputs back to inputs: the graph as a flat list of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchbp.errors import GraphError
from torchbp.graph.functions import function_named, qualified_name
from torchbp.graph.names import Taken
from torchbp.graph.runs import is_foreign
from torchbp.graph.structure import leaves, map_leaves, tuple_like
from torchbp.graph.symbolic import Call, Symbolic, known_shape, shape_text

Path = tuple[int | str, ...]
Key = tuple[int, Path]  # which call, by identity, and which part of its output


@dataclass(frozen=True)
class Ref:
    """Another node's output, or a part of it, as an argument.

    Attributes:
        name: the node.
        path: keys that lead from the node's output to the value.
    """

    name: str
    path: Path = ()

    def __str__(self) -> str:
        return self.name + "".join(f"[{key!r}]" for key in self.path)


@dataclass(frozen=True)
class TensorInfo:
    """What is known of a tensor before it is computed; None is an unknown size."""

    shape: tuple[int | None, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Node:
    """One step of a model.

    Attributes:
        name: unique in the model; the variable in its code.
        kind: what the step does.
        target: a submodule's name, a function, the name of a method of torch.Tensor, or the name
            of an argument or constant.
        args: positional arguments, with a `Ref` for each value of another node.
        kwargs: keyword arguments, likewise.
        output: the structure of what comes out, with a `TensorInfo` for each tensor.
    """

    name: str
    kind: Literal["input", "constant", "module", "function", "method"]
    target: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    output: Any = None

    def refs(self) -> Iterator[Ref]:
        """The values of other nodes among the arguments, in order."""
        return (leaf for leaf in leaves((self.args, self.kwargs)) if isinstance(leaf, Ref))

    def __reduce__(self) -> tuple[Any, ...]:
        # torch's functions by name: some of them, as F.max_pool1d, cannot be pickled
        name = qualified_name(self.target) if self.kind == "function" else None
        target = None if name else self.target
        return _restored, (name, self.name, self.kind, target, self.args, self.kwargs, self.output)


def _restored(function_name: str | None, name: str, kind: Any, target: Any, *rest: Any) -> Node:
    return Node(name, kind, function_named(function_name) if function_name else target, *rest)


@dataclass(frozen=True)
class Lowered:
    """A graph without symbolic values.

    Attributes:
        input_names: names of the arguments.
        nodes: the steps, each after those whose values it takes.
        outputs: the structure of the model's outputs, with a `Ref` for each value.
        modules: the modules that the steps call, by the name they get in the model.
        constants: the tensors that stood among the arguments, likewise.
    """

    input_names: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: Any
    modules: dict[str, nn.Module]
    constants: dict[str, Tensor]


def lower(
    inputs: dict[str, Symbolic], outputs: Any, *, reserved: set[str], rename: bool = False
) -> Lowered:
    """Collect what is needed to compute the outputs from the inputs.

    Args:
        inputs: the symbolic values that will be given, by argument name. They need not be made
            by `Input`: the graph is cut at them.
        outputs: a structure of symbolic values.
        reserved: names that submodules cannot have.
        rename: number the inputs that have the name of a layer because they are what it returns,
            where the layer is also called behind them.

    Raises:
        GraphError: an output depends on an input that is not given, or two things that are
            different have the same name.
    """
    calls = _calls_between(inputs, outputs)
    if rename:
        inputs = _apart_from_layers(inputs, calls)
    given = {_key(value): Ref(name) for name, value in inputs.items()}
    names = _Names(inputs, calls, reserved)
    constants: dict[str, Tensor] = {}

    def ref(leaf: Any) -> Any:
        if isinstance(leaf, Symbolic):
            return given.get(_key(leaf)) or Ref(names.of_call(leaf.call), leaf.path)
        if isinstance(leaf, Tensor):
            name = names.of(leaf, "constant")
            constants[name] = leaf
            return Ref(name)
        return leaf

    def node(call: Call) -> Node:
        target = names.of_module(call) if call.kind == "module" else call.target
        args, kwargs = map_leaves(ref, call.args), map_leaves(ref, call.kwargs)
        return Node(names.of_call(call), call.kind, target, args, kwargs, described(*call.outputs))

    steps = [node(call) for call in calls]
    first = [
        Node(name, "input", name, output=described(*value.samples))
        for name, value in inputs.items()
    ]
    first += [
        Node(name, "constant", name, output=described(tensor, tensor))
        for name, tensor in constants.items()
    ]
    modules = {names.of_module(call): call.target for call in _of_modules(calls)}
    nodes = (*first, *steps)
    return Lowered(tuple(inputs), nodes, map_leaves(ref, outputs), modules, constants)


def described(first: Any, second: Any) -> Any:
    """Two runs' outputs as one structure of TensorInfo and plain values; None where they differ."""
    if isinstance(first, Tensor):
        return TensorInfo(known_shape(first, second), first.dtype)
    if isinstance(first, dict):
        return {key: described(first[key], second[key]) for key in first}
    if isinstance(first, tuple | list):
        parts = [described(*pair) for pair in zip(first, second, strict=True)]
        return tuple_like(first, parts) if isinstance(first, tuple) else tuple(parts)
    return first if isinstance(first, int | float | str) and first == second else None


def _key(value: Symbolic) -> Key:
    return id(value.call), value.path


def _of_modules(calls: list[Call]) -> list[Call]:
    return [call for call in calls if call.kind == "module"]


def _apart_from_layers(inputs: dict[str, Symbolic], calls: list[Call]) -> dict[str, Symbolic]:
    called = {id(call.target) for call in _of_modules(calls)}
    taken = Taken([*inputs, *(call.name for call in calls if call.name is not None)])
    return {
        taken.free(name) if id(value.call.target) in called else name: value
        for name, value in inputs.items()
    }


def _calls_between(inputs: dict[str, Symbolic], outputs: Any) -> list[Call]:
    """The calls that lead from the inputs to the outputs, each after those it builds on."""
    given = {_key(value) for value in inputs.values()}
    order: dict[int, Call] = {}
    for output in leaves(outputs):
        stack: list[tuple[Symbolic, bool]] = [(output, False)]
        while stack:
            value, seen = stack.pop()
            if _key(value) in given or id(value.call) in order:
                continue
            if value.call.kind == "input":
                raise _unreachable(value, output, list(inputs))
            if seen:
                order[id(value.call)] = value.call
                continue
            stack.append((value, True))
            arguments = value.call.symbolic_arguments()
            stack.extend((argument, False) for argument in reversed(arguments))
    return list(order.values())


def _unreachable(missing: Symbolic, output: Symbolic, given: list[str]) -> GraphError:
    name, path = missing.call.base_name(), _path_between(missing, output)
    return GraphError(
        f"Model: the output '{output.call.base_name()}' cannot be computed from the inputs "
        f"{given}: it depends on the input '{name}', which is not among them.\n"
        f"  The path: {path}.\n"
        f"  To mend it: add '{name}' to inputs."
    )


def _path_between(first: Symbolic, last: Symbolic) -> str:
    """`caption (None, 10) -> embedding (None, 10, 8) -> score (None, 1)`, a shortest way."""
    following: dict[int, Symbolic] = {id(last.call): last}
    queue = [last]
    came_from: dict[int, Symbolic] = {}
    for value in queue:
        for argument in value.call.symbolic_arguments():
            if id(argument.call) not in following:
                following[id(argument.call)] = argument
                came_from[id(argument.call)] = value
                queue.append(argument)
    steps, value = [], following[id(first.call)]
    while True:
        steps.append(f"{value.call.base_name()} {shape_text(value)}")
        if id(value.call) not in came_from:
            return " -> ".join(steps)
        value = came_from[id(value.call)]


class _Names:
    """A name for each module, call and constant of a graph; those that the user gave come first."""

    def __init__(self, inputs: dict[str, Symbolic], calls: list[Call], reserved: set[str]) -> None:
        self._names: dict[int, str] = {}
        self._reserved = reserved
        owners: dict[str, object] = dict(inputs)
        for call in calls:
            if call.name is not None:
                self._give(call.name, call, owners)
        # a function of the user's keeps its name in the code; what it returns is numbered
        functions = {getattr(call.target, "__name__", "") for call in calls if is_foreign(call)}
        self._taken = Taken([*owners, *functions])
        called: set[str] = set()
        for call in _of_modules(calls):
            name = self.of_module(call)
            if name not in called:  # the first call of a layer has the layer's name
                called.add(name)
                self._names[id(call)] = name

    def of(self, thing: Any, base: str) -> str:
        """The name of a module, call or constant; the base name, numbered, where it has none."""
        if id(thing) not in self._names:
            self._names[id(thing)] = self._taken.free(base)
        return self._names[id(thing)]

    def of_call(self, call: Call) -> str:
        """The name of a call's result."""
        return self.of(call, call.base_name())

    def of_module(self, call: Call) -> str:
        """The name of a called module as a submodule."""
        base = call.base_name()
        return self.of(call.target, f"{base}_1" if base in self._reserved else base)

    def _give(self, name: str, call: Call, owners: dict[str, object]) -> None:
        thing = call.target if call.kind == "module" else call
        known = self._names.setdefault(id(thing), name)
        if known != name:
            raise GraphError(
                f"Model: a layer is called under two names, '{known}' and '{name}'.\n"
                "  To mend it: give it one."
            )
        if owners.setdefault(name, thing) is not thing:
            raise GraphError(
                f"Model: two different layers or inputs are named '{name}'.\n"
                "  To mend it: give one of them another name."
            )
        if call.kind == "module" and name in self._reserved:
            raise GraphError(
                f"Model: a layer is named '{name}', which is an attribute of every model.\n"
                "  To mend it: give it another name."
            )
