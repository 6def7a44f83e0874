"""A Keras model as a torchbp model: from its file, or from the model itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.graph import Model
from torchbp.port.architecture import architecture_of, read_architecture
from torchbp.port.build import Built, Channels, build
from torchbp.port.check import check_port
from torchbp.port.isolated import read_saved
from torchbp.port.ported import PortedLayer, keep_layers, keras_arrays, state_of
from torchbp.port.saved import by_layer
from torchbp.port.weight_rules import rules_of


def load(
    path: str | Path,
    channels: Channels = "first",
    *,
    replace: Mapping[str, nn.Module] | None = None,
) -> Model:
    """The model of a Keras file as a torchbp model, without Keras and without running the file.

    The layers are torch's, under their Keras names; shared layers are shared, models in the model
    are modules in the module, and what was not trainable does not require grad. Equality with
    Keras is proved for every class and argument that is taken; whatever else is refused.

    Args:
        path: a `.keras` file, or a `.h5` file of a whole model, of Keras 3 or tf.keras 2.
        channels: "first" for images, volumes and other tensors of four axes or more with the
            channels at 1, as torch has them, at the model's inputs and outputs; "last" for Keras's
            order. A model that Keras computes with the channels first keeps them so. Within the
            model they are at 1. Sequences (N, T, C) are so in both.
        replace: modules for layers that cannot be ported, such as a Lambda, by the layer's name.
            Each is called with what the layer is, channels last, and trained with the rest.

    Returns:
        The model, in training mode, in the file's dtype (float32 or float64), on the CPU. Its
        inputs go by their Keras names, as far as Python can have these.

    Raises:
        UnsupportedError: layers that cannot be ported, all of them.
        DataError: the file cannot be read, is damaged, or its weights are not the model's.
        MissingExtraError: h5py is not installed.

    Example:
        model = port.load("model.keras")
        scores = model.eval()(images)  # (N, C, H, W)
    """
    architecture = read_architecture(path)
    built = build(architecture, channels, replace)
    fill(built, by_layer(architecture, read_saved(path), str(path)), str(path))
    return built.model


def from_keras(
    model: Any,
    channels: Channels = "first",
    *,
    replace: Mapping[str, nn.Module] | None = None,
    check: bool = True,
) -> Model:
    """A live Keras 3 model as a torchbp model, and the proof that both give the same.

    Args:
        model: a Sequential or functional model that was built, on any backend.
        channels: as of `load`.
        replace: as of `load`.
        check: run both in inference on random numbers, and refuse a port that differs from the
            model by more than rounding. `torchbp.parity.certify` compares training, too.

    Returns:
        As `load`.

    Raises:
        UnsupportedError: layers that cannot be ported, all of them.
        PortError: the port differs from the model; the first layer at which it does is named.
        DataError: the model is not built, or its graph is Python code.

    Example:
        model = port.from_keras(keras.applications.ResNet50())
    """
    architecture = architecture_of(json.loads(model.to_json()), model.name)
    built = build(architecture, channels, replace)
    fill(built, keras_arrays(model), model.name)
    if check:
        check_port(built, architecture, model)
    return built.model


def fill(built: Built, arrays: Mapping[tuple[str, ...], Any], where: str) -> None:
    """Puts the arrays of the layers into the model that was built.

    Raises:
        DataError: arrays of layers that the model does not have, or that have no weights.
        ShapeError: arrays of other shapes.
    """
    names = {id(module): name for name, module in built.model.named_modules()}
    modules = {path: layer.made for path, layer in built.layers.items()}
    positions = {path: position for position, path in enumerate(built.order)}
    layers = tuple(
        PortedLayer(
            path,
            layer.spec.class_name,
            names.get(id(modules[path]), ""),
            layer.weights,
            positions.get(path, -1),
            layer.trainable,
            rules_of(layer),
        )
        for path, layer in built.layers.items()
    )
    built.model.to(built.dtype)
    state = state_of(layers, modules, arrays, where)
    for name, buffer in built.model.named_buffers():
        if name not in state and buffer.is_meta:  # what Keras does not have starts from zero
            state[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)
    _assign(built.model, state)
    keep_layers(built.model, layers, built.architecture, is_masked=built.is_masked)


def _assign(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Exchanges tensors without data for those that have them."""
    for name, tensor in state.items():
        where, _, own = name.rpartition(".")
        module = model.get_submodule(where)
        if own in module._parameters:
            parameter = module.get_parameter(own)
            setattr(module, own, nn.Parameter(tensor, requires_grad=parameter.requires_grad))
        else:
            setattr(module, own, tensor)
