"""Ports of normalisations on any axes, of scales, noise, sums of products and slopes."""

import numpy as np
import pytest
import torch

from parity_tests.porting import check, close, normal, randomize
from torchbp.port import from_keras, load, to_keras
from torchbp.port.config import UnsupportedError

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]

SEQUENCE, IMAGE, VOLUME = (7, 4), (5, 6, 4), (3, 4, 2, 5)


@pytest.fixture(scope="module")
def keras(keras_float64):
    return keras_float64


def of_layer(keras, layer, *shapes, conv=False):
    """A model of the layer; behind a convolution its input has the channels at 1 in the port."""
    inputs = [keras.Input(shape) for shape in shapes]
    x = keras.layers.Conv2D(shapes[0][-1], 1)(inputs[0]) if conv else inputs[0]
    return randomize(keras.Model(inputs, layer(x)))


def check_layer(keras, name, options, shape, **bounds):
    for conv in (False, True)[: 1 + (len(shape) == 3)]:
        model = of_layer(keras, getattr(keras.layers, name)(**options), shape, conv=conv)
        check(model, normal(3, *shape), **bounds)


NORMS = [
    ("LayerNormalization", {"axis": 1}, SEQUENCE),
    ("LayerNormalization", {"axis": [1, 2]}, SEQUENCE),
    ("LayerNormalization", {"axis": (-1, -3)}, IMAGE),
    ("LayerNormalization", {"axis": [1, 3], "center": False}, IMAGE),
    ("LayerNormalization", {"axis": 2, "scale": False}, IMAGE),
    ("LayerNormalization", {"scale": False}, IMAGE),
    ("LayerNormalization", {"scale": False, "center": False}, IMAGE),
    ("LayerNormalization", {"axis": [3], "epsilon": 1e-5}, IMAGE),
    ("RMSNormalization", {}, IMAGE),
    ("RMSNormalization", {"axis": 2, "epsilon": 1e-3}, SEQUENCE),
    ("RMSNormalization", {"axis": [2, 3]}, IMAGE),
    ("UnitNormalization", {}, (5,)),
    ("UnitNormalization", {"axis": 1}, IMAGE),
    ("UnitNormalization", {"axis": [1, 3]}, IMAGE),
    ("GroupNormalization", {"groups": 2, "scale": False}, IMAGE),
    ("GroupNormalization", {"groups": 2, "center": False}, SEQUENCE),
    ("GroupNormalization", {"groups": -1, "center": False, "scale": False}, IMAGE),
    ("GroupNormalization", {"groups": 5, "axis": 1}, IMAGE),
    ("GroupNormalization", {"groups": 5}, VOLUME),
]


@pytest.mark.parametrize(("name", "options", "shape"), NORMS, ids=str)
def test_normalisation(keras, name, options, shape):
    check_layer(keras, name, options, shape)


def test_unit_normalisation_of_zeros(keras):
    model = of_layer(keras, keras.layers.UnitNormalization(), (4,))
    x = normal(3, 4)
    x[1] = 0
    ported = from_keras(model)
    found = ported(torch.from_numpy(x)).numpy()
    close(found, model(x), 1e-13, "output")


def test_masks_pass(keras):
    ids = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(10, 6, mask_zero=True)(ids)
    for layer in (
        keras.layers.LayerNormalization(axis=[1, 2]),
        keras.layers.UnitNormalization(),
        keras.layers.GroupNormalization(2, center=False),
        keras.layers.Normalization(mean=0.5, variance=2.0),
        keras.layers.PReLU(),
        keras.layers.Dropout(0.5, noise_shape=(None, 1, None)),
        keras.layers.GaussianNoise(0.5),
        keras.layers.GaussianDropout(0.5),
    ):
        x = layer(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = randomize(keras.Model(ids, x))
    array = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8], [9, 0, 0, 0, 0]])
    check(model, array, training=False, forward=1e-7, gradient=1e-7)  # Normalization's constants


