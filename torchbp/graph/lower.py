"""From symbolic outputs back to inputs: the graph as a flat list of nodes, and as torch.fx's."""

from __future__ import annotations

import builtins
import keyword
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from torchbp.errors import GraphError
from torchbp.graph.structure import leaves, map_leaves
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
        target = self.target
        if getattr(F, getattr(target, "__name__", ""), None) is target:
            target = _FunctionalName(target.__name__)  # F.max_pool1d cannot be pickled by itself
        return _restored, (self.name, self.kind, target, self.args, self.kwargs, self.output)


class _FunctionalName(str):
    """The name of a function of torch.nn.functional."""


def _restored(name: str, kind: Any, target: Any, *rest: Any) -> Node:
    function = getattr(F, target) if isinstance(target, _FunctionalName) else target
    return Node(name, kind, function, *rest)


@dataclass(frozen=True)
class Lowered:
    """A graph without symbolic values.

    Attributes:
        nodes: the steps, each after those whose values it takes.
        outputs: the structure of the model's outputs, with a `Ref` for each value.
        modules: the modules that the steps call, by the name they get in the model.
        constants: the tensors that stood among the arguments, likewise.
    """

    nodes: tuple[Node, ...]
    outputs: Any
    modules: dict[str, nn.Module]
    constants: dict[str, Tensor]


def lower(inputs: dict[str, Symbolic], outputs: Any) -> Lowered:
    """Collect what is needed to compute the outputs from the inputs.

    Args:
        inputs: the symbolic values that will be given, by argument name. They need not be made
            by `Input`: the graph is cut at them.
        outputs: a structure of symbolic values.

    Raises:
        GraphError: an output depends on an input that is not given, or two things that are
            different have the same name.
    """
    keys = {_key(value): name for name, value in inputs.items()}
    calls = _calls_between(keys, outputs)
    return _Lowering(inputs, calls).lowered(keys, outputs)


def emit_graph(nodes: tuple[Node, ...], outputs: Any) -> fx.Graph:
    """The nodes as a torch.fx graph; parts of outputs are taken by getitem nodes."""
    graph = fx.Graph()
    values: dict[Ref, fx.Node] = {}

    def value(leaf: Any) -> Any:
        if not isinstance(leaf, Ref):
            return leaf
        if leaf not in values:
            whole = value(Ref(leaf.name, leaf.path[:-1]))
            part = "_".join(str(key) for key in (leaf.name, *leaf.path))
            values[leaf] = graph.create_node(
                "call_function", operator.getitem, (whole, leaf.path[-1]), name=part
            )
        return values[leaf]

    for node in nodes:
        values[Ref(node.name)] = graph.create_node(
            _OPCODES[node.kind],
            node.target,
            map_leaves(value, node.args),
            map_leaves(value, node.kwargs),
            name=node.name,
        )
    graph.output(map_leaves(value, outputs))
    return graph


def _key(value: Symbolic) -> Key:
    return id(value.call), value.path


def _calls_between(inputs: dict[Key, str], outputs: Any) -> list[Call]:
    """The calls that lead from the inputs to the outputs, each after those it builds on."""
    order: dict[int, Call] = {}
    for output in leaves(outputs):
        stack: list[tuple[Symbolic, bool]] = [(output, False)]
        while stack:
            value, seen = stack.pop()
            if _key(value) in inputs or id(value.call) in order:
                continue
            if value.call.kind == "input":
                raise _unreachable(value, output, list(inputs.values()))
            if seen:
                order[id(value.call)] = value.call
                continue
            stack.append((value, True))
            stack.extend((argument, False) for argument in reversed(value.call.symbolic_arguments()))
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


