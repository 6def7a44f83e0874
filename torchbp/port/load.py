"""Weights from a Keras file into a network that exists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from torchbp.errors import DataError, ShapeError
from torchbp.port.applications import Place, counted_from_start, is_application, layer_places
from torchbp.port.architecture import Architecture
from torchbp.port.files import LayerWeights
from torchbp.port.isolated import read_saved, read_weights
from torchbp.port.layer_weights import BATCH_NORM_NAMES, to_torch
from torchbp.port.own_modules import Flattened, weights_for
from torchbp.port.ported import architecture_of_port, ported_layers, state_of
from torchbp.port.saved import by_layer

Network = TypeVar("Network", bound=nn.Module)


def load_weights(
    network: Network,
    path: Path | str,
    *,
    names: Mapping[str, str] | None = None,
    flattened: Flattened | None = None,
) -> Network:
    """Fill a network that exists with the weights of a Keras file.

    - What `load` or `from_keras` made takes any file of the same model: `.weights.h5`, `.h5`,
      `.keras`.
    - An `Xception`, `InceptionV3` or `ResNet50` of `torchbp.models` takes the files published with
      ImageNet weights (`xception_weights_tf_dim_ordering_tf_kernels.h5`, with or without `_notop`)
      and those that any Keras from 1.2 to 3 saved of such a model; a ResNet50 only with the layer
      names of today, not with those of its first years (`res2a_branch2a`). The weights of a head
      that the network lacks are left out.
    - Any other module takes a file whose layers have modules of the same names: for the Keras layer
      `conv2d_1` the module `conv2d_1`, or the only one whose dotted name ends so.

    Nothing is written into the network before all of the file fits.

    Args:
        network: what to fill, on any device and in any dtype.
        path: the file. Nothing is downloaded.
        names: of other modules: the module's name by the Keras layer's, where they differ.
        flattened: of other modules, for a file without the model's description: the shape
            (H, W, C) that Keras flattened before a Dense layer, by that layer's name. Its weights
            are then ordered for a module that flattens (C, H, W). A `.keras` file or the `.h5` file
            of a whole model tells this itself.

    Returns:
        The network.

    Raises:
        DataError: no such file, or one with other layers.
        ShapeError: weights of other sizes.
        MissingExtraError: h5py is not installed.

    Example:
        network = load_weights(Xception(include_top=False), "xception_notop.h5")
        load_weights(MyNet(), "my.keras", names={"dense": "head"})

    Source: the files are listed in https://keras.io/api/applications
    """
    path = Path(path)
    architecture = architecture_of_port(network)
    if architecture is None and not is_application(network):
        new = weights_for(network, path, names or {}, flattened or {})
    elif names or flattened:
        raise DataError(
            "load_weights: expected names and flattened only for a module of your own, got them "
            f"for a {type(network).__name__}.\n"
            "  To mend it: leave them out; its layers are known."
        )
    elif architecture is not None:
        new = _of_port(network, architecture, path)
    else:
        new = _of_application(network, path)
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    with torch.no_grad():
        for name, value in new.items():
            tensors[name].copy_(value)
    return network


def _of_port(model: nn.Module, architecture: Architecture, path: Path) -> dict[str, Tensor]:
    layers, modules = ported_layers(model), dict(model.named_modules(remove_duplicate=False))
    of_layers = {layer.path: modules[layer.module] for layer in layers if layer.module}
    return state_of(
        layers, of_layers, by_layer(architecture, read_saved(path), str(path)), str(path)
    )


def _of_application(network: nn.Module, path: Path) -> dict[str, Tensor]:
    places = layer_places(network)
    layers = _matched(places, counted_from_start(read_weights(path)), path.name)
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    new: dict[str, Tensor] = {}
    for name, place in places.items():
        module = network.get_submodule(place.module)
        for part, value in _converted(name, layers[name], place, module).items():
            new[f"{place.module}.{part}"] = _fitting(name, f"{place.module}.{part}", value, tensors)
    return new


def _matched(
    places: dict[str, Place], layers: dict[str, LayerWeights], file: str
) -> dict[str, LayerWeights]:
    """The layers of the file under the names in `places`; the head goes by several names."""
    missing = [name for name in places if name not in layers]
    surplus = [name for name in layers if name not in places]
    if missing == ["predictions"] and len(surplus) == 1:
        return layers | {"predictions": layers[surplus[0]]}
    if missing or len(surplus) > ("predictions" not in places):
        told = [f"{_few(missing)} missing"] * bool(missing)
        told += [f"{_few(surplus)} too many"] * bool(surplus)
        remedy = "take the file of the same network"
        if missing == ["predictions"]:
            remedy += ", or build the network with include_top=False, as the file has no head"
        raise DataError(
            f"port: expected the {len(places)} layers of the network in {file}, got "
            f"{len(layers)}: {', '.join(told)}.\n"
            f"  To mend it: {remedy}."
        )
    return layers


def _converted(
    name: str, layer: LayerWeights, place: Place, module: nn.Module
) -> dict[str, Tensor]:
    """A layer's arrays as the module's tensors."""
    arrays = [torch.from_numpy(array) for array in layer.arrays]
    expected = [part for part in module.state_dict() if part != "num_batches_tracked"]
    if len(arrays) != len(expected):
        raise ShapeError(
            f"port: {name}: expected arrays for {', '.join(expected)}, got {len(arrays)} arrays.\n"
            "  To mend it: take the file of the same network."
        )
    names = list(layer.names)
    if place.kind == "batch_norm":
        names = [BATCH_NORM_NAMES[part] for part in expected]
    return to_torch(place.kind, dict(zip(names, arrays, strict=True)))


def _fitting(layer: str, name: str, value: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    expected = tuple(tensors[name].shape)
    if tuple(value.shape) != expected:
        raise ShapeError(
            f"port: {layer}: expected {name} of shape {expected}, got {tuple(value.shape)}.\n"
            "  To mend it: build the network with the num_classes and in_channels of the file."
        )
    return value


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
