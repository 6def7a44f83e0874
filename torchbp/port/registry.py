"""Which function ports which Keras class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchbp.errors import ShapeError
from torchbp.port.architecture import LayerSpec
from torchbp.port.config import Config, UnsupportedError
from torchbp.port.layer_weights import Kind, to_keras, to_torch

Function = Callable[..., Any]
Masks = Literal["dropped", "passed", "own"]


@dataclass(frozen=True)
class Converter:
    """A function that ports a class.

    Args:
        function: takes a `Layer` and what the layer is called with, gives what the call gives.
        masks: what becomes of a mask of the input: "dropped", "passed" on to the output, or "own":
            the function sees to it.
    """

    function: Function
    masks: Masks = "dropped"


LAYERS: dict[str, Converter] = {}
OPERATIONS: dict[str, Converter] = {}
OWN: dict[str, Converter] = {}


@dataclass(frozen=True)
class Weights:
    """How a module takes the arrays of a Keras layer, or of a part of it.

    Args:
        kind: the correspondence of orders; "same" for tensors that are Keras's as they are.
        names: Keras's names of the arrays, in its order; those of the tensors where they are the
            same.
        flattened: of a layer that takes a vector in torch's order: channels and sizes that it was
            flattened from.
        part: a submodule that they belong to.
        shapes: of arrays that Keras has in another shape than the kind tells: for each its own
            shape and that of the kind.
    """

    kind: Kind
    names: tuple[str, ...]
    flattened: tuple[int, ...] | None = None
    part: str = ""
    shapes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()

    def to_torch(self, arrays: list[Tensor]) -> dict[str, Tensor]:
        """The tensors of the module under their names."""
        if self.shapes:
            arrays = [
                _reshaped(array, *shapes) for array, shapes in zip(arrays, self.shapes, strict=True)
            ]
        named = dict(zip(self.names, arrays, strict=True))
        if self.flattened is not None:
            channels, *sizes = self.flattened
            cells = named["kernel"].reshape(*sizes, channels, -1).movedim(len(sizes), 0)
            named["kernel"] = cells.flatten(0, len(sizes))
        prefix = f"{self.part}." if self.part else ""
        return {prefix + name: tensor for name, tensor in to_torch(self.kind, named).items()}

    def to_keras(self, tensors: Mapping[str, Tensor], in_channels: int) -> list[Tensor]:
        """The way back, of all tensors of the module."""
        prefix = f"{self.part}." if self.part else ""
        own = {
            name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)
        }
        if self.kind == "same":
            return [own[name] for name in self.names]
        arrays = to_keras(self.kind, own, in_channels)
        if self.flattened is not None:
            channels, *sizes = self.flattened
            cells = arrays[0].reshape(channels, *sizes, -1).movedim(0, len(sizes))
            arrays[0] = cells.flatten(0, len(sizes))
        if self.shapes:
            return [
                _reshaped(array, own, keras)
                for array, (keras, own) in zip(arrays, self.shapes, strict=True)
            ]
        return arrays


def _reshaped(array: Tensor, shape: tuple[int, ...], target: tuple[int, ...]) -> Tensor:
    if tuple(array.shape) != shape:
        raise ShapeError(f"an array of shape {tuple(array.shape)} where one of {shape} should be")
    return array.reshape(target)


@dataclass
class Layer:
    """A Keras layer on its way: its arguments, and the module that its calls share.

    Args:
        path: its name, after those of the models that it is in.
        spec: what the file says of it.
        name: the module's name in the ported model.
        trainable: whether training is to change its weights.
    """

    path: tuple[str, ...]
    spec: LayerSpec
    name: str
    trainable: bool = True
    config: Config = field(init=False)
    made: nn.Module | None = field(default=None, init=False)
    weights: tuple[Weights, ...] = field(default=(), init=False)
    _asked: tuple[Any, ...] = field(default=(), init=False)
    _inner: Layer | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.config = Config(self.spec.config)

    def inner(self, spec: LayerSpec) -> Layer:
        """The layer that this one wraps, the same in all calls."""
        if self._inner is None:
            self._inner = Layer(self.path, spec, self.name, self.trainable)
        return self._inner

    def module(
        self,
        make: Callable[..., nn.Module],
        *args: Any,
        weights: Weights | tuple[Weights, ...] = (),
        **kwargs: Any,
    ) -> Any:
        """The layer's module, made at the first call of the layer, without data in its weights.

        Args:
            make: its class.
            args: arguments of the class.
            weights: how it takes Keras's arrays, in Keras's order; nothing if it has none.
            kwargs: arguments of the class.

        Raises:
            UnsupportedError: a later call needs another module than the first.
        """
        asked = (args, kwargs, weights)
        if self.made is None:
            with torch.device("meta"):
                self.made = make(*args, name=self.name, **kwargs)
            self.made.requires_grad_(self.trainable)
            self.weights = weights if isinstance(weights, tuple) else (weights,)
            self._asked = asked
        elif self._asked != asked:
            raise UnsupportedError("calls of one layer on inputs of different sizes or orders")
        return self.made


def keras_layer(class_name: str, masks: Masks = "dropped") -> Callable[[Function], Function]:
    """Registers the function that ports a layer of Keras's."""
    return _registered(LAYERS, class_name, masks)


def keras_operation(class_name: str) -> Callable[[Function], Function]:
    """Registers the function that ports a function of Keras's, which is a layer in a graph."""
    return _registered(OPERATIONS, class_name, "dropped")


def converter(class_name: str, masks: Masks = "dropped") -> Callable[[Function], Function]:
    """Registers a function that ports a layer class of your own.

    Args:
        class_name: the class's, or, if there are several of one name, the name under which it was
            registered with Keras: "package>Class".
        masks: what becomes of a mask of the input: "dropped"; "passed" on, as layers with
            `supports_masking = True` do; or "own", if the function sets the output's.

    Returns:
        A decorator for a function of a `Layer` and of the values that the layer is called with,
        which gives what the call gives: see the example in docs/porting.md.
    """
    return _registered(OWN, class_name, masks)


def converter_of(spec: LayerSpec) -> Converter | None:
    """The one for a layer or a function in a graph, None if there is none."""
    if is_operation(spec):
        return OPERATIONS.get(spec.class_name)
    if spec.module is not None and is_keras(spec.module):
        return LAYERS.get(spec.class_name)
    if spec.module is None and spec.registered is None:  # in `.h5` files
        for table in (LAYERS, OPERATIONS):
            if spec.class_name in table:
                return table[spec.class_name]
    return OWN.get(spec.registered or "", OWN.get(spec.class_name))


def is_operation(spec: LayerSpec) -> bool:
    """Whether it is a function in a graph, which is no layer and has no weights."""
    return spec.module is not None and is_keras(spec.module) and ".ops" in spec.module


def is_keras(module: str) -> bool:
    """Whether a class of this module is Keras's own."""
    return module.split(".")[0] in ("keras", "tf_keras") or module.startswith("tensorflow.keras")


def _registered(
    table: dict[str, Converter], class_name: str, masks: Masks
) -> Callable[[Function], Function]:
    def register(function: Function) -> Function:
        table[class_name] = Converter(function, masks)
        return function

    return register
