"""The reference models for images are the chapter's with its slips mended, in its sizes."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_ref import (
    applications,
    batch_norm,
    inception_module,
    residual,
    separable_convnet,
    siamese_vision,
)

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]
RNG = np.random.default_rng(0)


def count_without(model, *names):
    return model.count_params() - sum(model.get_layer(name).count_params() for name in names)


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (inception_module.build, 738_176),
        (residual.build_identity, 442_752),
        (residual.build_projection, 229_760),
    ],
)
def test_patterns_count_as_in_the_chapter_below_their_classifier(build, count):
    assert count_without(build(), "classes") == count


def test_the_separable_convnet_counts_as_in_the_chapter():
    assert separable_convnet.build().count_params() == 28_005


def test_the_same_convnet_of_plain_convolutions_is_seven_times_as_large(monkeypatch):
    monkeypatch.setattr(layers, "SeparableConv2D", layers.Conv2D)
    assert separable_convnet.build().count_params() == 206_378


# Slips


def test_the_inception_module_as_printed_cannot_be_built():
    assert not hasattr(layers, "AvgPooling2D")
    with pytest.raises(TypeError, match="kernel_size"):
        layers.Conv2D(3, activation="relu")


def test_branches_without_padding_differ_by_a_pixel_and_cannot_be_joined(monkeypatch):
    conv = layers.Conv2D
    monkeypatch.setattr(layers, "Conv2D", lambda *args, padding, **more: conv(*args, **more))
    sizes = []
    monkeypatch.setattr(layers, "Concatenate", lambda name: lambda x: sizes.extend(x) or x[0])
    inception_module.build()
    assert [branch.shape[1] for branch in sizes] == [16, 15, 14, 14]
    with pytest.raises(ValueError, match="matching shapes"):
        layers.concatenate(sizes)


@pytest.mark.parametrize("size", [32, 33])
def test_every_branch_of_the_inception_module_halves_the_image(size):
    joined = inception_module.build(size=size).get_layer("branches").output
    assert joined.shape == (None, (size + 1) // 2, (size + 1) // 2, 4 * 128)


# What each pattern is about


def test_identity_without_its_convolutions_is_the_identity():
    model = residual.build_identity(size=4, channels=3)
    inside = keras.Model(model.input, model.get_layer("sum").output)
    inside.set_weights([np.zeros(weight.shape) for weight in inside.get_weights()])
    features = RNG.normal(size=(2, 4, 4, 3)).astype("float32")
    np.testing.assert_array_equal(inside(features), features)


def test_the_projection_is_linear_and_halves_the_image():
    model = residual.build_projection(size=6, in_channels=3, channels=5)
    shortcut = model.get_layer("shortcut")
    assert shortcut.activation is keras.activations.linear
    assert shortcut.output.shape == model.get_layer("pool_1").output.shape == (None, 3, 3, 5)


@pytest.mark.parametrize(
    ("order", "kinds", "count"),
    [
        ("activation first", ["Conv2D", "BatchNormalization"], 10_730),
        ("norm first", ["Conv2D", "BatchNormalization", "ReLU"], 10_666),
    ],
)
def test_normalization_follows_the_relu_or_the_convolution(order, kinds, count):
    model = batch_norm.build_conv(order=order)
    assert [type(layer).__name__ for layer in model.layers[1:-2]] == 2 * kinds
    relu = model.get_layer("conv_1").activation is keras.activations.relu
    assert relu == (order == "activation first")
    assert model.count_params() == count


def test_a_bias_before_the_normalization_is_taken_away_again():
    features = RNG.normal(size=(8, 3)).astype("float32")
    norm = layers.BatchNormalization()
    plain, shifted = (norm(features + bias, training=True) for bias in (0, 2))
    np.testing.assert_allclose(plain, shifted, atol=1e-5)  # float32


def test_dense_layers_are_normalized_feature_by_feature():
    model = batch_norm.build_dense()
    assert model.get_layer("norm_1").gamma.shape == (32,)
    assert model.count_params() == 3_722


# The big ones


@pytest.fixture(scope="module")
def siamese():
    return siamese_vision.build()


def test_the_shared_base_counts_once(siamese):
    assert siamese.get_layer("base").count_params() == 20_861_480
    assert siamese.count_params() == 20_861_480 + 4_097
    assert sum(isinstance(layer, keras.Model) for layer in siamese.layers) == 1


def test_two_eyes_give_the_chapters_features(siamese):
    assert siamese.get_layer("both").output.shape == (None, 8, 8, 4096)
    assert [x.name for x in siamese.inputs] == ["left", "right"]


def test_both_eyes_see_through_the_same_base():
    model = siamese_vision.build_features(size=71)
    assert model.count_params() == 20_861_480
    left, right = RNG.normal(size=(2, 1, 71, 71, 3)).astype("float32")
    seen, swapped = np.asarray(model([left, right])), np.asarray(model([right, left]))
    assert not np.array_equal(seen, swapped)
    np.testing.assert_array_equal(seen, np.roll(swapped, 2048, axis=-1))


@pytest.fixture(
    scope="module",
    params=[
        (applications.xception, 22_910_480),
        (applications.inception_v3, 23_851_784),
        (applications.resnet50, 25_636_712),
    ],
    ids=["xception", "inception_v3", "resnet50"],
)
def application(request):
    build, count = request.param
    return build(), count


def test_applications_count_as_published(application):
    model, count = application
    assert model.count_params() == count


def test_automatic_names_count_from_the_start_and_stay_unique(application):
    names = [layer.name for layer in application[0].layers]
    assert len(set(names)) == len(names)
    automatic = [name for name in names if name.startswith("conv2d")]
    expected = ["conv2d"] + [f"conv2d_{number}" for number in range(1, len(automatic))]
    assert sorted(automatic) == sorted(expected[: len(automatic)])


def test_a_renamed_model_is_saved_and_read_again(tmp_path):
    model, again = (
        applications.xception(include_top=False, pooling="avg", size=71) for _ in range(2)
    )
    assert model.count_params() == 20_861_480
    assert model.output_shape == (None, 2048)
    assert [layer.name for layer in model.layers[1:]] == [layer.name for layer in again.layers[1:]]
    model.save_weights(tmp_path / "x.weights.h5")
    again.load_weights(tmp_path / "x.weights.h5")
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
