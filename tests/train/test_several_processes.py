"""Two processes under torchrun at half the batch do what one does at the full batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = Path(__file__).parent / "several_processes.py"
SAME = [
    *("arrays", "dataset", "lonely_samples", "accumulation", "weighted", "sharded_model"),
    *("stream", "files", "not_interrupted"),
]
# float64; the order of the sums differs, over a few dozen steps
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each number of processes comes to; one is run again, to go on where two have left."""
    folder = tmp_path_factory.mktemp("processes")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    alone = [sys.executable, str(PROGRAM), str(folder)]
    together = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    for command in (alone, [*together, "--standalone", str(PROGRAM), str(folder)], alone):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(folder / f"{n}.pt", weights_only=True) for n in (1, 2))
    return folder, one, two


@pytest.mark.slow
@pytest.mark.parametrize("case", SAME)
def test_two_processes_come_to_the_same_weights_and_history_as_one(results, case):
    _, one, two = results
    torch.testing.assert_close(two[case]["weights"], one[case]["weights"], **CLOSE)
    assert two[case]["history"].keys() == one[case]["history"].keys()
    for name, values in one[case]["history"].items():
        # metrics of torchmetrics are float32
        tolerance = 1e-6 if "accuracy" in name else 1e-10
        assert two[case]["history"][name] == pytest.approx(values, rel=tolerance), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "samples"), [("arrays", 70), ("dataset", 70), ("lonely_samples", 33)]
)
def test_no_sample_is_lost_and_none_comes_twice(results, case, samples):
    for result in results[1:]:
        seen = result[case]["seen"]
        assert len(seen) == 3 * samples
        assert all(seen.count(sample) == 3 for sample in set(seen))


@pytest.mark.slow
def test_evaluation_and_predictions_are_those_of_one_process(results):
    _, one, two = results
    assert two["arrays"]["results"] == pytest.approx(one["arrays"]["results"], rel=1e-6)
    torch.testing.assert_close(two["arrays"]["predicted"], one["arrays"]["predicted"], **CLOSE)


@pytest.mark.slow
def test_files_are_written_once(results):
    folder, _, _ = results
    for count in (1, 2):
        rows = (folder / f"files-{count}" / "log.csv").read_text().splitlines()
        assert len(rows) == 1 + 3
        assert len(list((folder / f"files-{count}").glob("*.pt"))) == 3


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(results):
    """Two go on within the epoch in which one has left, and one where two have."""
    _, one, two = results
    torch.testing.assert_close(
        two["resumed"]["weights"], one["not_interrupted"]["weights"], **CLOSE
    )
    torch.testing.assert_close(
        one["resumed"]["weights"], two["not_interrupted"]["weights"], **CLOSE
    )
    for result in (one, two):
        assert result["resumed"]["history"]["loss"] == pytest.approx(
            one["not_interrupted"]["history"]["loss"], rel=1e-10
        )
