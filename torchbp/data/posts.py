"""Posts of anonymous persons with their age, income group and gender, read from a file or made up.

    {"posts": ["Homework all night", "my sister said no"], "age": 17, "income": 0, "gender": 0}

A line is a person, in JSON: a list of posts, the age in years, one of ten income groups from 0,
the lowest, to 9, and the gender as 0 or 1.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .text import Vocabulary, lines, malformed, pad_left, read_text, split_words

NUM_INCOME_GROUPS = 10
MAX_AGE = 150

AGE_WORDS = (  # of the persons around 15, 25 ... 75
    ("classroom", "exams", "homework", "teacher"),
    ("campus", "festival", "flatmate", "internship"),
    ("kindergarten", "mortgage", "stroller", "wedding"),
    ("anniversary", "deadline", "carpool", "teenagers"),
    ("checkup", "glasses", "graduation", "reunion"),
    ("allotment", "choir", "grandchildren", "retirement"),
    ("arthritis", "bridge", "memoirs", "pension"),
)
INCOME_WORDS = (  # of the groups 0 to 9
    ("eviction", "foodbank", "pawnshop"),
    ("coupons", "overdraft", "secondhand"),
    ("discount", "hostel", "nightbus"),
    ("landlord", "overtime", "payslip"),
    ("camping", "instalments", "savings"),
    ("dishwasher", "hatchback", "promotion"),
    ("bonus", "dividend", "skiing"),
    ("architect", "gallery", "sabbatical"),
    ("boardroom", "horses", "vineyard"),
    ("chauffeur", "helicopter", "yacht"),
)
GENDER_WORDS = (
    ("aunt", "daughter", "mother", "niece", "sister"),
    ("brother", "father", "nephew", "son", "uncle"),
)
PLAIN_WORDS = (
    *("a", "about", "after", "again", "all", "and", "are", "at", "back", "bad", "but", "came"),
    *("coffee", "cold", "day", "did", "dinner", "for", "friend", "from", "game", "going", "good"),
    *("got", "had", "home", "i", "in", "is", "it", "just", "late", "like", "looking", "lunch"),
    *("me", "morning", "music", "my", "never", "new", "news", "next", "night", "no", "not", "now"),
    *("of", "old", "on", "one", "our", "out", "phone", "photo", "rain", "really", "said", "saw"),
    *("so", "some", "still", "sun", "that", "the", "then", "they", "think", "this", "time", "to"),
    *("today", "tonight", "too", "train", "tv", "very", "walk", "was", "we", "week", "with", "you"),
)
POSTS = 18  # of a made-up person
WORDS_IN_A_POST = 15
TELLING = 0.2  # part of the words that tell something, for each of the three attributes
NOISE = 0.1  # part of those that tell it of somebody else


@dataclass(frozen=True)
class Person:
    """What somebody has posted, and who it is.

    Args:
        posts: the posts, oldest first.
        age: in years.
        income: group from 0 to 9.
        gender: 0 or 1.
    """

    posts: tuple[str, ...]
    age: float
    income: int
    gender: int

    @property
    def words(self) -> list[str]:
        """All posts as one sequence of words in lower case."""
        return [word for post in self.posts for word in split_words(post)]


class Encoder:
    """Persons as tensors of word indices and targets, with the vocabulary of a training set.

    Args:
        persons: the training set.
        length: T, in words; of those who posted more, the latest words are kept.
        max_size: of the vocabulary; every word has its own index if it is left out.

    Example:
        >>> persons = parse(generate(num_persons=4, seed=0))
        >>> posts, targets = Encoder(persons, length=270)(persons)
        >>> posts.shape, {name: tuple(target.shape) for name, target in targets.items()}
        (torch.Size([4, 270]), {'age': (4, 1), 'income': (4,), 'gender': (4, 1)})
    """

    def __init__(
        self, persons: Sequence[Person], length: int = 500, max_size: int | None = None
    ) -> None:
        self.vocabulary = Vocabulary((person.words for person in persons), max_size)
        self.length = length

    def __call__(self, persons: Sequence[Person]) -> tuple[Tensor, dict[str, Tensor]]:
        """Encode N persons.

        Returns:
            Posts (N, T) int64, padded on the left with zeros, and the targets: age in years
            (N, 1) float32, income as classes (N,) int64, gender (N, 1) float32.
            `F.one_hot(income, 10).float()` are the classes as the chapter has them.
        """
        posts = [self.vocabulary.encode(person.words) for person in persons]
        return pad_left(posts, self.length), {
            "age": torch.tensor([[float(person.age)] for person in persons]),
            "income": torch.tensor([person.income for person in persons]),
            "gender": torch.tensor([[float(person.gender)] for person in persons]),
        }


def read(path: str | Path) -> list[Person]:
    """The persons of a file with a JSON object a line.

    Raises:
        DataError: the file cannot be read or is not in the format; names the file and the line.
    """
    return parse(read_text(path), path)


def parse(text: str, source: str | Path = "text") -> list[Person]:
    """The persons of a text with a JSON object a line, as `generate` writes it.

    Args:
        text: lines of JSON.
        source: what errors call the text.

    Raises:
        DataError: the text is not in the format; names the source and the line.
    """
    return [_person(content, source, line) for line, content in lines(text)]


def generate(num_persons: int, *, seed: int) -> str:
    """Made-up persons, a JSON object a line.

    Ages are even from 15 to 79, and the income group rises with age up to fifty and falls after
    it, give or take two. Of the 270 words of a person 54 tell of the age, 54 of the income group
    and 54 of the gender, on average; one in ten of these would better fit somebody else. Between
    two of the ages that have words, the words of both occur, the nearer one's more often.

    Args:
        num_persons: lines to write.
        seed: the same number writes the same persons.

    Example:
        >>> person = parse(generate(num_persons=1, seed=0))[0]
        >>> len(person.posts), len(person.words), person.age, person.income, person.gender
        (18, 270, 64, 6, 1)
    """
    chance = random.Random(seed)
    return "".join(f"{json.dumps(_made_up(chance))}\n" for _ in range(num_persons))


def _made_up(chance: random.Random) -> dict[str, Any]:
    age = chance.randint(15, 79)
    peak = NUM_INCOME_GROUPS - 2 - abs(age - 50) / 6
    income = min(max(round(chance.gauss(peak, 1.5)), 0), NUM_INCOME_GROUPS - 1)
    gender = chance.randrange(2)
    words = list(_words(age, income, gender, chance))
    posts = [
        " ".join(words[at : at + WORDS_IN_A_POST]) for at in range(0, len(words), WORDS_IN_A_POST)
    ]
    return {"posts": posts, "age": age, "income": income, "gender": gender}


def _words(age: int, income: int, gender: int, chance: random.Random) -> Iterator[str]:
    """The words of a made-up person."""
    for _ in range(POSTS * WORDS_IN_A_POST):
        tens = min(max(round((age - 15) / 10 + chance.uniform(-0.5, 0.5)), 0), len(AGE_WORDS) - 1)
        kinds = ((AGE_WORDS, tens), (INCOME_WORDS, income), (GENDER_WORDS, gender))
        told = int(chance.random() / TELLING)
        if told < len(kinds):
            groups, group = kinds[told]
            if chance.random() < NOISE:
                group = chance.randrange(len(groups))
            yield chance.choice(groups[group])
        else:
            yield chance.choice(PLAIN_WORDS)


def _person(content: str, source: str | Path, line: int) -> Person:
    """The person of a line."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise malformed(source, line, "a JSON object", repr(content[:60]), _FORMAT) from error
    match fields:
        case {"posts": list() as posts, "age": age, "income": income, "gender": gender}:
            pass
        case _:
            raise malformed(
                source, line, "posts, age, income and gender", repr(content[:60]), _FORMAT
            )
    if not all(isinstance(post, str) for post in posts):
        raise malformed(source, line, "posts as a list of texts", repr(content[:60]), _FORMAT)
    return Person(
        posts=tuple(posts),
        age=_number(age, 0, MAX_AGE, "age", source, line),
        income=_number(income, 0, NUM_INCOME_GROUPS - 1, "income", source, line),
        gender=_number(gender, 0, 1, "gender", source, line),
    )


def _number(value: Any, low: int, high: int, name: str, source: str | Path, line: int) -> Any:
    """A number of a line, if it is one of its kind."""
    kind = int | float if name == "age" else int
    if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
        raise malformed(source, line, f"{name} from {low} to {high}", repr(value)[:60], _FORMAT)
    return value


_FORMAT = 'write {"posts": ["text", ...], "age": 31, "income": 4, "gender": 0}'
