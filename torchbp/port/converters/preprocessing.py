"""Layers that prepare data: images resized and changed at random, numbers made categories."""

from typing import Any

import torch

from torchbp import layers
from torchbp.port.config import UnsupportedError
from torchbp.port.converters.convolution import spatial
from torchbp.port.registry import Layer, keras_layer
from torchbp.port.values import Value

# Keras notes training=True in their calls, as it is what their `call` has by default.
TRAINING_BY_DEFAULT = {
    *("CenterCrop", "RandomBrightness", "RandomContrast", "RandomCrop", "RandomFlip"),
    *("RandomRotation", "RandomTranslation", "RandomZoom", "Resizing"),
}


def _images(layer: Layer, x: Value) -> Value:
    """Images of floats, with the channels at 1."""
    x = spatial(layer, x, 2)
    if not x.tensor.is_floating_point():
        raise UnsupportedError("images of whole numbers; make the input float32")
    return x


@keras_layer("Resizing")
def _resizing(layer: Layer, x: Value) -> Value:
    config, x = layer.config, _images(layer, x)
    config.only("pad_to_aspect_ratio", False)
    for name in ("fill_mode", "fill_value"):  # of the border that is off
        config.get(name, None)
    resize = layer.module(
        layers.Resize,
        (config.count("height"), config.count("width")),
        config.word("interpolation", "bilinear", "nearest", "bicubic", default="bilinear"),
        antialias=config.flag("antialias", False),
        crop=config.flag("crop_to_aspect_ratio", False),
    )
    return x.like(resize(x.tensor))


