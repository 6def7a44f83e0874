"""Three outputs: age, income group and gender of an author, from one reading of the posts.

Age is a regression (mse), income one of ten groups (categorical crossentropy), gender a yes or
no (binary crossentropy). LOSS_WEIGHTS brings the three losses to one scale.

Slips mended: `Embedding(256, vocabulary)` has its arguments swapped: 5,662,476 parameters
instead of 2,626,316. The dummy targets `randint(0, 1)` are all 0 and `randint(0, 11, (n, 10))`
is not one-hot; here age is a number, income one-hot, gender 0 or 1.
"""

import keras
from keras import layers

LOSSES = {
    "age": "mse",
    "income": "categorical_crossentropy",
    "gender": "binary_crossentropy",
}
LOSS_WEIGHTS = {"age": 0.25, "income": 1.0, "gender": 10.0}


def build(vocabulary_size=5000, num_income_groups=10):
    posts = keras.Input((None,), dtype="int32", name="posts")
    x = layers.Embedding(vocabulary_size, 256, name="embedding")(posts)
    x = layers.Conv1D(128, 5, activation="relu", name="conv_1")(x)
    x = layers.MaxPooling1D(5, name="pool_1")(x)
    x = layers.Conv1D(256, 5, activation="relu", name="conv_2")(x)
    x = layers.Conv1D(256, 5, activation="relu", name="conv_3")(x)
    x = layers.MaxPooling1D(5, name="pool_2")(x)
    x = layers.Conv1D(256, 5, activation="relu", name="conv_4")(x)
    x = layers.Conv1D(256, 5, activation="relu", name="conv_5")(x)
    x = layers.GlobalMaxPooling1D(name="pool_3")(x)
    x = layers.Dense(128, activation="relu", name="author")(x)

    age = layers.Dense(1, name="age")(x)
    income = layers.Dense(num_income_groups, activation="softmax", name="income")(x)
    gender = layers.Dense(1, activation="sigmoid", name="gender")(x)
    return keras.Model(posts, [age, income, gender])
