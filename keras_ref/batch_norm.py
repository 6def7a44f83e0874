"""Batch normalization after convolutions and after dense layers.

As in the chapter the relu comes first: `Conv2D(..., activation="relu")`, then
`BatchNormalization()` on the last axis, the channels. With `order="norm first"` it comes before
the relu, as in Xception, InceptionV3 and ResNet50; the convolution then needs no bias, since the
normalization takes it away again.

No slip: the chapter shows one layer of each kind; here there are two.
"""

import keras
from keras import layers


def build_conv(size=16, num_classes=10, order="activation first"):
    block = {"activation first": activation_first, "norm first": norm_first}[order]
    image = keras.Input((size, size, 3), name="image")
    x = block(image, 1)
    x = block(x, 2)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    classes = layers.Dense(num_classes, activation="softmax", name="classes")(x)
    return keras.Model(image, classes)


def activation_first(x, number):
    x = layers.Conv2D(32, 3, activation="relu", name=f"conv_{number}")(x)
    return layers.BatchNormalization(name=f"norm_{number}")(x)


def norm_first(x, number):
    x = layers.Conv2D(32, 3, use_bias=False, name=f"conv_{number}")(x)
    x = layers.BatchNormalization(name=f"norm_{number}")(x)
    return layers.ReLU(name=f"relu_{number}")(x)


def build_dense(num_features=64, num_classes=10):
    features = keras.Input((num_features,), name="features")
    x = layers.Dense(32, activation="relu", name="hidden_1")(features)
    x = layers.BatchNormalization(name="norm_1")(x)
    x = layers.Dense(32, activation="relu", name="hidden_2")(x)
    x = layers.BatchNormalization(name="norm_2")(x)
    classes = layers.Dense(num_classes, activation="softmax", name="classes")(x)
    return keras.Model(features, classes)
