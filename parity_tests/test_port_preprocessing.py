"""Ports of layers that prepare data: images resized and changed at random, categories."""

import numpy as np
import pytest
import torch

from parity_tests.porting import check, close, normal
from torchbp.port import from_keras, to_keras
from torchbp.port.config import UnsupportedError

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]

IMAGE, WIDE, TALL = (8, 10, 3), (5, 12, 2), (13, 6, 2)
# TensorFlow resizes in float32
RESIZED = {"forward": 2e-6, "gradient": 2e-6}


@pytest.fixture(scope="module")
def keras(keras_float64):
    return keras_float64


def of_layer(keras, name, options, shape, **kwargs):
    inputs = keras.Input(shape, **kwargs)
    return keras.Model(inputs, getattr(keras.layers, name)(**options)(inputs))


SIZES = [(4, 4), (16, 20), (7, 13), (8, 10), (3, 25)]
FITS = [{}, {"crop_to_aspect_ratio": True}]


@pytest.mark.parametrize("fit", FITS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_resizing(keras, interpolation, size, fit):
    options = {"height": size[0], "width": size[1], "interpolation": interpolation, **fit}
    for shape in (IMAGE, TALL, WIDE)[: 3 if fit else 1]:
        check(of_layer(keras, "Resizing", options, shape), normal(2, *shape), **RESIZED)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_resizing_smoothly(keras, interpolation, size):
    """Without gradients, which TensorFlow has none of in float64."""
    options = {"interpolation": interpolation, "antialias": True}
    model = of_layer(keras, "Resizing", {"height": size[0], "width": size[1], **options}, IMAGE)
    x = normal(2, *IMAGE)
    ported = from_keras(model, channels="last")
    close(ported(torch.from_numpy(x)), model(x), 2e-6, "output")


def test_resizing_of_images_of_any_size(keras):
    model = of_layer(keras, "Resizing", {"height": 6, "width": 5}, (None, None, 3))
    for shape in (IMAGE, (4, 7, 3)):
        check(model, normal(2, *shape), **RESIZED)


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (8, 10), (8, 3)], ids=str)
def test_centre_is_cut_out(keras, size):
    options = {"height": size[0], "width": size[1]}
    check(of_layer(keras, "CenterCrop", options, IMAGE), normal(2, *IMAGE))


@pytest.mark.parametrize("size", [(9, 4), (5, 11), (12, 12)], ids=str)
def test_centre_of_a_small_image_is_made_larger(keras, size):
    options = {"height": size[0], "width": size[1]}
    check(of_layer(keras, "CenterCrop", options, IMAGE), normal(2, *IMAGE), **RESIZED)


AUGMENTED = [
    ("RandomFlip", {}),
    ("RandomFlip", {"mode": "horizontal"}),
    ("RandomFlip", {"mode": "vertical"}),
    ("RandomContrast", {"factor": 0.3, "value_range": (-1, 1)}),
    ("RandomContrast", {"factor": (0.8, 0.2)}),
    ("RandomBrightness", {"factor": 0.3, "value_range": (-1, 1)}),
    ("RandomBrightness", {"factor": (-0.1, 0.5)}),
    *[
        ("RandomRotation", {"factor": 0.4, "fill_mode": fill, "interpolation": mode})
        for fill in ("reflect", "wrap", "nearest", "constant")
        for mode in ("bilinear", "nearest")
    ],
    ("RandomRotation", {"factor": (0.1, 0.2), "fill_mode": "constant", "fill_value": 0.7}),
    *[
        ("RandomTranslation", {"height_factor": 0.9, "width_factor": (-1, 0.3), "fill_mode": fill})
        for fill in ("reflect", "wrap", "nearest", "constant")
    ],
    ("RandomZoom", {"height_factor": 0.5}),
    ("RandomZoom", {"height_factor": (0.2, 0.9), "width_factor": (-0.5, 0.1)}),
    ("RandomZoom", {"height_factor": 1.0, "fill_mode": "wrap", "interpolation": "nearest"}),
    ("RandomZoom", {"height_factor": 1.0, "fill_mode": "constant", "fill_value": -2.0}),
]


