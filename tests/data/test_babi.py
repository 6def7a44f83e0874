"""Stories in bAbI's format: read as they are told, made up so that they can be answered."""

from itertools import pairwise

import pytest
import torch

from torchbp.data.babi import MOVES, PERSONS, PLACES, Encoder, generate, parse, read
from torchbp.errors import DataError

STORIES = """\
1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Mary went to the garden.
5 Where is Mary? \tgarden\t4
1 Sandra took the milk.
2 What is Sandra carrying?\tMilk,football\t1
"""


def test_a_question_knows_the_facts_before_it():
    questions = parse(STORIES)
    assert [len(question.facts) for question in questions] == [2, 3, 1]
    assert questions[0].facts[1] == ("john", "went", "to", "the", "hallway")
    assert questions[0].words == ("where", "is", "mary")
    assert questions[1].text[-5:] == ["mary", "went", "to", "the", "garden"]


def test_supporting_facts_are_positions_among_the_facts():
    # line 4 is the third fact, because line 3 is a question
    assert [question.supporting for question in parse(STORIES)] == [(0,), (2,), (0,)]


def test_answers_are_lower_case_and_lists_stay_one_answer():
    assert [question.answer for question in parse(STORIES)] == [
        "bathroom",
        "garden",
        "milk,football",
    ]


def test_a_file_is_read_like_its_text(tmp_path):
    path = tmp_path / "qa1.txt"
    path.write_text(STORIES, encoding="utf-8")
    assert read(path) == parse(STORIES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mary moved.", r"text:1: expected a number and a sentence, got 'Mary moved\.'"),
        ("1 ?!", "a number and a sentence"),
        ("1 A fact.\n3 A fact.", r"text:2: expected line 2 of the story, got number 3"),
        ("2 A fact.", "expected line 1 of the story, got number 2"),
        ("1 A fact.\n2 Where?\thall", "question, answer and fact numbers between tabs"),
        ("1 A fact.\n2 Where?\t\t1", "question, answer and fact numbers between tabs"),
        ("1 A fact.\n2 Where?\thall\t7", r"facts of this story, \[1\], got 7"),
        ("1 A fact.\n2 Where?\thall\t2", r"facts of this story, \[1\], got 2"),
    ],
)
def test_a_line_that_is_not_in_the_format_is_named(text, message):
    with pytest.raises(DataError, match=message):
        parse(text)


def test_errors_in_a_file_name_the_file(tmp_path):
    path = tmp_path / "qa1.txt"
    path.write_text("no number\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"qa1\.txt:1: .*\n  To mend it: write '1 A fact"):
        read(path)


def test_the_same_seed_writes_the_same_stories():
    assert generate(5, seed=3) == generate(5, seed=3)
    assert generate(5, seed=3) != generate(5, seed=4)


def test_made_up_answers_are_where_the_person_was_last_seen():
    for question in parse(generate(200, seed=0)):
        asked = question.words[-1]
        last = [fact for fact in question.facts if fact[0] == asked][-1]
        assert question.answer == last[-1]
        assert question.facts[question.supporting[0]] == last


def test_made_up_stories_use_every_person_place_and_move():
    text = generate(200, seed=0)
    assert all(word in text for word in (*PERSONS, *PLACES, *MOVES))


def test_nobody_moves_to_where_they_are():
    for question in parse(generate(50, seed=1)):
        for person in PERSONS:
            places = [fact[-1] for fact in question.facts if fact[0] == person.lower()]
            assert all(here != there for here, there in pairwise(places))


def test_encodes_to_left_padded_indices_and_classes():
    questions = parse(STORIES)[:2]
    inputs, answers = Encoder(questions)(questions)
    assert inputs["text"].shape == (2, 15)
    assert inputs["text"][0, :5].tolist() == [0] * 5
    assert inputs["text"][1, 0] > 0
    assert inputs["question"].shape == (2, 3)
    assert torch.equal(inputs["question"][0], inputs["question"][1])
    assert answers.tolist() == [0, 1]  # bathroom, garden


def test_words_that_the_training_set_lacks_are_unknown():
    train, other = parse(STORIES)[:2], parse("1 Zoe moved to the attic.\n2 Who is Zoe?\tgarden\t1")
    inputs, _ = Encoder(train)(other)
    assert inputs["text"][0].tolist()[0] == 1
    assert inputs["text"][0].tolist()[-1] == 1


def test_an_answer_that_the_training_set_lacks_is_refused():
    questions = parse(STORIES)
    with pytest.raises(DataError, match=r"\['bathroom', 'garden'\], got 'milk,football'"):
        Encoder(questions[:2])(questions)
