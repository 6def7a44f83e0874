"""The source of a model's module: its classes, and a function that loads it."""

from __future__ import annotations

import ast
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.graph import Model
from torchbp.graph.lower import Ref
from torchbp.graph.names import Taken
from torchbp.graph.structure import leaves
from torchbp.port.eject import modules
from torchbp.port.eject.blocks import Block, shape_text, with_blocks
from torchbp.port.eject.creation import Creation
from torchbp.port.eject.forward import forward_of
from torchbp.port.eject.steps import Graph, constant_source, graph_of
from torchbp.port.eject.text import INDENT, WIDTH, called, flat, name, statement

LOOPED = 4  # modules in a row that become a loop
OFTEN = 3  # calls with the same keywords that become a function

Keywords = tuple[tuple[str, str], ...]


@dataclass
class Source:
    """A module's source.

    Attributes:
        text: of the file.
        class_name: of the model.
        keys: the entries of the state dict, and what they are called in the port.
    """

    text: str
    class_name: str
    keys: dict[str, str]


@dataclass
class _Class:
    """A class that is to be written."""

    name: str
    about: str
    graph: Graph
    block: Block | None = None


def source_of(model: Model, class_name: str, dtype: torch.dtype) -> Source:
    """The source of a model.

    Args:
        model: a model.
        class_name: what its class shall be called.
        dtype: of its weights.

    Raises:
        DataError: it has a module that no source can be written for.
    """
    plan = _Plan(class_name)
    keys = plan.add(model, class_name)
    return Source(_Writer(plan, _shared(model, keys), dtype).text(), class_name, keys)


class _Plan:
    """The classes of a file, each after those that it uses."""

    def __init__(self, class_name: str) -> None:
        self.class_name = class_name
        self.class_names = Taken([class_name, "Tensor", "Path"])
        self.classes: list[_Class] = []
        self.known: dict[int, tuple[str, dict[str, str]]] = {}

    def add(self, model: Model, class_name: str) -> dict[str, str]:
        """A model's classes; gives the entries of its state dict, and their names in the port."""
        graph, blocks = with_blocks(graph_of(model, self._creation), self.class_names)
        self.classes += [_Class(b.name, f"{b.about}.", b.graph, b) for b in blocks]
        self.classes.append(_Class(class_name, _about(class_name, model, graph), graph))
        keys = {
            f"{part}.{key}": was
            for part, creation in graph.parts.items()
            for key, was in creation.keys.items()
        }
        kept = [key for key, tensor in graph.constants.items() if constant_source(tensor) is None]
        return {key: key for key in kept} | keys

    def _creation(self, key: str, module: nn.Module) -> Creation:
        if not isinstance(module, Model):
            made = modules.creation(module)
            keys = {own: f"{key}.{was}" for own, was in made.keys.items()}
            return made.renamed(keys)
        if id(module) not in self.known:
            class_name = self.class_names.free(camel_case(module.name or key))
            self.known[id(module)] = class_name, self.add(module, class_name)
        class_name, own_keys = self.known[id(module)]
        keys = {own: f"{key}.{was}" for own, was in own_keys.items()}
        return Creation(class_name, {}, keys=keys, has_weights=bool(keys), kind="model")


def camel_case(text: str) -> str:
    """`user_tower` -> `UserTower`; `Network` for what is no name."""
    words = [word for word in re.split(r"\W|_", text) if word]
    joined = "".join(word[0].upper() + word[1:] for word in words)
    return joined if joined.isidentifier() else "Network"


def _about(class_name: str, model: Model, graph: Graph) -> str:
    inputs = list(graph.inputs.items())
    told = ", ".join(
        shape_text(shape) if len(inputs) == 1 else f"{key} {shape_text(shape)}"
        for key, shape in inputs
    )
    by_name = {node.name: node.output for node in model.nodes}
    shapes = []
    for ref in leaves(model.outputs):
        if isinstance(ref, Ref):
            output: Any = by_name[ref.name]
            for key in ref.path:
                output = output[key]
            shapes.append(shape_text(output.shape))
    return f"{class_name}: {told} -> {', '.join(shapes)}."


def _shared(model: Model, keys: dict[str, str]) -> list[str]:
    """Assignments for modules that stand in several places and are one."""
    tensors: dict[str, Tensor] = {}
    tensors.update(model.named_parameters(remove_duplicate=False))
    tensors.update(model.named_buffers(remove_duplicate=False))
    first: dict[int, str] = {}
    lines: dict[str, None] = {}
    for key, was in keys.items():
        home = key.rpartition(".")[0]
        found = first.setdefault(id(tensors[was]), home)
        if found != home:
            lines[f"self.{_path(home)} = self.{_path(found)}  # one layer in two places"] = None
    return list(lines)


def _path(home: str) -> str:
    return re.sub(r"\.(\d+)", r"[\1]", home)