def augmentation(keras, name, options):
    model = of_layer(keras, name, options, IMAGE)
    ported = check(model, normal(2, *IMAGE), training=False)  # nothing happens in evaluation
    [module] = [m for m in ported.modules() if type(m).__name__ == name]
    return model.layers[-1], module


def draw(keras, layer, x):
    """With float32 as the default, without which Keras fails to rotate."""
    images = keras.ops.convert_to_tensor(x)
    try:
        keras.config.set_floatx("float32")
        return layer.get_random_transformation(images, training=True)
    finally:
        keras.config.set_floatx("float64")


@pytest.mark.parametrize(("name", "options"), AUGMENTED, ids=str)
def test_the_same_random_numbers_change_images_alike(keras, name, options):
    layer, module = augmentation(keras, name, options)
    x = normal(64, *IMAGE)
    drawn = draw(keras, layer, x)
    expected = layer.transform_images(keras.ops.convert_to_tensor(x), drawn, training=True)
    numbers = given(layer, name, drawn)
    ours = module.change(torch.from_numpy(x).movedim(-1, 1), numbers).movedim(1, -1)
    # Keras looks places up in float32: of ten pixels 1e-6, in numbers of about four
    error = (ours - torch.from_numpy(expected.numpy())).abs()
    assert error.max() < 2e-5, error.max()


def given(layer, name, drawn):
    """What Keras has drawn as our layers take it."""
    if name in ("RandomTranslation", "RandomZoom"):
        if name == "RandomTranslation":
            matrix = layer._get_translation_matrix(drawn["translations"])
        else:
            zooms = np.concatenate([drawn["width_zoom"], drawn["height_zoom"]], axis=1)
            matrix = layer._get_zoom_matrix(zooms.astype("float32"), *IMAGE[:2])
        return torch.tensor(np.array(matrix)[:, :6], dtype=torch.float64).float()
    key = {"RandomFlip": "flips", "RandomContrast": "contrast_factor"}
    key |= {"RandomBrightness": "rgb_delta", "RandomRotation": "rotation_matrix"}
    numbers = torch.from_numpy(np.array(drawn[key[name]]))
    return numbers[:, :6].float() if name == "RandomRotation" else numbers


@pytest.mark.parametrize(("name", "options"), AUGMENTED, ids=str)
def test_random_numbers_have_the_distribution_that_keras_gives_them(keras, name, options):
    layer, module = augmentation(keras, name, options)
    x = np.zeros((20000, *IMAGE))
    drawn = draw(keras, layer, x)
    theirs = given(layer, name, drawn).double().flatten(1)
    ours = module.draw(torch.zeros(20000, 3, *IMAGE[:2])).double().flatten(1)
    scale = theirs.std(0) + 1e-6 * theirs.abs().amax(0) + 1e-12
    for function in (lambda a: a.mean(0), lambda a: a.std(0), lambda a: a.amin(0)):
        assert ((function(ours) - function(theirs)).abs() < 0.05 * scale).all()
    assert ((ours.amax(0) - theirs.amax(0)).abs() < 0.05 * scale).all()
    together = [torch.corrcoef(a[:, a.std(0) > 1e-9].T) for a in (ours, theirs)]
    assert (together[0] - together[1]).abs().max() < 0.05


def test_images_are_changed_in_training_alone_and_each_in_its_own_way(keras):
    layers = [
        keras.layers.RandomFlip(),
        keras.layers.RandomRotation(0.2),
        keras.layers.RandomTranslation(0.2, 0.2),
        keras.layers.RandomZoom(0.2),
        keras.layers.RandomContrast(0.2, value_range=(-9, 9)),
        keras.layers.RandomBrightness(0.2, value_range=(-9, 9)),
    ]
    model = keras.Sequential([keras.Input(IMAGE), *layers, keras.layers.Conv2D(2, 3)])
    ported = check(model, normal(2, *IMAGE), training=False)
    x = torch.from_numpy(normal(1, *IMAGE)).expand(8, -1, -1, -1)
    found = ported.train()(x)
    assert found.shape == (8, 6, 8, 2)
    assert found.std(0).min() > 0