@keras_layer("CenterCrop")
def _center_crop(layer: Layer, x: Value) -> Value:
    """The middle; of an image that is too small the largest of the ratio of sides, resized."""
    config, x = layer.config, _images(layer, x)
    size = config.count("height"), config.count("width")
    known = [n for n in x.tensor.shape[2:] if isinstance(n, int)]
    if len(known) < 2:
        raise UnsupportedError("images of unknown size")
    spare = [have - want for have, want in zip(known, size, strict=True)]
    if min(spare) < 0:
        return x.like(layer.module(layers.Resize, size, crop=True)(x.tensor))
    (top, bottom), (left, right) = ((n // 2, n - n // 2) for n in spare)
    return x.like(layer.module(layers.Crop2d, (left, right, top, bottom))(x.tensor))


@keras_layer("RandomCrop")
def _random_crop(layer: Layer, x: Value) -> Value:
    """Keras cuts in training alone."""
    config, x = layer.config, _images(layer, x)
    if tuple(x.tensor.shape[2:]) != (config.count("height"), config.count("width")):
        raise UnsupportedError(
            "images of another size in evaluation than in training; cut them before the model"
        )
    return x


@keras_layer("RandomFlip")
def _random_flip(layer: Layer, x: Value) -> Value:
    both = "horizontal_and_vertical"
    mode = layer.config.word("mode", "horizontal", "vertical", both, default=both)
    return _augmented(layer, x, layers.RandomFlip, mode != "vertical", mode != "horizontal")


@keras_layer("RandomContrast")
def _random_contrast(layer: Layer, x: Value) -> Value:
    less, more = _range(layer, "factor", least=0.0)
    factors = 1.0 - less, 1.0 + more
    return _augmented(layer, x, layers.RandomContrast, factors, _values(layer))


@keras_layer("RandomBrightness")
def _random_brightness(layer: Layer, x: Value) -> Value:
    shares = _range(layer, "factor")
    return _augmented(layer, x, layers.RandomBrightness, shares, _values(layer))


@keras_layer("RandomRotation")
def _random_rotation(layer: Layer, x: Value) -> Value:
    turns = _range(layer, "factor")
    return _augmented(layer, x, layers.RandomRotation, turns, *_outside(layer))


@keras_layer("RandomTranslation")
def _random_translation(layer: Layer, x: Value) -> Value:
    down, right = _range(layer, "height_factor"), _range(layer, "width_factor")
    return _augmented(layer, x, layers.RandomTranslation, down, right, *_outside(layer))


@keras_layer("RandomZoom")
def _random_zoom(layer: Layer, x: Value) -> Value:
    low, high = _range(layer, "height_factor")
    width = None
    if layer.config.get("width_factor", None) is not None:
        least, most = _range(layer, "width_factor")
        width = 1.0 + least, 1.0 + most
    height = 1.0 + low, 1.0 + high
    return _augmented(layer, x, layers.RandomZoom, height, width, *_outside(layer))


def _augmented(layer: Layer, x: Value, make: Any, *args: Any) -> Value:
    x = _images(layer, x)
    layer.config.get("bounding_box_format", None)  # of boxes, which are no tensors of a graph
    return x.like(layer.module(make, *args)(x.tensor))


def _range(layer: Layer, name: str, least: float = -1.0) -> tuple[float, float]:
    """Two numbers in ascending order; one stands for itself and its opposite."""
    found = layer.config.get(name)
    ends = list(found) if isinstance(found, list | tuple) else [found]
    if len(ends) not in (1, 2) or any(
        isinstance(n, bool) or not isinstance(n, int | float) or not -1.0 <= n <= 1.0 for n in ends
    ):
        raise UnsupportedError(f"{name}={found!r}")
    if len(ends) == 2:
        return float(min(ends)), float(max(ends))
    size = abs(float(ends[0]))
    return max(-size, least), size


def _values(layer: Layer) -> tuple[float, float]:
    found = layer.config.get("value_range", [0, 255])
    if not isinstance(found, list | tuple) or len(found) != 2 or not found[0] < found[1]:
        raise UnsupportedError(f"value_range={found!r}")
    return float(found[0]), float(found[1])


def _outside(layer: Layer) -> tuple[str, str, float]:
    config = layer.config
    return (
        config.word("fill_mode", "reflect", "constant", "wrap", "nearest", default="reflect"),
        config.word("interpolation", "bilinear", "nearest", default="bilinear"),
        config.number("fill_value", 0.0),
    )


@keras_layer("CategoryEncoding")
def _category_encoding(layer: Layer, x: Value) -> Value:
    config = layer.config
    modes = ("multi_hot", "one_hot", "count", "binary")
    mode = config.word("output_mode", *modes, default="multi_hot")
    _no_sparse(layer)
    tensor = x.as_keras()
    if tensor.is_floating_point():
        raise UnsupportedError("categories that are floats; make the input int32")
    return Value(_encoded(tensor, mode, config.count("num_tokens")))


@keras_layer("Discretization")
def _discretization(layer: Layer, x: Value) -> Value:
    config = layer.config
    mode = config.word("output_mode", "int", "one_hot", "multi_hot", "count", default="int")
    for name in ("num_bins", "epsilon"):  # of what has been adapted
        config.get(name, None)
    _no_sparse(layer)
    bounds = config.get("bin_boundaries", None)
    if not isinstance(bounds, list | tuple) or not all(isinstance(b, int | float) for b in bounds):
        raise UnsupportedError(f"bin_boundaries={bounds!r:.80}; adapt the layer first")
    tensor = x.as_keras()
    if not tensor.is_floating_point():
        raise UnsupportedError("numbers that are no floats; make the input float32")
    bins = torch.bucketize(tensor, torch.tensor(bounds, dtype=torch.float32), right=True)
    return Value(bins if mode == "int" else _encoded(bins, mode, len(bounds) + 1))


def _no_sparse(layer: Layer) -> None:
    if layer.config.get("sparse", False):
        raise UnsupportedError("sparse=True")


def _encoded(ids: Any, mode: str, depth: int) -> Any:
    """A one at the place of each category, or for all of a sample together."""
    if mode != "one_hot" and ids.ndim != 2:
        raise UnsupportedError(f"output_mode={mode!r} of {ids.ndim} axes")
    if mode == "one_hot" and ids.ndim > 1 and ids.shape[-1] == 1:
        ids = ids.squeeze(-1)
    is_it = ids.unsqueeze(-1) == torch.arange(depth)
    if mode in ("multi_hot", "binary"):
        is_it = is_it.any(1)
    found = torch.where(is_it, torch.ones(()), torch.zeros(()))  # in the model's dtype
    return found.sum(1) if mode == "count" else found


def _refused(reason: str) -> Any:
    def port(layer: Layer, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError(reason)

    return port


_LOOK_UP = "a look-up; cut the model after it, and give it the numbers that it makes"
for _name in ("StringLookup", "IntegerLookup", "TextVectorization", "Hashing", "HashedCrossing"):
    keras_layer(_name)(_refused(_LOOK_UP))
keras_layer("Lambda")(_refused("Python code; give a module for it with replace={name: module}"))
