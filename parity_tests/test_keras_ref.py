"""The reference models are the chapter's with its slips mended; here is what each slip does."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_ref import (
    imdb_convnet,
    question_answering,
    sequential_vs_functional,
    shared_lstm,
    three_outputs,
    wide_and_deep,
)

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("module", "count"),
    [
        (sequential_vs_functional, 3_466),
        (question_answering, 1_322_100),
        (three_outputs, 2_626_316),
        (shared_lstm, 20_673),
        (imdb_convnet, 291_937),
        (wide_and_deep, 3_557),
    ],
)
def test_sizes_are_the_chapters_by_default(module, count):
    assert module.build().count_params() == count


def test_sequential_and_functional_form_are_the_same_model():
    functional, sequential = (
        sequential_vs_functional.build(),
        sequential_vs_functional.build_sequential(),
    )
    sequential.set_weights(functional.get_weights())
    features = RNG.normal(size=(4, 64))
    np.testing.assert_array_equal(sequential(features), functional(features))


def test_the_sequential_model_as_printed_is_larger():
    printed = keras.Sequential(
        [keras.Input((64,)), *(layers.Dense(32) for _ in range(2)), layers.Dense(32)]
    )
    assert printed.count_params() == 4_192


def with_swapped_arguments(build, monkeypatch):
    table = layers.Embedding
    monkeypatch.setattr(layers, "Embedding", lambda size, width, **more: table(width, size, **more))
    return build()


@pytest.mark.parametrize(
    ("module", "count"), [(question_answering, 3_229_812), (three_outputs, 5_662_476)]
)
def test_embeddings_with_swapped_arguments_are_larger(module, count, monkeypatch):
    assert with_swapped_arguments(module.build, monkeypatch).count_params() == count


def test_targets_that_are_all_zero_cost_nothing():
    answers = keras.ops.convert_to_tensor(RNG.dirichlet(np.ones(5), size=3))
    loss = keras.losses.CategoricalCrossentropy()
    assert float(loss(np.zeros((3, 5)), answers)) == 0
    assert float(loss(np.eye(5)[:3], answers)) > 0.1


def test_a_left_sentence_that_is_read_twice_counts_as_much_and_ignores_the_right_one():
    left, right = keras.Input((None, 4)), keras.Input((None, 4))
    lstm = layers.LSTM(3)
    both = layers.Concatenate()([lstm(left), lstm(left)])
    printed = keras.Model([left, right], layers.Dense(1, activation="sigmoid")(both))
    mended = shared_lstm.build(input_size=4, hidden_size=3)
    assert printed.count_params() == mended.count_params()
    sentence, other, third = (RNG.normal(size=(2, 5, 4)).astype("float32") for _ in range(3))
    assert np.array_equal(printed([sentence, other]), printed([sentence, third]))
    assert not np.allclose(mended([sentence, other]), mended([sentence, third]))


def test_scores_that_are_taken_for_probabilities_are_clipped_and_cost_the_same():
    loss = keras.losses.BinaryCrossentropy()
    costs = [float(loss(np.ones((1, 1)), np.full((1, 1), score))) for score in (-1.0, -2.0, -9.0)]
    assert costs == [pytest.approx(16.118, abs=1e-3)] * 3
