"""Xception, InceptionV3 and ResNet50: which layer of keras.applications is which module here."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from torch import nn

from torchbp.blocks import ConvNormAct, XceptionBlock
from torchbp.errors import DataError
from torchbp.models import InceptionV3, ResNet50, Xception
from torchbp.models.resnet import STAGES
from torchbp.port.layer_weights import Kind

T = TypeVar("T")


class Place(NamedTuple):
    """The module for a layer, and how their weights correspond."""

    module: str
    kind: Kind


def is_application(network: nn.Module) -> bool:
    """Whether the places of a network's layers are known."""
    return isinstance(network, tuple(_PLACES))


def layer_places(network: nn.Module) -> dict[str, Place]:
    """The place of every layer with weights, by its name in Keras, in the order of computation.

    Layers that keras.applications leaves unnamed have Keras's automatic names, counted from the
    start in each model: conv2d, conv2d_1, ....

    Args:
        network: an `Xception`, `InceptionV3` or `ResNet50`.

    Raises:
        DataError: another module.

    Example:
        >>> from torchbp.models import Xception
        >>> places = layer_places(Xception())
        >>> places["block2_sepconv1"]
        Place(module='features.2.branch.0.conv', kind='separable')
    """
    for network_class, places in _PLACES.items():
        if isinstance(network, network_class):
            found = dict(places(network))
            if network.class_scores is not None:
                found["predictions"] = Place("class_scores", "linear")
            return found
    raise DataError(
        "port: expected an Xception, InceptionV3 or ResNet50 of torchbp.models, got "
        f"{type(network).__name__}.\n"
        "  To mend it: build one of these, with include_top=False for a base of another model."
    )


def counted_from_start(layers: Mapping[str, T]) -> dict[str, T]:
    """The same layers, automatic names counted from the start: conv2d_98 is conv2d in a model.

    Names of Keras 1 (convolution2d_1) become those of today.

    Example:
        >>> counted_from_start({"batch_normalization_7": 1, "conv2d_9": 2, "conv2d_12": 3})
        {'batch_normalization': 1, 'conv2d': 2, 'conv2d_1': 3}
    """
    numbers: dict[str, list[int]] = defaultdict(list)
    automatic = {name: match for name in layers if (match := _AUTOMATIC.fullmatch(name))}
    for match in automatic.values():
        numbers[_TODAY[match[1]]].append(int(match[2] or 0))
    renamed = {}
    for name, layer in layers.items():
        if name in automatic:
            kind = _TODAY[automatic[name][1]]
            position = sorted(numbers[kind]).index(int(automatic[name][2] or 0))
            name = _numbered(kind, position)
        renamed[name] = layer
    return renamed


def _xception(network: nn.Module) -> Iterator[tuple[str, Place]]:
    shortcuts = 0
    for i, part in enumerate(network.get_submodule("features").children()):
        where = f"features.{i}"
        if i < 2:
            yield from _conv_norm(where, f"block1_conv{i + 1}")
        elif not isinstance(part, XceptionBlock):
            yield from _conv_norm(where, f"block14_sepconv{i - 13}", "separable")
        else:
            steps = [m for m in part.branch.children() if isinstance(m, ConvNormAct)]
            for j in range(len(steps)):
                name = f"block{i}_sepconv{j + 1}"
                yield from _conv_norm(f"{where}.branch.{j}", name, "separable")
            if isinstance(part.shortcut, ConvNormAct):
                yield from _automatic(f"{where}.shortcut", shortcuts)
                shortcuts += 1


def _inception_v3(network: nn.Module) -> Iterator[tuple[str, Place]]:
    convs = [name for name, module in network.named_modules() if isinstance(module, ConvNormAct)]
    for position, where in enumerate(convs):
        yield from _automatic(where, position)


def _resnet(network: nn.Module) -> Iterator[tuple[str, Place]]:
    yield from _named("features.0", "conv1_conv", "conv1_bn")
    i = 2  # after the pooling
    for stage, (_, num_blocks, _) in enumerate(STAGES, start=2):
        for block in range(1, num_blocks + 1):
            where, name = f"features.{i}.residual", f"conv{stage}_block{block}"
            if block == 1:
                yield from _named(f"{where}.shortcut", f"{name}_0_conv", f"{name}_0_bn")
            for j in range(3):
                step = f"{name}_{j + 1}"
                yield from _named(f"{where}.branch.{j}", f"{step}_conv", f"{step}_bn")
            i += 1


def _named(where: str, conv: str, norm: str, kind: Kind = "conv") -> Iterator[tuple[str, Place]]:
    yield conv, Place(f"{where}.conv", kind)
    yield norm, Place(f"{where}.norm", "batch_norm")


def _conv_norm(where: str, name: str, kind: Kind = "conv") -> Iterator[tuple[str, Place]]:
    return _named(where, name, f"{name}_bn", kind)


def _automatic(where: str, position: int) -> Iterator[tuple[str, Place]]:
    conv, norm = _numbered("conv2d", position), _numbered("batch_normalization", position)
    return _named(where, conv, norm)


def _numbered(kind: str, position: int) -> str:
    return f"{kind}_{position}" if position else kind


_PLACES: dict[type[nn.Module], Callable[[nn.Module], Iterable[tuple[str, Place]]]] = {
    Xception: _xception,
    InceptionV3: _inception_v3,
    ResNet50: _resnet,
}
_TODAY = {
    "conv2d": "conv2d",
    "convolution2d": "conv2d",
    "batch_normalization": "batch_normalization",
    "batchnormalization": "batch_normalization",
}
_AUTOMATIC = re.compile(rf"({'|'.join(_TODAY)})(?:_(\d+))?")
