"""The chapter's models, Keras on one side and torch on the other: what `make parity` measures.

Data are drawn from fixed seeds. Vocabularies of the small sizes are smaller than a batch, so that
words repeat, which is where TensorFlow's embedding gradients differ from a dense one; index 0 is
among them. Weights and targets keep every probability well away from 0 and 1, since saturated
losses differ between Keras's own backends: TensorFlow computes them from the logits.
"""

import numpy as np
from torch import nn

from keras_ref import (
    imdb_convnet,
    question_answering,
    sequential_vs_functional,
    shared_lstm,
    three_outputs,
    wide_and_deep,
)
from parity_tests import image_cases
from torchbp import models
from torchbp.losses import ProbBCELoss, ProbCrossEntropyLoss
from torchbp.parity import Batch, Case, Head, Pair, Sizes

CHANNELS_LAST = (0, 2, 1)  # torch's (N, C, T) in Keras's order, (N, T, C)

LOOK_UPS = (
    "On TensorFlow the gradient of an embedding keeps every look-up apart, and RMSprop and Adam "
    "square each before adding; on Keras's torch backend, as in torch, they are added first. Level "
    "6 is equal to Keras on torch as it is, and to Keras on TensorFlow with the squares of each "
    "look-up (torchbp.optim.per_lookup_squares)."
)


def conv(name, relu):
    """A convolution whose Keras layer has the relu in it."""
    return Pair(name, name, "conv", value=relu, axes=CHANNELS_LAST)


def pool(name, axes=CHANNELS_LAST):
    return Pair(name, name, axes=axes)


def one_hot(rng, batch_size, num_classes):
    return np.eye(num_classes)[rng.integers(num_classes, size=batch_size)]


def yes_or_no(rng, batch_size):
    return rng.integers(2, size=(batch_size, 1)).astype("float64")


def words(rng, sizes, vocabulary_size):
    shape = (sizes.batch_size, sizes.length)
    return rng.integers(vocabulary_size, size=shape, dtype=np.int32)


def mlp_data(rng, sizes):
    features = rng.normal(size=(sizes.batch_size, 64))
    return Batch({"features": features}, {"classes": one_hot(rng, sizes.batch_size, 10)})


def question_answering_data(rng, sizes):
    inputs = {
        "text": words(rng, sizes, sizes.model["text_vocabulary_size"]),
        "question": words(rng, sizes, sizes.model["question_vocabulary_size"]),
    }
    return Batch(inputs, {"answer": one_hot(rng, sizes.batch_size, sizes.model["num_answers"])})


def posts_data(rng, sizes):
    targets = {
        "age": rng.normal(size=(sizes.batch_size, 1)),  # in standard deviations
        "income": one_hot(rng, sizes.batch_size, sizes.model["num_income_groups"]),
        "gender": yes_or_no(rng, sizes.batch_size),
    }
    return Batch({"posts": words(rng, sizes, sizes.model["vocabulary_size"])}, targets)


def sentences_data(rng, sizes):
    shape = (sizes.batch_size, sizes.length, sizes.model["input_size"])
    inputs = {"left": rng.normal(size=shape), "right": rng.normal(size=shape)}
    return Batch(inputs, {"similarity": yes_or_no(rng, sizes.batch_size)})


def review_data(rng, sizes):
    review = words(rng, sizes, sizes.model["vocabulary_size"])
    return Batch({"review": review}, {"sentiment": yes_or_no(rng, sizes.batch_size)})


def wide_and_deep_data(rng, sizes):
    inputs = {
        "wide": rng.integers(2, size=(sizes.batch_size, 100)).astype("float64"),
        "deep": rng.normal(size=(sizes.batch_size, 20)),
    }
    return Batch(inputs, {"probability": yes_or_no(rng, sizes.batch_size)})


MLP = Case(
    name="sequential-vs-functional",
    keras_model=sequential_vs_functional.build,
    torch_model=models.mlp,
    data=mlp_data,
    pairs=(
        Pair("hidden_1", "hidden_1", "linear", value="relu"),
        Pair("hidden_2", "hidden_2", "linear", value="relu_1"),
        Pair("classes", "class_scores", "linear", value="classes"),
    ),
    heads=(Head("classes", "categorical_crossentropy", ProbCrossEntropyLoss()),),
    full=Sizes(batch_size=32),
    small=Sizes(batch_size=8),
)

