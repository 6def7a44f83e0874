"""What is drawn of a model: boxes with their texts, and arrows between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from torchbp.graph.captions import (
    leaf_paths,
    output_tensors,
    path_text,
    printable,
    type_text,
    weights,
)
from torchbp.graph.lower import Node, Path, Ref, TensorInfo
from torchbp.graph.model import Model

Kind = Literal["input", "output", "module", "model", "function", "constant"]


@dataclass(frozen=True)
class Shared:
    """Which call of a layer that is called several times.

    Attributes:
        layer: the layer's name.
        number: of the layer, among those called several times, from 0.
        call: of the layer, from 1.
        calls: how many there are in the picture.
    """

    layer: str
    number: int
    call: int
    calls: int

    def __str__(self) -> str:
        return f"call {self.call} of {self.calls} of {self.layer}"


@dataclass
class Box:
    """A step of a model, or one of its outputs.

    Attributes:
        key: unique in the whole picture.
        name: the step's, or the output's.
        kind: what it is; "model" is a module that is a functional model.
        type: the text that says it exactly.
        lines: shapes and dtypes of what comes out.
        parts: the parts of what comes out that arrows take, where it is not the whole.
        shared: set if it calls a layer that is called several times.
        inside: the steps of a nested model that is shown expanded.
    """

    key: str
    name: str
    kind: Kind
    type: str
    lines: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    shared: Shared | None = None
    inside: Picture | None = None


@dataclass(frozen=True)
class Arrow:
    """A value on its way from the box that makes it to one that takes it.

    Attributes:
        source: key of a box.
        target: key of a box.
        part: which part of what the source makes, "" for the whole.
        source_inside: if the source is expanded, the key of its output that it is.
        target_inside: if the target is expanded, the key of its input that it is.
    """

    source: str
    target: str
    part: str = ""
    source_inside: str = ""
    target_inside: str = ""


@dataclass
class Picture:
    """What is drawn of one model.

    Attributes:
        boxes: each after those that lead to it.
        arrows: between the boxes.
        inputs: keys of the boxes of inputs, in the order of the arguments.
        outputs: keys of the boxes of outputs, by their paths in the model's outputs.
    """

    boxes: list[Box]
    arrows: list[Arrow]
    inputs: list[str]
    outputs: dict[Path, str]


def picture(model: Model, show_shapes: bool, show_dtype: bool, expand_nested: bool) -> Picture:
    """What to draw of a model.

    Args:
        model: a functional model.
        show_shapes: name the shapes of what comes out of the steps.
        show_dtype: name its element types.
        expand_nested: show the inside of a nested model at its first call.
    """
    drawer = _Drawer(show_shapes, show_dtype, expand_nested)
    drawn = drawer.drawn(model, prefix="")
    drawer.mark_shared()
    return drawn


class _Drawer:
    """The options, and the calls of each module in the order of their boxes."""

    def __init__(self, show_shapes: bool, show_dtype: bool, expand_nested: bool) -> None:
        self.show_shapes = show_shapes
        self.show_dtype = show_dtype
        self.expand_nested = expand_nested
        self.calls: dict[int, list[tuple[str, nn.Module, Box]]] = {}  # by the module's identity

    def drawn(self, model: Model, prefix: str) -> Picture:
        steps = {node.name: self._box(node, model, prefix) for node in model.nodes}
        arrows = [
            _arrow(steps[ref.name], ref, steps[node.name], argument)
            for node in model.nodes
            for argument, ref in enumerate(node.refs())
        ]
        outputs = {}
        for name, (path, ref) in zip(model.output_names, leaf_paths(model.outputs), strict=True):
            name = printable(str(name))
            outputs[path] = Box(f"{prefix}{name} (output)", name, "output", "Output")
            arrows.append(_arrow(steps[ref.name], ref, outputs[path], 0))
        arrows = list(dict.fromkeys(arrows))
        for box in steps.values():
            parts = [arrow.part for arrow in arrows if arrow.source == box.key and arrow.part]
            box.parts = list(dict.fromkeys(parts))
        return Picture(
            boxes=[*steps.values(), *outputs.values()],
            arrows=arrows,
            inputs=[steps[name].key for name in model.input_names],
            outputs={path: box.key for path, box in outputs.items()},
        )

    def mark_shared(self) -> None:
        """Mark the calls of layers that have weights and are called several times."""
        several = [
            calls for calls in self.calls.values() if len(calls) > 1 and weights(calls[0][1])
        ]
        for number, calls in enumerate(several):
            for index, (_, _, box) in enumerate(calls):
                box.shared = Shared(calls[0][0], number, index + 1, len(calls))

    def _box(self, node: Node, model: Model, prefix: str) -> Box:
        kind: Kind = "function" if node.kind == "method" else node.kind
        box = Box(prefix + node.name, node.name, kind, type_text(node, model), self._lines(node))
        if node.kind == "module":
            module = model.get_submodule(node.target)
            calls = self.calls.setdefault(id(module), [])
            calls.append((node.target, module, box))
            if isinstance(module, Model):
                box.kind = "model"
                if self.expand_nested and len(calls) == 1:
                    box.inside = self.drawn(module, f"{box.key}.")
        return box

    def _lines(self, node: Node) -> list[str]:
        if not (self.show_shapes or self.show_dtype):
            return []
        return [self._line(path, info) for path, info in output_tensors(node)]

    def _line(self, path: Path, info: TensorInfo) -> str:
        texts = [path_text(path)] if path else []
        texts += [str(info.shape)] if self.show_shapes else []
        texts += [str(info.dtype).removeprefix("torch.")] if self.show_dtype else []
        return " ".join(texts)


def _arrow(source: Box, ref: Ref, target: Box, argument: int) -> Arrow:
    taken = target.inside.inputs[argument] if target.inside else ""
    if source.inside:
        return Arrow(source.key, target.key, "", source.inside.outputs[ref.path], taken)
    return Arrow(source.key, target.key, path_text(ref.path), "", taken)
