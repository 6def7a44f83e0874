"""Stories and questions in the format of the bAbI tasks, read from a file or made up.

    1 Mary moved to the bathroom.
    2 John went to the hallway.
    3 Where is Mary?        bathroom        1

A line is a number and either a fact or, with tabs between them, a question, its answer and the
numbers of the facts that it rests on. Number 1 begins a new story.

Source: Weston et al. 2015, https://arxiv.org/abs/1502.05698
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import DataError
from .text import Vocabulary, lines, malformed, pad_left, read_text, split_words

if TYPE_CHECKING:
    import numpy as np

PERSONS = ("Daniel", "John", "Mary", "Sandra")
PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
MOVES = ("journeyed to", "moved to", "travelled to", "went back to", "went to")
ROUNDS = 5  # questions in a made-up story
FACTS_BEFORE_A_QUESTION = 2


@dataclass(frozen=True)
class Question:
    """A question, what the story has told before it, and its answer.

    Args:
        facts: the facts told so far, oldest first, each as words in lower case.
        words: the question, as words in lower case.
        answer: one word, or several with commas as the bAbI lists have them.
        supporting: positions in `facts` that the answer rests on.
    """

    facts: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    answer: str
    supporting: tuple[int, ...]

    @property
    def text(self) -> list[str]:
        """All facts as one sequence of words."""
        return [word for fact in self.facts for word in fact]


class Encoder:
    """Questions as tensors of word indices, with the vocabularies of a training set.

    Args:
        questions: the training set; text and question have a vocabulary each, and the answers
            are the classes, in alphabetical order.

    Example:
        >>> questions = parse(generate(num_stories=2, seed=0))
        >>> inputs, answer = Encoder(questions)(questions)
        >>> inputs["text"].dtype, inputs["text"].shape[0], answer.shape
        (torch.int64, 10, torch.Size([10]))
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        self.text = Vocabulary(question.text for question in questions)
        self.question = Vocabulary(question.words for question in questions)
        self.answers = tuple(sorted({question.answer for question in questions}))

    def __call__(self, questions: Sequence[Question]) -> tuple[dict[str, Tensor], Tensor]:
        """Encode N questions.

        Returns:
            `{"text": (N, T) int64, "question": (N, S) int64}`, padded on the left with zeros, and
            the answers as classes (N,) int64.

        Raises:
            DataError: an answer is not among those of the training set.
        """
        inputs = {
            "text": pad_left([self.text.encode(question.text) for question in questions]),
            "question": pad_left([self.question.encode(question.words) for question in questions]),
        }
        return inputs, torch.tensor([self._answer(question.answer) for question in questions])

    def _answer(self, answer: str) -> int:
        if answer not in self.answers:
            raise DataError(
                f"babi.Encoder: expected an answer of the training set, {list(self.answers)}, "
                f"got {answer!r}.\n  To mend it: make the encoder of questions that have it."
            )
        return self.answers.index(answer)


def read(path: str | Path) -> list[Question]:
    """The questions of a bAbI file, such as qa1_single-supporting-fact_train.txt.

    Raises:
        DataError: the file cannot be read or is not in the format; names the file and the line.
    """
    return parse(read_text(path), path)


def parse(text: str, source: str | Path = "text") -> list[Question]:
    """The questions of a text in bAbI's format, as `generate` writes it.

    Args:
        text: lines of stories.
        source: what errors call the text.

    Raises:
        DataError: the text is not in the format; names the source and the line.
    """
    return list(_questions(lines(text), source))


def generate(num_stories: int, *, seed: int) -> str:
    """Made-up stories of the task "one supporting fact", in bAbI's format.

    Four persons walk between six places. After every two moves, one of those who have been seen
    so far is asked for; a story has five questions.

    Args:
        num_stories: stories to write, of ten facts and five questions each.
        seed: the same number writes the same stories.

    Example:
        >>> questions = parse(generate(num_stories=3, seed=0))
        >>> len(questions), " ".join(questions[0].words[:2])
        (15, 'where is')
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    return "".join(f"{line}\n" for _ in range(num_stories) for line in _story(rng))


def _story(rng: "np.random.Generator") -> Iterator[str]:
    """The lines of one made-up story."""
    seen: dict[str, tuple[str, int]] = {}  # person -> place, number of the line that says so
    number = 0
    for _ in range(ROUNDS):
        for _ in range(FACTS_BEFORE_A_QUESTION):
            number += 1
            person = str(rng.choice(PERSONS))
            here = seen[person][0] if person in seen else None
            place = str(rng.choice([place for place in PLACES if place != here]))
            seen[person] = place, number
            yield f"{number} {person} {rng.choice(MOVES)} the {place}."
        number += 1
        asked = str(rng.choice(sorted(seen)))
        place, line = seen[asked]
        yield f"{number} Where is {asked}? \t{place}\t{line}"


def _questions(numbered: Iterable[tuple[int, str]], source: str | Path) -> Iterator[Question]:
    """The questions of numbered lines; `source` is named in errors."""
    facts: dict[int, tuple[str, ...]] = {}  # number in the story -> words
    last = 0  # number of the story's last line
    for line, content in numbered:
        number, text = _numbered(content, source, line)
        if number == 1:
            facts, last = {}, 0
        if number != last + 1:
            raise malformed(
                source, line, f"line {last + 1} of the story", f"number {number}", _RENUMBER
            )
        last = number
        if "\t" in text:
            yield _question(text, facts, source, line)
        else:
            facts[number] = tuple(split_words(text))


def _numbered(content: str, source: str | Path, line: int) -> tuple[int, str]:
    """A line's number in its story and the rest of it."""
    number, _, text = content.strip().partition(" ")
    if not (number.isascii() and number.isdigit()) or not split_words(text):
        raise malformed(source, line, "a number and a sentence", repr(content[:60]), _FORMAT)
    return int(number), text


def _question(
    text: str, facts: dict[int, tuple[str, ...]], source: str | Path, line: int
) -> Question:
    """The question of a line `question TAB answer TAB numbers of its facts`."""
    fields = [field.strip() for field in text.split("\t")]
    numbers = fields[2].split() if len(fields) == 3 else []
    if not (numbers and split_words(fields[0]) and fields[1]):
        raise malformed(
            source, line, "question, answer and fact numbers between tabs", repr(text[:60]), _FORMAT
        )
    positions = {str(number): position for position, number in enumerate(facts)}
    if unknown := [number for number in numbers if number not in positions]:
        raise malformed(
            source, line, f"facts of this story, {list(facts)}", f"{', '.join(unknown)}", _FORMAT
        )
    return Question(
        facts=tuple(facts.values()),
        words=tuple(split_words(fields[0])),
        answer=fields[1].lower(),
        supporting=tuple(positions[number] for number in numbers),
    )


_FORMAT = "write '1 A fact.' or '3 A question?<TAB>answer<TAB>1'"
_RENUMBER = "number the lines of a story 1, 2, 3 ..., and begin each story with 1"