class _Writer:
    """Writes the file of a plan."""

    def __init__(self, plan: _Plan, shared: list[str], dtype: torch.dtype) -> None:
        self.plan, self.shared, self.dtype = plan, shared, dtype
        self.told: set[str] = set()  # the reasons that were given
        self.often = dict(self._often())

    def text(self) -> str:
        """The source."""
        shortcuts = [line for key in self.often for line in self._shortcut(key)]
        classes = ["\n".join(self._class(item)) for item in self.plan.classes]
        body = "\n\n\n".join([*classes, self._load()])
        if shortcuts:
            text = "\n".join(shortcuts)
            body = f"{text}\n\n\n{body}"
        weights = 'WEIGHTS = Path(__file__).with_name("model.safetensors")'
        gap = "\n" if shortcuts else "\n\n"
        return f"{self._head(body)}\n\n{weights}\n{gap}{body}\n"

    def _head(self, body: str) -> str:
        about = (
            f'"""The model {self.plan.class_name}, as a module of torch.\n\n'
            "`load` gives it with its weights, which stand beside this file.\n"
            '"""\n'
        )
        lines = ["import torch"] if re.search(r"\btorch\.", body) else []
        lines += ["from safetensors.torch import load_file", "from torch import Tensor, nn"]
        if re.search(r"\bF\.", body):
            lines.append("from torch.nn import functional as F")
        every = [c.imports for item in self.plan.classes for c in item.graph.parts.values()]
        lines += _merged_imports(set().union(*every))
        first = ["from functools import partial"] if self.often else []
        first.append("from pathlib import Path")
        return "\n".join([about, *first, "", *lines])

    def _load(self) -> str:
        class_name = self.plan.class_name
        made = f"{class_name}()" + (".double()" if self.dtype is torch.float64 else "")
        return "\n".join(
            [
                f"def load(path: str | Path = WEIGHTS) -> {class_name}:",
                f'{INDENT}"""Make the model and load its weights."""',
                f"{INDENT}model = {made}",
                f"{INDENT}model.load_state_dict(load_file(path))",
                f"{INDENT}return model",
            ]
        )

    def _class(self, item: _Class) -> list[str]:
        block = item.block
        arguments = ["self"]
        if block is not None:
            arguments += [f"{key}: {kind}" for key, kind in block.parameters.items()]
        lines = [f"class {item.name}(nn.Module):", *_docstring(item.about), ""]
        header = _signature(arguments)
        lines += [*header, f"{INDENT * 2}super().__init__()"]
        if block is not None:
            lines += [f"{INDENT * 2}self.{key} = {key}" for key in sorted(block.stored)]
            for key, value in block.derived.items():
                lines += statement(f"{key} = ", value, 2)
        for key, tensor in item.graph.constants.items():
            lines += self._constant(key, tensor)
        for key, creation in item.graph.parts.items():
            lines += self._part(key, creation)
        if item.name == self.plan.class_name:
            lines += [INDENT * 2 + line for line in self.shared]
        return [*lines, "", *forward_of(item.graph)]

    def _constant(self, key: str, tensor: Tensor) -> list[str]:
        value = constant_source(tensor)
        kwargs: dict[str, ast.expr] = {"persistent": ast.Constant(False)}
        if value is None:
            size = ast.Tuple([ast.Constant(n) for n in tensor.shape])
            value = called("torch.zeros", [size], dtype=name(str(tensor.dtype)))
            kwargs = {}
        call = called("self.register_buffer", [ast.Constant(key), value], **kwargs)
        comment = [] if kwargs else [f"{INDENT * 2}# its numbers are in the file of weights"]
        return [*comment, *statement("", call, 2)]

    def _part(self, key: str, creation: Creation) -> list[str]:
        lines = self._why(creation, 2)
        if creation.shapes:
            return [*lines, *_row(key, creation)]
        call: ast.expr = self._call(creation)
        is_fixed = creation.fixed and creation.is_fixed
        if is_fixed:
            call = ast.Call(ast.Attribute(call, "requires_grad_"), [ast.Constant(False)], [])
        lines += statement(f"self.{key} = ", call, 2)
        if not is_fixed:
            lines += [
                f"{INDENT * 2}self.{key}.{_path(fixed)}.requires_grad_(False)"
                for fixed in creation.fixed
            ]
        return lines

    def _why(self, creation: Creation, depth: int) -> list[str]:
        """A comment that says why it is torchbp's layer, once for each reason."""
        if not creation.why or creation.why in self.told:
            return []
        self.told.add(creation.why)
        return [f"{INDENT * depth}# torchbp's: {creation.why}"]

    def _call(self, creation: Creation) -> ast.Call:
        keywords = _keywords(creation)
        if self.often.get(creation.function) != keywords:
            return creation.call()
        call = creation.call()
        return called(creation.function.rpartition(".")[2], call.args)

    def _often(self) -> Iterator[tuple[str, Keywords]]:
        """Torchbp's layers that are made again and again with the same keywords, and these."""
        every = [c for item in self.plan.classes for c in item.graph.parts.values()]
        counts = Counter(
            (creation.function, _keywords(creation)) for creation in every if creation.why
        )
        seen: set[str] = set()
        for (function, keywords), count in counts.most_common():
            if count >= OFTEN and len(keywords) > 1 and function not in seen:
                seen.add(function)
                yield function, keywords

    def _shortcut(self, function: str) -> list[str]:
        """`BatchNorm2d = partial(layers.BatchNorm2d, eps=0.001)`."""
        every = [c for item in self.plan.classes for c in item.graph.parts.values()]
        creation = next(
            c for c in every if c.function == function and _keywords(c) == self.often[function]
        )
        kwargs = {word.arg: word.value for word in creation.call().keywords if word.arg}
        call = called("partial", [name(function)], **kwargs)
        short = function.rpartition(".")[2]
        return [*self._why(creation, 0), *statement(f"{short} = ", call, 0)]


