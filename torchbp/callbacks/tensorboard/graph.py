"""The graph of a functional model as TensorBoard draws it: its steps, by their names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from torchbp.graph import Model
from torchbp.graph.captions import output_tensors, type_text
from torchbp.graph.lower import Node, Path, Ref
from torchbp.graph.structure import leaves

Shape = Sequence[int | None]


def model_graph(model: Model) -> Any:
    """The GraphDef of a functional model: a node for each step, nested models as name scopes."""
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.versions_pb2 import VersionDef

    graph = GraphDef(versions=VersionDef(producer=22))
    _Steps(model, "", {}).add_to(graph)
    return graph


def add_node(
    graph: Any,
    name: str,
    op: str,
    inputs: Iterable[str] = (),
    shapes: Iterable[Shape] = (),
    module: nn.Module | None = None,
) -> None:
    """Adds a node to a GraphDef.

    Args:
        graph: the GraphDef.
        name: with a slash after each name scope.
        op: what the node does.
        inputs: names of nodes, with `:1` for the second output of one.
        shapes: of the outputs; None is an unknown size.
        module: shown with its settings and its weights.
    """
    node = graph.node.add(name=name, op=op, input=list(inputs))
    shown = node.attr["_output_shapes"].list.shape
    for shape in shapes:
        sizes = shown.add()
        for size in shape:
            sizes.dim.add(size=-1 if size is None else size)
    if module is None:
        return
    node.attr["settings"].s = module.extra_repr().encode()
    for key, parameter in module.named_parameters():
        node.attr[key].s = str(tuple(parameter.shape)).encode()


class _Steps:
    """The steps of a model, below a name scope.

    Args:
        model: whose steps they are.
        scope: stands before their names.
        given: for each input, what gives it; nothing for the outermost model.
    """

    def __init__(self, model: Model, scope: str, given: Mapping[str, list[str]]) -> None:
        self._model = model
        self._scope = scope
        self._given = given
        self._nodes = {node.name: node for node in model.nodes}
        self._nested: dict[str, _Steps] = {}

    def add_to(self, graph: Any) -> None:
        """Adds all steps to a GraphDef."""
        for node in self._model.nodes:
            module = self._model.get_submodule(node.target) if node.kind == "module" else None
            if isinstance(module, Model):
                steps = _Steps(module, f"{self._scope}{node.name}/", self._arguments(module, node))
                self._nested[node.name] = steps
                steps.add_to(graph)
                continue
            sources = [name for ref in node.refs() for name in self.sources(ref)]
            shapes = [info.shape for _, info in output_tensors(node)]
            op = type_text(node, self._model)
            inputs = self._given.get(node.name, sources)
            add_node(graph, self._scope + node.name, op, inputs, shapes, module)

    def sources(self, ref: Ref) -> list[str]:
        """The outputs of nodes that a value is, or is made of."""
        if ref.name in self._nested:
            return self._nested[ref.name].results(ref.path)
        paths = [path for path, _ in output_tensors(self._nodes[ref.name])]
        name = self._scope + ref.name
        return [
            f"{name}:{index}" if index else name
            for index, path in enumerate(paths)
            if path[: len(ref.path)] == ref.path
        ]

    def results(self, path: Path) -> list[str]:
        """What makes the model's output, or a part of it."""
        tree = self._model.outputs
        while path and not isinstance(tree, Ref):
            tree, path = tree[path[0]], path[1:]
        refs = (Ref(ref.name, (*ref.path, *path)) for ref in leaves(tree))
        return [name for ref in refs for name in self.sources(ref)]

    def _arguments(self, nested: Model, node: Node) -> dict[str, list[str]]:
        """What gives each input of a model that is a step here."""
        return {
            name: [source for leaf in leaves(value) for source in self.sources(leaf)]
            for name, value in zip(nested.input_names, node.args, strict=True)
        }
