"""A functional model: a graph of layers that is an ordinary module."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, fx

from torchbp.errors import DataError, DtypeError, GraphError, ShapeError
from torchbp.graph.layer import Layer
from torchbp.graph.lower import Node, emit_graph, lower
from torchbp.graph.source import compile_forward, readable
from torchbp.graph.structure import leaves
from torchbp.graph.symbolic import Symbolic, SymbolicTensor, check_name

Structure = Any
"""One symbolic tensor, a list or tuple of them, or a dict of them by name."""


class Model(Layer):
    """A module that computes outputs from inputs as a graph of layers says.

    The graph is what was recorded between the two: any symbolic tensors will do as inputs, not
    only those of `Input`, so that every part of a graph is a model, and models that have layers
    in common share them. The `forward` is generated source (`print(model.code)`) and costs what
    a hand-written one costs. Layers become submodules under their names; a model is itself a
    layer.

    Args:
        inputs: a symbolic tensor, a list or tuple of them, or a dict of them by argument name.
        outputs: likewise, and nested if wanted; calls return this structure.
        name: as every layer's.

    Shape:
        The model is called with one argument for each input, positionally, by name, as one list
        or as one dict. Each has the shape and the kind of dtype (floating point or not) of its
        `Input`; sizes that are None there are free.

    Raises:
        GraphError: on creation, if inputs or outputs are not symbolic tensors, an output depends
            on an input that is not given, or different layers or inputs have the same name.
        DataError: in a call, of arguments that are too few, too many, unknown, or no tensors.
        ShapeError: in a call, of an argument with other sizes.
        DtypeError: in a call, of integers for a floating-point input or the reverse.

    Example:
        >>> from torchbp import Input, Model, layers
        >>> x = Input((64,))
        >>> hidden = F.relu(layers.Linear(64, 32, name="hidden")(x))
        >>> model = Model(x, layers.Linear(32, 10, name="scores")(hidden))
        >>> print(model.code)
        def forward(self, x):
            hidden = self.hidden(x)
            relu = F.relu(hidden)
            scores = self.scores(relu)
            return scores
        >>> model(torch.zeros(2, 64)).shape
        torch.Size([2, 10])

    Differences from Keras: names of inputs and layers are Python identifiers, since they are
    the arguments and attributes of the module.

    Attributes:
        nodes: the steps of the graph in the order of computation.
        outputs: the structure of outputs, with a reference to a node for each.
        input_names: names of the arguments.
        output_names: keys of a dict of outputs, else the names of what makes them.
    """

    nodes: tuple[Node, ...]
    outputs: Structure
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def __init__(self, inputs: Structure, outputs: Structure, *, name: str | None = None) -> None:
        super().__init__(name=name)
        _check_symbolic(outputs, "outputs")
        named = _named_inputs(inputs)
        lowered = lower(named, outputs)
        for given, module in lowered.modules.items():
            _check_free(given, self)
            self.add_module(given, module)
        for given, tensor in lowered.constants.items():
            self.register_buffer(given, tensor, persistent=False)
        self.nodes, self.outputs = lowered.nodes, lowered.outputs
        self.input_names = tuple(named)
        self.output_names = _names_of_outputs(self.outputs)
        self._checks = tuple(_check_of(node) for node in self.nodes[: len(named)])
        self._bind_forward()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs, or record the call if an argument is symbolic."""
        if kwargs or len(args) != len(self._checks) or isinstance(args[0], list | tuple | dict):
            args = _bound(self, args, kwargs)
        for value, (argument, ndim, sizes, floating) in zip(args, self._checks, strict=True):
            if isinstance(value, Tensor):
                shape = value.shape
                if len(shape) != ndim or value.is_floating_point() is not floating:
                    raise _wrong_argument(self, argument, value)
                for dim, size in sizes:
                    if shape[dim] != size:
                        raise _wrong_argument(self, argument, value)
            elif not isinstance(value, SymbolicTensor):
                raise _no_tensor(self, argument, value)
        return super().__call__(*args)

    @property
    def code(self) -> str:
        """The source of `forward`, to read. What runs also frees each value after its last use."""
        return readable(self._graph())

    def to_fx(self) -> fx.GraphModule:
        """The model as a torch.fx.GraphModule that shares the submodules."""
        return fx.GraphModule(self, self._graph(), type(self).__name__)

    def summary(self, expand_nested: bool = False) -> str:
        """A table of the steps: name and type, output shape, parameters, inputs.

        Args:
            expand_nested: show the steps of models that are layers here, too.

        Returns:
            Plain text of at most 100 columns. Shared weights are counted once.
        """
        from torchbp.graph.summary import summary  # summary builds on this module

        return summary(self, expand_nested=expand_nested)

    def _graph(self) -> fx.Graph:
        return emit_graph(self.nodes, self.outputs)

    def _bind_forward(self) -> None:
        # An attribute of the instance: calls go straight to the generated function, and
        # inspect.signature(model.forward), which exporters read, names the inputs.
        self.__dict__["forward"] = types.MethodType(compile_forward(self._graph()), self)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["forward"]  # a function of generated source cannot be pickled; it is made anew
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._bind_forward()


