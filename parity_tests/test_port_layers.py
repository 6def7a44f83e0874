"""Ports of convolutions, pooling, normalisations and what reshapes, beside Keras in float64."""

import numpy as np
import pytest
import torch

from parity_tests.porting import check, normal, randomize
from torchbp.port import from_keras, load, to_keras
from torchbp.port.config import UnsupportedError

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]

SEQUENCE, IMAGE, VOLUME = (7, 4), (7, 6, 4), (5, 4, 6, 2)
SHAPES = {1: SEQUENCE, 2: IMAGE, 3: VOLUME}


@pytest.fixture(scope="module")
def keras(keras_float64):
    return keras_float64


def of_layer(keras, layer, *shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    return randomize(keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0])))


def check_layer(keras, name, options, *shapes, **bounds):
    model = of_layer(keras, getattr(keras.layers, name)(**options), *shapes)
    inputs = [normal(3, *shape, seed=seed) for seed, shape in enumerate(shapes)]
    return check(model, *inputs, **bounds)


CONVS = [
    {"kernel_size": 3},
    {"kernel_size": 3, "strides": 2, "padding": "same"},
    {"kernel_size": 2, "padding": "same", "use_bias": False},
    {"kernel_size": 3, "dilation_rate": 2, "padding": "same", "activation": "relu"},
    {"kernel_size": 1, "activation": "softmax"},
]


@pytest.mark.parametrize("options", CONVS, ids=str)
@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_convolution(keras, num_dims, options):
    check_layer(keras, f"Conv{num_dims}D", {"filters": 6, **options}, SHAPES[num_dims])


def test_convolution_in_groups(keras):
    check_layer(keras, "Conv2D", {"filters": 6, "kernel_size": 3, "groups": 2}, IMAGE)


@pytest.mark.parametrize("options", [{}, {"strides": 2}, {"dilation_rate": 2}], ids=str)
def test_causal_convolution(keras, options):
    options = {"filters": 6, "kernel_size": 3, "padding": "causal", **options}
    check_layer(keras, "Conv1D", options, SEQUENCE)


DEPTHWISE = [
    {"kernel_size": 3},
    {"kernel_size": 3, "strides": 2, "padding": "same", "depth_multiplier": 2},
    {"kernel_size": 2, "use_bias": False, "activation": "relu"},
]


@pytest.mark.parametrize("options", DEPTHWISE, ids=str)
@pytest.mark.parametrize("num_dims", [1, 2])
def test_depthwise_and_separable_convolution(keras, num_dims, options):
    shape = (*SHAPES[num_dims][:-1], 3)
    check_layer(keras, f"DepthwiseConv{num_dims}D", options, shape)
    check_layer(keras, f"SeparableConv{num_dims}D", {"filters": 5, **options}, shape)


TRANSPOSED = [
    {"kernel_size": 3},
    {"kernel_size": 3, "strides": 2, "padding": "same"},
    {"kernel_size": 4, "strides": 2, "padding": "same", "activation": "relu"},
    {"kernel_size": 3, "strides": 2, "padding": "same", "output_padding": 1},
    {"kernel_size": 2, "strides": 3, "use_bias": False},
]


@pytest.mark.parametrize("options", TRANSPOSED, ids=str)
@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_transposed_convolution(keras, num_dims, options):
    check_layer(keras, f"Conv{num_dims}DTranspose", {"filters": 6, **options}, SHAPES[num_dims])


POOLS = [
    {"pool_size": 2},
    {"pool_size": 3, "strides": 2, "padding": "same"},
    {"pool_size": 2, "strides": 1},
]


@pytest.mark.parametrize("options", POOLS, ids=str)
@pytest.mark.parametrize("kind", ["Max", "Average"])
@pytest.mark.parametrize("num_dims", [1, 2])  # TensorFlow has no pooling of float64 volumes
def test_pooling(keras, num_dims, kind, options):
    check_layer(keras, f"{kind}Pooling{num_dims}D", options, SHAPES[num_dims])


@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_pooling_of_volumes_takes_the_same_arguments(keras, kind):
    layer = getattr(keras.layers, f"{kind}Pooling3D")(2, padding="same")
    ported = from_keras(of_layer(keras, layer, VOLUME), check=False)
    assert ported(torch.zeros(1, 2, 5, 4, 6, dtype=torch.float64)).shape == (1, 2, 3, 2, 3)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("kind", ["Max", "Average"])
@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_global_pooling(keras, num_dims, kind, keepdims):
    name = f"Global{kind}Pooling{num_dims}D"
    check_layer(keras, name, {"keepdims": keepdims}, SHAPES[num_dims])


BATCH_NORMS = [
    ({}, (5,)),
    ({"momentum": 0.8, "epsilon": 1e-5}, SEQUENCE),
    ({"scale": False}, IMAGE),
    ({"center": False}, IMAGE),
    ({"scale": False, "center": False}, VOLUME),
    ({"axis": 1}, IMAGE),
    ({"trainable": False}, IMAGE),
]


