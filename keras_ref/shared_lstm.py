"""One LSTM reads two sentences: a layer that is called twice keeps one set of weights.

Slips mended: `right_output = lstm(left_input)` reads the left sentence twice, so that the right
one has no effect on the score; `layer.Dense` is `layers.Dense`. The count, 20,673, is the same
with and without the first slip: counting does not find it, computing does.
"""

import keras
from keras import layers


def build(input_size=128, hidden_size=32):
    left = keras.Input((None, input_size), name="left")
    right = keras.Input((None, input_size), name="right")

    lstm = layers.LSTM(hidden_size, name="lstm")
    encoded_left = lstm(left)
    encoded_right = lstm(right)

    both = layers.Concatenate(name="both")([encoded_left, encoded_right])
    similarity = layers.Dense(1, activation="sigmoid", name="similarity")(both)
    return keras.Model([left, right], similarity)