class _Lowering:
    """Names for everything in the graph, then its nodes."""

    def __init__(self, inputs: dict[str, Symbolic], calls: list[Call]) -> None:
        self.inputs = inputs
        self.calls = calls
        self.taken: set[str] = set()
        self.modules: dict[str, nn.Module] = {}
        self.constants: dict[str, Tensor] = {}
        self.module_names: dict[int, str] = {}
        self.call_names: dict[int, str] = {}
        self.constant_names: dict[int, str] = {}

    def lowered(self, keys: dict[Key, str], outputs: Any) -> Lowered:
        self._name_inputs_and_modules()
        refs = {key: Ref(name) for key, name in keys.items()}

        def ref(leaf: Any) -> Any:
            if isinstance(leaf, Symbolic):
                key = _key(leaf)
                return refs[key] if key in refs else Ref(self.call_names[key[0]], key[1])
            return Ref(self._constant(leaf)) if isinstance(leaf, Tensor) else leaf

        nodes = [
            Node(name, "input", name, output=_described(value.samples))
            for name, value in self.inputs.items()
        ]
        for call in self.calls:
            args, kwargs = map_leaves(ref, call.args), map_leaves(ref, call.kwargs)
            nodes.append(self._node(call, args, kwargs))
        constants = [
            Node(name, "constant", name, output=TensorInfo(tuple(tensor.shape), tensor.dtype))
            for name, tensor in self.constants.items()
        ]
        nodes[len(self.inputs) : len(self.inputs)] = constants
        return Lowered(tuple(nodes), map_leaves(ref, outputs), self.modules, self.constants)

    def _name_inputs_and_modules(self) -> None:
        """Given names first, so that none of them meets one that was made up."""
        self.taken.update(self.inputs)
        calls = [call for call in self.calls if call.kind == "module"]
        for call in calls:
            if call.name is not None:
                self._give_name(call)
        for call in calls:
            if id(call.target) not in self.module_names:
                self._register(call, self._free(call.base_name()))
        self.modules = {}  # again, in the order of the calls
        for call in calls:
            name = self.module_names[id(call.target)]
            if name not in self.modules:
                self.modules[name] = call.target
                self.call_names[id(call)] = name  # the first call of a layer has its name

    def _give_name(self, call: Call) -> None:
        name = str(call.name)
        known = self.module_names.setdefault(id(call.target), name)
        if known != name:
            raise GraphError(
                f"Model: a layer is called under two names, '{known}' and '{name}'.\n"
                "  To mend it: give it one."
            )
        if name in self.modules or name in self.inputs:
            if self.modules.get(name) is not call.target:
                raise GraphError(
                    f"Model: two different layers or inputs are named '{name}'.\n"
                    "  To mend it: give one of them another name."
                )
            return
        self._register(call, name)

    def _register(self, call: Call, name: str) -> None:
        self.modules[name] = call.target
        self.module_names[id(call.target)] = name
        self.taken.add(name)

    def _constant(self, tensor: Tensor) -> str:
        if id(tensor) not in self.constant_names:
            name = self._free("constant")
            self.constant_names[id(tensor)] = name
            self.constants[name] = tensor
        return self.constant_names[id(tensor)]

    def _node(self, call: Call, args: Any, kwargs: Any) -> Node:
        name = self.call_names.get(id(call)) or self._free(call.base_name())
        self.call_names[id(call)] = name
        target = self.module_names[id(call.target)] if call.kind == "module" else call.target
        return Node(name, call.kind, target, args, kwargs, _described(call.outputs))

    def _free(self, base: str) -> str:
        """The base name, numbered where it is taken or would hide a Python name."""
        name, number = base, 0
        while name in self.taken or name in _RESERVED or keyword.iskeyword(name):
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        return name


def _described(samples: tuple[Any, Any]) -> Any:
    """Two runs' outputs as one structure of TensorInfo and plain values; None where they differ."""
    first, second = samples
    if isinstance(first, Tensor):
        return TensorInfo(known_shape(first, second), first.dtype)
    if isinstance(first, dict):
        return {key: _described((first[key], second[key])) for key in first}
    if isinstance(first, tuple | list):
        return tuple(_described(pair) for pair in zip(first, second, strict=True))
    return first if isinstance(first, int | float | str) and first == second else None



_OPCODES = {
    "input": "placeholder", "constant": "get_attr", "module": "call_module",
    "function": "call_function", "method": "call_method",
}  # fmt: skip
_RESERVED = {*vars(builtins), "self", "torch", "device", "inf", "nan", "NoneType", "F"}
