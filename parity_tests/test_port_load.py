"""Weight files of keras.applications fill our networks, which then compute what Keras computes."""

import os

import h5py
import numpy as np
import pytest
import torch

from torchbp.errors import DataError, ShapeError
from torchbp.models import InceptionV3, ResNet50, Xception
from torchbp.port import load_weights
from torchbp.port.applications import counted_from_start, layer_places

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
keras = pytest.importorskip("keras")
from keras_ref import applications  # noqa: E402  # needs the backend

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]

# name -> our class, the function that builds Keras's, the module with preprocess_input, a size
NETWORKS = {
    "xception": (Xception, applications.xception, keras.applications.xception, 75),
    "inception_v3": (InceptionV3, applications.inception_v3, keras.applications.inception_v3, 80),
    "resnet50": (ResNet50, applications.resnet50, keras.applications.resnet50, 40),
}
CLASSES = 5


def photos(size, batch=2):
    """Smooth colours, as far from noise as a photo; float32 (N, H, W, RGB), bytes."""
    rng = np.random.default_rng(0)
    small = rng.uniform(0, 255, size=(batch, 5, 5, 3)).astype("float32")
    return np.asarray(keras.ops.image.resize(small, (size, size), interpolation="bilinear"))


def preprocessed(module, images):
    return np.asarray(module.preprocess_input(images.copy()))


def randomized(model, images):
    """Weights of which none is 0 or 1, and statistics of the images.

    Most relus are open and no variance is close to 0, as in a trained network: else float32 loses
    three digits on the way through both frameworks, and a right network cannot be told from a
    wrong one.
    """
    rng = np.random.default_rng(1)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in model.layers:
        for weight in layer.trainable_weights:
            if weight.name == "bias":
                weight.assign(rng.normal(0, 0.3, size=weight.shape))
            elif weight.name == "beta":
                weight.assign(rng.normal(1, 0.3, size=weight.shape))
            elif weight.name == "gamma":
                weight.assign(rng.uniform(0.3, 0.7, size=weight.shape))
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm in norms:
        variance = np.asarray(norm.moving_variance)
        norm.moving_variance.assign((variance + variance.mean()) / 2)
    head = model.layers[-1]
    if isinstance(head, keras.layers.Dense):  # no class is sure, whatever the image
        pooled = np.asarray(keras.Model(model.input, model.layers[-2].output)(images))
        head.bias.assign(-(pooled @ np.asarray(head.kernel)).mean(axis=0))
    return model


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    """Name, our class, Keras's model with a head, its input."""
    ours, build, module, size = NETWORKS[request.param]
    images = preprocessed(module, photos(size, batch=4))
    keras.utils.set_random_seed(0)  # float32 is near its bound: the same kernels in every run
    model = randomized(build(num_classes=CLASSES, size=size), images)
    return request.param, ours, model, images


def headless(model):
    return keras.Model(model.input, model.layers[-3].output)


def save_legacy_weights(model, path):
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


FORMATS = {
    "tf_kernels.h5": save_legacy_weights,
    "whole.h5": lambda model, path: model.save(path),
    "m.weights.h5": lambda model, path: model.save_weights(path),
    "m.keras": lambda model, path: model.save(path),
}


def nchw(images):
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def assert_same_outputs(model, network, images):
    """Float32: 1e-5 of the largest value, the bound of a whole net."""
    expected = np.asarray(model(images, training=False))
    if expected.ndim == 4:
        expected = expected.transpose(0, 3, 1, 2)
    assert expected.std(axis=0).max() > 0.001  # the images can be told apart
    with torch.no_grad():
        found = network.eval()(nchw(images)).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.fixture(scope="module")
