"""A Keras model's architecture as a torchbp model, without data in its weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from torchbp.errors import DataError
from torchbp.graph import Input, Model, SymbolicTensor, call
from torchbp.graph.lower import lower
from torchbp.graph.names import CODE_NAMES, Taken
from torchbp.graph.structure import map_leaves
from torchbp.port import converters as _converters  # noqa: F401  # registers Keras's layers
from torchbp.port.architecture import TIME_DISTRIBUTED, Architecture, LayerSpec, Source, sources_in
from torchbp.port.config import UnsupportedError, is_telling
from torchbp.port.converters.preprocessing import TRAINING_BY_DEFAULT
from torchbp.port.nested_masks import NestedMasks, masks_of_outputs
from torchbp.port.registry import OPERATIONS, Converter, Layer, converter_of
from torchbp.port.saved import layer_paths
from torchbp.port.stripped_masks import TAKES_MASKS_OFF, check_taken_off
from torchbp.port.values import Value
from torchbp.port.weight_rules import rules_of

Channels = Literal["first", "last"]
Path = tuple[str, ...]


@dataclass
class Built:
    """A model that was built.

    Args:
        architecture: what it was built from.
        model: without data in its weights, on the meta device.
        layers: the layers, those of nested models too, by their paths.
        inputs: the symbolic inputs by the names of Keras's input layers, in the order of the
            model's arguments.
        values: what each call of a layer gave, in the order of computation, by the layer's path,
            the number of the call and that of the output; those in nested models are left out.
        results: the symbolic outputs.
        order: the layers' paths in the order of Keras's list of weights.
        is_masked: whether an output has a mask, with which Keras weighs its loss.
        moves: whether tensors of four axes and more have the channels at 1 at the inputs and
            outputs, where Keras has them last.
        dtype: of the weights.
    """

    architecture: Architecture
    model: Model
    layers: dict[Path, Layer]
    inputs: dict[str, Any]
    values: dict[tuple[Path, int, int], Value]
    results: Any
    moves: bool
    dtype: torch.dtype
    order: tuple[Path, ...] = ()
    is_masked: bool = False

    def nodes(self) -> dict[tuple[Path, int, int], str]:
        """The node of the model that gives each of the values; empty for what is none."""
        keys = list(self.values)
        given = dict(zip(self.model.input_names, self.inputs.values(), strict=True))
        tensors = [self.values[key].tensor for key in keys]
        # as the model names them: what the values add stands behind the rest
        refs = lower(given, [self.results, tensors], reserved=set()).outputs[1]
        known = {node.name for node in self.model.nodes if node.kind != "input"}
        return {
            key: ref.name if ref.name in known and ref.path in ((), (0,)) else ""
            for key, ref in zip(keys, refs, strict=True)
        }


def build(
    architecture: Architecture,
    channels: Channels = "first",
    replace: Mapping[str, nn.Module] | None = None,
) -> Built:
    """The model that an architecture describes.

    Args:
        architecture: what a file or a Keras model says of itself.
        channels: "first" for images with channels at 1, as torch has them, at the inputs and
            outputs; "last" for Keras's order there.
        replace: modules for layers that cannot be ported, by the layers' names. Each is called
            with Keras's tensors, channels last.

    Raises:
        DataError: a layer cannot be ported; the error lists all such layers.
    """
    if channels not in ("first", "last"):
        raise DataError(
            f"port: expected channels='first' or 'last', got {channels!r}.\n"
            "  To mend it: 'first' for images as torch has them, 'last' for Keras's order."
        )
    builder = _Builder(channels, replace or {})
    graph = builder.graph(architecture, (), trainable=True)
    unused = sorted(set(builder.replace) - builder.replaced)
    if unused:
        builder.refusals.append(f"replace names {unused}, which are no layers of the model")
    if builder.refusals or graph is None:
        raise _refused(architecture.name, builder.refusals)
    return Built(
        architecture,
        graph.model,
        builder.layers,
        graph.inputs,
        graph.values,
        graph.results,
        graph.moves,
        builder.dtype(),
        tuple(layer_paths(architecture)),
        any(place is not None for place in graph.masks.places),
    )


@dataclass
class _Graph:
    model: Model
    inputs: dict[str, Any]
    values: dict[tuple[Path, int, int], Value]
    results: Any
    moves: bool
    masks: NestedMasks
    given_masks: tuple[bool, ...]  # which of the inputs bring one


@dataclass
class _Builder:
    channels: Channels
    replace: Mapping[str, nn.Module]
    layers: dict[Path, Layer] = field(default_factory=dict)
    nested: dict[Path, _Graph | None] = field(default_factory=dict)
    dtypes: set[str] = field(default_factory=set)
    input_dtypes: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)

    def dtype(self) -> torch.dtype:
        """That of the layers; of the inputs where no layer has one."""
        known = self.dtypes - {"any"} or self.input_dtypes
        return torch.float64 if "float64" in known else torch.float32

    def graph(
        self,
        architecture: Architecture,
        path: Path,
        trainable: bool,
        given_masks: tuple[bool, ...] = (),
    ) -> _Graph | None:
        """The graph of a model; None if something in it cannot be ported."""
        num_refused = len(self.refusals)
        flow = _Flow(self, architecture, path, trainable and architecture.trainable, given_masks)
        flow.run()
        if len(self.refusals) > num_refused:
            return None
        try:
            return flow.graph()
        except UnsupportedError as error:
            self.refusals.append(f"{'/'.join(path) or architecture.name}: {error}")
            return None

    def refuse(self, path: Path, spec: LayerSpec, reason: str) -> None:
        config = {name: value for name, value in spec.config.items() if is_telling(name, value)}
        text = f"{'/'.join(path)} ({spec.registered or spec.class_name}): {reason}"
        self.refusals.append(f"{text}; its configuration: {str(config)[:300]}")


class _Flow:
    """The calls of one model, one after the other."""

    def __init__(
        self,
        builder: _Builder,
        architecture: Architecture,
        path: Path,
        trainable: bool,
        given_masks: tuple[bool, ...],
    ) -> None:
        self.builder, self.architecture, self.path = builder, architecture, path
        self.trainable, self.given_masks = trainable, given_masks
        ends = sources_in(architecture.inputs)
        self.brings_mask = {
            source.layer for source, brings in zip(ends, given_masks, strict=False) if brings
        }
        self.masks: dict[str, Any] = {}
        self.values: dict[Source, Value | None] = {}
        self.inputs: dict[str, Any] = {}
        self.layers: dict[str, Layer] = {}
        self.calls: dict[tuple[Path, int, int], Value] = {}
        self.names = Taken(name for name in dir(Model) if not name.startswith("__"))
        self.input_names = Taken(CODE_NAMES)
        first = builder.channels == "first" or bool(path)
        self.moves = first and not is_channels_first(architecture)

    def run(self) -> None:
        for spec in self.architecture.layers:
            if spec.is_input:
                self.input(spec)
            elif spec.model is None:
                self.check(spec)
        for spec, index in self.architecture.calls():
            results = self.call(spec, index)
            for output, value in enumerate(results):
                self.values[Source(spec.name, index, output)] = value

    def graph(self) -> _Graph:
        outputs = _mapped(
            self.architecture.outputs, Source, lambda s: _at_edge(self.value(s), self.moves)
        )
        inputs = self.architecture.inputs
        if isinstance(inputs, Mapping) and not all(isinstance(s, Source) for s in inputs.values()):
            raise UnsupportedError("inputs as lists or dicts within a dict")
        by_name = {source.layer: self.inputs[source.layer] for source in sources_in(inputs)}
        if isinstance(inputs, Mapping):
            names = Taken(CODE_NAMES)
            given: Any = {
                names.free(_identifier(key)): self.inputs[s.layer] for key, s in inputs.items()
            }
            given |= {f"{name}_mask": mask for name, mask in self.masks.items()}
        else:
            given = [*by_name.values(), *self.masks.values()]
        name = self.names.free(_identifier(self.architecture.name)) if self.path else None
        model = Model(given, outputs, name=name)
        return _Graph(
            model,
            by_name,
            self.calls,
            outputs,
            self.moves,
            self.masks_of_outputs([*by_name.values(), *self.masks.values()]),
            self.given_masks,
        )

    def masks_of_outputs(self, tensors: list[Any]) -> NestedMasks:
        masks = [self.value(source).mask for source in sources_in(self.architecture.outputs)]
        name = self.names.free(_identifier(f"{self.architecture.name}_mask"))
        return masks_of_outputs(tensors, masks, name)

    def value(self, source: Source) -> Value:
        value = self.values.get(source)
        if value is None:
            raise UnsupportedError(
                f"the output {source.output} of {source.layer}, which gives none such"
            )
        return value

    def input(self, spec: LayerSpec) -> None:
        shape = spec.config.get("batch_shape", spec.config.get("batch_input_shape"))
        try:
            sizes, dtype = _input_sizes(shape), _input_dtype(spec.config.get("dtype"))
            self.builder.input_dtypes.add(str(spec.config.get("dtype")))
        except UnsupportedError as error:
            self.builder.refuse((*self.path, spec.name), spec, str(error))
            return
        moves = self.moves and len(sizes) > 2
        if moves:
            sizes = [sizes[-1], *sizes[:-1]]
        name = self.input_names.free(_identifier(spec.name))
        tensor = Input(sizes, dtype, name)
        self.inputs[spec.name] = tensor
        value = Value(tensor, channels_at_1=moves)
        if spec.name in self.brings_mask:
            mask = Input(list(value.shape[1:2]), torch.bool, self.input_names.free(f"{name}_mask"))
            self.masks[name] = mask
            value = value.masked(mask)
        self.values[Source(spec.name, 0, 0)] = value

    def check(self, spec: LayerSpec) -> None:
        """Refuses what cannot be known, whatever it is called with."""
        path = (*self.path, spec.name)
        layer = Layer(path, spec, self.names.free(_identifier(spec.name)))
        layer.trainable = self.trainable and spec.config.get("trainable") is not False
        self.layers[spec.name] = layer
        if spec.name in self.builder.replace:
            self.builder.replaced.add(spec.name)
            return
        try:
            name = _policy(spec.config.get("dtype"))
            self.builder.dtypes.add(name)
            if {"float32", "float64"} <= self.builder.dtypes:
                raise UnsupportedError("float32 and float64 in one model")
        except UnsupportedError as error:
            self.builder.refuse(path, spec, str(error))
        if converter_of(spec) is None:
            self.builder.refuse(path, spec, "no converter for the class")

    def call(self, spec: LayerSpec, index: int) -> list[Value | None]:
        """The outputs of a call; None for each that is unknown."""
        path = (*self.path, spec.name)
        known = spec.model is not None or spec.name in self.builder.replace or converter_of(spec)
        arguments = self.arguments(spec, index) if known else None
        if arguments is None:
            return []
        args, kwargs = arguments
        try:
            self.check_masks_taken_off(spec, index)
            result = self.result(spec, args, kwargs)
        except _RefusedWithinError:
            return []
        except _FAILURES as error:
            self.builder.refuse(path, spec, str(error) or repr(error))
            return []
        results = _values(result)
        for output, value in enumerate(results):
            self.calls[path, index, output] = value
        return list(results)

    def check_masks_taken_off(self, spec: LayerSpec, index: int) -> None:
        if spec.class_name == TAKES_MASKS_OFF:
            sources = spec.calls[index].sources()
            masked = {s for s in sources if self.value(s).mask is not None}
            check_taken_off(self.architecture, spec, index, masked)

    def arguments(self, spec: LayerSpec, index: int) -> tuple[list[Any], dict[str, Any]] | None:
        """The values that a call takes, or None where one comes out of a layer that is refused.

        Where the file tells its shape, an unknown one is replaced, so that the call is looked at.
        """
        found = spec.calls[index]
        for source in found.sources():
            if self.values.get(source) is None:
                try:
                    sizes = _input_sizes(found.shapes.get(source))
                except UnsupportedError:
                    return None
                self.values[source] = Value(Input(sizes))
        args = [_mapped(arg, Source, self.value) for arg in found.args]
        return args, {name: _mapped(arg, Source, self.value) for name, arg in found.kwargs.items()}

    def result(self, spec: LayerSpec, args: list[Any], kwargs: dict[str, Any]) -> Any:
        # Keras's fit and predict say themselves what they do, whatever stands in the call
        said = kwargs.pop("training", None)
        if said not in (None, False) and spec.class_name not in TRAINING_BY_DEFAULT:
            raise UnsupportedError(
                "a call with training=True, which predict ignores; leave it out, and put the "
                "module of the layer into training mode where you want it so"
            )
        if spec.model is not None:
            return self.nested_result(spec, args, kwargs)
        layer = self.layers[spec.name]
        if spec.name in self.builder.replace:
            return self.replaced_result(layer, args, kwargs)
        converter = converter_of(spec)
        if spec.module is None and len(args) > 1:  # in `.h5` files x + y is an Add like the layer
            converter = OPERATIONS.get(spec.class_name, converter)
        assert converter is not None
        args = _with_mask(args, kwargs)
        _check_call(converter, layer, args, kwargs)
        result = converter.function(layer, *args, **kwargs)
        layer.config.check_all_read()
        rules_of(layer)  # which refuses what it does not know
        self.builder.layers.setdefault(layer.path, layer)
        return _with_masks_passed(converter, args, result)

    def nested_result(self, spec: LayerSpec, args: list[Any], kwargs: dict[str, Any]) -> Any:
        assert spec.model is not None
        given_masks = kwargs.pop("mask", None)
        if any(value is not None for value in kwargs.values()) or len(args) != 1:
            raise UnsupportedError(f"a call of a model with {sorted(kwargs)}")
        values = _values(args[0])
        if isinstance(spec.model.inputs, Mapping):
            keys = list(spec.model.inputs)
            given = args[0]
            if not isinstance(given, Mapping) or set(given) != set(keys):
                raise UnsupportedError(f"a call with something else than a dict of {keys}")
            values = [given[key] for key in keys]
            given_masks = given_masks and [given_masks[key] for key in keys]
        if given_masks is not None:
            named = given_masks if isinstance(given_masks, list | tuple) else [given_masks]
            values = [
                value if mask is None else value.masked(mask.as_keras())
                for value, mask in zip(values, named, strict=True)
            ]
        if spec.class_name == TIME_DISTRIBUTED:
            return self.of_each_step(spec, values)
        graph = self.nested_graph(spec, tuple(value.mask is not None for value in values))
        moves = graph.moves
        tensors = [_at_edge(value, moves) for value in values]
        tensors += [value.mask for value in values if value.mask is not None]
        result = graph.model(*tensors)
        masks = graph.masks.of(tensors)

        def value(tensor: Any) -> Value:
            return Value(tensor, channels_at_1=moves and tensor.ndim > 3, mask=next(masks))

        return map_leaves(value, result)

    def of_each_step(self, spec: LayerSpec, values: list[Value]) -> Value:
        """A model of one input and one output, on each step.

        The steps of all samples are its samples, but where BatchNorm in training makes statistics
        of them, which Keras makes for each step.
        """
        if len(values) != 1 or any(value.mask is not None for value in values):
            raise UnsupportedError("a model for each step with several inputs, or with a mask")
        graph = self.nested_graph(spec, (False,))
        sequence, steps = values[0].as_keras(), values[0].shape[1]
        assert spec.model is not None
        together = not _makes_statistics(spec.model, self.trainable)
        if not together and steps is None:
            raise UnsupportedError("BatchNormalization in a model for each of an unknown number")
        parts = (
            [sequence.flatten(0, 1)] if together else [sequence[:, i] for i in range(steps or 0)]
        )
        results = [graph.model(_at_edge(Value(part), graph.moves)) for part in parts]
        if graph.masks.places != (None,) or not isinstance(results[0], SymbolicTensor):
            raise UnsupportedError("a model for each step with several outputs, or with a mask")
        moved = [Value(y, channels_at_1=graph.moves and y.ndim > 3).as_keras() for y in results]
        if not together:
            return Value(torch.stack(moved, 1))
        [given] = moved
        if steps is not None:
            return Value(given.unflatten(0, (-1, steps)))
        sizes = sequence.shape[:2]
        return Value(given.reshape(sizes[0], sizes[1], *given.shape[1:]))

    def nested_graph(self, spec: LayerSpec, given_masks: tuple[bool, ...]) -> _Graph:
        """The graph of a model within the model, the same for all its calls."""
        assert spec.model is not None
        path = (*self.path, spec.name)
        if any(given_masks) and _takes_masks_off(spec.model):
            raise UnsupportedError(
                f"a mask that goes into a model within the model, where {TAKES_MASKS_OFF} takes "
                "it off"
            )
        if path not in self.builder.nested:
            trainable = self.trainable and spec.config.get("trainable") is not False
            named = replace(spec.model, name=spec.name)
            self.builder.nested[path] = self.builder.graph(named, path, trainable, given_masks)
        graph = self.builder.nested[path]
        if graph is None:
            raise _RefusedWithinError
        if graph.given_masks != given_masks:
            raise UnsupportedError("calls of one model with masks and without")
        return graph

    def replaced_result(self, layer: Layer, args: list[Any], kwargs: dict[str, Any]) -> Any:
        kwargs.pop("mask", None)
        given, named = _mapped((args, kwargs), Value, Value.as_keras)
        result = call(self.builder.replace[layer.spec.name], *given, name=layer.name, **named)
        return map_leaves(Value, result)


class _RefusedWithinError(UnsupportedError):
    """A layer of a nested model is refused, which is told already."""


def _refused(name: str, refusals: list[str]) -> DataError:
    lines = "".join(f"\n  - {refusal}" for refusal in refusals)
    return UnsupportedError(
        f"port: expected layers that can be ported, got {len(refusals)} in {name} that cannot:"
        f"{lines}\n"
        '  To mend it: register a function for a class with @torchbp.port.converter("Class"), give '
        'a module for a layer with replace={"name": module}, or cut the model before them.'
    )


_FAILURES = (
    UnsupportedError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def _makes_statistics(architecture: Architecture, trainable: bool) -> bool:
    """Whether it has a BatchNorm that is not frozen."""
    trainable = trainable and architecture.trainable
    return trainable and any(
        _makes_statistics(layer.model, layer.config.get("trainable") is not False)
        if layer.model
        else layer.class_name == "BatchNormalization" and layer.config.get("trainable") is not False
        for layer in architecture.layers
    )


def _takes_masks_off(architecture: Architecture) -> bool:
    return any(
        _takes_masks_off(layer.model) if layer.model else layer.class_name == TAKES_MASKS_OFF
        for layer in architecture.layers
    )


def _check_call(
    converter: Converter, layer: Layer, args: list[Any], kwargs: dict[str, Any]
) -> None:
    try:
        inspect.signature(converter.function).bind(layer, *args, **kwargs)
    except TypeError as error:
        raise UnsupportedError(f"a call that it does not know: {error}") from error


def _with_mask(args: list[Any], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments, an explicit mask being that of the first."""
    mask = kwargs.pop("mask", None)
    if mask is None:
        return args
    if not isinstance(mask, Value) or not isinstance(args[0], Value):
        raise UnsupportedError("a call with several masks")
    return [args[0].masked(mask.as_keras()), *args[1:]]