@pytest.mark.parametrize("axes", [None, -1, 1, (1, 3), (2, 3), (-1, -2), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("invert", [False, True])
def test_normalization_by_adapted_statistics(keras, axes, invert):
    for conv in (False, True):
        layer = keras.layers.Normalization(axis=axes, invert=invert, name="normalization")
        layer.adapt(normal(8, *IMAGE) * 3 + 1)
        model = of_layer(keras, layer, IMAGE, conv=conv)
        layer.finalize_state()
        ported = check(model, normal(3, *IMAGE))
        assert ported.normalization.count.dtype == torch.int64


def test_normalization_of_what_never_changes(keras):
    model = of_layer(keras, keras.layers.Normalization(), (2,))
    model.set_weights([np.zeros(2), np.array([0.0, 4.0]), np.array(0)])
    model.layers[-1].finalize_state()
    check(model, np.array([[1e-7, 2.0], [3e-7, 1.0]]))


FIXED = [
    (None, 0.5, 2.0),
    (-1, 0.5, 2.0),
    (-1, [0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 0.0, 4.0]),
    ((1, 3), np.arange(20.0).reshape(5, 4), np.arange(1.0, 21.0).reshape(5, 4)),
    ((1, 3), [0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0]),
    ((2, 3), np.ones((1, 4)), np.ones((1, 4)) * 2),
]


@pytest.mark.parametrize(("axis", "mean", "variance"), FIXED, ids=str)
@pytest.mark.parametrize("invert", [False, True])
def test_normalization_by_given_statistics(keras, axis, mean, variance, invert):
    options = {"axis": axis, "mean": mean, "variance": variance, "invert": invert}
    # TensorFlow rounds the constants to float32
    check_layer(keras, "Normalization", options, IMAGE, forward=1e-7, gradient=1e-7)


def test_scale_of_convnext(keras):
    from keras.src.applications.convnext import LayerScale

    for shape in (SEQUENCE, (5,)):
        check(of_layer(keras, LayerScale(0.5, shape[-1]), shape), normal(3, *shape))
    check(of_layer(keras, LayerScale(0.5, 4), IMAGE, conv=True), normal(3, *IMAGE))


def test_scaled_sum_of_inception_resnet(keras):
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    a, b = keras.Input(IMAGE), keras.Input(IMAGE)
    branch = keras.layers.Conv2D(4, 3, padding="same")(b)
    model = randomize(keras.Model([a, b], CustomScaleLayer(0.17)([a, branch])))
    check(model, normal(3, *IMAGE), normal(3, *IMAGE, seed=1))


def test_a_class_of_the_same_name_is_not_taken_for_one_of_keras(keras):
    @keras.saving.register_keras_serializable("mine")
    class LayerScale(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    with pytest.raises(UnsupportedError, match="no converter for the class"):
        from_keras(of_layer(keras, LayerScale(), (5,)))


EINSUMS = [
    ({"equation": "ab,bc->ac", "output_shape": 3, "bias_axes": "c"}, (5,)),
    ({"equation": "abc,cd->abd", "output_shape": (None, 3), "bias_axes": "d"}, SEQUENCE),
    ({"equation": "abc,cde->abde", "output_shape": (7, 2, 3), "bias_axes": "de"}, SEQUENCE),
    ({"equation": "abcd,cde->abe", "output_shape": (None, 3), "activation": "tanh"}, IMAGE),
    ({"equation": "...x,xy->...y", "output_shape": 3, "bias_axes": "y"}, IMAGE),
    ({"equation": "...xy,yz->...xz", "output_shape": (6, 3), "bias_axes": "x"}, IMAGE),
    ({"equation": "ax...,xy->ay...", "output_shape": 3, "bias_axes": "y"}, IMAGE),
    ({"equation": "abc,bcd->abd", "output_shape": (7, 3)}, SEQUENCE),
    ({"equation": "abc,bd->adc", "output_shape": (3, 4), "bias_axes": "dc"}, SEQUENCE),
]


@pytest.mark.parametrize(("options", "shape"), EINSUMS, ids=str)
def test_sums_of_products(keras, options, shape):
    check_layer(keras, "EinsumDense", options, shape)


PRELUS = [
    (None, (5,)),
    (None, SEQUENCE),
    ([1], SEQUENCE),
    ([1, 2], IMAGE),
    ([1, 2, 3], IMAGE),
    ([3], IMAGE),
    (None, IMAGE),
    ([1, 2, 3], VOLUME),
]


@pytest.mark.parametrize(("shared", "shape"), PRELUS, ids=str)
def test_slopes_that_are_trained(keras, shared, shape):
    check_layer(keras, "PReLU", {"shared_axes": shared}, shape)


def test_gradient_of_a_slope_at_zero(keras):
    model = of_layer(keras, keras.layers.PReLU(), (4,))
    check(model, np.zeros((2, 4)))


POOLS = [(1, 3, SEQUENCE), (2, (2, 3), IMAGE), (2, 4, IMAGE)]


@pytest.mark.parametrize("kind", ["Average", "Max"])
@pytest.mark.parametrize(("num_dims", "size", "shape"), POOLS, ids=str)
def test_adaptive_pooling(keras, kind, num_dims, size, shape):
    check_layer(keras, f"Adaptive{kind}Pooling{num_dims}D", {"output_size": size}, shape)


@pytest.mark.parametrize("kind", ["Average", "Max"])
def test_adaptive_pooling_of_volumes(keras, kind):
    """In float32, as TensorFlow has no pooling of float64 volumes."""
    layer = getattr(keras.layers, f"Adaptive{kind}Pooling3D")((1, 3, 2), dtype="float32")
    inputs = keras.Input(VOLUME, dtype="float32")
    x = normal(3, *VOLUME).astype("float32")
    model = keras.Model(inputs, layer(inputs))
    ported = from_keras(model, channels="last", check=False)
    close(ported(torch.from_numpy(x)), model(x), 1e-6, "output")


NOISE = [
    ("Dropout", {"rate": 0.3}),
    ("Dropout", {"rate": 0.3, "noise_shape": (None, 1, 1, 1)}),
    ("Dropout", {"rate": 0.3, "noise_shape": (None, None, 1, None)}),
    ("SpatialDropout2D", {"rate": 0.3}),
    ("GaussianNoise", {"stddev": 0.5}),
    ("GaussianDropout", {"rate": 0.3}),
    ("AlphaDropout", {"rate": 0.3}),
]


@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize(("name", "options"), NOISE, ids=str)
def test_noise_has_the_distribution_that_keras_gives_it(keras, name, options, conv):
    layer = getattr(keras.layers, name)(**options)
    model = of_layer(keras, layer, IMAGE, conv=conv)
    ported = check(model, normal(2, *IMAGE), training=False)
    x = np.broadcast_to(normal(1, *IMAGE), (2000, *IMAGE)).copy()
    theirs = model(x, training=True).numpy()
    ours = ported.train()
    with torch.no_grad():
        ours = ours(torch.from_numpy(x)).numpy()
    ours, theirs = ours.reshape(2000, -1), theirs.reshape(2000, -1)
    spread = theirs.std(0).mean()
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 0.25 * max(spread, np.abs(theirs).mean())
    assert abs(ours.std(0).mean() / spread - 1) < 0.05
    # which values share their fate
    own, other = (np.corrcoef((a - x.reshape(2000, -1))[:, :8].T) for a in (ours, theirs))
    if np.isfinite(other).all():
        assert np.abs(own - other).max() < 0.15


def test_dropout_alike_in_all_samples(keras):
    model = of_layer(keras, keras.layers.Dropout(0.3, noise_shape=(1, None, None, 4)), IMAGE)
    ported = check(model, normal(2, *IMAGE), training=False)
    found = ported.train()(torch.ones(3, *IMAGE, dtype=torch.float64))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert 0.5 < (found[0] > 0).double().mean() < 0.9


def test_stochastic_depth(keras):
    from keras.src.applications.convnext import StochasticDepth

    model = of_layer(keras, StochasticDepth(0.25), IMAGE)
    ported = check(model, normal(2, *IMAGE), training=False)
    found = ported.train()(torch.ones(4000, 5, 6, 4, dtype=torch.float64))
    kept = found.flatten(1)
    assert torch.equal(kept.amin(1), kept.amax(1))
    assert set(kept[:, 0].unique().tolist()) == {0.0, 1 / 0.75}
    assert abs((kept[:, 0] > 0).double().mean() - 0.75) < 0.03


def test_dropout_of_all_gives_zeros(keras):
    for shape in (None, (None, 1)):
        model = of_layer(keras, keras.layers.Dropout(1.0, noise_shape=shape), (4,))
        ported = check(model, normal(2, 4), training=False)
        assert not ported.train()(torch.ones(2, 4, dtype=torch.float64)).any()


def one_of_each(keras, of_applications):
    from keras.src.applications.convnext import LayerScale, StochasticDepth
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    own = [LayerScale(0.5, 4), StochasticDepth(0.2)] if of_applications else []
    layers = keras.layers
    inputs = keras.Input(IMAGE)
    normalization = layers.Normalization()
    normalization.adapt(normal(9, *IMAGE) * 2 + 1)
    x = normalization(inputs)
    for layer in (
        layers.Conv2D(4, 1),
        layers.LayerNormalization(axis=[1, 2]),
        layers.LayerNormalization(scale=False),
        layers.RMSNormalization(axis=[2, 3]),
        layers.GroupNormalization(2, scale=False),
        *own,
        layers.PReLU(shared_axes=[1, 2]),
        layers.EinsumDense("abcd,de->abce", (5, 6, 4), bias_axes="e"),
    ):
        x = layer(x)
    x = CustomScaleLayer(0.3)([x, inputs]) if of_applications else x
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files_and_the_way_back(keras, tmp_path, suffix):
    model, x = one_of_each(keras, suffix == ".keras"), normal(2, *IMAGE)
    model.save(tmp_path / f"model{suffix}")
    ported = load(tmp_path / f"model{suffix}", channels="last")
    with torch.no_grad():
        close(ported.eval()(torch.from_numpy(x)), model(x), 1e-12, "output of the file")
    other = keras.models.clone_model(model)
    to_keras(ported, other)
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        close(ours, theirs, 1e-15, "weight of the way back")


def test_refuses_classes_whose_origin_a_file_does_not_tell(keras, tmp_path):
    one_of_each(keras, True).save(tmp_path / "model.h5")
    with pytest.raises(UnsupportedError, match=r"(?s)got 3 .*save the model as \.keras") as error:
        load(tmp_path / "model.h5")
    assert "LayerScale" in str(error.value)


REFUSED = [
    ("LayerNormalization", {"axis": [1, -1]}, IMAGE, "axis"),
    ("GroupNormalization", {"groups": 2, "axis": 2}, IMAGE, "axis"),
    ("RMSNormalization", {"axis": 1}, IMAGE, "axis"),
    ("Dropout", {"rate": 0.5, "noise_shape": (2, 1, 1, 1)}, IMAGE, "noise_shape"),
    ("Dropout", {"rate": 0.5, "noise_shape": (None, 1)}, IMAGE, "noise_shape"),
    ("AlphaDropout", {"rate": 0.5, "noise_shape": (None, 1, 1, 1)}, IMAGE, "noise_shape"),
    ("GaussianDropout", {"rate": 1.0}, IMAGE, "rate"),
    ("SpectralNormalization", {}, IMAGE, "no converter"),
    ("Lambda", {"function": abs}, IMAGE, "replace="),
]


@pytest.mark.parametrize(("name", "options", "shape", "reason"), REFUSED, ids=str)
def test_refuses_what_has_no_counterpart(keras, name, options, shape, reason):
    if name == "SpectralNormalization":
        options = {"layer": keras.layers.Dense(3)}
    inputs = keras.Input(shape)
    y = getattr(keras.layers, name)(**options)(inputs)
    with pytest.raises(UnsupportedError, match=reason):
        from_keras(keras.Model(inputs, y))


def test_regularizers_of_the_kernels_are_kept(keras):
    """Those of EinsumDense and PReLU, whose arrays keep their names."""
    from torchbp.port.ported import ported_layers

    inputs = keras.Input((5,))
    y = keras.layers.EinsumDense("ab,bc->ac", 3, kernel_regularizer="l2")(inputs)
    y = keras.layers.PReLU(alpha_regularizer="l1")(y)
    found = [
        layer.rules.regularizers for layer in ported_layers(from_keras(keras.Model(inputs, y)))
    ]
    assert [[number for number, _ in rules] for rules in found if rules] == [[0], [0]]
