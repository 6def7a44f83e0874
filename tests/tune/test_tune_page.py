"""The pictures, the page, the command, the script, and the dashboard on the same storage."""

import base64
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna
import pytest
from torch import nn
from typer.testing import CliRunner

from tests.tune.search import make_study, run, search
from torchbp.cli import app
from torchbp.tune import Plan, num_parameters
from torchbp.tune.parallel import plot_parallel
from torchbp.tune.pictures import (
    plot_front,
    plot_history,
    plot_importances,
    plot_intermediate,
    plot_slices,
)

ROOT = Path(__file__).parents[2]


def sometimes(trial):
    """A parameter that only some trials have, a choice, a trial that fails."""
    plan = search(trial)
    if trial.suggest_categorical("extra", [True, False]):
        trial.suggest_int("units", 2, 64, log=True)
    if trial.number == 2:
        raise ValueError("<b>bad</b>")
    return plan


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3)
    made = make_study(folder, sometimes, storage=folder / "a.db", pruner=pruner, epochs=3)
    return run(made, 14)


def labels(axes):
    return [text.get_text() for text in axes.texts]


def test_history_shows_each_trial_in_its_state(study):
    axes = plot_history(study).axes[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["complete", "pruned", "best so far", "failed"]
    complete = next(line for line in axes.lines if line.get_label() == "complete")
    assert list(complete.get_xdata()) == [trial.number for trial in study.complete()]
    best = next(line for line in axes.lines if line.get_label() == "best so far")
    assert min(best.get_ydata()) == pytest.approx(study.best.value)


def test_intermediate_values_end_where_trials_were_pruned(study):
    axes = plot_intermediate(study).axes[0]
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    pruned = [trial for trial in study.optuna.trials if trial.state.name == "PRUNED"]
    assert pruned
    assert [line.get_xdata()[-1] for line in crosses] == [
        max(trial.intermediate_values) for trial in pruned
    ]


def test_slices_have_a_panel_for_each_parameter(study):
    panels = {axes.get_xlabel(): axes for axes in plot_slices(study).axes}
    assert {"lr", "extra", "units"} <= panels.keys()
    with_units = [trial for trial in study.complete() if "units" in trial.params]
    assert len(panels["units"].collections[0].get_offsets()) == len(with_units)
    assert panels["lr"].get_xscale() == "log"


def test_parallel_coordinates_keep_trials_that_lack_a_parameter(study):
    figure = plot_parallel(study)
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 4]
    assert len(lines) == len(study.complete())
    assert "none" in labels(figure.axes[0])


def test_importances_name_every_parameter(study):
    figure = plot_importances(study)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert sorted(names) == ["extra", "lr", "units"]


def test_the_front_is_drawn(tmp_path):
    def widths(trial):
        units = trial.suggest_int("units", 2, 32)
        plan = search(trial)
        model = nn.Sequential(nn.Linear(4, units), nn.Linear(units, 2))
        return Plan(model, plan.optimizer)

    study = run(make_study(tmp_path, widths, cost=num_parameters, epochs=1), 6)
    line = next(line for line in plot_front(study).axes[0].lines if "none is" in line.get_label())
    assert list(line.get_xdata()) == [trial.values[1] for trial in study.front]
    assert "Score and cost" in study.page(tmp_path / "page.html").read_text()


def test_the_page_needs_nothing_else_and_escapes_what_it_is_told(study, tmp_path):
    page = study.page(tmp_path / "page.html").read_text()
    HTMLParser().feed(page)
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    pictures = re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", page)
    assert len(pictures) == 5
    assert all(b"</svg>" in base64.b64decode(picture) for picture in pictures)
    assert "ValueError: &lt;b&gt;bad&lt;/b&gt;" in page
    assert "The test set is closed." in page
    study.report()
    assert "The test set was opened:" in study.page(tmp_path / "page.html").read_text()


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def test_optuna_dashboard_opens_the_same_storage(study):
    from optuna_dashboard import wsgi

    with make_server("127.0.0.1", 0, wsgi(study.optuna._storage), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}"
            with urllib.request.urlopen(f"{address}/api/studies", timeout=20) as answer:
                found = json.load(answer)["study_summaries"]
            with urllib.request.urlopen(f"{address}/dashboard", timeout=20) as answer:
                assert b"<html" in answer.read()
        finally:
            server.shutdown()
            thread.join()
    assert [summary["study_name"] for summary in found] == ["study"]


def test_the_command_searches_reports_and_goes_on(tmp_path):
    options = ["--epochs", "1", "--storage", f"{tmp_path}/a.db", "--html", f"{tmp_path}/a.html"]
    first = CliRunner().invoke(app, ["tune", "--trials", "2", *options], catch_exceptions=False)
    assert first.exit_code == 0
    assert re.search(r"trial   1  val_accuracy 0\.\d+", first.output)
    assert re.search(r"test +0\.\d+  359 samples", first.output)
    assert "opened for the first time" in first.output
    assert "All parameters" in (tmp_path / "a.html").read_text()
    more = CliRunner().invoke(app, ["tune", "--trials", "3", *options], catch_exceptions=False)
    assert re.search(r"trial   2  val_accuracy", more.output)
    assert not re.search(r"trial   1  val_accuracy", more.output)
    assert "this is time 2" in more.output


def test_the_command_refuses_a_folder_without_the_images(tmp_path):
    from torchbp.errors import DataError

    with pytest.raises(DataError, match="expected the files of FashionMNIST in"):
        CliRunner().invoke(app, ["tune", "--data", str(tmp_path)], catch_exceptions=False)


@pytest.mark.slow
def test_the_script_compares_at_equal_compute(tmp_path):
    command = [
        sys.executable,
        "-W",
        "error",
        "scripts/tune_digits.py",
        "--quick",
        "--out",
        tmp_path,
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "tuning.json").read_text())
    assert [(run["seed"], run["method"]) for run in figures["runs"]] == [
        (seed, method) for seed in (0, 1) for method in ("random", "TPE", "TPE, pruned")
    ]
    for found in figures["runs"]:
        assert found["curve"][-1][0] == 12
        losses = [loss for _, loss in found["curve"]]
        assert losses == sorted(losses, reverse=True)
    assert (tmp_path / "tuning.png").read_bytes().startswith(b"\x89PNG")
    assert "TPE has a lower validation loss than random with" in (
        (tmp_path / "tuning.md").read_text().replace("\n", " ")
    )