CATEGORIES = [
    ({"output_mode": "one_hot"}, (1,)),
    ({"output_mode": "one_hot"}, (4,)),
    ({"output_mode": "one_hot"}, (4, 2)),
    ({"output_mode": "multi_hot"}, (4,)),
    ({"output_mode": "multi_hot"}, (1,)),
    ({"output_mode": "count"}, (4,)),
]


@pytest.mark.parametrize(("options", "shape"), CATEGORIES, ids=str)
def test_categories(keras, options, shape):
    model = of_layer(keras, "CategoryEncoding", {"num_tokens": 6, **options}, shape, dtype="int32")
    x = np.random.default_rng(0).integers(0, 6, (5, *shape))
    found = from_keras(model, channels="last")(torch.from_numpy(x))
    assert found.dtype == torch.float64
    close(found, model(x), 0, "output")


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
def test_bins(keras, mode):
    options = {"bin_boundaries": [-1.0, 0.1, 0.5, 2.0], "output_mode": mode}
    x = normal(5, 4)
    x[0] = [-1.0, 0.1, 0.5, 2.0]
    model = of_layer(keras, "Discretization", options, (4,))
    ported = from_keras(model)
    close(ported(torch.from_numpy(x)), model(x), 0, "output")


def test_bins_that_were_adapted(keras):
    layer = keras.layers.Discretization(num_bins=4)
    layer.adapt(normal(100, 1))
    inputs = keras.Input((4,))
    model, x = keras.Model(inputs, layer(inputs)), normal(5, 4)
    close(from_keras(model)(torch.from_numpy(x)), model(x), 0, "output")


def test_a_crop_of_the_whole_image_is_nothing(keras):
    check(of_layer(keras, "RandomCrop", {"height": 8, "width": 10}, IMAGE), normal(2, *IMAGE))


REFUSED = [
    ("RandomCrop", {"height": 4, "width": 4}, IMAGE, {}, "another size in evaluation"),
    ("Resizing", {"height": 4, "width": 4, "interpolation": "lanczos3"}, IMAGE, {}, "lanczos3"),
    ("Resizing", {"height": 4, "width": 4}, IMAGE, {"dtype": "uint8"}, "whole numbers"),
    ("Resizing", {"height": 4, "width": 4, "pad_to_aspect_ratio": True}, IMAGE, {}, "pad_to"),
    ("CenterCrop", {"height": 4, "width": 4}, (None, None, 3), {}, "unknown size"),
    ("CategoryEncoding", {"num_tokens": 4}, (4,), {}, "floats"),
    ("CategoryEncoding", {"num_tokens": 4}, (4, 2), {"dtype": "int32"}, "axes"),
    ("Hashing", {"num_bins": 4}, (4,), {"dtype": "int32"}, "look-up"),
    ("IntegerLookup", {"vocabulary": [1, 2]}, (4,), {"dtype": "int64"}, "look-up"),
    ("RandomShear", {"x_factor": 0.1}, IMAGE, {}, "no converter"),
]


@pytest.mark.parametrize(("name", "options", "shape", "kwargs", "reason"), REFUSED, ids=str)
def test_refuses_what_has_no_counterpart(keras, name, options, shape, kwargs, reason):
    with pytest.raises(UnsupportedError, match=reason):
        from_keras(of_layer(keras, name, options, shape, **kwargs))


def test_keras_computes_with_the_statistics_that_come_back(keras):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Normalization()(inputs))
    model.layers[1].adapt(normal(50, 3))
    other, x = keras.models.clone_model(model), normal(4, 3, seed=1)
    to_keras(from_keras(model), other)
    close(other(x), model(x), 1e-15, "output")
