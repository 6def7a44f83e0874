"""Sentiment of a film review from a one-dimensional convolution over its words.

Slip mended: the chapter's `Dense(1)` has no sigmoid under `binary_crossentropy`, which takes its
input for a probability: all that is not between 0 and 1 is clipped, and where it is clipped no
gradient flows. Here the last layer has the sigmoid. The count, 291,937, is the same. Keras 3 has
no `input_length`; the review's length is left open.
"""

import keras
from keras import layers


def build(vocabulary_size=2000):
    review = keras.Input((None,), dtype="int32", name="review")
    x = layers.Embedding(vocabulary_size, 128, name="embed")(review)
    x = layers.Conv1D(32, 7, activation="relu", name="conv_1")(x)
    x = layers.MaxPooling1D(5, name="pool_1")(x)
    x = layers.Conv1D(32, 7, activation="relu", name="conv_2")(x)
    x = layers.GlobalMaxPooling1D(name="pool_2")(x)
    sentiment = layers.Dense(1, activation="sigmoid", name="sentiment")(x)
    return keras.Model(review, sentiment)
