"""One stack of layers, written twice: as a Sequential model and with the functional API.

Slip mended: the chapter ends one stack with 32 units and the other with 10. Both end with 10
here, which makes them the same model of 3,466 parameters; the Sequential one as printed has
4,192. Its dummy targets are random numbers; a categorical crossentropy wants one-hot rows.
"""

import keras
from keras import layers


def build(num_features=64, num_classes=10):
    """The functional form: every layer is called on a tensor and returns one."""
    inputs = keras.Input((num_features,), name="features")
    x = layers.Dense(32, activation="relu", name="hidden_1")(inputs)
    x = layers.Dense(32, activation="relu", name="hidden_2")(x)
    outputs = layers.Dense(num_classes, activation="softmax", name="classes")(x)
    return keras.Model(inputs, outputs)


def build_sequential(num_features=64, num_classes=10):
    """The same layers in a list: one input, one output, nothing in between but a line."""
    return keras.Sequential(
        [
            keras.Input((num_features,), name="features"),
            layers.Dense(32, activation="relu", name="hidden_1"),
            layers.Dense(32, activation="relu", name="hidden_2"),
            layers.Dense(num_classes, activation="softmax", name="classes"),
        ]
    )
