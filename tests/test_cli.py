"""The command line, run as a user runs it."""

import hashlib
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest


def run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "torchbp.cli", *arguments], capture_output=True, text=True, cwd=cwd
    )


def test_summary_prints_the_table_of_a_model():
    result = run("summary", "torchbp.models:mlp")
    assert result.returncode == 0, result.stderr
    assert "3,466" in result.stdout


def test_summary_finds_models_of_the_current_folder(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torchbp import Input, Model, layers\n"
        "x = Input((3,))\n"
        "model = Model(x, layers.Linear(3, 2, name='answer')(x))\n"
    )
    result = run("summary", "mine:model", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "answer (Linear)" in result.stdout


def test_plot_writes_the_file(tmp_path):
    result = run("plot", "torchbp.models:shared_lstm", str(tmp_path / "m.svg"))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "m.svg").read_text().startswith("<")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("torchbp.models:nothing", "has no attribute 'nothing'"),
        ("no_such_module:x", "No module named"),
        ("torchbp", "expected MODULE:NAME"),
        ("torchbp.errors:TorchbpError", "expected a torchbp.Model"),
    ],
)
def test_what_is_no_model_is_one_clear_error(target, message):
    result = run("summary", target)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_parity_case_lists_those_there_are(tmp_path):
    (tmp_path / "cases.py").write_text(
        "from types import SimpleNamespace\nCASES = [SimpleNamespace(name='first')]\n"
    )
    result = run("parity", "--cases", str(tmp_path / "cases.py"), "--only", "secnd")
    assert result.returncode == 2
    assert "secnd" in result.stderr
    assert "first" in result.stderr


@pytest.fixture
def keras_file(tmp_path):
    """A `.keras` file of one Dense layer, written without Keras."""
    h5py = pytest.importorskip("h5py")
    layers = [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 4]}},
        {"class_name": "Dense", "config": {"name": "scores", "units": 3}},
    ]
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": layers}}
    with h5py.File(tmp_path / "w.h5", "w") as file:
        variables = file.create_group("layers/dense/vars")
        variables["0"], variables["1"] = np.arange(12.0).reshape(4, 3), np.zeros(3)
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    return tmp_path / "net.keras"


def test_a_keras_file_is_summed_up_and_drawn(keras_file, tmp_path):
    result = run("summary", str(keras_file))
    assert result.returncode == 0, result.stderr
    assert "scores (Linear)" in result.stdout
    assert run("plot", str(keras_file), str(tmp_path / "m.svg")).returncode == 0


def test_stored_outputs_are_compared_without_keras(keras_file, tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("f4")
    digest = hashlib.sha256(keras_file.read_bytes()).hexdigest()
    arrays = {"input/x": x, "output/0": x @ np.arange(12, dtype="f4").reshape(4, 3)}
    np.savez(tmp_path / "known.npz", **arrays, sha256=np.array(digest))
    result = run("verify", str(keras_file), "--outputs", str(tmp_path / "known.npz"))
    assert result.returncode == 0, result.stderr
    assert "all within tolerance" in result.stdout
    arrays["output/0"] += 0.01
    np.savez(tmp_path / "known.npz", **arrays, sha256=np.array(digest))
    report = tmp_path / "certificate.json"
    command = ["verify", str(keras_file), "--outputs", str(tmp_path / "known.npz")]
    assert run(*command, "--json", str(report)).returncode == 1
    written = json.loads(report.read_text())
    assert written["verdict"] == "different"
    assert written["sha256"] == {"net.keras": digest}
    np.savez(tmp_path / "known.npz", **arrays, sha256=np.array("other"))
    result = run(*command)
    assert result.returncode == 2
    assert "another SHA-256" in result.stderr
    for missing in (["nothing.keras"], [str(keras_file), "--outputs", "nothing.npz"]):
        result = run("verify", *missing)
        assert result.returncode == 2
        assert "expected a file, got nothing" in result.stderr


def test_a_keras_file_becomes_source_that_passes_its_test(keras_file, tmp_path):
    folder = tmp_path / "ported"
    result = run("port", str(keras_file), "--out", str(folder), "--no-certify")
    assert result.returncode == 0, result.stderr
    assert "class Net(nn.Module)" in (folder / "model.py").read_text()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_model.py"]
    tested = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert tested.returncode == 0, tested.stdout
    verified = run("port", str(tmp_path / "nothing.keras"), "--out", str(folder), "--no-certify")
    assert verified.returncode == 2
    assert "No such file" in verified.stderr
