"""The script on the digits, with --quick: its tables, its files and its pictures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "ensemble_digits.py"
MEMBERS = ["convnet", "separable convnet", "MLP", "random forest", "gradient boosting"]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What it prints, and the folder that it writes to."""
    folder = tmp_path_factory.mktemp("ensembling")
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, "--quick", "--out", folder],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


@pytest.mark.slow
def test_members_poolings_and_comparisons_are_reported(quick):
    output, folder = quick
    figures = json.loads((folder / "ensembling.json").read_text())
    rows = figures["rows"]
    assert list(rows)[:6] == [*MEMBERS, "wide and deep"]
    assert [row["kind"] for row in rows.values()].count("pooling") == 13
    assert list(rows)[-4:] == [
        "five MLPs, uniform mean",
        "five snapshots, uniform mean",
        "mean of weights (SWA)",
        "soup of five",
    ]
    for name, row in rows.items():
        assert name in output
        assert row["loss"]["low"] <= row["loss"]["value"] <= row["loss"]["high"]


@pytest.mark.slow
def test_the_way_is_chosen_on_the_validation_images(quick):
    figures = json.loads((quick[1] / "ensembling.json").read_text())
    pooled = {n: r["validation loss"] for n, r in figures["rows"].items() if r["kind"] == "pooling"}
    assert figures["chosen"] == min(pooled, key=pooled.get)
    assert figures["images"] == {"train": 200, "validation": 400, "test": 1197}


@pytest.mark.slow
def test_five_seeds_of_one_architecture_are_warned_of(quick):
    figures = json.loads((quick[1] / "ensembling.json").read_text())
    assert "MLP 1, MLP 2, MLP 3, MLP 4, MLP 5 are the same architecture" in figures["warning"]
    six, five = (own["gain"] for own in figures["diversity"].values())
    assert five < six


@pytest.mark.slow
def test_page_and_pictures_are_written(quick):
    files = {path.name for path in quick[1].iterdir()}
    pictures = {"scores.svg", "diversity-the-six-kinds.svg", "diversity-five-MLPs.svg"}
    assert files == {"ensembling.json", "ensembling.md"} | pictures
    assert "| convnet |" in (quick[1] / "ensembling.md").read_text()
