"""The short version of the fuzzing of the porter, and what it has found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


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
