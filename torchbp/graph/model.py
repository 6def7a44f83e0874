"""A functional model: a graph of layers that is an ordinary module."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx

from torchbp.errors import GraphError
from torchbp.graph.arguments import Fits, bound, compile_fits
from torchbp.graph.fx import fx_graph
from torchbp.graph.layer import Layer
from torchbp.graph.lower import Node, Path, lower
from torchbp.graph.names import Taken, check_input_name
from torchbp.graph.source import compile_forward, readable
from torchbp.graph.structure import leaves
from torchbp.graph.symbolic import Symbolic, SymbolicTensor

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

    nodes: tuple[Node, ...] = ()
    outputs: Structure = ()
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    _fits: Fits
    _generated: Callable[..., Any]

    def __init__(self, inputs: Structure, outputs: Structure, *, name: str | None = None) -> None:
        super().__init__(name=name)
        _check_symbolic(outputs, "outputs")
        named = _named_inputs(inputs)
        rename = not isinstance(inputs, Mapping)
        lowered = lower(named, outputs, reserved=set(dir(self)), rename=rename)
        for given, module in lowered.modules.items():
            self.add_module(given, module)
        for given, tensor in lowered.constants.items():
            self.register_buffer(given, tensor, persistent=False)
        self.nodes, self.outputs = lowered.nodes, lowered.outputs
        self.input_names = lowered.input_names
        self.output_names = _names_of_outputs(self.outputs)
        self._generate()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs, or record the call if an argument is symbolic."""
        if self._fits(args, kwargs) and self._compiled_call_impl is None:
            return self._call_impl(*args)  # type: ignore[no-untyped-call]  # as in Layer
        return super().__call__(*bound(self._label(), self._inputs(), args, kwargs))

    @property
    def code(self) -> str:
        """The source of `forward`, to read. What runs also frees each value after its last use."""
        return readable(self.nodes, self.outputs)

    def to_fx(self) -> fx.GraphModule:
        """The model as a torch.fx.GraphModule that shares the submodules."""
        return fx.GraphModule(self, fx_graph(self.nodes, self.outputs), type(self).__name__)

    def summary(self, expand_nested: bool = False) -> str:
        """A table of the steps: name and type, output shape, parameters, inputs.

        Args:
            expand_nested: show the steps of models that are layers here, too.

        Returns:
            Plain text of at most 100 columns. Shared weights are counted once.
        """
        from torchbp.graph.summary import summary  # summary builds on this module

        return summary(self, expand_nested=expand_nested)

    def forward(self, *inputs: Any) -> Any:
        """Compute the outputs; the instance has a function with one argument for each input."""
        return self._generated(*inputs)

    def _inputs(self) -> tuple[Node, ...]:
        return self.nodes[: len(self.input_names)]

    def _label(self) -> str:
        kind = type(self).__name__
        return f"{self.name} ({kind})" if self.name else kind

    def _generate(self) -> None:
        """Make the functions that are written as source; copies and pickles make them anew."""
        generated = types.MethodType(compile_forward(self.nodes, self.outputs), self)
        self.__dict__.update(_generated=generated, _fits=compile_fits(self._inputs()))
        if type(self).forward is Model.forward:
            # calls go straight to the generated function, and inspect.signature(model.forward),
            # which exporters read, names the inputs
            self.__dict__["forward"] = generated

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        for name in ("forward", "_generated", "_fits"):
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._generate()


def _named_inputs(inputs: Structure) -> dict[str, Symbolic]:
    """The inputs by the names of the arguments: what they were given, else `x`, `x_1` ..."""
    _check_symbolic(inputs, "inputs")
    if isinstance(inputs, Mapping):
        for name in inputs:
            check_input_name(name, "Model")
        return _each_once(dict(inputs))
    values = list(inputs) if isinstance(inputs, Sequence) else [inputs]
    given = [value.call.name for value in values if value.call.name is not None]
    for name in given:
        if given.count(name) > 1:
            raise GraphError(
                f"Model: two inputs are named '{name}'.\n  To mend it: name them differently."
            )
    taken = Taken(given)
    return _each_once(
        {value.call.name or taken.free(value.call.base_name()): value for value in values}
    )


def _each_once(inputs: dict[str, Any]) -> dict[str, Any]:
    names: dict[tuple[int, Path], str] = {}
    for name, value in inputs.items():
        first = names.setdefault((id(value.call), value.path), name)
        if first != name:
            raise GraphError(
                f"Model: the inputs '{first}' and '{name}' are the same symbolic tensor.\n"
                "  To mend it: give it once."
            )
    return inputs


def _check_symbolic(structure: Structure, what: str) -> None:
    values = list(leaves(structure))
    for value in values or [structure]:
        if not isinstance(value, SymbolicTensor):
            raise GraphError(
                f"Model: expected symbolic tensors as {what}, got {type(value).__name__}.\n"
                "  To mend it: pass what Input, a layer or torchbp.call returned."
            )


def _names_of_outputs(outputs: Structure) -> tuple[str, ...]:
    if isinstance(outputs, Mapping):
        return tuple(outputs)
    taken = Taken()
    parts = ["_".join(str(key) for key in (ref.name, *ref.path)) for ref in leaves(outputs)]
    return tuple(taken.free(name, python=False) for name in parts)