def _docstring(text: str) -> list[str]:
    """A class's docstring, on one line."""
    line = f'{INDENT}"""{text}"""'
    if len(line) <= WIDTH:
        return [line]
    return [f'{INDENT}"""{textwrap.shorten(text, WIDTH - len(INDENT) - 6, placeholder=" ...")}"""']


def _signature(arguments: list[str]) -> list[str]:
    """The first lines of an `__init__`."""
    line = f"{INDENT}def __init__({', '.join(arguments)}) -> None:"
    if len(line) <= WIDTH:
        return [line]
    inner = [f"{INDENT * 2}{', '.join(arguments)}"]
    if len(inner[0]) > WIDTH:
        inner = [f"{INDENT * 2}{argument}," for argument in arguments]
    return [f"{INDENT}def __init__(", *inner, f"{INDENT}) -> None:"]


def _row(key: str, creation: Creation) -> list[str]:
    """An nn.Sequential, its modules on a line each, with the shapes that they give."""
    lines = [f"{INDENT * 2}self.{key} = nn.Sequential("]
    items = list(zip(creation.call().args, creation.shapes, strict=True))
    while items:
        count, text = _run(items)
        lines += _commented(text, items[0][0], shape_text(items[count - 1][1]))
        items = items[count:]
    return [*lines, f"{INDENT * 2})"]


def _commented(text: str, item: ast.expr, comment: str) -> list[str]:
    own = [f"{INDENT * 3}{text},"] if text else statement("", item, 3, comma=",")
    last = f"{own[-1]}  # {comment}"
    return [*own[:-1], last if len(last) <= WIDTH else own[-1]]


def _run(items: list[tuple[ast.expr, Any]]) -> tuple[int, str]:
    """How many modules from the first on differ by a constant number, and a loop that makes them.

    One and no loop where they are few.
    """
    calls = [item for item, _ in items]
    numbers = [_only_number(call) for call in calls]
    same = next((i for i, call in enumerate(calls) if flat(call) != flat(calls[0])), len(calls))
    if same >= LOOPED:
        return same, f"*({flat(calls[0])} for _ in range({same}))"
    if None in numbers[:2] or len(numbers) < LOOPED:
        return 1, ""
    step = numbers[1] - numbers[0]  # type: ignore[operator]
    count = 1
    while count < len(calls) and numbers[count] == numbers[0] + count * step:  # type: ignore[operator]
        if flat(calls[count].func) != flat(calls[0].func):  # type: ignore[attr-defined]
            break
        count += 1
    if count < LOOPED or step == 0:
        return 1, ""
    function = flat(calls[0].func)  # type: ignore[attr-defined]
    first, stop = numbers[0], numbers[0] + count * step  # type: ignore[operator]
    return count, f"*({function}(n) for n in range({first}, {stop}, {step}))"


def _only_number(call: ast.expr) -> int | None:
    """The only argument, if that is a number."""
    assert isinstance(call, ast.Call)
    if len(call.args) != 1 or call.keywords or not isinstance(call.args[0], ast.Constant):
        return None
    return call.args[0].value if isinstance(call.args[0].value, int) else None


def _keywords(creation: Creation) -> Keywords:
    call = creation.call()
    return tuple((word.arg or "", flat(word.value)) for word in call.keywords)


def _merged_imports(lines: set[str]) -> list[str]:
    """One line for each module."""
    names: dict[str, set[str]] = {}
    for line in lines:
        home, _, what = line.removeprefix("from ").partition(" import ")
        names.setdefault(home, set()).add(what)
    return [f"from {home} import {', '.join(sorted(names[home]))}" for home in sorted(names)]
