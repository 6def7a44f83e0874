"""Storages that are not what they should be, and studies that are something else."""

import contextlib
import sqlite3

import optuna
import pytest
import torch
from torch import nn

from tests.tune.search import X, Y, accuracy, make_study, run
from torchbp.errors import DataError
from torchbp.train import Trainer
from torchbp.tune import Plan, Pruning, Split, num_parameters, storage


def foreign(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE users (name)")
        database.commit()


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.db", foreign, "a database of something else, with the tables users"),
        ("a.db", lambda path: path.write_text("no database" * 99), "file is not a database"),
        ("a.journal", lambda path: path.write_text("one\ntwo\n"), "not a journal of Optuna's"),
        ("a.log", lambda path: path.write_text('{"a": 1}\n'), "not a journal of Optuna's"),
        ("none/a.db", lambda path: None, "the folder .* is not there"),
    ],
)
def test_a_file_of_something_else_is_refused_and_left_alone(name, write, message, tmp_path):
    path = tmp_path / name
    write(path)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(DataError, match=f"expected a storage of Optuna's at .*{message}"):
        make_study(tmp_path, storage=path)
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_locked_database_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_PROBE_S", 0.1)
    path = tmp_path / "study.db"
    make_study(tmp_path, storage=path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DataError, match="the database is locked"):
            make_study(tmp_path, storage=path)
    make_study(tmp_path, storage=path)


@pytest.mark.parametrize("url", ["nosuch://host/name", "sqlite:////no/such/folder/a.db"])
def test_a_url_that_cannot_be_opened_is_refused(url, tmp_path):
    with pytest.raises(DataError, match="see that the server runs"):
        make_study(tmp_path, storage=url)


def test_a_database_by_url_has_a_heartbeat(tmp_path):
    study = run(make_study(tmp_path, storage=f"sqlite:///{tmp_path}/a.db"), 1)
    assert study.optuna._storage.get_heartbeat_interval() == 30
    assert study.best.number == 0


def test_a_url_needs_a_folder():
    with pytest.raises(DataError, match="a folder for the weights beside the storage"):
        make_study(None, storage="sqlite:///a.db")


@pytest.mark.parametrize(
    "other",
    [
        {"split": Split(X, 1 - Y, validation=0.25, test=0.25)},
        {"split": Split(X, Y, validation=0.25, test=0.25, seed=1)},
        {"score": accuracy},
    ],
)
def test_a_study_of_other_data_or_another_score_is_refused(other, tmp_path):
    run(make_study(tmp_path / "weights", storage=tmp_path / "study.db"), 1)
    with pytest.raises(DataError, match="in the storage to be one of"):
        make_study(tmp_path / "weights", storage=tmp_path / "study.db", **other)


def test_a_study_that_something_else_has_made_is_refused(tmp_path):
    made = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db", study_name="study")
    made.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(DataError, match="one that something else has made"):
        make_study(tmp_path, storage=tmp_path / "study.db")


@pytest.mark.parametrize(
    "ask",
    [
        lambda study: study.best,
        lambda study: study.rebuild(),
        lambda study: study.report(),
        lambda study: study.optimism(),
        lambda study: study.page("page.html"),
    ],
)
def test_an_empty_study_says_so(ask, tmp_path):
    with pytest.raises(DataError, match="at least one trial that is complete, got 0 trials"):
        ask(make_study(tmp_path))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda study: study.run(), "expected n_trials, epochs or timeout_s, got none"),
        (lambda study: study.rebuild(7), "the number of a trial, 0 to 0, got 7"),
        (lambda study: study.report(-1), "the number of a trial"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(act, message, tmp_path):
    study = run(make_study(tmp_path), 1)
    with pytest.raises(DataError, match=message):
        act(study)


def test_weights_that_are_gone_are_named(tmp_path):
    study = run(make_study(tmp_path), 1)
    (tmp_path / "0000.pt").unlink()
    with pytest.raises(DataError, match=r"the file .*0000.pt of trial 0, which is not there"):
        study.rebuild()


def test_a_cost_and_a_pruner_do_not_go_together(tmp_path):
    pruner = optuna.pruners.MedianPruner()
    with pytest.raises(DataError, match="a pruner or a cost, got both"):
        make_study(tmp_path, cost=num_parameters, pruner=pruner)


def test_a_score_whose_direction_is_unknown_is_refused(tmp_path):
    with pytest.raises(DataError, match="Study: expected to know whether 'val_num_parameters'"):
        make_study(tmp_path, score=num_parameters)


def test_a_search_function_that_returns_no_plan_is_told(tmp_path):
    study = make_study(tmp_path, lambda trial: nn.Linear(4, 2))
    with pytest.raises(DataError, match="the search function to return a Plan, got Linear"):
        run(study, 9)


def test_pruning_asks_for_a_number_that_is_logged():
    trainer = Trainer(nn.Linear(4, 2), nn.CrossEntropyLoss(), torch.optim.Adam)
    pruning = Pruning(optuna.create_study().ask(), "val_loss")
    with pytest.raises(DataError, match="Pruning: expected 'val_loss' in the logs"):
        trainer.fit(X, Y, callbacks=[pruning], progress=False)


def test_a_plan_has_what_a_trainer_needs():
    plan = Plan(nn.Linear(4, 2), torch.optim.Adam)
    assert (plan.batch_size, plan.epochs, tuple(plan.callbacks)) == (32, None, ())