def legacy_file(case, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tf_kernels.h5"
    save_legacy_weights(case[2], path)
    return path


# Files of every format


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_with_a_head_gives_keras_probabilities(case, tmp_path, name):
    _, ours, model, images = case
    FORMATS[name](model, tmp_path / name)
    network = ours(CLASSES)
    assert load_weights(network, tmp_path / name) is network
    assert_same_outputs(model, network, images)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_a_head_gives_keras_features(case, tmp_path, name):
    _, ours, model, images = case
    base = headless(model)
    FORMATS[name](base, tmp_path / name)
    network = load_weights(ours(include_top=False), tmp_path / name)
    assert_same_outputs(base, network, images)


def test_a_head_in_the_file_is_left_out_where_the_network_has_none(case, legacy_file):
    _, ours, model, images = case
    network = load_weights(ours(include_top=False), str(legacy_file))
    assert_same_outputs(headless(model), network, images)


def test_the_scores_are_those_before_keras_softmax(case, legacy_file):
    _, ours, model, images = case
    network = load_weights(ours(CLASSES, probabilities=False), legacy_file)
    head = model.layers[-1]
    pooled = np.asarray(keras.Model(model.input, model.layers[-2].output)(images))
    sums, bias = pooled @ np.asarray(head.kernel), np.asarray(head.bias)  # nearly cancel
    found = network.eval()(nchw(images)).detach().numpy()
    assert np.abs(found - (sums + bias)).max() <= 1e-5 * np.abs(sums).max()


# Names


def renamed_copy(source, path, new_name):
    """A legacy weight file whose groups have other names; the datasets keep theirs."""
    with h5py.File(source) as old, h5py.File(path, "w") as new:
        for name in old.attrs["layer_names"]:
            old.copy(name, new, new_name(name))
        new.attrs["layer_names"] = [new_name(name) for name in old.attrs["layer_names"]]
    return path


def shifted(kind, by):
    """Automatic names of this kind that start later, or under another word."""

    def rename(name):
        base, _, number = name.rpartition("_")
        if name == kind[0]:
            return f"{kind[1]}_{by}"
        return f"{kind[1]}_{int(number) + by}" if base == kind[0] and number.isdigit() else name

    return rename


RENAMINGS = {
    "second in the process": [
        (("conv2d", "conv2d"), 94),
        (("batch_normalization", "batch_normalization"), 97),
    ],
    "keras 1": [
        (("conv2d", "convolution2d"), 1),
        (("batch_normalization", "batchnormalization"), 1),
    ],
}


@pytest.mark.parametrize("style", RENAMINGS)
def test_automatic_names_count_wherever_they_start(case, legacy_file, tmp_path, style):
    name, ours, model, images = case
    renames = [shifted(kind, by) for kind, by in RENAMINGS[style]]
    path = renamed_copy(legacy_file, tmp_path / "w.h5", lambda n: renames[1](renames[0](n)))
    with h5py.File(path) as file:
        changed = set(file) != {layer.name for layer in model.layers}
    assert changed is (name != "resnet50")  # whose layers all have names of their own
    assert_same_outputs(model, load_weights(ours(CLASSES), path), images)


def test_the_second_model_of_a_process_is_read_as_it_is_named(tmp_path):
    keras.applications.Xception(weights=None, include_top=False, input_shape=(75, 75, 3))
    model = keras.applications.Xception(
        weights=None, include_top=False, input_shape=(75, 75, 3), pooling="avg"
    )
    names = [layer.name for layer in model.layers if layer.name.startswith("conv2d")]
    assert "conv2d" not in names
    images = preprocessed(keras.applications.xception, photos(75))
    randomized(model, images)
    for name in ("m.keras", "m.weights.h5", "whole.h5"):
        FORMATS[name](model, tmp_path / name)
        network = load_weights(Xception(include_top=False, pooling="avg"), tmp_path / name)
        assert_same_outputs(model, network, images)


def test_the_head_goes_by_any_name(case, legacy_file, tmp_path):
    _, ours, model, images = case
    path = renamed_copy(
        legacy_file, tmp_path / "w.h5", lambda name: "probs" if name == "predictions" else name
    )
    assert_same_outputs(model, load_weights(ours(CLASSES), path), images)
    base = load_weights(ours(include_top=False), path)
    assert_same_outputs(headless(model), base, images)


def test_automatic_names_sort_as_numbers_and_others_stay():
    names = ["conv2d_10", "block1_conv1", "conv2d_9", "conv2d_100", "conv2d_x", "predictions"]
    found = counted_from_start({name: name for name in names})
    assert found == {
        "conv2d": "conv2d_9",
        "conv2d_1": "conv2d_10",
        "conv2d_2": "conv2d_100",
        "block1_conv1": "block1_conv1",
        "conv2d_x": "conv2d_x",
        "predictions": "predictions",
    }


# What does not fit is refused, and nothing is written


def refused(network, path, error, message):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(error, match=message):
        load_weights(network, path)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_a_file_of_another_network_is_refused(case, legacy_file):
    for other in {Xception, InceptionV3, ResNet50} - {case[1]}:
        refused(
            other(CLASSES), legacy_file, DataError, r"expected the \d+ layers .* missing.*\n.*same"
        )


def test_a_file_without_the_head_that_the_network_has_is_refused(case, tmp_path):
    FORMATS["tf_kernels.h5"](headless(case[2]), tmp_path / "w.h5")
    refused(
        case[1](CLASSES),
        tmp_path / "w.h5",
        DataError,
        "predictions missing.*\n.*include_top=False, as the file has no head",
    )


def test_a_head_of_another_size_is_refused(case, legacy_file):
    message = (
        rf"predictions: expected class_scores.weight of shape \(7, 2048\), got \({CLASSES}, 2048\)"
        ".*\n.*num_classes"
    )
    refused(case[1](7), legacy_file, ShapeError, message)


def test_images_of_other_channels_are_refused(case, legacy_file):
    message = r"features.0.conv.weight of shape \(\d+, 1, \d, \d\), got \(\d+, 3, \d, \d\)"
    refused(case[1](CLASSES, in_channels=1), legacy_file, ShapeError, message)


@pytest.mark.parametrize("change", ["one less", "one more"])
def test_a_layer_with_other_weights_is_refused(case, legacy_file, tmp_path, change):
    """In the middle of the file: what came before must not have been written."""
    path = renamed_copy(legacy_file, tmp_path / "w.h5", str)
    layer = next(layer for layer in reversed(case[2].layers[:-1]) if len(layer.weights) > 1)
    with h5py.File(path, "r+") as file:
        group = file[layer.name]
        names = list(group.attrs["weight_names"])
        group["more"] = np.zeros(3, "float32")
        group.attrs["weight_names"] = names[:-1] if change == "one less" else [*names, "more"]
    got = len(names) + (1 if change == "one more" else -1)
    refused(case[1](CLASSES), path, ShapeError, f"{layer.name}: expected arrays for .* got {got} ")


def test_a_convolution_without_the_bias_that_the_network_has_is_refused(tmp_path):
    model = applications.resnet50(include_top=False, size=40)
    FORMATS["tf_kernels.h5"](model, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        group = file["conv5_block3_3_conv"]
        group.attrs["weight_names"] = group.attrs["weight_names"][:1]
    message = "conv5_block3_3_conv: expected arrays for weight, bias, got 1 "
    refused(ResNet50(include_top=False), tmp_path / "w.h5", ShapeError, message)


def test_a_missing_file_is_refused(tmp_path):
    refused(ResNet50(2), tmp_path / "w.h5", DataError, "expected a readable Keras file")


def test_nothing_is_written_before_all_of_the_file_fits(case, legacy_file, tmp_path):
    """The last layer of the file has another shape."""
    path = renamed_copy(legacy_file, tmp_path / "w.h5", str)
    with h5py.File(path, "r+") as file:
        group = file["predictions"]
        name = group.attrs["weight_names"][-1]
        del group[name]
        group[name] = np.zeros(CLASSES + 1, "float32")
    refused(case[1](CLASSES), path, ShapeError, "class_scores.bias")


# Layer by layer


def split_count(module):
    trained = sum(parameter.numel() for parameter in module.parameters())
    return trained, sum(b.numel() for b in module.buffers() if b.is_floating_point())


def keras_split_count(layer):
    return tuple(
        sum(int(np.prod(weight.shape)) for weight in weights)
        for weights in (layer.trainable_weights, layer.non_trainable_weights)
    )


@pytest.mark.parametrize("include_top", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_each_layer_counts_as_in_keras_line_by_line(name, include_top):
    ours, build, _, _ = NETWORKS[name]
    model = build(include_top=include_top)
    with torch.device("meta"):
        network = ours(include_top=include_top)
    theirs = {layer.name: keras_split_count(layer) for layer in model.layers if layer.weights}
    places = layer_places(network)
    found = {
        layer: split_count(network.get_submodule(place.module)) for layer, place in places.items()
    }
    assert found == theirs
    total = [sum(counts) for counts in zip(*found.values(), strict=True)]
    assert sum(total) == model.count_params()


@pytest.mark.parametrize("include_top", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_places_cover_every_weight_exactly_once(name, include_top):
    with torch.device("meta"):
        network = NETWORKS[name][0](include_top=include_top)
    covered = [
        f"{place.module}.{part}"
        for place in layer_places(network).values()
        for part in network.get_submodule(place.module).state_dict()
    ]
    assert sorted(covered) == sorted(network.state_dict())


# Preprocessing


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("name", NETWORKS)
def test_preprocess_is_keras_to_the_last_bit(name, batch, dtype):
    ours, _, module, _ = NETWORKS[name]
    images = np.arange(256, dtype=dtype).repeat(3)[: 16 * 16 * 3].reshape(16, 16, 3)
    images = np.broadcast_to(images, (*batch, 16, 16, 3)).copy()
    if dtype != "uint8":
        images += np.random.default_rng(0).uniform(0, 0.9, size=images.shape).astype(dtype)
    expected = module.preprocess_input(images.copy())
    found = ours.preprocess(torch.from_numpy(images).movedim(-1, -3)).movedim(-3, -1).numpy()
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
