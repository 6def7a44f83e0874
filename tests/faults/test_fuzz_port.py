"""The short version of the fuzzing of the porter, and what it has found."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from torchbp.errors import DataError
from torchbp.port import UnsupportedError, load


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_spoilt_files_end_in_a_port_or_a_clear_error(tmp_path):
    program = Path(__file__).with_name("fuzz_port.py")
    report = tmp_path / "fuzz.json"
    options = ["--inputs", "300", "--workers", "1", "--seed", "7", "--out", str(report)]
    command = [sys.executable, str(program), *options]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:]
    outcomes = json.loads(report.read_text())["outcomes"]
    assert sum(outcomes.values()) == 300
    assert outcomes["ported"] > 10
    assert outcomes["refused"] > 100


FOUND = sorted((Path(__file__).parent / "findings").glob("*.keras"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_ends_in_a_clear_error(path):
    pytest.importorskip("h5py")
    with pytest.raises(DataError, match=r"expected .*, got (?s:.*)To mend it: "):
        load(path)


def test_inputs_within_inputs_are_refused(tmp_path):
    first = {
        "class_name": "InputLayer",
        "name": "a",
        "config": {"name": "a", "batch_shape": [None, 4]},
    }
    call = {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["a", 0, 0]}}]}
    dense = {
        "class_name": "Dense",
        "module": "keras.layers",
        "name": "b",
        "config": {"name": "b", "units": 2},
        "inbound_nodes": [call | {"kwargs": {}}],
    }
    graph = {
        "name": "net",
        "layers": [first, dense],
        "input_layers": {"x": {"y": ["a", 0, 0]}},
        "output_layers": ["b", 0, 0],
    }
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": graph}))
    with pytest.raises(UnsupportedError, match=r"inputs as lists or dicts(?s:.*)To mend it: "):
        load(path)
