"""A small image classifier of separable convolutions: 28,005 parameters on 64x64 pixels.

No slip; `input_shape`, which Keras 3 warns about, is an Input. With plain convolutions of the same
sizes the model has 206,378 parameters.
"""

import keras
from keras import layers


def build(size=64, channels=3, num_classes=10):
    image = keras.Input((size, size, channels), name="image")
    x = layers.SeparableConv2D(32, 3, activation="relu", name="sepconv_1")(image)
    x = layers.SeparableConv2D(64, 3, activation="relu", name="sepconv_2")(x)
    x = layers.SeparableConv2D(64, 3, activation="relu", name="sepconv_3")(x)
    x = layers.MaxPooling2D(2, name="pool_1")(x)

    x = layers.SeparableConv2D(128, 3, activation="relu", name="sepconv_4")(x)
    x = layers.SeparableConv2D(64, 3, activation="relu", name="sepconv_5")(x)
    x = layers.GlobalAveragePooling2D(name="pool_2")(x)

    x = layers.Dense(32, activation="relu", name="hidden")(x)
    classes = layers.Dense(num_classes, activation="softmax", name="classes")(x)
    return keras.Model(image, classes)