@pytest.mark.parametrize(("options", "shape"), BATCH_NORMS, ids=str)
def test_batch_normalisation_and_its_statistics(keras, options, shape):
    check_layer(keras, "BatchNormalization", options, shape)


NORMS = [
    ("LayerNormalization", {}, IMAGE),
    ("LayerNormalization", {"center": False, "epsilon": 1e-6}, SEQUENCE),
    ("GroupNormalization", {"groups": 2}, IMAGE),
    ("GroupNormalization", {"groups": -1}, SEQUENCE),
]


@pytest.mark.parametrize(("name", "options", "shape"), NORMS, ids=str)
def test_normalisation(keras, name, options, shape):
    check_layer(keras, name, options, shape)


RESHAPING = [
    ("Flatten", {}, IMAGE),
    ("Flatten", {}, (5,)),
    ("Reshape", {"target_shape": (6, -1)}, IMAGE),
    ("Reshape", {"target_shape": (1, 1, 28)}, SEQUENCE),
    ("Reshape", {"target_shape": (-1,)}, IMAGE),
    ("Permute", {"dims": (3, 1, 2)}, IMAGE),
    ("RepeatVector", {"n": 3}, (5,)),
    ("ZeroPadding1D", {"padding": (1, 2)}, SEQUENCE),
    ("ZeroPadding2D", {"padding": ((1, 2), (3, 0))}, IMAGE),
    ("ZeroPadding3D", {"padding": (1, 2, 0)}, VOLUME),
    ("Cropping1D", {"cropping": (1, 2)}, SEQUENCE),
    ("Cropping2D", {"cropping": ((1, 2), (0, 3))}, IMAGE),
    ("Cropping3D", {"cropping": 1}, VOLUME),
    ("UpSampling1D", {"size": 3}, SEQUENCE),
    ("UpSampling2D", {"size": (2, 3)}, IMAGE),
    ("UpSampling3D", {"size": 2}, VOLUME),
]


@pytest.mark.parametrize(("name", "options", "shape"), RESHAPING, ids=str)
def test_reshaping(keras, name, options, shape):
    check_layer(keras, name, options, shape)


def test_upsampling_bilinearly(keras):
    # TensorFlow computes it in float32
    options = {"size": 2, "interpolation": "bilinear"}
    check_layer(keras, "UpSampling2D", options, IMAGE, forward=2e-6, gradient=2e-6)


MERGES = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"]


@pytest.mark.parametrize("name", MERGES)
def test_merging(keras, name):
    check_layer(keras, name, {}, IMAGE, IMAGE)


@pytest.mark.parametrize("name", MERGES[:-1])
def test_merging_of_different_ranks(keras, name):
    check_layer(keras, name, {}, (4,), (3, 4))


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_concatenation_of_images(keras, axis):
    a, b = keras.Input(IMAGE), keras.Input(IMAGE)
    found = keras.layers.Conv2D(4, 3, padding="same")(a)
    model = randomize(keras.Model([a, b], keras.layers.Concatenate(axis=axis)([found, b])))
    check(model, normal(3, *IMAGE), normal(3, *IMAGE, seed=1))


def test_dense_after_flatten_has_its_weights_in_the_order_of_torch(keras):
    inputs = keras.Input(IMAGE)
    x = keras.layers.Conv2D(5, 3, strides=2)(inputs)
    x = keras.layers.Dropout(0.0)(keras.layers.Flatten()(x))
    model = randomize(keras.Model(inputs, keras.layers.Dense(3)(x)))
    ported = check(model, normal(3, *IMAGE))
    code = from_keras(model).code
    assert "movedim" not in code
    assert "transpose" not in code
    weights = model.get_weights()
    randomize(model, seed=1)
    to_keras(ported, model)
    for back, first in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(back, first)


def test_a_vector_of_an_image_is_put_out_in_keras_order(keras):
    inputs = keras.Input(IMAGE)
    flat = keras.layers.Flatten()(keras.layers.Conv2D(5, 3)(inputs))
    check(randomize(keras.Model(inputs, [flat, keras.layers.Dense(2)(flat)])), normal(3, *IMAGE))


def test_channels_first_takes_and_gives_the_images_of_torch(keras):
    inputs = keras.Input(IMAGE)
    model = randomize(keras.Model(inputs, keras.layers.Conv2D(5, 3)(inputs)))
    x = normal(3, *IMAGE)
    found = from_keras(model)(torch.from_numpy(x).permute(0, 3, 1, 2))
    expected = torch.from_numpy(model(x).numpy()).permute(0, 3, 1, 2)
    assert (found - expected).abs().max() <= 1e-13 * expected.abs().max()