def _with_masks_passed(converter: Converter, args: list[Any], result: Any) -> Any:
    """The result, with the mask of the first argument where the layer passes it on."""
    if converter.masks == "own" or not isinstance(result, Value):
        return result
    mask = args[0].mask if args and isinstance(args[0], Value) else None
    if converter.masks == "passed" and mask is not None:
        return result.masked(mask)
    return result if result.mask is None else result.masked(None)


def _input_sizes(shape: Any) -> list[int | None]:
    """Sizes without the batch."""
    if not isinstance(shape, list | tuple) or not shape or len(shape) > 8:
        raise UnsupportedError(f"an input of shape {shape!r}")
    sizes = list(shape[1:])
    if not all(size is None or (type(size) is int and 0 < size < 1 << 31) for size in sizes):
        raise UnsupportedError(f"an input of shape {shape!r}")
    return sizes


def _input_dtype(name: Any) -> torch.dtype:
    if name in (None, "float32", "float64", "float16", "bfloat16"):
        return torch.float32
    if name in ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64"):
        return torch.int64
    if name == "bool":
        return torch.bool
    if name == "string":
        raise UnsupportedError(
            "text; cut the model after its look-ups (TextVectorization, StringLookup), and give it "
            "the numbers that they make"
        )
    raise UnsupportedError(f"an input of dtype {name!r}")


