"""What Keras saves, in each of its formats, comes back as the layers' own weights."""

import os

import h5py
import numpy as np
import pytest

from torchbp.port.files import read_weights

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def keras():
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    return keras


def randomized(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def model(keras):
    layers = keras.layers
    x = image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, name="stem")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.SeparableConv2D(5, 3, name="separable")(x)
    x = layers.Reshape((16, 5), name="steps")(x)
    x = layers.LSTM(3, name="reader")(x)
    model = keras.Model(image, layers.Dense(2, name="classes")(x))
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((2, 8, 8, 3)), np.ones((2, 2)))  # fills the optimizer's state
    return randomized(model)


def save_legacy_weights(model, path):
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


FORMATS = {
    "m.keras": lambda model, path: model.save(path),
    "m.weights.h5": lambda model, path: model.save_weights(path),
    "m.h5": lambda model, path: model.save(path),
    "m_tf_kernels.h5": save_legacy_weights,
}


def saved(model, tmp_path, name):
    FORMATS[name](model, tmp_path / name)
    return read_weights(tmp_path / name)


def assert_same_arrays(found, expected):
    assert len(found) == len(expected)
    for array, weight in zip(found, expected, strict=True):
        assert array.dtype == weight.dtype
        np.testing.assert_array_equal(array, weight)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_weights_of_every_layer(model, tmp_path, name):
    found = saved(model, tmp_path, name)
    layers = [layer for layer in model.layers if layer.weights]
    assert set(found) == {layer.name for layer in layers}
    for layer in layers:
        assert_same_arrays(found[layer.name].arrays, layer.get_weights())


@pytest.mark.parametrize("name", ["m.h5", "m_tf_kernels.h5"])
def test_legacy_files_keep_the_models_order_and_name_the_weights(model, tmp_path, name):
    found = saved(model, tmp_path, name)
    assert list(found) == ["stem", "norm", "separable", "reader", "classes"]
    assert found["norm"].names == tuple(
        f"norm/{part}" for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    assert found["reader"].names[1] == "reader/lstm_cell/recurrent_kernel"


@pytest.mark.parametrize("name", FORMATS)
def test_layers_of_several_parts_are_in_the_order_of_get_weights(keras, tmp_path, name):
    layers = keras.layers
    x = steps = keras.Input((6, 4))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both_ways")(x)
    x = layers.MultiHeadAttention(2, 5, name="attention")(x, x)
    x = layers.TimeDistributed(layers.Dense(3), name="each_step")(x)
    model = randomized(keras.Model(steps, x))
    found = saved(model, tmp_path, name)
    assert set(found) == {"both_ways", "attention", "each_step"}
    for layer in model.layers[1:]:
        assert_same_arrays(found[layer.name].arrays, layer.get_weights())


def nested(keras):
    layers = keras.layers
    inner = [keras.Input((4,)), layers.Dense(3, name="first"), layers.BatchNormalization(name="n")]
    base = keras.Sequential(inner, name="base")
    left, right = keras.Input((4,)), keras.Input((4,))
    both = layers.Concatenate()([base(left), base(right)])
    return randomized(keras.Model([left, right], layers.Dense(1, name="close")(both)))


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_layers_of_a_shared_model_stand_under_their_own_names(keras, tmp_path, name):
    model = nested(keras)
    found = saved(model, tmp_path, name)
    assert set(found) == {"first", "n", "close"}
    for layer in (*model.get_layer("base").layers, model.get_layer("close")):
        assert_same_arrays(found[layer.name].arrays, layer.get_weights())


@pytest.mark.parametrize("name", ["m.h5", "m_tf_kernels.h5"])
def test_a_shared_model_is_one_entry_of_a_legacy_file(keras, tmp_path, name):
    model = nested(keras)
    found = saved(model, tmp_path, name)
    assert list(found) == ["base", "close"]
    base = model.get_layer("base")
    assert found["base"].names[:2] == ("base/first/kernel", "base/first/bias")
    assert_same_arrays(
        found["base"].arrays,
        [weight.numpy() for weight in base.trainable_weights + base.non_trainable_weights],
    )


def test_bfloat16_weights_come_back_as_float32(keras, tmp_path):
    dense = keras.layers.Dense(3, dtype="bfloat16", name="dense")
    model = randomized(keras.Sequential([keras.Input((4,)), dense]))
    for name in ("m.keras", "m.weights.h5"):
        found = saved(model, tmp_path, name)["dense"].arrays
        assert_same_arrays(found, [weight.astype("float32") for weight in dense.get_weights()])
