"""What a ported model knows of the Keras layers that it was made of, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.errors import DataError, ShapeError
from torchbp.graph import Model
from torchbp.port.registry import Weights

Path = tuple[str, ...]
_ATTRIBUTE = "_ported_layers"


@dataclass(frozen=True)
class PortedLayer:
    """A Keras layer and the module that stands for it.

    Args:
        path: the layer's name, after those of the models that it is in.
        class_name: Keras's.
        module: the module's name; empty for a layer that became functions, or nothing.
        weights: how the module's tensors correspond to Keras's arrays.
    """

    path: Path
    class_name: str
    module: str
    weights: tuple[Weights, ...] = ()

    @property
    def name(self) -> str:
        """The path as text: `encoder/dense_1`."""
        return "/".join(self.path)

    @property
    def num_arrays(self) -> int:
        """How many arrays Keras has for it."""
        return sum(len(weights.names) for weights in self.weights)


def keep_layers(model: Model, layers: tuple[PortedLayer, ...]) -> None:
    """Notes in a model which layers it was made of."""
    setattr(model, _ATTRIBUTE, layers)


def ported_layers(model: nn.Module) -> tuple[PortedLayer, ...]:
    """The Keras layers that a model was made of, in the order of their first calls.

    Raises:
        DataError: it was not ported.
    """
    layers = getattr(model, _ATTRIBUTE, None)
    if layers is None:
        raise DataError(
            f"port: expected a model that torchbp.port made, got a {type(model).__name__}.\n"
            "  To mend it: give what load() or from_keras() returned, or a copy of it."
        )
    return tuple(layers)


def tensors_of(layer: PortedLayer, module: nn.Module, arrays: Any, where: str) -> dict[str, Tensor]:
    """Keras's arrays of a layer as the module's tensors under their names, of fitting shapes.

    Raises:
        ShapeError: they are not those of such a layer.
    """
    if len(arrays) != layer.num_arrays:
        names = [name for weights in layer.weights for name in weights.names]
        raise _misfit(where, layer, f"arrays for {names}", f"{len(arrays)} arrays")
    rest = [torch.from_numpy(array) for array in arrays]
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    found: dict[str, Tensor] = {}
    for weights in layer.weights:
        count = len(weights.names)
        try:
            found |= weights.to_torch(rest[:count])
        except (ShapeError, RuntimeError) as error:
            raise _misfit(where, layer, "arrays of such a layer", str(error)) from error
        rest = rest[count:]
    for name, tensor in found.items():
        if tensor.shape != own[name].shape:
            expected, got = tuple(own[name].shape), tuple(tensor.shape)
            raise _misfit(where, layer, f"{name} of shape {expected}", str(got))
    missing = {name for name, _ in module.named_parameters()} - set(found)
    if missing:
        raise _misfit(where, layer, f"arrays for {sorted(missing)}", "none")
    return {name: tensor.to(own[name].dtype).contiguous() for name, tensor in found.items()}


def arrays_of(layer: PortedLayer, module: nn.Module) -> list[Any]:
    """The way back: the arrays that Keras's `set_weights` takes, in float64 if they are."""
    tensors = {
        name: tensor.detach().cpu()
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }
    arrays: list[Any] = []
    for weights in layer.weights:
        part = module.get_submodule(weights.part)
        found = weights.to_keras(tensors, _in_channels(part))
        arrays += [tensor.numpy() for tensor in found]
    return arrays


def to_keras(module: nn.Module, keras_model: Any) -> Any:
    """The weights of a ported model, back in the Keras model.

    Everything is checked before anything is written.

    Args:
        module: a ported model, trained since.
        keras_model: a Keras model of the same architecture: the one that was ported, or one loaded
            from its file.

    Returns:
        The Keras model, whose `save` writes the file.

    Raises:
        DataError: the module was not ported, or the Keras model lacks a layer.
        ShapeError: the Keras model has weights of other shapes.

    Example:
        model = port.load("model.keras")
        ...  # train it
        port.to_keras(model, keras.saving.load_model("model.keras")).save("trained.keras")
    """
    modules = dict(module.named_modules())
    arrays = {
        layer.path: arrays_of(layer, modules[layer.module])
        for layer in ported_layers(module)
        if layer.num_arrays
    }
    layers = dict(_layers_with_weights(keras_model, ()))
    if set(layers) != set(arrays):
        other = ["/".join(path) for path in sorted(set(layers) ^ set(arrays))][:5]
        raise DataError(
            f"port: expected a Keras model of the same layers, got one that differs in {other}.\n"
            "  To mend it: give the Keras model that was ported."
        )
    for path, found in arrays.items():
        theirs = [tuple(weight.shape) for weight in layers[path].weights]
        if [array.shape for array in found] != theirs:
            raise ShapeError(
                f"port: {'/'.join(path)}: expected weights of shapes {theirs}, got "
                f"{[array.shape for array in found]}.\n"
                "  To mend it: give the Keras model that was ported."
            )
    for path, found in arrays.items():
        layers[path].set_weights(found)
    return keras_model


def keras_arrays(keras_model: Any) -> dict[Path, list[Any]]:
    """Copies of the weights of a live Keras model's layers, by their paths."""
    return {
        path: [array.copy() for array in layer.get_weights()]
        for path, layer in _layers_with_weights(keras_model, ())
    }


def _layers_with_weights(model: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    for layer in model.layers:
        own = (*path, layer.name)
        if hasattr(layer, "get_layer"):  # a model
            yield from _layers_with_weights(layer, own)
        elif layer.weights:
            yield own, layer


def named(layers: Mapping[Path, Any]) -> str:
    """A few of the layers, for an error."""
    names = ["/".join(path) for path in layers]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")


def _in_channels(module: nn.Module) -> int:
    """Channels of the input of a depthwise or separable convolution."""
    depthwise = getattr(module, "depthwise", module)
    channels = getattr(depthwise, "in_channels", 0)
    return channels if isinstance(channels, int) else 0


def _misfit(where: str, layer: PortedLayer, expected: str, got: str) -> ShapeError:
    return ShapeError(
        f"{where}: {layer.name}: expected {expected}, got {got}.\n"
        "  To mend it: take the weights of the same model."
    )
