"""An inception module: four branches over the same features, each striding once, side by side.

Slips mended: `AvgPooling2D` is `AveragePooling2D`; `Conv2D(3, ...)` and `Conv2D(1, ...)` give the
size of the kernel where the number of filters stands, and no size: they cannot be built. With the
default, valid padding the branches differ by a pixel (16 and 15 of 32) and cannot be concatenated;
here every layer pads "same". The module has 738,176 parameters on 192 channels.
"""

import keras
from keras import layers


def conv(width, kernel_size, name, strides=1):
    return layers.Conv2D(
        width, kernel_size, strides, padding="same", activation="relu", name=f"branch_{name}"
    )


def build(size=32, channels=192, width=128, num_classes=10):
    features = keras.Input((size, size, channels), name="features")

    branch_a = conv(width, 1, "a", strides=2)(features)

    branch_b = conv(width, 1, "b_1")(features)
    branch_b = conv(width, 3, "b_2", strides=2)(branch_b)

    branch_c = layers.AveragePooling2D(3, 2, padding="same", name="branch_c_pool")(features)
    branch_c = conv(width, 3, "c")(branch_c)

    branch_d = conv(width, 1, "d_1")(features)
    branch_d = conv(width, 3, "d_2")(branch_d)
    branch_d = conv(width, 3, "d_3", strides=2)(branch_d)

    x = layers.Concatenate(name="branches")([branch_a, branch_b, branch_c, branch_d])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    classes = layers.Dense(num_classes, activation="softmax", name="classes")(x)
    return keras.Model(features, classes)
