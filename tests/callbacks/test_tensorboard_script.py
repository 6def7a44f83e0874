"""The script that shows all of it: a run with every instrument, and the same run taken up again."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_imdb_tensorboard.py"


def run(folder, warnings="error"):
    done = subprocess.run(
        [sys.executable, "-W", warnings, SCRIPT, "--quick", "--folder", folder],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_script_writes_what_it_shows_and_goes_on_where_it_was(tmp_path):
    output = run(tmp_path)
    assert f"tensorboard --logdir {tmp_path}" in output.replace("\n", "")
    assert len(re.findall(r"^epoch \d/2 ", output, re.MULTILINE)) == 2
    assert re.search(r"200 held-out reviews told right: \d+\.\d%", output)
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {"train", "validation", "activations", "best.pt", "history.png", "profile"}
    assert len((tmp_path / "train" / "projector" / "embed.txt").read_text().splitlines()) == 100
    again = run(tmp_path, warnings="ignore")  # of steps to profile there are none left
    assert not re.findall(r"^epoch", again, re.MULTILINE)
