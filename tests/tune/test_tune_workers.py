"""Several workers at one study, some of which are killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from tests.tune.search import make_study, run
from torchbp.tune.storage import import_optuna, open_storage
from torchbp.tune.workers import queue_again

ROOT = Path(__file__).parents[2]


def start(storage, trials, seconds=0.25):
    command = [sys.executable, "-m", "tests.tune.worker", str(storage), str(trials), str(seconds)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def lines(path):
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def finish(process):
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def open_at_once(path, barrier):
    import_optuna()
    barrier.wait(60)
    open_storage(path, queue_again)


@pytest.mark.parametrize("place", ["{}/study.db", "{}/study.journal", "sqlite:///{}/study.db"])
def test_workers_that_start_at_once_make_one_storage(tmp_path, place):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    where = place.format(tmp_path)
    workers = [context.Process(target=open_at_once, args=(where, barrier)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["study.db", "study.journal"])
def test_a_killed_worker_loses_and_repeats_no_finished_trial(tmp_path, name):
    """Of two workers one is killed within a trial; the other one does all the rest."""
    storage, done, begun = tmp_path / name, tmp_path / "done", tmp_path / "begun"
    workers = [start(storage, 6) for _ in range(2)]

    def within_a_trial(worker):
        own = [[line for line in lines(p) if line[1] == str(worker.pid)] for p in (done, begun)]
        return 1 <= len(own[0]) < len(own[1])

    wait_for(lambda: any(map(within_a_trial, workers)))
    victim, other = sorted(workers, key=within_a_trial, reverse=True)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    finish(other)
    study = make_study(tmp_path / "weights", storage=storage, name="killed")
    trials = run(study, 6).optuna.trials
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    killed = [trial for trial in trials if trial.user_attrs.get("failure") == "killed"]
    assert len(complete) == 6
    assert len(killed) == 1
    again = [t for t in complete if t.user_attrs.get("retry_of") == killed[0].number]
    assert [(t.params, t.user_attrs["seed"]) for t in again] == [
        (killed[0].params, killed[0].user_attrs["seed"])
    ]
    finished = [line[0] for line in lines(done)]
    assert sorted(set(finished)) == sorted(finished)
    assert len({trial.params["lr"] for trial in complete}) == 6
    assert all((tmp_path / "weights" / f"{trial.number:04d}.pt").exists() for trial in complete)


def test_a_search_goes_on_where_it_stopped(tmp_path):
    settings = {"storage": tmp_path / "study.db"}
    run(make_study(tmp_path / "weights", **settings), 3)
    study = run(make_study(tmp_path / "weights", **settings), 5)
    assert [trial.number for trial in study.optuna.trials] == [0, 1, 2, 3, 4]
    assert len({trial.params["lr"] for trial in study.optuna.trials}) == 5


def test_a_seeded_sampler_repeats_an_unbroken_search(tmp_path):
    first, second = (run(make_study(tmp_path / str(i)), 3).optuna.trials for i in range(2))
    assert [trial.params for trial in first] == [trial.params for trial in second]
    assert [trial.values for trial in first] == [trial.values for trial in second]


def test_a_trial_that_kills_its_workers_is_given_up(tmp_path):
    study = make_study(tmp_path).optuna
    for _ in range(3):
        trial = study.ask()
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        queue_again(study, study.trials[trial.number])
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 3


def test_ctrl_c_ends_the_search_and_the_trial_is_run_again(tmp_path):
    def interrupted(trainer):
        raise KeyboardInterrupt

    study = make_study(tmp_path)
    plan = study._task.search

    def search(trial):
        made = plan(trial)
        if trial.number == 1:
            object.__setattr__(made, "callbacks", [interrupted])
        return made

    study = run(make_study(tmp_path, search), 3)
    assert [trial.state.name for trial in study.optuna.trials] == ["COMPLETE", "FAIL", "WAITING"]
    assert study.optuna.trials[1].user_attrs["failure"] == "interrupted"
    run(study, 3)
    trials = study.optuna.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert trials[2].params == trials[1].params
