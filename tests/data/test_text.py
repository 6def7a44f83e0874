"""What every reader of text stands on: vocabularies, padding, files that are not as hoped."""

import pytest
import torch

from torchbp.data.text import Vocabulary, by_frequency, lines, pad_left, read_text, split_words
from torchbp.errors import DataError

TEXTS = [["the", "cat", "the", "dog"], ["the", "cat", "ate"]]


def test_words_are_ranked_by_frequency_and_then_by_the_alphabet():
    assert by_frequency(TEXTS) == ["the", "cat", "ate", "dog"]
    assert Vocabulary(TEXTS).encode(["the", "cat", "ate", "dog"]) == [2, 3, 4, 5]


def test_unknown_words_have_an_index_of_their_own():
    vocabulary = Vocabulary(TEXTS)
    assert vocabulary.encode(["the", "bird"]) == [2, Vocabulary.UNKNOWN]
    assert "the" in vocabulary
    assert "bird" not in vocabulary


@pytest.mark.parametrize(
    ("max_size", "size", "indices"),
    [(None, 6, [2, 3, 5]), (4, 4, [2, 3, 1]), (3, 3, [2, 1, 1]), (2, 2, [1, 1, 1])],
)
def test_the_rarest_words_give_way_to_max_size(max_size, size, indices):
    vocabulary = Vocabulary(TEXTS, max_size)
    assert len(vocabulary) == size
    assert vocabulary.encode(["the", "cat", "dog"]) == indices


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("Where is Mary?", ["where", "is", "mary"]),
        ("Don't, she said.", ["don't", "she", "said"]),
        ("'quoted'  twice\n", ["quoted", "twice"]),
        ("Été 2024", ["été", "2024"]),
        ("?!", []),
    ],
)
def test_words_are_lower_case_without_punctuation(sentence, words):
    assert split_words(sentence) == words


@pytest.mark.parametrize(
    ("length", "rows"),
    [
        (None, [[1, 2, 3], [0, 0, 4], [0, 0, 0]]),
        (4, [[0, 1, 2, 3], [0, 0, 0, 4], [0, 0, 0, 0]]),
        (2, [[2, 3], [0, 4], [0, 0]]),
        (0, [[], [], []]),
    ],
)
def test_padding_stands_in_front_and_the_end_is_kept(length, rows):
    padded = pad_left([[1, 2, 3], [4], []], length)
    assert padded.dtype == torch.int64
    assert padded.tolist() == rows


def test_no_sequences_make_no_rows():
    assert pad_left([]).shape == (0, 0)
    assert pad_left([], length=5).shape == (0, 5)


def test_lines_have_their_number_and_blank_ones_are_passed_over():
    assert list(lines("a\n\n b \n\t\nc")) == [(1, "a"), (3, " b "), (5, "c")]


def test_line_separators_inside_a_text_do_not_end_its_line():
    assert list(lines("a\u2028b\x0cc")) == [(1, "a\u2028b\x0cc")]


def test_windows_line_ends_are_read_as_line_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\ntwo\r\n")
    assert read_text(path) == "one\ntwo\n"


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "latin1.txt"
    path.write_bytes("café".encode("latin1"))
    with pytest.raises(DataError, match=r"latin1\.txt: expected UTF-8 text, got a byte 0xe9"):
        read_text(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a readable file, got No such file"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(DataError, match="To mend it: check the path"):
        read_text(tmp_path)