QUESTION_ANSWERING = Case(
    name="question-answering",
    keras_model=question_answering.build,
    torch_model=models.question_answering,
    data=question_answering_data,
    pairs=(
        Pair("text_embedding", "text_embedding", "embedding"),
        Pair("text_lstm", "text_lstm", "lstm"),
        Pair("question_embedding", "question_embedding", "embedding"),
        Pair("question_lstm", "question_lstm", "lstm"),
        Pair("both", "both"),
        Pair("answer", "answer_scores", "linear", value="answer"),
    ),
    heads=(Head("answer", "categorical_crossentropy", ProbCrossEntropyLoss()),),
    full=Sizes(
        batch_size=8,
        length=100,
        model={
            "text_vocabulary_size": 10_000,
            "question_vocabulary_size": 10_000,
            "num_answers": 500,
        },
    ),
    small=Sizes(
        batch_size=4,
        length=12,
        model={"text_vocabulary_size": 30, "question_vocabulary_size": 20, "num_answers": 10},
    ),
    smooth=True,
    note=LOOK_UPS,
)

POSTS = Case(
    name="three-outputs",
    keras_model=three_outputs.build,
    torch_model=models.post_attributes,
    data=posts_data,
    pairs=(
        Pair("embedding", "embedding", "embedding"),
        conv("conv_1", "relu"),
        pool("pool_1"),
        conv("conv_2", "relu_1"),
        conv("conv_3", "relu_2"),
        pool("pool_2"),
        conv("conv_4", "relu_3"),
        conv("conv_5", "relu_4"),
        pool("pool_3", axes=None),
        Pair("author", "author", "linear", value="relu_5"),
        Pair("age", "age", "linear"),
        Pair("income", "income_scores", "linear", value="income"),
        Pair("gender", "gender_score", "linear", value="gender"),
    ),
    heads=tuple(
        Head(name, three_outputs.LOSSES[name], criterion, three_outputs.LOSS_WEIGHTS[name])
        for name, criterion in {
            "age": nn.MSELoss(),
            "income": ProbCrossEntropyLoss(),
            "gender": ProbBCELoss(),
        }.items()
    ),
    full=Sizes(batch_size=4, length=500, model={"vocabulary_size": 5000, "num_income_groups": 10}),
    small=Sizes(batch_size=2, length=270, model={"vocabulary_size": 50, "num_income_groups": 10}),
    seed=7,  # ages stay off zero, and the first steps of RMSprop do not saturate a probability
    deep=True,
    note=LOOK_UPS,
)

SHARED_LSTM = Case(
    name="shared-lstm",
    keras_model=shared_lstm.build,
    torch_model=models.shared_lstm,
    data=sentences_data,
    pairs=(
        Pair("lstm", "lstm", "lstm"),
        Pair("both", "both"),
        Pair("similarity", "similarity_score", "linear", value="similarity"),
    ),
    heads=(Head("similarity", "binary_crossentropy", ProbBCELoss()),),
    full=Sizes(batch_size=8, length=50, model={"input_size": 128, "hidden_size": 32}),
    small=Sizes(batch_size=4, length=12, model={"input_size": 16, "hidden_size": 8}),
    smooth=True,
)

IMDB_CONVNET = Case(
    name="imdb-convnet",
    keras_model=imdb_convnet.build,
    torch_model=models.sentiment_convnet,
    data=review_data,
    pairs=(
        Pair("embed", "embed", "embedding"),
        conv("conv_1", "relu"),
        pool("pool_1"),
        conv("conv_2", "relu_1"),
        pool("pool_2", axes=None),
        Pair("sentiment", "sentiment_score", "linear", value="sentiment"),
    ),
    heads=(Head("sentiment", "binary_crossentropy", ProbBCELoss()),),
    full=Sizes(batch_size=8, length=500, model={"vocabulary_size": 2000}),
    small=Sizes(batch_size=4, length=60, model={"vocabulary_size": 50}),
    note=LOOK_UPS,
)

WIDE_AND_DEEP = Case(
    name="wide-and-deep",
    keras_model=wide_and_deep.build,
    torch_model=models.wide_and_deep,
    data=wide_and_deep_data,
    pairs=(
        Pair("hidden_1", "hidden_1", "linear", value="relu"),
        Pair("hidden_2", "hidden_2", "linear", value="relu_1"),
        Pair("deep_score", "deep_score", "linear"),
        Pair("wide_score", "wide_score", "linear"),
        Pair("score", "score"),
        Pair("probability", "probability"),
    ),
    heads=(Head("probability", "binary_crossentropy", ProbBCELoss()),),
    full=Sizes(batch_size=32),
    small=Sizes(batch_size=8),
)

CASES = [
    MLP,
    QUESTION_ANSWERING,
    POSTS,
    SHARED_LSTM,
    IMDB_CONVNET,
    WIDE_AND_DEEP,
    *image_cases.CASES,
]
