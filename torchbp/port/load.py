"""Weights from a Keras file into a network that exists."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from torchbp.errors import DataError, ShapeError
from torchbp.port.applications import Place, counted_from_start, layer_places
from torchbp.port.files import LayerWeights
from torchbp.port.isolated import read_weights
from torchbp.port.layer_weights import to_torch

Network = TypeVar("Network", bound=nn.Module)


def load_weights(network: Network, path: Path | str) -> Network:
    """Fill an `Xception`, `InceptionV3` or `ResNet50` from a weight file of keras.applications.

    The file may be one of those published with ImageNet weights
    (`xception_weights_tf_dim_ordering_tf_kernels.h5`, with or without `_notop`), or one that any
    Keras from 1.2 to 3 saved of such a model; a ResNet50 only with the layer names of today, not
    with those of its first years (`res2a_branch2a`). The weights of a head that the network lacks
    are left out. Nothing is written into the network before all of the file fits.

    Args:
        network: what to fill, on any device and in any dtype.
        path: the file. Nothing is downloaded.

    Returns:
        The network.

    Raises:
        DataError: another network, no such file, or a file with other layers.
        ShapeError: weights of other sizes.
        MissingExtraError: h5py is not installed.

    Example:
        network = load_weights(Xception(include_top=False), "xception_notop.h5")

    Source: the files are listed in https://keras.io/api/applications
    """
    places = layer_places(network)
    layers = _matched(places, counted_from_start(read_weights(path)), Path(path).name)
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    new: dict[str, Tensor] = {}
    for name, place in places.items():
        module = network.get_submodule(place.module)
        for part, value in _converted(name, layers[name], place, module).items():
            new[f"{place.module}.{part}"] = _fitting(name, f"{place.module}.{part}", value, tensors)
    with torch.no_grad():
        for name, value in new.items():
            tensors[name].copy_(value)
    return network


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
        names = [_BATCH_NORM[part] for part in expected]
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


_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
