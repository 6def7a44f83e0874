"""A wide linear model and a deep one, added before the sigmoid and trained together.

The chapter names this ensemble in its last paragraph and gives no code, so there is no slip to
mend. The wide part remembers single features and their crossings, the deep part generalises over
the dense ones (Cheng et al. 2016, https://arxiv.org/abs/1606.07792).
"""

import keras
from keras import layers


def build(num_wide_features=100, num_deep_features=20, hidden_sizes=(64, 32)):
    wide = keras.Input((num_wide_features,), name="wide")
    deep = keras.Input((num_deep_features,), name="deep")
    x = deep
    for i, size in enumerate(hidden_sizes, start=1):
        x = layers.Dense(size, activation="relu", name=f"hidden_{i}")(x)
    deep_score = layers.Dense(1, name="deep_score")(x)
    wide_score = layers.Dense(1, use_bias=False, name="wide_score")(wide)
    score = layers.Add(name="score")([wide_score, deep_score])
    probability = layers.Activation("sigmoid", name="probability")(score)
    return keras.Model([wide, deep], probability)
