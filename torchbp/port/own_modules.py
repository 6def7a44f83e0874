"""Weights of a Keras file for modules that somebody wrote: which layer is which module.

Nothing is matched by order or by shape, which could be wrong in silence: a layer's module has its
name, or is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from torchbp import layers
from torchbp.errors import DataError, ShapeError, TorchbpError
from torchbp.port.architecture import read_architecture
from torchbp.port.build import build
from torchbp.port.config import UnsupportedError
from torchbp.port.files import LayerWeights
from torchbp.port.isolated import read_saved, read_weights
from torchbp.port.layer_weights import BATCH_NORM_NAMES, Kind, to_torch
from torchbp.port.ported import PortedLayer, tensors_of_arrays
from torchbp.port.saved import by_layer

Flattened = Mapping[str, tuple[int, ...] | None]
Tensors = dict[str, Tensor]

# The first that a module is an instance of.
_KINDS: tuple[tuple[type[nn.Module], Kind], ...] = (
    (layers.DepthwiseConv1d, "depthwise"),
    (layers.DepthwiseConv2d, "depthwise"),
    (layers.SeparableConv1d, "separable"),
    (layers.SeparableConv2d, "separable"),
    (nn.modules.conv._ConvTransposeNd, "conv_transpose"),
    (nn.modules.conv._ConvNd, "conv"),
    (nn.Linear, "linear"),
    (nn.modules.batchnorm._BatchNorm, "batch_norm"),
    (nn.LayerNorm, "norm"),
    (nn.GroupNorm, "norm"),
    (nn.RMSNorm, "norm"),
    (nn.Embedding, "embedding"),
)
_RECURRENT: dict[str, Kind] = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn", "RNN_RELU": "rnn"}
_NAMES = {
    "batch_norm": BATCH_NORM_NAMES,
    "norm": {"weight": "gamma", "bias": "beta"},
}


def weights_for(
    network: nn.Module, path: Path, names: Mapping[str, str], flattened: Flattened
) -> Tensors:
    """The tensors of a network under its names, from a file.

    Args:
        network: any module.
        path: a Keras file with weights.
        names: the module for a Keras layer of another name.
        flattened: for a Linear, by the Keras layer's name, the shape (H, W, C) that Keras
            flattened before it; None if it flattened none.

    Raises:
        DataError: layers without a module, or modules without a layer.
        ShapeError: weights of other sizes, or a Linear of which it is not known what it gets.
    """
    arrays, ported = read_weights(path), _ported(path)
    modules = _matched(network, arrays, names, str(path))
    _check_flattened(network, modules, ported, flattened)
    new: Tensors = {}
    for layer, where in modules.items():
        module = network.get_submodule(where)
        found = ported.get(layer)
        if found is None:
            found = _converted(layer, arrays[layer], module)
            found = _with_channels_first(found, flattened.get(layer))
        for name, tensor in _fitting(layer, where, module, found).items():
            new[f"{where}.{name}" if where else name] = tensor
    return new


def _ported(path: Path) -> dict[str, Tensors]:
    """The tensors of each layer as the port has them, if the file describes the model."""
    try:
        architecture = read_architecture(path)
        built = build(architecture)
        arrays = by_layer(architecture, read_saved(path), str(path))
    except UnsupportedError:  # but for its layers' weights it may do
        return {}
    except DataError:  # a file of weights alone
        return {}
    found: dict[str, Tensors] = {}
    for own, layer in built.layers.items():
        if own in arrays and layer.weights:
            ported = PortedLayer(own, layer.spec.class_name, "", layer.weights)
            tensors = [torch.from_numpy(array) for array in arrays[own]]
            found[own[-1]] = tensors_of_arrays(ported, tensors)
    return found


# Layers and modules


def _matched(
    network: nn.Module, arrays: Mapping[str, LayerWeights], names: Mapping[str, str], file: str
) -> dict[str, str]:
    """The module of each layer, by their names."""
    modules = dict(network.named_modules())
    by_last: dict[str, list[str]] = {}
    for name in modules:
        by_last.setdefault(name.rpartition(".")[2], []).append(name)
    found: dict[str, str] = {}
    for layer in arrays:
        own = by_last.get(layer, [])
        wanted = names.get(layer, layer if layer in modules else own[0] if len(own) == 1 else None)
        if wanted is not None and wanted in modules:
            found[layer] = wanted
    unknown = [f"{name!r} in names" for name in names if name not in arrays]
    without = [f"{name!r} {_shapes(arrays[name].arrays)}" for name in arrays if name not in found]
    taken = tuple(found.values())
    left = [
        f"{name!r} {_shapes(module.parameters(recurse=False))}"
        for name, module in modules.items()
        if next(module.parameters(recurse=False), None) is not None
        and not any(name == t or not t or name.startswith(f"{t}.") for t in taken)
    ]
    doubled = [f"{name!r} twice" for name in set(taken) if taken.count(name) > 1]
    if unknown or without or left or doubled:
        raise DataError(
            f"load_weights: expected a module for each of the {len(arrays)} layers of {file}, got "
            f"{len(found)}; layers without one: {_few([*unknown, *without, *doubled])}; modules "
            f"without a layer: {_few(left)}.\n"
            "  To mend it: call the modules as the Keras layers, or give names={layer: module}; "
            "weights that Keras does not have need a module outside of the network."
        )
    return found


def _shapes(arrays: Iterable[object]) -> str:
    return " ".join(str(tuple(array.shape)) for array in arrays)  # type: ignore[attr-defined]


def _few(names: list[str]) -> str:
    told = ", ".join(names[:8]) + (f" and {len(names) - 8} others" if len(names) > 8 else "")
    return told or "none"


# What Dense gets


def _check_flattened(
    network: nn.Module,
    modules: Mapping[str, str],
    ported: Mapping[str, object],
    flattened: Flattened,
) -> None:
    wrong = sorted(set(flattened) - set(modules))
    if wrong:
        raise DataError(
            f"load_weights: expected layers of the file in flattened, got {wrong}.\n"
            f"  To mend it: the layers are {_few(list(modules))}."
        )
    if ported:
        if flattened:
            raise DataError(
                "load_weights: expected no flattened for a file that describes the model, got "
                f"{sorted(flattened)}.\n  To mend it: leave it out; the file tells it."
            )
        return
    layers = {where: layer for layer, where in modules.items()}
    for where, num_features in _after_images(network):
        if layers.get(where, "") and layers[where] not in flattened:
            name = layers[where]
            raise ShapeError(
                f"load_weights: {name}: expected to know what its {num_features} features are: a "
                "flattened image has another order in Keras, and the file does not tell.\n"
                f"  To mend it: give flattened={{{name!r}: (H, W, C)}} with the shape before "
                f"Flatten in Keras, or {{{name!r}: None}} if there was none; or a .keras file."
            )


def _after_images(network: nn.Module) -> Iterator[tuple[str, int]]:
    """The Linears that may get a flattened image: wider than a convolution defined before."""
    channels = 0
    for where, module in network.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            channels = module.out_channels
        elif isinstance(module, nn.Linear):
            if channels and module.in_features > channels and module.in_features % channels == 0:
                yield where, module.in_features
            channels = 0


def _with_channels_first(tensors: Tensors, shape: tuple[int, ...] | None) -> Tensors:
    """The features of a flattened (H, W, C) in the order in which torch flattens (C, H, W)."""
    weight = tensors.get("weight")
    if shape is None or weight is None:
        return tensors
    if weight.ndim != 2 or prod(shape) != weight.shape[1]:
        raise ShapeError(
            f"load_weights: expected a flattened shape of {tuple(weight.shape)[1:]} numbers, got "
            f"{shape}.\n  To mend it: give (H, W, C) as Keras had it before Flatten."
        )
    ordered = weight.reshape(len(weight), *shape).movedim(-1, 1).reshape(weight.shape)
    return tensors | {"weight": ordered.contiguous()}


# Arrays and tensors


def _converted(layer: str, weights: LayerWeights, module: nn.Module) -> Tensors:
    """A layer's arrays as the tensors of a module of torch's or ours."""
    kind = _kind(module)
    arrays = [torch.from_numpy(array) for array in weights.arrays]
    if kind is None:
        raise DataError(
            f"load_weights: {layer}: expected a module whose weights have a known order, got a "
            f"{type(module).__name__}.\n"
            "  To mend it: take a file that describes the model (.keras), or fill it yourself "
            "with torchbp.port.read_weights and torchbp.port.weights."
        )
    if kind == "conv" and _is_depthwise(module, arrays[0]):
        kind = "depthwise"
    names: Iterable[str] = weights.names
    if kind in _NAMES:
        own = dict(module.named_parameters()) | dict(module.named_buffers())
        names = [keras for name, keras in _NAMES[kind].items() if name in own]
    try:
        return to_torch(kind, dict(zip(names, arrays, strict=True)))
    except (IndexError, KeyError, RuntimeError, TorchbpError, ValueError) as error:
        raise ShapeError(
            f"load_weights: {layer}: expected the arrays of a {type(module).__name__}, got "
            f"{_shapes(arrays)}.\n  To mend it: give the module of this layer."
        ) from error


def _kind(module: nn.Module) -> Kind | None:
    if isinstance(module, nn.RNNBase):
        return _RECURRENT[module.mode]
    return next((kind for known, kind in _KINDS if isinstance(module, known)), None)


def _is_depthwise(module: nn.Module, kernel: Tensor) -> bool:
    """Whether a convolution in as many groups as channels stands for a DepthwiseConv."""
    groups = getattr(module, "groups", 1)
    return bool(1 < groups == getattr(module, "in_channels", 0) == kernel.shape[-2])


def _fitting(layer: str, where: str, module: nn.Module, found: Tensors) -> Tensors:
    """The tensors of a module, all of them, and of its shapes."""
    own = dict(module.named_parameters()) | {
        name: buffer
        for name, buffer in module.named_buffers()
        if name in module.state_dict() and not name.endswith("num_batches_tracked")
    }
    # torch adds two biases, of which Keras has one
    if isinstance(module, nn.RNNBase) and module.mode != "GRU":
        for name in set(own) - set(found):
            if name.startswith("bias_hh"):
                found = found | {name: torch.zeros_like(own[name])}
    if set(found) != set(own):
        raise ShapeError(
            f"load_weights: {layer}: expected {sorted(own)} of {where!r}, got {sorted(found)}.\n"
            "  To mend it: build the module with the same options as the Keras layer (a bias, a "
            "scale, one layer of an LSTM)."
        )
    for name, tensor in found.items():
        if tensor.shape != own[name].shape:
            raise ShapeError(
                f"load_weights: {layer}: expected {where}.{name} of shape "
                f"{tuple(own[name].shape)}, got {tuple(tensor.shape)}.\n"
                "  To mend it: build the module with the sizes of the Keras layer."
            )
    return found
