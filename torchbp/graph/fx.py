"""A model's nodes as a graph of torch.fx, for the tools that work on these."""

from __future__ import annotations

import operator
from typing import Any

from torch import fx

from torchbp.graph.lower import Node, Ref
from torchbp.graph.names import Taken
from torchbp.graph.structure import map_leaves


def fx_graph(nodes: tuple[Node, ...], outputs: Any) -> fx.Graph:
    """The nodes, by the same names, as a torch.fx graph; getitem nodes take parts of outputs."""
    graph = fx.Graph()
    values: dict[Ref, fx.Node] = {}
    names = Taken(node.name for node in nodes)  # a part of `lstm` may not be called `lstm_1`, too

    def value(leaf: Any) -> Any:
        if not isinstance(leaf, Ref):
            return leaf
        if leaf not in values:
            whole = value(Ref(leaf.name, leaf.path[:-1]))
            part = "_".join(str(key) for key in (leaf.name, *leaf.path))
            name = names.free(part, python=False)
            values[leaf] = graph.create_node(
                "call_function", operator.getitem, (whole, leaf.path[-1]), name=name
            )
        return values[leaf]

    for node in nodes:
        args, kwargs = map_leaves(value, node.args), map_leaves(value, node.kwargs)
        made = graph.create_node(_OPCODES[node.kind], node.target, args, kwargs, name=node.name)
        made.name = node.name  # torch.fx would number a layer that is named as a builtin, `sum`
        values[Ref(node.name)] = made
    graph.output(map_leaves(value, outputs))
    return graph


_OPCODES = {
    "input": "placeholder", "constant": "get_attr", "module": "call_module",
    "function": "call_function", "method": "call_method",
}  # fmt: skip
