"""Small right cases: test_planted_faults.py breaks each of them in many ways."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn
from torch.nn import functional as F

from torchbp.layers import LSTM
from torchbp.losses import ProbBCELoss, ProbCrossEntropyLoss
from torchbp.parity import Batch, Case, Head, Pair, Sizes, chapters_optimizers

SGD, RMSPROP, ADAM = chapters_optimizers()
SIZES = Sizes(batch_size=6, length=16)  # even, and so are the 12 steps of the shorter batch
CHANNELS_LAST = (0, 2, 1)


def one_hot(rng, sizes, num_classes):
    return np.eye(num_classes)[rng.integers(num_classes, size=sizes.batch_size)]


def yes_or_no(rng, sizes):
    return rng.integers(2, size=(sizes.batch_size, 1)).astype("float64")


def case(name, keras_model, torch_model, data, pairs, heads, sizes=SIZES, **more):
    more = {"optimizers": (SGD,), "steps": (1, 5), **more}
    return Case(name, keras_model, torch_model, data, pairs, heads, sizes, sizes, **more)


# A stack of dense layers


def keras_stack():
    x = features = keras.Input((6,), name="features")
    x = layers.Dense(8, activation="relu", name="hidden_1")(x)
    x = layers.Dense(8, activation="relu", name="hidden_2")(x)
    return keras.Model(features, layers.Dense(4, activation="softmax", name="classes")(x))


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden_1, self.relu_1 = nn.Linear(6, 8), nn.ReLU()
        self.hidden_2, self.relu_2 = nn.Linear(8, 8), nn.ReLU()
        self.classes, self.softmax = nn.Linear(8, 4), nn.Softmax(dim=-1)

    def forward(self, x):
        x = self.relu_1(self.hidden_1(x))
        x = self.relu_2(self.hidden_2(x))
        return self.softmax(self.classes(x))


def stack_data(rng, sizes):
    features = rng.normal(size=(sizes.batch_size, 6))
    return Batch({"features": features}, {"classes": one_hot(rng, sizes, 4)})


STACK = case(
    "stack",
    keras_stack,
    Stack,
    stack_data,
    (
        Pair("hidden_1", "hidden_1", "linear", value="relu_1"),
        Pair("hidden_2", "hidden_2", "linear", value="relu_2"),
        Pair("classes", "classes", "linear", value="softmax"),
    ),
    (Head("classes", "categorical_crossentropy", ProbCrossEntropyLoss()),),
)


# Convolutions over words


def keras_convnet():
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(9, 5, name="embed")(words)
    x = layers.Conv1D(8, 3, strides=2, padding="same", activation="relu", name="conv_1")(x)
    x = layers.MaxPooling1D(2, name="pool_1")(x)
    x = layers.Conv1D(8, 2, activation="relu", name="conv_2")(x)
    x = layers.GlobalMaxPooling1D(name="pool_2")(x)
    return keras.Model(words, layers.Dense(1, activation="sigmoid", name="score")(x))


class Pad(nn.Module):
    """Zeros before and after a sequence: stride 2 over an even length takes one, after it."""

    def __init__(self, left, right):
        super().__init__()
        self.sides = (left, right)

    def forward(self, x):
        return F.pad(x, self.sides)


class GlobalMaxPool(nn.Module):
    def forward(self, x):
        return x.amax(-1)


class Transpose(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


class Convnet(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.channels_first = nn.Embedding(9, 5), Transpose()
        self.pad, self.conv_1, self.relu_1 = Pad(0, 1), nn.Conv1d(5, 8, 3, stride=2), nn.ReLU()
        self.pool_1 = nn.MaxPool1d(2)
        self.conv_2, self.relu_2 = nn.Conv1d(8, 8, 2), nn.ReLU()
        self.pool_2 = GlobalMaxPool()
        self.score, self.sigmoid = nn.Linear(8, 1), nn.Sigmoid()

    def forward(self, words):
        x = self.channels_first(self.embed(words))  # (N, 5, T)
        x = self.pool_1(self.relu_1(self.conv_1(self.pad(x))))
        x = self.pool_2(self.relu_2(self.conv_2(x)))
        return self.sigmoid(self.score(x))


def words_data(rng, sizes):
    words = rng.integers(9, size=(sizes.batch_size, sizes.length), dtype=np.int32)
    return Batch({"words": words}, {"score": yes_or_no(rng, sizes)})


CONVNET = case(
    "convnet",
    keras_convnet,
    Convnet,
    words_data,
    (
        Pair("embed", "embed", "embedding"),
        Pair("conv_1", "conv_1", "conv", value="relu_1", axes=CHANNELS_LAST),
        Pair("pool_1", "pool_1", axes=CHANNELS_LAST),
        Pair("conv_2", "conv_2", "conv", value="relu_2", axes=CHANNELS_LAST),
        Pair("pool_2", "pool_2"),
        Pair("score", "score", "linear", value="sigmoid"),
    ),
    (Head("score", "binary_crossentropy", ProbBCELoss()),),
)


# Two sentences, one LSTM


def keras_siamese():
    left, right = keras.Input((None, 4), name="left"), keras.Input((None, 4), name="right")
    lstm = layers.LSTM(5, name="lstm")
    both = layers.Concatenate(name="both")([lstm(left), lstm(right)])
    return keras.Model(
        [left, right], layers.Dense(1, activation="sigmoid", name="similarity")(both)
    )


class Concat(nn.Module):
    def forward(self, a, b):
        return torch.cat([a, b], dim=-1)


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = LSTM(4, 5, batch_first=True, single_bias=True, last_output=True)
        self.both = Concat()
        self.similarity, self.sigmoid = nn.Linear(10, 1), nn.Sigmoid()

    def forward(self, left, right):
        return self.sigmoid(self.similarity(self.both(self.lstm(left), self.lstm(right))))


def sentences_data(rng, sizes):
    shape = (sizes.batch_size, sizes.length, 4)
    inputs = {"left": rng.normal(size=shape), "right": rng.normal(size=shape)}
    return Batch(inputs, {"similarity": yes_or_no(rng, sizes)})


SIAMESE = case(
    "siamese",
    keras_siamese,
    Siamese,
    sentences_data,
    (
        Pair("lstm", "lstm", "lstm"),
        Pair("both", "both"),
        Pair("similarity", "similarity", "linear", value="sigmoid"),
    ),
    (Head("similarity", "binary_crossentropy", ProbBCELoss()),),
    Sizes(batch_size=4, length=6),
    smooth=True,
)


# A recurrent layer of the other kind


def keras_reader():
    steps = keras.Input((None, 4), name="steps")
    return keras.Model(steps, layers.Dense(1, name="mark")(layers.GRU(5, name="gru")(steps)))


class LastOutput(nn.Module):
    def forward(self, output_and_state):
        return output_and_state[0][:, -1]


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.last = nn.GRU(4, 5, batch_first=True), LastOutput()
        self.mark = nn.Linear(5, 1)

    def forward(self, steps):
        return self.mark(self.last(self.gru(steps)))


def steps_data(rng, sizes):
    steps = rng.normal(size=(sizes.batch_size, sizes.length, 4))
    return Batch({"steps": steps}, {"mark": rng.normal(size=(sizes.batch_size, 1))})


READER = case(
    "reader",
    keras_reader,
    Reader,
    steps_data,
    (Pair("gru", "gru", "gru", value="last"), Pair("mark", "mark", "linear")),
    (Head("mark", "mse", nn.MSELoss()),),
    Sizes(batch_size=4, length=6),
    smooth=True,
)


# Three outputs with weighted losses


def keras_heads():
    author = keras.Input((6,), name="author")
    x = layers.Dense(8, activation="tanh", name="hidden")(author)
    age = layers.Dense(1, name="age")(x)
    income = layers.Dense(3, activation="softmax", name="income")(x)
    gender = layers.Dense(1, activation="sigmoid", name="gender")(x)
    return keras.Model(author, [age, income, gender])


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.tanh = nn.Linear(6, 8), nn.Tanh()
        self.age = nn.Linear(8, 1)
        self.income, self.softmax = nn.Linear(8, 3), nn.Softmax(dim=-1)
        self.gender, self.sigmoid = nn.Linear(8, 1), nn.Sigmoid()

    def forward(self, author):
        x = self.tanh(self.hidden(author))
        income, gender = self.softmax(self.income(x)), self.sigmoid(self.gender(x))
        return self.age(x), income, gender


def author_data(rng, sizes):
    targets = {
        "age": rng.normal(size=(sizes.batch_size, 1)),
        "income": one_hot(rng, sizes, 3),
        "gender": yes_or_no(rng, sizes),
    }
    return Batch({"author": rng.normal(size=(sizes.batch_size, 6))}, targets)


HEADS = case(
    "heads",
    keras_heads,
    Heads,
    author_data,
    (
        Pair("hidden", "hidden", "linear", value="tanh"),
        Pair("age", "age", "linear"),
        Pair("income", "income", "linear", value="softmax"),
        Pair("gender", "gender", "linear", value="sigmoid"),
    ),
    (
        Head("age", "mse", nn.MSELoss(), 0.25),
        Head("income", "categorical_crossentropy", ProbCrossEntropyLoss(), 1.0),
        Head("gender", "binary_crossentropy", ProbBCELoss(), 10.0),
    ),
    smooth=True,
)


# Batch normalisation and dropout


def keras_normed():
    features = keras.Input((6,), name="features")
    x = layers.Dense(8, use_bias=False, name="hidden")(features)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    return keras.Model(features, layers.Dense(1, name="mark")(x))


class BiasedBatchNorm(nn.Module):
    """Keras's: the running variance follows the biased variance of the batch."""

    def __init__(self, num_features, eps=1e-3, momentum=0.01):
        super().__init__()
        self.eps, self.momentum, self.unbiased = eps, momentum, False
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, unbiased=False)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(x.var(0, unbiased=self.unbiased), self.momentum)
        return (x - mean) * (var + self.eps).rsqrt() * self.weight + self.bias


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(6, 8, bias=False)
        self.norm, self.dropout = BiasedBatchNorm(8), nn.Dropout(0.5)
        self.mark = nn.Linear(8, 1)

    def forward(self, features):
        return self.mark(self.dropout(self.norm(self.hidden(features))))


def features_data(rng, sizes):
    features = rng.normal(size=(sizes.batch_size, 6))
    return Batch({"features": features}, {"mark": rng.normal(size=(sizes.batch_size, 1))})


NORMED = case(
    "normed",
    keras_normed,
    Normed,
    features_data,
    (
        Pair("hidden", "hidden", "linear"),
        Pair("norm", "norm", "batch_norm"),
        Pair("dropout", "dropout"),
        Pair("mark", "mark", "linear"),
    ),
    (Head("mark", "mse", nn.MSELoss()),),
    smooth=True,
)

CASES = [STACK, CONVNET, SIAMESE, READER, HEADS, NORMED]
