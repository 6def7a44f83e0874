"""Pairs of sentences and whether one is a reformulation of the other, read from a file or made up.

    id	qid1	qid2	question1	question2	is_duplicate
    0	1	2	How can I learn chess?	What is the best way to study chess?	1

The columns of Quora's question pairs, with tabs between them and a header above them.

Source: Iyer, Dandekar and Csernai 2017,
https://quoradata.quora.com/First-Quora-Dataset-Release-Question-Pairs
"""

import csv
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .text import Vocabulary, malformed, pad_left, read_text, split_words

COLUMNS = ("id", "qid1", "qid2", "question1", "question2", "is_duplicate")

# Made-up sentences: what is done, with what, and where or when; a row has one meaning.
ACTIONS = (
    ("clean", "scrub", "wash"),
    ("buy", "purchase", "acquire"),
    ("repair", "fix", "mend"),
    ("sell", "auction", "market"),
    ("describe", "explain", "portray"),
    ("choose", "pick", "select"),
)
THINGS = (
    ("car", "automobile", "vehicle"),
    ("house", "home", "dwelling"),
    ("computer", "laptop", "pc"),
    ("picture", "painting", "artwork"),
    ("coat", "jacket", "parka"),
    ("couch", "sofa", "settee"),
)
CIRCUMSTANCES = (
    ("cheaply", "inexpensively", "economically"),
    ("quickly", "fast", "rapidly"),
    ("abroad", "overseas", "elsewhere"),
    ("online", "digitally", "virtually"),
    ("alone", "unaided", "singlehandedly"),
    ("safely", "securely", "harmlessly"),
)
FORMS = (
    "how can i {action} the {thing} {circumstance}",
    "how do i {circumstance} {action} the {thing}",
    "what is the best way to {action} the {thing} {circumstance}",
    "if i want to {action} the {thing} how is it done {circumstance}",
    "the {thing} that i want to {action} {circumstance} how is it done",
    "is it easy to {circumstance} {action} the {thing}",
)


@dataclass(frozen=True)
class Pair:
    """Two sentences.

    Args:
        left: a sentence, as words in lower case.
        right: another one.
        same: whether they are reformulations of each other.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    same: bool


class Encoder:
    """Pairs as sequences of word vectors, with the vocabulary of a training set.

    The vector of a word is random and fixed: what words have to do with each other is left to the
    model. Padding is the vector of zeros.

    Args:
        pairs: the training set.
        vector_size: C, the size of a word's vector.
        length: T, in words; of longer sentences the end is kept. That of the longest sentence
            to be encoded if it is left out.
        seed: the same number gives the same vectors.

    Example:
        >>> pairs = parse(generate(num_pairs=8, seed=0))
        >>> inputs, same = Encoder(pairs, length=20)(pairs)
        >>> inputs["left"].shape, inputs["right"].shape, same.shape
        (torch.Size([8, 20, 128]), torch.Size([8, 20, 128]), torch.Size([8, 1]))
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        vector_size: int = 128,
        length: int | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.vocabulary = Vocabulary(words for pair in pairs for words in (pair.left, pair.right))
        self.length = length
        generator = torch.Generator().manual_seed(seed)
        self.vectors = torch.randn(len(self.vocabulary), vector_size, generator=generator)
        self.vectors[Vocabulary.PADDING] = 0

    def __call__(self, pairs: Sequence[Pair]) -> tuple[dict[str, Tensor], Tensor]:
        """Encode N pairs.

        Returns:
            `{"left": (N, T, C), "right": (N, T, C)}` float32, padded on the left, and whether
            they are the same, (N, 1) float32.
        """
        inputs = {
            "left": self._vectors([pair.left for pair in pairs]),
            "right": self._vectors([pair.right for pair in pairs]),
        }
        return inputs, torch.tensor([[float(pair.same)] for pair in pairs])

    def _vectors(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        indices = pad_left([self.vocabulary.encode(words) for words in sentences], self.length)
        return self.vectors[indices]  # (N, T, C)


def read(path: str | Path) -> list[Pair]:
    """The pairs of a file like Quora's quora_duplicate_questions.tsv.

    Raises:
        DataError: the file cannot be read or is not in the format; names the file and the line.
    """
    return parse(read_text(path), path)


def parse(text: str, source: str | Path = "text") -> list[Pair]:
    """The pairs of a text in the columns of Quora's, as `generate` writes it.

    Args:
        text: a header, and a pair a line; fields may be quoted.
        source: what errors call the text.

    Raises:
        DataError: the text is not in the format; names the source and the line.
    """
    rows = csv.reader(io.StringIO(text), delimiter="\t")
    try:
        header = next(rows, [])
        if tuple(header) != COLUMNS:
            raise malformed(source, 1, f"the columns {list(COLUMNS)}", repr(header)[:80], _FORMAT)
        return [_pair(row, source, rows.line_num) for row in rows if row]
    except csv.Error as error:
        raise malformed(
            source, rows.line_num, "fields between tabs", str(error), _FORMAT
        ) from error


def generate(num_pairs: int, *, seed: int) -> str:
    """Made-up pairs of questions, in the columns of Quora's.

    A question has an action, a thing and a circumstance, each out of six with three words for
    each, in one of six forms. The same question in other words (every word and the form are
    drawn anew) is a reformulation; a question that differs in one of the three is not. Two
    different questions share about as many words as two equal ones, so that counting common words
    says little.

    Args:
        num_pairs: lines to write below the header; half are reformulations, but for chance.
        seed: the same number writes the same pairs.

    Example:
        >>> pair = parse(generate(num_pairs=1, seed=0))[0]
        >>> " ".join(pair.left), pair.same
        ('what is the best way to market the automobile overseas', True)
        >>> " ".join(pair.right)
        'how do i elsewhere auction the automobile'
    """
    chance = random.Random(seed)
    written = io.StringIO()
    rows = csv.writer(written, delimiter="\t", lineterminator="\n")
    rows.writerow(COLUMNS)
    for number in range(num_pairs):
        same = chance.randrange(2)
        meaning = [chance.randrange(len(words)) for words in (ACTIONS, THINGS, CIRCUMSTANCES)]
        left = _sentence(meaning, chance)
        if not same:
            changed = chance.randrange(len(meaning))
            meaning[changed] = (meaning[changed] + chance.randint(1, len(ACTIONS) - 1)) % len(
                ACTIONS
            )
        right = _sentence(meaning, chance)
        rows.writerow([number, 2 * number + 1, 2 * number + 2, left, right, same])
    return written.getvalue()


def _sentence(meaning: Sequence[int], chance: random.Random) -> str:
    """A question of this meaning."""
    action, thing, circumstance = (
        chance.choice(words[row])
        for words, row in zip((ACTIONS, THINGS, CIRCUMSTANCES), meaning, strict=True)
    )
    form = chance.choice(FORMS)
    return form.format(action=action, thing=thing, circumstance=circumstance)


def _pair(row: Sequence[str], source: str | Path, line: int) -> Pair:
    """The pair of a row of six fields."""
    if len(row) != len(COLUMNS) or row[-1] not in ("0", "1"):
        raise malformed(source, line, "six fields, the last 0 or 1", repr(row)[:80], _FORMAT)
    return Pair(tuple(split_words(row[3])), tuple(split_words(row[4])), row[5] == "1")


_FORMAT = "write the header and then 'id<TAB>qid1<TAB>qid2<TAB>question<TAB>question<TAB>0'"