def test_images_with_channels_first_in_keras_stay_so(keras):
    inputs = keras.Input((4, 7, 6))
    x = keras.layers.Rescaling(2.0)(keras.layers.ZeroPadding2D(1, "channels_first")(inputs))
    x = keras.layers.Flatten("channels_first")(x)
    check(randomize(keras.Model(inputs, keras.layers.Dense(3)(x))), normal(3, 4, 7, 6))


def nested_and_shared(keras):
    image = keras.Input((8, 8, 3), name="image")
    y = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
    base = keras.Model(image, keras.layers.ReLU()(y), name="base")
    tower = keras.Sequential(
        [keras.Input((6, 6, 4)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()], name="tower"
    )
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    dense = keras.layers.Dense(3, activation="tanh")
    a, b = (dense(tower(base(x))) for x in (left, right))
    both = keras.layers.Concatenate()([a, b])
    out = {"score": keras.layers.Dense(1)(both), "distance": a - b}
    return randomize(keras.Model({"left": left, "right": right}, out))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_nested_and_shared_models_from_files(keras, suffix, tmp_path):
    model = nested_and_shared(keras)
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    ported = load(path, channels="last")
    x = {"left": normal(3, 8, 8, 3), "right": normal(3, 8, 8, 3, seed=1)}
    found = ported.eval()(**{name: torch.from_numpy(array) for name, array in x.items()})
    expected = model(x, training=False)
    for name in ("score", "distance"):
        error = np.abs(found[name].detach().numpy() - expected[name].numpy()).max()
        assert error <= 1e-13 * np.abs(expected[name]).max()
    assert [name for name, _ in ported.named_children()][:2] == ["base", "tower"]


def test_a_frozen_base_stays_as_it_is(keras):
    image = keras.Input((8, 8, 3))
    y = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
    base = keras.Model(image, keras.layers.ReLU()(y), name="base")
    base.trainable = False
    inputs = keras.Input((8, 8, 3))
    x = base(inputs, training=False)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    check(randomize(model), normal(3, 8, 8, 3))


def test_what_cannot_be_ported_is_listed_whole(keras):
    inputs = keras.Input(IMAGE, name="x")
    x = keras.layers.Lambda(lambda x: x * 2, name="double", output_shape=IMAGE)(inputs)
    x = keras.layers.BatchNormalization(axis=2, name="odd")(x)
    x = keras.layers.Dropout(0.5, name="mc")(x, training=True)
    model = keras.Model(inputs, keras.layers.Dense(2, name="fine")(x))
    with pytest.raises(UnsupportedError) as caught:
        from_keras(model)
    text = str(caught.value)
    assert "3 in" in text
    assert all(name in text for name in ("double (Lambda)", "odd (BatchNorm", "mc (Dropout)"))
    assert "fine" not in text


def test_a_module_takes_the_place_of_a_lambda(keras):
    inputs = keras.Input(IMAGE)
    x = keras.layers.Lambda(lambda x: x * 2, name="double")(keras.layers.Conv2D(3, 2)(inputs))
    model = randomize(keras.Model(inputs, x))

    class Double(torch.nn.Module):
        def forward(self, x):
            assert x.shape[-1] == 3
            return 2 * x

    check(
        model,
        normal(3, *IMAGE),
        ported=from_keras(model, channels="last", replace={"double": Double()}),
    )
    with pytest.raises(UnsupportedError, match="dubble"):
        from_keras(model, replace={"dubble": Double()})


@pytest.mark.parametrize("suffix", ["keras", None])
def test_a_layer_in_two_models_is_refused(keras, suffix, tmp_path):
    """Its description has two layers: trained, they would be two."""
    dense = keras.layers.Dense(4, name="both")
    inner_input, inputs = keras.Input((4,)), keras.Input((4,))
    inner = keras.Model(inner_input, dense(inner_input), name="inner")
    model = keras.Model(inputs, [inner(inputs), dense(inputs)])
    if suffix is None:
        with pytest.raises(UnsupportedError, match="inner/both"):
            from_keras(model)
    else:
        model.save(tmp_path / "model.keras")
        with pytest.raises(ValueError, match="both"):
            load(tmp_path / "model.keras")


@pytest.mark.parametrize("suffix", ["keras", None])
def test_outputs_of_a_nested_model_are_found_by_their_names(keras, suffix, tmp_path):
    inputs = keras.Input((4,))
    heads = {name: keras.layers.Dense(3, name=name)(inputs) for name in ("last", "first", "middle")}
    inner = keras.Model(inputs, {name: [y, -y] for name, y in heads.items()}, name="inner")
    outer = keras.Input((4,))
    found = inner(outer)
    outputs = found["last"][1] + 2.0 * found["first"][0] + 3.0 * found["middle"][1]
    model = randomize(keras.Model(outer, outputs))
    ported = None
    if suffix:
        model.save(tmp_path / "model.keras")
        ported = load(tmp_path / "model.keras", "last")
    check(model, normal(3, 4), ported=ported)