def _policy(dtype: Any) -> str:
    """The name of a layer's dtype policy, which is one of two."""
    if isinstance(dtype, Mapping):
        config = dtype.get("config")
        dtype = config.get("name") if isinstance(config, Mapping) else dtype
    if dtype is None:
        return "any"
    if dtype in ("float32", "float64"):
        return str(dtype)
    if dtype in ("int32", "int64", "uint8", "bool", "string"):  # of layers that only move numbers
        return "any"
    raise UnsupportedError(
        f"dtype={dtype!r}; save the model in float32, and train the port with "
        "Trainer(precision='bf16')"
    )


def is_channels_first(architecture: Architecture) -> bool:
    """Whether Keras's images have the channels at 1 in the model."""
    return any(
        is_channels_first(layer.model)
        if layer.model
        else layer.config.get("data_format") == "channels_first"
        for layer in architecture.layers
    )


def _identifier(name: str) -> str:
    """A name that a module and a variable can have, as near as possible."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)
    kept = kept.lstrip("_") or "layer"
    return f"layer_{kept}" if kept[0].isdigit() else kept


def _at_edge(value: Value, moves: bool) -> Any:
    """The tensor as it is at a model's inputs and outputs."""
    return value.with_channels_at_1() if moves and value.ndim > 3 else value.as_keras()


def _mapped(structure: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """The same structure with what a function gives for each leaf of a kind."""
    return map_leaves(lambda leaf: function(leaf) if isinstance(leaf, kind) else leaf, structure)


def _values(structure: Any) -> list[Value]:
    """The values of a structure in Keras's flat order, in which dicts are sorted."""
    if isinstance(structure, Mapping):
        structure = [structure[key] for key in sorted(structure)]
    if isinstance(structure, list | tuple):
        return [value for item in structure for value in _values(item)]
    return [structure] if isinstance(structure, Value) else []
