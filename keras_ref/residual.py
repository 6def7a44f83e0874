"""Residual connections: what goes into a stack of convolutions is added to what comes out of it.

`build_identity` adds the features themselves (442,752 parameters at 128 channels).
`build_projection` halves the image and doubles the channels, so that a 1x1 convolution without
activation brings the features to that shape first (229,760 from 64 to 128 channels).

No slip: the chapter's code is complete but for its input, `x = ...`.
"""

import keras
from keras import layers


def conv(channels, name):
    return layers.Conv2D(channels, 3, padding="same", activation="relu", name=name)


def build_identity(size=32, channels=128, num_classes=10):
    features = keras.Input((size, size, channels), name="features")
    x = conv(channels, "conv_1")(features)
    x = conv(channels, "conv_2")(x)
    x = conv(channels, "conv_3")(x)
    x = layers.Add(name="sum")([x, features])
    return classifier(features, x, num_classes)


def build_projection(size=32, in_channels=64, channels=128, num_classes=10):
    features = keras.Input((size, size, in_channels), name="features")
    x = conv(channels, "conv_1")(features)
    x = conv(channels, "conv_2")(x)
    x = layers.MaxPooling2D(2, strides=2, name="pool_1")(x)
    shortcut = layers.Conv2D(channels, 1, strides=2, padding="same", name="shortcut")(features)
    x = layers.Add(name="sum")([x, shortcut])
    return classifier(features, x, num_classes)


def classifier(features, x, num_classes):
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    classes = layers.Dense(num_classes, activation="softmax", name="classes")(x)
    return keras.Model(features, classes)
