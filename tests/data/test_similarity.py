"""Pairs of questions: Quora's columns, and made-up pairs that counting common words misses."""

import pytest
import torch

from torchbp.data.similarity import (
    ACTIONS,
    CIRCUMSTANCES,
    COLUMNS,
    THINGS,
    Encoder,
    Pair,
    generate,
    parse,
    read,
)
from torchbp.errors import DataError

HEADER = "\t".join(COLUMNS) + "\n"
ROWS = (
    "0\t1\t2\tHow can I learn chess?\tWhat's the way to study chess?\t1\n"
    '7\t3\t4\t"Who said ""no""?\tand why"\t"two\nlines"\t0\n'
)


def test_a_row_is_a_pair_of_word_sequences():
    first, _ = parse(HEADER + ROWS)
    left, right = (
        ("how", "can", "i", "learn", "chess"),
        ("what's", "the", "way", "to", "study", "chess"),
    )
    assert first == Pair(left, right, same=True)


def test_quoted_fields_hold_quotes_tabs_and_line_ends():
    _, second = parse(HEADER + ROWS)
    assert second == Pair(("who", "said", "no", "and", "why"), ("two", "lines"), same=False)


def test_an_empty_question_has_no_words():
    (pair,) = parse(HEADER + "1\t1\t2\tWhat?\t\t0\n")
    assert pair.right == ()


def test_a_file_is_read_like_its_text(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text(HEADER + ROWS, encoding="utf-8")
    assert read(path) == parse(HEADER + ROWS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"text:1: expected the columns \['id', .*, got \[\]"),
        ("id,qid1\n", "expected the columns"),
        (HEADER + "0\t1\t2\ta\tb\n", "text:2: expected six fields, the last 0 or 1"),
        (HEADER + "0\t1\t2\ta\tb\tyes\n", "six fields, the last 0 or 1"),
        (HEADER + ROWS + "0\t1\n", "text:5: expected six fields"),
        (HEADER + "x" * 200_000, "text:2: expected fields between tabs, got field larger"),
    ],
)
def test_a_row_that_is_not_in_the_format_is_named(text, message):
    with pytest.raises(DataError, match=message):
        parse(text)


def test_encodes_to_word_vectors_with_zeros_in_front():
    pairs = [Pair(("a", "b", "c"), ("b",), same=True), Pair(("d",), ("a",), same=False)]
    inputs, same = Encoder(pairs, vector_size=8)(pairs)
    assert inputs["left"].shape == (2, 3, 8)
    assert inputs["right"].shape == (2, 1, 8)
    assert not inputs["left"][1, :2].any()
    assert torch.equal(inputs["left"][0, 1], inputs["right"][0, 0])  # the vector of "b"
    assert not torch.equal(inputs["left"][0, 0], inputs["left"][0, 1])
    assert same.tolist() == [[1.0], [0.0]]


def test_vectors_follow_from_the_seed_alone():
    pairs = parse(generate(4, seed=0))
    vectors = [Encoder(pairs, seed=seed).vectors for seed in (1, 1, 2)]
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[0], vectors[2])


def test_encoding_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    Encoder(parse(generate(4, seed=0)))
    assert torch.equal(before, torch.get_rng_state())


def test_length_cuts_the_beginning():
    pairs = [Pair(("a", "b", "c"), ("b",), same=True)]
    inputs, _ = Encoder(pairs, vector_size=4, length=2)(pairs)
    full, _ = Encoder(pairs, vector_size=4)(pairs)
    assert torch.equal(inputs["left"], full["left"][:, 1:])


def test_the_same_seed_writes_the_same_pairs():
    assert generate(5, seed=3) == generate(5, seed=3)
    assert generate(5, seed=3) != generate(5, seed=4)


@pytest.fixture(scope="module")
def pairs():
    return parse(generate(3000, seed=0))


def meaning(words):
    """The row of each word that means something."""
    tables = (ACTIONS, THINGS, CIRCUMSTANCES)
    return [
        next(row for row, synonyms in enumerate(table) if set(synonyms) & set(words))
        for table in tables
    ]


def test_made_up_pairs_are_the_same_if_they_mean_the_same(pairs):
    for pair in pairs:
        differing = sum(
            a != b for a, b in zip(meaning(pair.left), meaning(pair.right), strict=True)
        )
        assert differing == (0 if pair.same else 1)


def test_made_up_labels_are_even_and_orders_differ(pairs):
    assert sum(pair.same for pair in pairs) / len(pairs) == pytest.approx(0.5, abs=0.03)
    assert sum(pair.left == pair.right for pair in pairs) / len(pairs) < 0.01


def test_common_words_say_little_about_made_up_pairs(pairs):
    """The best threshold on the part of words in common is right little more often than chance."""
    common = [
        (len(set(pair.left) & set(pair.right)) / len(set(pair.left) | set(pair.right)), pair.same)
        for pair in pairs
    ]
    best = max(
        sum((overlap >= threshold) == same for overlap, same in common)
        for threshold in {overlap for overlap, _ in common}
    )
    assert best / len(pairs) < 0.65