def _named_inputs(inputs: Structure) -> dict[str, Symbolic]:
    _check_symbolic(inputs, "inputs")
    if isinstance(inputs, Mapping):
        for name in inputs:
            check_name(name, "Model")
        return dict(inputs)
    values = list(inputs) if isinstance(inputs, Sequence) else [inputs]
    named: dict[str, Symbolic] = {}
    given = {value.call.name for value in values}
    for value in values:
        base = value.call.base_name()
        name, number = base, 0
        while name in named or (value.call.name is None and name in given):
            if value.call.name is not None:
                raise GraphError(
                    f"Model: two inputs are named '{name}'.\n  To mend it: name them differently."
                )
            number += 1
            name = f"{base}_{number}"
        named[name] = value
    return named


def _check_symbolic(structure: Structure, what: str) -> None:
    values = list(leaves(structure))
    for value in values:
        if not isinstance(value, Symbolic):
            raise GraphError(
                f"Model: expected symbolic tensors as {what}, got {type(value).__name__}.\n"
                "  To mend it: pass what Input, a layer or torchbp.call returned."
            )
    if not values:
        raise GraphError(
            f"Model: expected at least one symbolic tensor as {what}, got {structure!r}.\n"
            "  To mend it: pass what Input, a layer or torchbp.call returned."
        )


def _check_free(name: str, model: Model) -> None:
    if hasattr(type(model), name) or name in ("nodes", "outputs", "input_names", "output_names"):
        raise GraphError(
            f"Model: a layer is named '{name}', which is an attribute of every model.\n"
            "  To mend it: give it another name."
        )


def _names_of_outputs(outputs: Structure) -> tuple[str, ...]:
    if isinstance(outputs, Mapping):
        return tuple(outputs)
    names: list[str] = []
    for ref in leaves(outputs):
        base = "_".join(str(key) for key in (ref.name, *ref.path))
        name, number = base, 0
        while name in names:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return tuple(names)


def _check_of(node: Node) -> tuple[str, int, tuple[tuple[int, int], ...], bool]:
    """What an argument must have: its name, dimensions, known sizes, and whether it is floating."""
    shape, dtype = node.output.shape, node.output.dtype
    sizes = tuple((dim, size) for dim, size in enumerate(shape) if size is not None)
    return node.name, len(shape), sizes, dtype.is_floating_point


def _bound(model: Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments in the order of the inputs, however they were given."""
    names = model.input_names
    if len(args) == 1 and not kwargs:
        if isinstance(args[0], Mapping):
            args, kwargs = (), dict(args[0])
        elif isinstance(args[0], list | tuple):
            args = tuple(args[0])
    by_name = dict(zip(names, args, strict=False))
    twice = [name for name in kwargs if name in by_name]
    by_name |= kwargs
    if len(args) > len(names) or twice or set(by_name) != set(names):
        got = [f"{len(args)} positional"] if args else []
        got += [f"by name {sorted(kwargs)}"] if kwargs else []
        raise DataError(
            f"{_who(model)}: expected {len(names)} inputs {list(names)}, got "
            f"{' and '.join(got) or 'none'}.\n"
            "  To mend it: pass one tensor for each, positionally, by name, as one list or as "
            "one dict."
        )
    return tuple(by_name[name] for name in names)


def _who(model: Model) -> str:
    return f"{model.name} ({type(model).__name__})" if model.name else type(model).__name__


def _wrong_argument(model: Model, name: str, value: Tensor) -> ShapeError | DtypeError:
    node = next(node for node in model.nodes if node.name == name)
    shape, dtype = node.output.shape, node.output.dtype
    got = f"{tuple(value.shape)} {value.dtype}"
    expected = f"{_who(model)}: expected input '{name}' of shape {shape} and {dtype}, got {got}"
    if value.is_floating_point() is not dtype.is_floating_point:
        wanted = "floating-point numbers" if dtype.is_floating_point else "integers"
        return DtypeError(f"{expected}.\n  To mend it: pass {wanted}.")
    return ShapeError(
        f"{expected}.\n  To mend it: pass data of that shape (None is any size), or build the "
        "model with another Input."
    )


def _no_tensor(model: Model, name: str, value: object) -> DataError:
    return DataError(
        f"{_who(model)}: expected a tensor as input '{name}', got {type(value).__name__}.\n"
        "  To mend it: convert it with torch.as_tensor."
    )
