"""Reviews: Keras's imdb.npz to the last index, and a made-up corpus that needs word order."""

from collections import Counter

import numpy as np
import pytest
import torch

from torchbp.data.reviews import (
    ASPECTS,
    BAD,
    GOOD,
    NEGATIONS,
    VOCABULARY_SIZE,
    WORDS,
    Reviews,
    decode,
    encode,
    generate,
    read,
)
from torchbp.errors import DataError

TRAIN = [[1, 5], [2, 30, 4], [3], [9, 9, 9], [40]]
TEST = [[6, 7], [8], [10, 50]]


@pytest.fixture
def imdb(tmp_path):
    """A small file of the form of Keras's imdb.npz."""
    path = tmp_path / "imdb.npz"
    np.savez(
        path,
        x_train=np.array(TRAIN, dtype=object),
        y_train=np.array([0, 1, 0, 1, 1]),
        x_test=np.array(TEST, dtype=object),
        y_test=np.array([1, 0, 0]),
    )
    return path


# What keras.datasets.imdb.load_data of Keras 3.15.1 makes of the file `imdb`.
AS_KERAS = [
    (
        {},
        (
            [[1, 5, 33, 7], [1, 4, 8], [1, 12, 12, 12], [1, 6], [1, 43]],
            [1, 0, 1, 0, 1],
            [[1, 11], [1, 9, 10], [1, 13, 2]],
            [0, 1, 0],
        ),
    ),
    (
        {"num_words": 12},
        (
            [[1, 5, 2, 7], [1, 4, 8], [1, 2, 2, 2], [1, 6], [1, 2]],
            [1, 0, 1, 0, 1],
            [[1, 11], [1, 9, 10], [1, 2, 2]],
            [0, 1, 0],
        ),
    ),
    (
        {"num_words": 12, "oov_char": None},
        (
            [[1, 5, 7], [1, 4, 8], [1], [1, 6], [1]],
            [1, 0, 1, 0, 1],
            [[1, 11], [1, 9, 10], [1]],
            [0, 1, 0],
        ),
    ),
    (
        {"skip_top": 8, "num_words": 40},
        (
            [[2, 2, 33, 2], [2, 2, 8], [2, 12, 12, 12], [2, 2], [2, 2]],
            [1, 0, 1, 0, 1],
            [[2, 11], [2, 9, 10], [2, 13, 2]],
            [0, 1, 0],
        ),
    ),
    (
        {"start_char": None, "index_from": 0, "seed": 7},
        (
            [[1, 5], [9, 9, 9], [3], [2, 30, 4], [40]],
            [0, 1, 0, 1, 1],
            [[10, 2], [8], [6, 7]],
            [0, 0, 1],
        ),
    ),
    (
        {"start_char": None, "index_from": 2, "oov_char": 0, "num_words": 20},
        (
            [[4, 0, 6], [3, 7], [11, 11, 11], [5], [0]],
            [1, 0, 1, 0, 1],
            [[10], [8, 9], [12, 0]],
            [0, 1, 0],
        ),
    ),
]


@pytest.mark.parametrize(("options", "expected"), AS_KERAS)
def test_reads_what_keras_reads(imdb, options, expected):
    train, test = read(imdb, **options)
    assert (train.sequences, train.labels, test.sequences, test.labels) == expected


def test_shuffling_keeps_each_label_with_its_review(imdb):
    labels = {tuple(words): label for words, label in zip(TRAIN, [0, 1, 0, 1, 1], strict=True)}
    train, _ = read(imdb, start_char=None, index_from=0, num_words=100)
    assert {tuple(words): y for words, y in zip(*vars(train).values(), strict=True)} == labels
    assert train.sequences != TRAIN


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2], [0, 1, -1]])
def test_labels_that_do_not_fit_are_refused(labels, tmp_path):
    x = np.array(TEST, dtype=object)
    path = tmp_path / "a.npz"
    np.savez(path, x_train=x, y_train=np.array(labels), x_test=x, y_test=np.zeros(3, int))
    with pytest.raises(DataError, match=r"a\.npz: y_train: expected 3 labels 0 or 1, got \d of"):
        read(path)


def test_encodes_the_end_of_a_review_behind_its_padding():
    x, y = encode(Reviews([[1, 4, 5, 6], [1, 7]], [1, 0]), length=3)
    assert x.tolist() == [[4, 5, 6], [0, 1, 7]]
    assert x.dtype == torch.int64
    assert y.tolist() == [[1.0], [0.0]]
    assert y.dtype == torch.float32


def test_the_same_seed_makes_the_same_reviews():
    assert generate(5, seed=3) == generate(5, seed=3)
    assert generate(5, seed=3) != generate(5, seed=4)


def test_made_up_words_have_the_indices_of_the_vocabulary():
    assert len(WORDS) == len(set(WORDS))
    reviews = generate(500, seed=0)
    used = {index for sequence in reviews.sequences for index in sequence}
    assert used == {1, *range(4, VOCABULARY_SIZE)}
    assert decode([1, 4, 5]) == "the was"


@pytest.fixture(scope="module")
def reviews():
    return generate(2000, seed=0)


def opinions(sequence):
    """+1 or -1 for each opinion of a review, read as a person would."""
    words = decode(sequence).split()
    starts = [i for i, word in enumerate(words) if word == "was" and words[i - 1] in ASPECTS]
    for start in starts:
        end = next(i for i in range(start, len(words)) if words[i] in (*GOOD, *BAD))
        negated = any(word in NEGATIONS for word in words[start:end])
        yield 1 if (words[end] in GOOD) != negated else -1


def test_who_reads_the_phrases_is_right(reviews):
    right = sum(
        (sum(opinions(sequence)) > 0) == label
        for sequence, label in zip(reviews.sequences, reviews.labels, strict=True)
    )
    # more than two of five opinions out of line, each with probability 0.1: once in 117
    assert right / len(reviews) > 0.98


def test_who_counts_good_and_bad_words_is_mostly_lost(reviews):
    right = 0
    for sequence, label in zip(reviews.sequences, reviews.labels, strict=True):
        counts = Counter(decode(sequence).split())
        balance = sum(counts[word] for word in GOOD) - sum(counts[word] for word in BAD)
        right += (balance > 0) == label
    assert 0.55 < right / len(reviews) < 0.7


def test_no_negation_or_aside_leans_to_a_sentiment(reviews):
    share = {0: Counter(), 1: Counter()}
    for sequence, label in zip(reviews.sequences, reviews.labels, strict=True):
        share[label].update(word in NEGATIONS for word in decode(sequence).split())
    rates = [counts[True] / counts.total() for counts in share.values()]
    assert rates[0] == pytest.approx(rates[1], rel=0.1)


def test_labels_are_even(reviews):
    assert sum(reviews.labels) / len(reviews) == pytest.approx(0.5, abs=0.03)
