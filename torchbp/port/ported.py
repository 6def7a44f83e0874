"""What a ported model knows of the Keras layers that it was made of, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.errors import DataError, ShapeError
from torchbp.graph import Model
from torchbp.port.architecture import Architecture
from torchbp.port.config import UnsupportedError
from torchbp.port.registry import Weights
from torchbp.port.weight_rules import NO_RULES, WeightRules

Path = tuple[str, ...]
_ATTRIBUTE = "_ported_layers"
_MASKED = "_has_masked_outputs"
_ARCHITECTURE = "_keras_architecture"


@dataclass(frozen=True)
class PortedLayer:
    """A Keras layer and the module that stands for it.

    Args:
        path: the layer's name, after those of the models that it is in.
        class_name: Keras's.
        module: the module's name; empty for a layer that became functions, or nothing.
        weights: how the module's tensors correspond to Keras's arrays.
        position: where the layer's arrays stand in Keras's list of weights.
        trainable: whether Keras trains it.
        rules: its regularizers and constraints.
    """

    path: Path
    class_name: str
    module: str
    weights: tuple[Weights, ...] = ()
    position: int = 0
    trainable: bool = True
    rules: WeightRules = NO_RULES

    @property
    def name(self) -> str:
        """The path as text: `encoder/dense_1`."""
        return "/".join(self.path)

    @property
    def num_arrays(self) -> int:
        """How many arrays Keras has for it."""
        return sum(len(weights.names) for weights in self.weights)


def keep_layers(
    model: Model,
    layers: tuple[PortedLayer, ...],
    architecture: Architecture,
    *,
    is_masked: bool = False,
) -> None:
    """Notes in a model what it was made of, and whether an output has a mask."""
    setattr(model, _ATTRIBUTE, layers)
    setattr(model, _ARCHITECTURE, architecture)
    setattr(model, _MASKED, is_masked)


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


def architecture_of_port(model: nn.Module) -> Architecture | None:
    """The Keras model that a model was made of; None if it was not ported."""
    return getattr(model, _ARCHITECTURE, None)


def has_masked_outputs(model: nn.Module) -> bool:
    """Whether an output of a ported model has a mask, with which Keras weighs its loss."""
    return bool(getattr(model, _MASKED, False))


def keras_tensors(layer: PortedLayer, module: nn.Module, tensors: Mapping[str, Any]) -> list[Any]:
    """The module's tensors, by their names, as the arrays of the layer, in Keras's order.

    Gradients flow back through it. What has the axes of the weights takes the same way.
    """
    arrays: list[Any] = []
    for weights in layer.weights:
        part = module.get_submodule(weights.part)
        arrays += weights.to_keras(tensors, _in_channels(part))
    return arrays


def tensors_of_arrays(layer: PortedLayer, arrays: list[Tensor]) -> dict[str, Tensor]:
    """The arrays of a layer, in Keras's order, as the module's tensors under their names."""
    found: dict[str, Tensor] = {}
    for weights in layer.weights:
        count = len(weights.names)
        found |= weights.to_torch(arrays[:count])
        arrays = arrays[count:]
    return found


def tensors_of(layer: PortedLayer, module: nn.Module, arrays: Any, where: str) -> dict[str, Tensor]:
    """Keras's arrays of a layer as the module's tensors under their names, of fitting shapes.

    Raises:
        ShapeError: they are not those of such a layer.
    """
    if len(arrays) != layer.num_arrays:
        names = [name for weights in layer.weights for name in weights.names]
        raise _misfit(where, layer, f"arrays for {names}", f"{len(arrays)} arrays")
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    try:
        found = tensors_of_arrays(layer, [torch.as_tensor(array) for array in arrays])
    except (ShapeError, RuntimeError) as error:
        raise _misfit(where, layer, "arrays of such a layer", str(error)) from error
    for name, tensor in found.items():
        if tensor.shape != own[name].shape:
            expected, got = tuple(own[name].shape), tuple(tensor.shape)
            raise _misfit(where, layer, f"{name} of shape {expected}", str(got))
    missing = {name for name, _ in module.named_parameters()} - set(found)
    if missing:
        raise _misfit(where, layer, f"arrays for {sorted(missing)}", "none")
    return {name: tensor.to(own[name].dtype).contiguous() for name, tensor in found.items()}


def state_of(
    layers: Iterable[PortedLayer],
    modules: Mapping[Path, nn.Module | None],
    arrays: Mapping[Path, Any],
    where: str,
) -> dict[str, Tensor]:
    """The arrays of all layers as tensors under the model's names.

    Args:
        layers: the model's.
        modules: those of the layers, by the layers' paths.
        arrays: Keras's, by the layers' paths.
        where: what an error calls the source.

    Raises:
        DataError: arrays of layers that the model does not have, or that have no weights.
        ShapeError: arrays of other shapes.
    """
    homeless = [path for path in arrays if modules.get(path) is None]
    if homeless:
        raise DataError(
            f"{where}: expected weights of the model's layers, got some of {named(homeless)}.\n"
            "  To mend it: take the weights of the same model."
        )
    state: dict[str, Tensor] = {}
    for layer in layers:
        module = modules.get(layer.path)
        if module is not None:
            tensors = tensors_of(layer, module, arrays.get(layer.path, []), where)
            state |= {f"{layer.module}.{name}": tensor for name, tensor in tensors.items()}
    return state


def arrays_of(layer: PortedLayer, module: nn.Module) -> list[Any]:
    """The way back: the arrays that Keras's `set_weights` takes, in float64 if they are."""
    tensors = {
        name: tensor.detach().cpu()
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }
    return [tensor.numpy() for tensor in keras_tensors(layer, module, tensors)]


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
    use_weights(keras_model)
    return keras_model


def use_weights(keras_model: Any) -> None:
    """Make layers compute with the weights that were set: Normalization keeps copies of its own."""
    for layer in keras_model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def keras_arrays(keras_model: Any) -> dict[Path, list[Any]]:
    """Copies of the weights of a live Keras model's layers, by their paths.

    Raises:
        UnsupportedError: a layer is in the model and in one within it. The description of a model
            has two layers there, which training would drive apart.
    """
    found = list(_layers_with_weights(keras_model, ()))
    paths: dict[int, list[Path]] = {}
    for path, layer in found:
        paths.setdefault(id(layer), []).append(path)
    for several in paths.values():
        if len(several) > 1:
            raise UnsupportedError(
                "port: expected each layer in one model, got one layer as "
                f"{named(dict.fromkeys(several))}.\n"
                "  To mend it: put the layer into a model of its own, and call that in both."
            )
    return {path: [array.copy() for array in layer.get_weights()] for path, layer in found}


def inner_model(keras_layer: Any) -> Any:
    """The model that a live layer is, or applies to each step; None if there is none."""
    for found in (keras_layer, getattr(keras_layer, "layer", None)):
        if hasattr(found, "get_layer"):
            return found
    return None


def _layers_with_weights(model: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    for layer in model.layers:
        own = (*path, layer.name)
        inner = inner_model(layer)
        if inner is not None:
            yield from _layers_with_weights(inner, own)
        elif layer.weights:
            yield own, layer


def named(layers: Iterable[Path]) -> str:
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
