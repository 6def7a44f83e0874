"""Posts and who wrote them: strict about a file, and words that tell in the made-up ones."""

import json

import pytest
import torch

from torchbp.data.posts import (
    AGE_WORDS,
    GENDER_WORDS,
    INCOME_WORDS,
    NUM_INCOME_GROUPS,
    PLAIN_WORDS,
    Encoder,
    Person,
    generate,
    parse,
    read,
)
from torchbp.errors import DataError

LINE = '{"posts": ["Homework again!", "My sister said no"], "age": 17.5, "income": 0, "gender": 1}'


def line(**changes):
    return json.dumps(json.loads(LINE) | changes)


def test_a_line_is_a_person():
    (person,) = parse(LINE)
    assert person == Person(("Homework again!", "My sister said no"), 17.5, 0, 1)
    assert person.words == ["homework", "again", "my", "sister", "said", "no"]


def test_a_file_is_read_like_its_text(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text(f"{LINE}\n\n{LINE}\n", encoding="utf-8")
    assert read(path) == parse(LINE) * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "text:1: expected a JSON object, got 'no json'"),
        ("[" * 100_000, "expected a JSON object"),
        ("[1, 2]", "expected posts, age, income and gender"),
        ('{"posts": []}', "expected posts, age, income and gender"),
        (line(posts="one"), "expected posts, age, income and gender"),
        (line(posts=["one", 2]), "posts as a list of texts"),
        (line(age="old"), "age from 0 to 150, got 'old'"),
        (line(age=-1), "age from 0 to 150, got -1"),
        (line(age=float("nan")), "age from 0 to 150, got nan"),
        (line(income=10), "income from 0 to 9, got 10"),
        (line(income=1.0), "income from 0 to 9, got 1.0"),
        (line(gender=2), "gender from 0 to 1, got 2"),
        (line(gender=True), "gender from 0 to 1, got True"),
        (line(gender=None), "gender from 0 to 1, got None"),
    ],
)
def test_a_line_that_is_not_in_the_format_is_named(text, message):
    with pytest.raises(DataError, match=message):
        parse(text)


def test_errors_in_a_file_name_the_file_and_the_line(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text(f"{LINE}\n{{}}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r'posts\.jsonl:2: .*\n  To mend it: write {"posts"'):
        read(path)


def test_encodes_words_and_three_targets():
    persons = parse(f"{LINE}\n{line(posts=['no'], age=40, income=9, gender=0)}")
    posts, targets = Encoder(persons, length=4)(persons)
    assert posts.dtype == torch.int64
    assert posts.tolist() == [[5, 7, 6, 2], [0, 0, 0, 2]]  # "my sister said no", "no"
    assert targets["age"].tolist() == [[17.5], [40.0]]
    assert targets["income"].tolist() == [0, 9]
    assert targets["income"].dtype == torch.int64
    assert targets["gender"].tolist() == [[1.0], [0.0]]


def test_max_size_bounds_the_indices():
    persons = parse(generate(20, seed=0))
    encoder = Encoder(persons, length=270, max_size=50)
    assert len(encoder.vocabulary) == 50
    assert encoder(persons)[0].max() == 49


def test_the_same_seed_writes_the_same_persons():
    assert generate(3, seed=1) == generate(3, seed=1)
    assert generate(3, seed=1) != generate(3, seed=2)


def test_no_word_tells_two_things():
    groups = (*AGE_WORDS, *INCOME_WORDS, *GENDER_WORDS, PLAIN_WORDS)
    words = [word for group in groups for word in group]
    assert len(words) == len(set(words))
    assert len(INCOME_WORDS) == NUM_INCOME_GROUPS


@pytest.fixture(scope="module")
def persons():
    return parse(generate(1000, seed=0))


def told(person, groups):
    """How often each group of words is used."""
    return [sum(word in group for word in person.words) for group in groups]


def test_most_words_of_income_and_gender_are_the_persons_own(persons):
    for groups, attribute in ((INCOME_WORDS, "income"), (GENDER_WORDS, "gender")):
        counts = [(told(person, groups), getattr(person, attribute)) for person in persons]
        own = sum(count[group] for count, group in counts) / sum(sum(count) for count, _ in counts)
        # nine in ten, and the part of the tenth that chance gives back
        assert own == pytest.approx(0.9 + 0.1 / len(groups), abs=0.01)


def test_words_of_an_age_tell_it_to_a_few_years(persons):
    errors = []
    for person in persons:
        counts = told(person, AGE_WORDS)
        mean = sum(count * (15 + 10 * tens) for tens, count in enumerate(counts)) / sum(counts)
        errors.append(abs(mean - person.age))
    assert sum(errors) / len(errors) < 4  # guessing the mean is 16 years off


def test_income_depends_on_age(persons):
    middle = [person.income for person in persons if 40 <= person.age <= 60]
    young = [person.income for person in persons if person.age < 25]
    assert sum(middle) / len(middle) > sum(young) / len(young) + 2


def test_every_class_occurs(persons):
    assert {person.income for person in persons} == set(range(NUM_INCOME_GROUPS))
    assert {person.gender for person in persons} == {0, 1}
    assert {len(person.words) for person in persons} == {270}
