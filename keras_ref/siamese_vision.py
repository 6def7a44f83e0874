"""One Xception looks through two eyes: a whole model that is called twice, like a layer.

Its 20,861,480 parameters count once. From 250x250 pixels come 8x8 features of 2,048 channels for
each eye, 4,096 for both. The chapter stops there (`build_features`); `build` adds a yes or no: is
what both see close?

Slip mended: `lefty_features` is `left_features`; as printed it is a NameError.
"""

import keras
from keras import layers

from keras_ref.applications import count_names_from_start


def build_features(size=250, weights=None):
    base = keras.applications.Xception(weights=weights, include_top=False, name="base")
    count_names_from_start(base)

    left = keras.Input((size, size, 3), name="left")
    right = keras.Input((size, size, 3), name="right")
    left_features = base(left)
    right_features = base(right)

    both = layers.Concatenate(name="both")([left_features, right_features])
    return keras.Model([left, right], both)


def build(size=250, weights=None):
    features = build_features(size, weights)
    x = layers.GlobalAveragePooling2D(name="pool")(features.output)
    close = layers.Dense(1, activation="sigmoid", name="close")(x)
    return keras.Model(features.inputs, close)
