"""Two processes under torchrun train each trial together, and agree."""

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import torch

PROGRAM = Path(__file__).parent / "several_processes.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, "--standalone", str(PROGRAM), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_first_process_decides_and_all_stop_together(folder):
    storage = f"sqlite:///{folder}/study.db"
    trials = optuna.load_study(study_name="study", storage=storage).trials
    states = [trial.state.name for trial in trials]
    assert states[:4] == ["COMPLETE", "FAIL", "FAIL", "PRUNED"]
    assert len(trials) == 6
    assert trials[1].user_attrs["failure"] == "error"
    assert trials[2].user_attrs["failure"] == "not finite"
    assert trials[3].user_attrs["epochs"] == 2


@pytest.mark.slow
def test_all_processes_report_the_same_and_it_is_one_opening(folder):
    first, second = torch.load(folder / "told.pt", weights_only=True)
    assert first == second
    storage = f"sqlite:///{folder}/study.db"
    study = optuna.load_study(study_name="study", storage=storage)
    assert len(study.user_attrs["test_openings"]) == 1
