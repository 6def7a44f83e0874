"""Reviews and their sentiment: Keras's imdb.npz, or a made-up corpus of the same form.

A review is a list of word indices, a word's rank by frequency plus 3: 0 is padding, 1 opens a
review and 2 stands for a word that is left out.

Source: Maas et al. 2011, https://ai.stanford.edu/~amaas/data/sentiment/, in the encoding of
keras.datasets.imdb.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataError
from .npz import read_npz
from .text import pad_left

START = 1
LEFT_OUT = 2
INDEX_FROM = 3

ASPECTS = ("acting", "camera", "dialogue", "ending", "music", "pace", "plot", "script")
GOOD = (
    *("brilliant", "charming", "clever", "convincing", "delightful", "fresh", "funny", "gripping"),
    *("honest", "moving", "superb", "warm"),
)
BAD = (
    *("annoying", "boring", "clumsy", "dull", "empty", "flat", "hollow", "lazy"),
    *("messy", "shallow", "silly", "wooden"),
)
NEGATIONS = ("hardly", "never", "not")
DEGREES = ("quite", "rather", "really", "so", "very")
ASIDES = (  # said in either sentiment
    *("a", "about", "actor", "after", "again", "all", "and", "at", "audience", "before", "book"),
    *("character", "cinema", "city", "director", "evening", "every", "family", "film", "first"),
    *("for", "friend", "from", "he", "hero", "hour", "house", "i", "in", "it", "last", "movie"),
    *("night", "of", "on", "one", "people", "scene", "screen", "second", "she", "story", "that"),
    *("then", "there", "they", "this", "to", "train", "two", "we", "when", "with", "year"),
)
WORDS = ("the", "was", *NEGATIONS, *ASIDES, *DEGREES, *ASPECTS, *GOOD, *BAD)  # rank 1, 2, ...
VOCABULARY_SIZE = INDEX_FROM + 1 + len(WORDS)  # of a made-up corpus

OPINIONS = 5  # in a made-up review
AGREEING = 0.9  # part of the opinions that share the review's sentiment
NEGATED = 0.4  # part of the opinions that are said by denying their opposite
LONGEST_ASIDE = 10


@dataclass(frozen=True)
class Reviews:
    """Reviews and their sentiment.

    Args:
        sequences: N lists of word indices.
        labels: N times 1 for a positive review or 0 for a negative one.
    """

    sequences: list[list[int]]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.sequences)


def read(
    path: str | Path,
    *,
    num_words: int | None = None,
    skip_top: int = 0,
    seed: int = 113,
    start_char: int | None = START,
    oov_char: int | None = LEFT_OUT,
    index_from: int = INDEX_FROM,
) -> tuple[Reviews, Reviews]:
    """The training and the test reviews of Keras's imdb.npz, without running its pickles.

    Args:
        path: the file, of the arrays x_train, y_train, x_test and y_test.
        num_words: words whose index is not below it are left out.
        skip_top: words whose index is below it are left out.
        seed: of the shuffling, first of the training and then of the test reviews.
        start_char: index that opens every review; without it, nothing does.
        oov_char: index that stands for a word that is left out; without it, nothing does.
        index_from: what is added to every word of the file.

    Raises:
        DataError: the file is not of this form, or holds anything that would have to be run.

    Differences from Keras: those of `load_data(path, ...)` are none: the same reviews in the same
    order, and without `num_words` the very last word of the vocabulary is left out too.
    """
    import numpy as np

    arrays = read_npz(path, lists=("x_train", "x_test"), integers=("y_train", "y_test"))
    rng = np.random.RandomState(seed)
    opening = [] if start_char is None else [start_char]
    splits = []
    for split in ("train", "test"):
        words, labels = arrays.pop(f"x_{split}"), arrays.pop(f"y_{split}")
        _check_labels(words, labels, f"{path}: y_{split}")
        order = np.arange(len(words))
        rng.shuffle(order)
        sequences = [opening + [word + index_from for word in words[i]] for i in order]
        splits.append(Reviews(sequences, [labels[i] for i in order]))
    kept = range(skip_top, num_words or _highest(splits))
    for reviews in splits:
        reviews.sequences[:] = (_only(kept, words, oov_char) for words in reviews.sequences)
    return splits[0], splits[1]


def generate(num_reviews: int, *, seed: int) -> Reviews:
    """Made-up reviews whose sentiment is not in their single words.

    A review has five opinions, such as "the plot was really clever", with words between them that
    say nothing. Nine in ten opinions share the review's sentiment, but four in ten say it by
    denying the opposite, "the plot was not so dull": a model that counts words is right little more
    than six times in ten, one that reads phrases nearly always.

    Args:
        num_reviews: half of them positive, but for chance.
        seed: the same number makes the same reviews.

    Example:
        >>> reviews = generate(100, seed=0)
        >>> decode(reviews.sequences[1])[:43], reviews.labels[1]
        ('the script was never silly movie train this', 1)
    """
    chance = random.Random(seed)
    index = {word: rank + INDEX_FROM for rank, word in enumerate(WORDS, start=1)}
    labels = [chance.randrange(2) for _ in range(num_reviews)]
    sequences = [[START, *(index[word] for word in _review(label, chance))] for label in labels]
    return Reviews(sequences, labels)


def decode(sequence: Sequence[int]) -> str:
    """The words of a made-up review."""
    return " ".join(WORDS[index - INDEX_FROM - 1] for index in sequence if index > INDEX_FROM)


def encode(reviews: Reviews, length: int = 500) -> tuple[Tensor, Tensor]:
    """N reviews as tensors.

    Args:
        reviews: what `read` or `generate` gives.
        length: T, in words; of longer reviews the end is kept.

    Returns:
        (N, T) int64, padded on the left with zeros, and the sentiment (N, 1) float32.

    Example:
        >>> x, y = encode(generate(8, seed=0), length=100)
        >>> x.shape, y.shape
        (torch.Size([8, 100]), torch.Size([8, 1]))
    """
    return pad_left(reviews.sequences, length), torch.tensor(reviews.labels).float().unsqueeze(1)


def _review(label: int, chance: random.Random) -> Iterator[str]:
    """The words of a made-up review."""
    for _ in range(OPINIONS):
        yield from chance.choices(ASIDES, k=chance.randint(0, LONGEST_ASIDE))
        positive = bool(label) == (chance.random() < AGREEING)
        negated = chance.random() < NEGATED
        yield from ("the", chance.choice(ASPECTS), "was")
        if negated:
            yield chance.choice(NEGATIONS)
        if chance.random() < 0.5:
            yield chance.choice(DEGREES)
        yield chance.choice(GOOD if positive != negated else BAD)


def _highest(splits: Sequence[Reviews]) -> int:
    """The highest index of a word."""
    return max((max(words, default=0) for part in splits for words in part.sequences), default=0)


def _only(kept: range, sequence: list[int], oov_char: int | None) -> list[int]:
    """A sequence without the words that are left out."""
    if oov_char is None:
        return [word for word in sequence if word in kept]
    return [word if word in kept else oov_char for word in sequence]


def _check_labels(words: list[list[int]], labels: list[int], source: str) -> None:
    if len(words) != len(labels) or not set(labels) <= {0, 1}:
        raise DataError(
            f"{source}: expected {len(words)} labels 0 or 1, "
            f"got {len(labels)} of {sorted(set(labels))[:5]}.\n"
            "  To mend it: give each review its label."
        )
