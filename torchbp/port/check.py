"""Whether a port computes what its Keras model computes: asked of every port of a live model."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from torchbp.errors import DataError
from torchbp.graph import Model
from torchbp.port.architecture import Architecture
from torchbp.port.build import Built
from torchbp.port.data import Arrays, Inputs, run
from torchbp.port.values import Value

# Of whole networks in inference, relative to the largest value; measured 8.5e-7. It is that of
# float32 for float64 models, too: TensorFlow resizes them in float32, and rounds constants to it.
BOUND = 1e-5
# how many times its own rounding a float32 port may be off: no two programs round alike
SHARE_OF_ROUNDING = 10.0


class PortError(DataError):
    """A port that does not equal its model.

    Attributes:
        layer: the first layer at which the two part.
    """

    def __init__(self, message: str, layer: str) -> None:
        super().__init__(message)
        self.layer = layer


def check_port(built: Built, architecture: Architecture, model: Any) -> None:
    """Run both on the same numbers, in inference.

    Args:
        built: the port with its weights.
        architecture: the model's.
        model: the live Keras model, on any backend.

    Raises:
        PortError: the outputs differ by more than rounding; the first layer at which they do is
            named.
    """
    drawn = Inputs(architecture, built)
    arrays = drawn.draw(seed=0)
    theirs = run_keras(model, model, arrays)
    ours = drawn.outputs(arrays)
    errors = [_error(a, b) for a, b in zip(ours, theirs, strict=True)]
    bound = BOUND
    if max(errors) > bound and built.dtype is torch.float32:
        bound = max(bound, SHARE_OF_ROUNDING * _own_rounding(built, arrays, ours))
    if max(errors) <= bound:
        return
    layer, error = _first_parting(built, model, arrays, bound) or (
        "that of the outputs",
        max(errors),
    )
    raise PortError(
        f"port: expected outputs within {bound:.0e} of Keras's, got {max(errors):.1e}; the first "
        f"layer at which the two part is {layer}, by {error:.1e}.\n"
        "  To mend it: give a module for that layer with replace={name: module}; check=False "
        "returns the port as it is.",
        layer,
    )


def _own_rounding(built: Built, arrays: Arrays, ours: list[Tensor]) -> float:
    """How far float32 itself is from float64, for these inputs."""
    exact = run(built, arrays, copy.deepcopy(built.model).double())
    return max(_error(a, b) for a, b in zip(ours, exact, strict=True))


def _first_parting(
    built: Built, model: Any, arrays: Arrays, bound: float
) -> tuple[str, float] | None:
    """The first layer, in the order of computation, whose values differ by more than the bound."""
    import keras

    found = list(_symbolic_values(built, model))
    names, values, tensors = zip(*found, strict=True)
    inside = keras.Model(model.inputs, list(tensors))
    theirs = run_keras(inside, model, arrays)
    every = Model(list(built.inputs.values()), [value.as_keras() for value in values])
    ours = run(built, arrays, every)
    if built.moves:  # already as Keras has them
        ours = [tensor.movedim(-1, 1) if tensor.ndim > 3 else tensor for tensor in ours]
    for name, a, b in zip(names, ours, theirs, strict=True):
        error = _error(a, b)
        if error > bound:
            return name, error
    return None


def _symbolic_values(built: Built, model: Any) -> Iterator[tuple[str, Value, Any]]:
    """What each layer gives on both sides."""
    nodes = nodes_of(model)
    for (path, call, output), value in built.values.items():
        yield path[-1], value, nodes[path[-1]][call].output_tensors[output]


def run_keras(model: Any, original: Any, arrays: Arrays) -> list[Tensor]:
    """What a Keras model gives in inference, in its flat order.

    Args:
        model: what is run.
        original: the model with whose inputs it was made.
        arrays: the inputs by the names of the input layers.
    """
    import keras

    tensors = [
        keras.ops.convert_to_tensor(arrays[tensor._keras_history[0].name], dtype=tensor.dtype)
        for tensor in original.inputs
    ]
    given = as_structured(model, tensors) if model is original else tensors
    outputs = model(given, training=False)
    flat = keras.tree.flatten(outputs)
    return [torch.from_numpy(keras.ops.convert_to_numpy(output).copy()) for output in flat]


def functional_of(model: Any) -> Any:
    """The graph of a Keras model; a Sequential model has one inside."""
    return getattr(model, "_functional", None) or model


def nodes_of(model: Any) -> dict[str, list[Any]]:
    """The calls of each layer and function in a Keras model, by its name; not those elsewhere."""
    graph = functional_of(model)
    own = {id(node) for nodes in graph._nodes_by_depth.values() for node in nodes}
    return {
        operation.name: [node for node in operation._inbound_nodes if id(node) in own]
        for operation in graph.operations
    }


def as_structured(model: Any, tensors: list[Any]) -> Any:
    """Tensors in the order of a Keras model's inputs, in the structure of these."""
    import keras

    named = {id(symbolic): tensor for symbolic, tensor in zip(model.inputs, tensors, strict=True)}
    structure = functional_of(model)._inputs_struct
    return keras.tree.map_structure(lambda symbolic: named[id(symbolic)], structure)


def _error(value: Tensor, expected: Tensor) -> float:
    """max|a - b| / max|b|; what is not finite must be so on both sides."""
    if value.shape != expected.shape:
        return math.inf
    if value.numel() == 0:
        return 0.0
    a, b = value.double(), expected.double()
    if not torch.equal(a.isfinite(), b.isfinite()):
        return math.inf
    a, b = a.nan_to_num(), b.nan_to_num()
    difference, size = (a - b).abs().max().item(), b.abs().max().item()
    if difference == 0:
        return 0.0
    return difference / size if size else math.inf
