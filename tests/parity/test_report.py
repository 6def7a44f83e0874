import io
import json
import re
import sys
from xml.etree import ElementTree

import pytest
from rich.console import Console

from tests.parity.made import COUNT, RECORDS, WRONG, record
from torchbp.parity import tolerances
from torchbp.parity.page import _colour, html_page
from torchbp.parity.report import failures, summary, table, write_json, write_text


def printed(records):
    console = Console(file=io.StringIO(), width=100)
    console.print(table(records))
    return console.file.getvalue()


def test_table_has_a_row_for_each_case_and_says_what_is_worst():
    text = printed(RECORDS)
    assert re.search(r"Keras on TensorFlow, float64\s+mlp +3,466 +1\.0e-15", text)
    assert re.search(r"Keras on torch, float64\s+mlp +<qa> +not run", text.replace("\n", " "))


def test_table_shows_the_figure_nearest_to_its_tolerance():
    near = record(value=9e-13, what="output near")
    assert "9.0e-13" in printed([record(), near, record()])


def test_failures_name_level_layer_and_cause():
    (line,) = failures(RECORDS)
    assert line.startswith("<qa>: level 5 (gradients) at text_lstm: gradients, Keras on torch")
    assert line.endswith("a < b & c")


def test_summary_counts():
    assert summary([COUNT]) == "1 figure of 1 case: all within tolerance."
    assert summary(RECORDS) == "4 figures of 2 cases: 1 out of tolerance, in <qa>."


def test_json_is_the_list_of_records(tmp_path):
    write_json(RECORDS, tmp_path / "made" / "parity.json")
    assert json.loads((tmp_path / "made" / "parity.json").read_text()) == RECORDS


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "parity.json"
    write_text("old", path)
    with pytest.raises(UnicodeEncodeError):
        write_text("\ud800", path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("parity.json", "old")]


@pytest.fixture(scope="module")
def page():
    return html_page(RECORDS, {"<qa>": "where <they> differ"})


def test_page_is_well_formed(page):
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    assert root.find("body/main/header/h1").text == "torchbp and Keras, measured against each other"


def test_page_needs_nothing_from_elsewhere(page):
    assert not re.search(r"https?:|//|src=|href=|@import|url\(|<script|<link|<img", page)


def test_page_has_every_case_figure_failure_note_and_tolerance(page):
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    text = " ".join(root.itertext())
    for part in (
        "mlp",
        "<qa>",
        "3,466",
        "1.0e-15",
        "text_lstm",
        "a < b & c",
        "where <they> differ",
    ):
        assert part in text
    assert all(name in text for name in tolerances.table())
    assert "Out of tolerance" in text
    assert "Out of tolerance" not in html_page([COUNT, record()])


def test_page_is_independent_of_the_machine(page):
    assert page == html_page(RECORDS, {"<qa>": "where <they> differ"})
    assert sys.prefix not in page


def test_cells_get_darker_with_every_digit_to_spare():
    def lightness(value):
        return sum(map(int, re.findall(r"\d+", _colour(record(value=value)))))

    shades = [lightness(1e-12 / 10**digits) for digits in range(7)]
    assert shades == sorted(shades, reverse=True)
    assert len(set(shades)) == 7
    assert lightness(0.0) == shades[-1]


def test_a_failing_cell_is_marked_by_more_than_colour(page):
    assert re.search(r'class="cell bad"[^>]*>not run<div class="tip"><ul><li>&#10007;', page)
    assert WRONG["case"] not in page  # escaped
