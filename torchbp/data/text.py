"""Words, their numbers, and rows of numbers of one length: what every reader of text needs."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataError


class Vocabulary:
    """The words of some texts and their indices.

    Index 0 is padding and 1 stands for every word that the texts do not hold. The others follow
    by falling frequency, words of equal frequency in alphabetical order.

    Args:
        texts: the texts that it is made of, each a sequence of words.
        max_size: number of indices in all, the two special ones included; the rarest words give
            way. Every word has its own index if it is left out.

    Example:
        >>> vocabulary = Vocabulary([["the", "cat"], ["the", "dog"]])
        >>> len(vocabulary), vocabulary.encode(["the", "bird"])
        (5, [2, 1])
    """

    PADDING = 0
    UNKNOWN = 1

    def __init__(self, texts: Iterable[Sequence[str]], max_size: int | None = None) -> None:
        ranked = by_frequency(texts)
        kept = ranked if max_size is None else ranked[: max(max_size - 2, 0)]
        self._index = {word: index for index, word in enumerate(kept, start=2)}

    def __len__(self) -> int:
        return len(self._index) + 2

    def __contains__(self, word: str) -> bool:
        return word in self._index

    def encode(self, words: Iterable[str]) -> list[int]:
        """The index of each word, `UNKNOWN` for those that are not in the vocabulary."""
        return [self._index.get(word, self.UNKNOWN) for word in words]


def by_frequency(texts: Iterable[Sequence[str]]) -> list[str]:
    """The different words of the texts, the most frequent first, ties in alphabetical order."""
    counts = Counter(word for text in texts for word in text)
    return sorted(counts, key=lambda word: (-counts[word], word))


def split_words(sentence: str) -> list[str]:
    """The words of a sentence in lower case, without its punctuation.

    Example:
        >>> split_words("Mary didn't go, did she?")
        ['mary', "didn't", 'go', 'did', 'she']
    """
    return re.findall(r"\w+(?:'\w+)*", sentence.lower())


def pad_left(sequences: Sequence[Sequence[int]], length: int | None = None) -> Tensor:
    """Rows of one length: short sequences get zeros in front, long ones lose their beginning.

    A recurrent layer of which only the last output is used must meet the words last, not the
    padding; hence the zeros stand in front.

    Args:
        sequences: N sequences of integers.
        length: T, the length of the rows; that of the longest sequence if it is left out.

    Returns:
        (N, T) int64.

    Example:
        >>> pad_left([[1, 2, 3], [4]], length=2)
        tensor([[2, 3],
                [0, 4]])

    Differences from Keras: `pad_sequences` with its defaults, in int64, torch's type of indices.
    """
    import numpy as np

    if length is None:
        length = max((len(sequence) for sequence in sequences), default=0)
    rows = np.zeros((len(sequences), length), dtype=np.int64)
    for row, sequence in zip(rows, sequences, strict=True):
        kept = sequence[max(len(sequence) - length, 0) :]
        row[length - len(kept) :] = kept
    return torch.from_numpy(rows)


def read_text(path: str | Path) -> str:
    """The content of a UTF-8 text file.

    Raises:
        DataError: there is no such file, or it is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected UTF-8 text, got a byte {error.object[error.start]:#04x}.\n"
            "  To mend it: save the file as UTF-8."
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: expected a readable file, got {error.strerror or error}.\n"
            "  To mend it: check the path."
        ) from error


def lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a text that are not blank, each with its number from 1."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def malformed(source: str | Path, line: int, expected: str, got: str, mend: str) -> DataError:
    """The error for a line of a data file that is not as its format wants it."""
    return DataError(f"{source}:{line}: expected {expected}, got {got}.\n  To mend it: {mend}.")
