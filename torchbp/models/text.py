"""Models that read text: sequences of word indices or of word vectors."""

import torch
from torch.nn import functional as F

from torchbp import layers
from torchbp.graph import Input, Model


def question_answering(
    text_vocabulary_size: int = 10_000,
    question_vocabulary_size: int = 10_000,
    num_answers: int = 500,
) -> Model:
    """A text and a question about it, each read by its own LSTM, give one answer.

    Args:
        text_vocabulary_size: number of different word indices in the text.
        question_vocabulary_size: number of different word indices in the question.
        num_answers: number of answers to choose from.

    Shape:
        text (N, T) and question (N, S), int64 -> answer (N, num_answers), probabilities.

    Example:
        >>> from torchbp.models import question_answering
        >>> sum(parameter.numel() for parameter in question_answering().parameters())
        1322100

    Differences from Keras: the probabilities belong under `losses.ProbCrossEntropyLoss`. For
    `nn.CrossEntropyLoss` take the scores: in `model.code` they are `answer_scores`.
    """
    text = Input((None,), dtype=torch.int64, name="text")
    embedded_text = layers.Embedding(text_vocabulary_size, 64, name="text_embedding")(text)
    encoded_text = _last_state(64, 32, "text_lstm")(embedded_text)

    question = Input((None,), dtype=torch.int64, name="question")
    embedded_question = layers.Embedding(question_vocabulary_size, 64, name="question_embedding")(
        question
    )
    encoded_question = _last_state(64, 16, "question_lstm")(embedded_question)

    both = layers.Concat(dim=-1, name="both")(encoded_text, encoded_question)
    scores = layers.Linear(48, num_answers, name="answer_scores")(both)
    answer = layers.Softmax(dim=-1, name="answer")(scores)
    return Model([text, question], answer)


def post_attributes(vocabulary_size: int = 5_000, num_income_groups: int = 10) -> Model:
    """Age, income group and gender of the author of some posts, from one reading of them.

    Args:
        vocabulary_size: number of different word indices.
        num_income_groups: number of income groups to choose from.

    Shape:
        posts (N, T) int64 with T >= 269 -> [age (N, 1), income (N, num_income_groups)
        probabilities, gender (N, 1) probabilities].

    Example:
        >>> from torchbp.models import post_attributes
        >>> model = post_attributes()
        >>> model.output_names, sum(parameter.numel() for parameter in model.parameters())
        (('age', 'income', 'gender'), 2626316)

    Differences from Keras: convolutions take (N, C, T), so that the embedded words are
    transposed once.
    """
    posts = Input((None,), dtype=torch.int64, name="posts")
    x = layers.Embedding(vocabulary_size, 256, name="embedding")(posts)  # (N, T, 256)
    x = x.transpose(1, 2)  # (N, 256, T)
    x = F.relu(layers.Conv1d(256, 128, 5, name="conv_1")(x))
    x = layers.MaxPool1d(5, name="pool_1")(x)
    x = F.relu(layers.Conv1d(128, 256, 5, name="conv_2")(x))
    x = F.relu(layers.Conv1d(256, 256, 5, name="conv_3")(x))
    x = layers.MaxPool1d(5, name="pool_2")(x)
    x = F.relu(layers.Conv1d(256, 256, 5, name="conv_4")(x))
    x = F.relu(layers.Conv1d(256, 256, 5, name="conv_5")(x))
    x = layers.GlobalMaxPool1d(name="pool_3")(x)  # (N, 256)
    x = F.relu(layers.Linear(256, 128, name="author")(x))

    age = layers.Linear(128, 1, name="age")(x)
    income_scores = layers.Linear(128, num_income_groups, name="income_scores")(x)
    income = layers.Softmax(dim=-1, name="income")(income_scores)
    gender = layers.Sigmoid(name="gender")(layers.Linear(128, 1, name="gender_score")(x))
    return Model(posts, [age, income, gender])


def shared_lstm(input_size: int = 128, hidden_size: int = 32, *, symmetric: bool = False) -> Model:
    """How similar two sentences are: one LSTM reads both.

    Args:
        input_size: size of a word vector.
        hidden_size: size of a sentence's code.
        symmetric: compare the two codes by |a - b| and a * b, which are the same either way
            round, instead of a, b one after the other, where the order matters.

    Shape:
        left (N, T, input_size) and right (N, S, input_size) -> similarity (N, 1), probabilities.

    Example:
        >>> from torchbp.models import shared_lstm
        >>> sum(parameter.numel() for parameter in shared_lstm().parameters())
        20673
    """
    left = Input((None, input_size), name="left")
    right = Input((None, input_size), name="right")

    lstm = _last_state(input_size, hidden_size, "lstm")
    encoded_left = lstm(left)
    encoded_right = lstm(right)

    if symmetric:
        pair = [(encoded_left - encoded_right).abs(), encoded_left * encoded_right]
    else:
        pair = [encoded_left, encoded_right]
    both = layers.Concat(dim=-1, name="both")(*pair)
    score = layers.Linear(2 * hidden_size, 1, name="similarity_score")(both)
    return Model([left, right], layers.Sigmoid(name="similarity")(score))


def sentiment_convnet(vocabulary_size: int = 2_000) -> Model:
    """Whether a film review is positive, from one-dimensional convolutions over its words.

    Args:
        vocabulary_size: number of different word indices.

    Shape:
        review (N, T) int64 with T >= 41 -> sentiment (N, 1), probabilities.

    Example:
        >>> from torchbp.models import sentiment_convnet
        >>> sum(parameter.numel() for parameter in sentiment_convnet().parameters())
        291937
    """
    review = Input((None,), dtype=torch.int64, name="review")
    x = layers.Embedding(vocabulary_size, 128, name="embed")(review)  # (N, T, 128)
    x = x.transpose(1, 2)  # (N, 128, T)
    x = F.relu(layers.Conv1d(128, 32, 7, name="conv_1")(x))
    x = layers.MaxPool1d(5, name="pool_1")(x)
    x = F.relu(layers.Conv1d(32, 32, 7, name="conv_2")(x))
    x = layers.GlobalMaxPool1d(name="pool_2")(x)  # (N, 32)
    score = layers.Linear(32, 1, name="sentiment_score")(x)
    return Model(review, layers.Sigmoid(name="sentiment")(score))


def _last_state(input_size: int, hidden_size: int, name: str) -> layers.LSTM:
    """An LSTM that reads a sequence into one vector, with the weights that Keras's has."""
    return layers.LSTM(
        input_size, hidden_size, batch_first=True, single_bias=True, last_output=True, name=name
    )
