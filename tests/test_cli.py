"""The command line, run as a user runs it."""

import subprocess
import sys

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
