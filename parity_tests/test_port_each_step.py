"""Models that TimeDistributed applies to each step."""

import numpy as np
import pytest

from parity_tests.porting import check, normal, randomize
from torchbp.parity import certify
from torchbp.port import UnsupportedError, from_keras, load, to_keras

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]
FILM = (3, 6, 7, 2)


@pytest.fixture(scope="module")
def keras(keras_float64):
    return keras_float64


def cnn(keras, kind, size=FILM[1:]):
    """A small network for images, of its own kind."""
    layers = [
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.BatchNormalization(trainable=None not in size),
        keras.layers.Flatten() if None not in size else keras.layers.GlobalMaxPooling2D(),
        keras.layers.Dense(3, activation="tanh"),
    ]
    if kind == "sequential":
        return keras.Sequential([keras.Input(size), *layers], name="cnn")
    image = x = keras.Input(size)
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x, name="cnn")


def of_film(keras, kind, film=FILM):
    given = keras.Input(film)
    x = keras.layers.TimeDistributed(cnn(keras, kind, film[1:]), name="frames")(given)
    return randomize(keras.Model(given, keras.layers.LSTM(3)(x)))


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_model_for_each_step(keras, kind):
    port = check(of_film(keras, kind), normal(2, *FILM))
    assert "frames.conv2d" in " ".join(name for name, _ in port.named_modules())


def test_films_of_any_length_and_size(keras):
    model = of_film(keras, "functional", (None, None, None, 2))
    for size in (FILM, (5, 7, 4, 2)):
        check(model, normal(2, *size))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_from_a_file_and_back(keras, kind, suffix, tmp_path):
    model = of_film(keras, kind)
    model.save(tmp_path / f"model.{suffix}")
    saved = [array.copy() for array in model.get_weights()]
    port = load(tmp_path / f"model.{suffix}", "last")
    to_keras(port, randomize(model, seed=1))
    for back, first in zip(model.get_weights(), saved, strict=True):
        np.testing.assert_array_equal(back, first)
    check(model, normal(2, *FILM), ported=port)


def test_a_frozen_model_for_each_step(keras):
    given, base = keras.Input(FILM), cnn(keras, "functional")
    base.trainable = False
    model = randomize(keras.Model(given, keras.layers.TimeDistributed(base)(given)))
    port = check(model, normal(2, *FILM))
    assert not any(parameter.requires_grad for parameter in port.parameters())


def test_a_model_for_each_step_that_is_called_twice(keras):
    frames = keras.layers.TimeDistributed(cnn(keras, "functional"), name="frames")
    a, b = keras.Input(FILM), keras.Input(FILM)
    model = randomize(keras.Model([a, b], frames(a) - 2.0 * frames(b)))
    check(model, normal(2, *FILM), normal(2, *FILM, seed=1))


def test_its_certificate(keras):
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    try:
        records = certify(of_film(keras, "functional"), dtypes=["float64"])
    finally:
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
    assert not [record for record in records if not record["ok"]]
    assert {record["level"] for record in records} == set(range(1, 8))


def test_what_is_not_one_tensor_without_a_mask_is_refused(keras):
    image = keras.Input(FILM[1:])
    both = keras.Model(image, keras.layers.Concatenate()([image, image]))
    masked = keras.layers.Masking()(keras.Input((4, 3)))
    of_words = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model = keras.Model(
        masked._keras_history[0].input, keras.layers.TimeDistributed(of_words)(masked)
    )
    with pytest.raises(UnsupportedError, match="with several inputs, or with a mask"):
        from_keras(model)
    given = keras.Input(FILM)
    check(keras.Model(given, keras.layers.TimeDistributed(both)(given)), normal(2, *FILM))


def test_statistics_of_an_unknown_number_of_steps_are_refused(keras):
    given = keras.Input((None, *FILM[1:]))
    model = keras.Model(given, keras.layers.TimeDistributed(cnn(keras, "functional"))(given))
    with pytest.raises(UnsupportedError, match="BatchNormalization in a model for each of an"):
        from_keras(model)
