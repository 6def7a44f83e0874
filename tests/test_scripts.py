"""Each training script runs offline, in seconds with --quick, and reports beside its baselines."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest

from torchbp import models
from torchbp.data import babi, posts, similarity
from torchbp.port.applications import layer_places
from torchbp.port.layer_weights import to_keras

SCRIPTS = Path(__file__).parents[1] / "scripts"
QUICK = ("--quick", "--batch-size", "64", "--seed", "3")
PERCENT = r" +\d+\.\d%"
REPORTS = {
    "question_answering": [
        r"right answers to 60 held-out questions",
        rf"baseline, the most frequent answer{PERCENT}",
        rf"baseline, the place mentioned last{PERCENT}",
        rf"model, codes side by side{PERCENT}",
        rf"model, question first{PERCENT}",
    ],
    "posts": [
        r"20 held-out persons +model +baseline",
        r"age, mean error in years +\d+\.\d +\d+\.\d  the mean age",
        rf"income right{PERCENT}{PERCENT}  the most frequent",
        rf"gender right{PERCENT}{PERCENT}  the most frequent",
    ],
    "sentence_similarity": [
        r"40 held-out pairs +right +mean \|sim\(a, b\) - sim\(b, a\)\|",
        rf"baseline, the more frequent label{PERCENT}",
        rf"baseline, words in common{PERCENT}",
        rf"model, codes side by side{PERCENT} +0\.\d+",
        rf"model, codes symmetric{PERCENT} +0\.0000",
    ],
    "sentiment": [
        r"200 held-out reviews told right",
        rf"baseline, the more frequent sentiment{PERCENT}",
        rf"baseline, counts of words{PERCENT}",
        rf"model, the convnet{PERCENT}",
    ],
    "two_cameras": [
        r"60 held-out pairs told right",
        rf"baseline, the more frequent answer{PERCENT}",
        rf"baseline, the left eye alone{PERCENT}",
        rf"model, both eyes{PERCENT}",
    ],
    "wide_and_deep": [
        r"450 held-out digits +right +loss",
        rf"baseline, the more frequent answer{PERCENT}",
        rf"baseline, linear in the grey values{PERCENT}",
        rf"baseline, linear in the crossed features{PERCENT}",
        rf"model, deep part alone{PERCENT} +\d+\.\d+",
        rf"model, wide and deep{PERCENT} +\d+\.\d+",
    ],
}


@cache
def run(name, *options):
    """What a script prints; its exit status is 0."""
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPTS / f"{name}.py", *map(str, options)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def report_of(output):
    """What stands below the line of the last epoch."""
    return output[output.rindex("\nepoch") :].partition("\n\n")[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTS)
def test_script_shows_its_model_and_reports_beside_its_baselines(name):
    output = run(name, *QUICK)
    assert "Total params" in output
    assert re.search(r"epoch 1/1 .*loss", output)
    for line in REPORTS[name]:
        assert re.search(line, report_of(output)), f"no line {line!r} in:\n{output}"


def test_every_script_is_listed_and_short_enough_to_be_read():
    scripts = sorted(SCRIPTS.glob("*.py"))
    with_own_tests = [
        *("ensemble_digits", "patterns", "screenshots", "train_imdb_tensorboard", "tune_digits"),
    ]
    assert [path.stem for path in scripts] == sorted([*REPORTS, *with_own_tests])
    for path in scripts:
        assert len(path.read_text(encoding="utf-8").splitlines()) < 100, path.name


def imdb(path):
    """A small file of the form of Keras's imdb.npz, of 60 words a review."""
    rng = np.random.default_rng(0)

    def split():
        x = np.empty(40, dtype=object)
        x[:] = [rng.integers(1, 3000, size=rng.integers(50, 70)).tolist() for _ in range(40)]
        return x, rng.integers(0, 2, size=40)

    (x_train, y_train), (x_test, y_test) = split(), split()
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


FILES = [
    ("question_answering", lambda path: path.write_text(babi.generate(40, seed=5)), 40),
    ("posts", lambda path: path.write_text(posts.generate(60, seed=5)), 12),
    ("sentence_similarity", lambda path: path.write_text(similarity.generate(80, seed=5)), 16),
    ("sentiment", imdb, 40),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "write", "held_out"), FILES)
def test_script_reads_the_users_file(name, write, held_out, tmp_path):
    path = tmp_path / "data.npz"
    write(path)
    output = run(name, "--quick", "--data", path)
    assert re.search(rf"\b{held_out} held-out", output)


@pytest.mark.slow
def test_two_cameras_take_weights_from_a_file(tmp_path):
    """A file of Xception's weights as Keras publishes it; its statistics are those of no image."""
    path = tmp_path / "xception_notop.h5"
    network = models.Xception(include_top=False)
    with h5py.File(path, "w") as file:
        places = layer_places(network)
        file.attrs["layer_names"] = list(places)
        for name, place in places.items():
            module = network.get_submodule(place.module)
            tensors = {n: t.detach() for n, t in module.state_dict().items() if "num" not in n}
            arrays = to_keras(place.kind, tensors, in_channels=len(next(iter(tensors.values()))))
            file.create_group(name).attrs["weight_names"] = [f"{i}:0" for i in range(len(arrays))]
            for i, array in enumerate(arrays):
                file[name][f"{i}:0"] = array.numpy()
    output = run("two_cameras", "--quick", "--weights", path)
    assert re.search(r"Non-trainable params: 20,861,480", output)
    assert re.search(r"60 held-out pairs told right", output)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_report():
    first = run("sentence_similarity", *QUICK)
    again = run("sentence_similarity", *QUICK, "--device", "cpu")
    assert report_of(first) == report_of(again)


@pytest.mark.slow
def test_a_model_that_does_not_beat_its_baseline_fails_the_run(tmp_path):
    """One sentence in every pair, labels at random: there is nothing to be learned."""
    path = tmp_path / "pairs.tsv"
    labels = np.random.default_rng(0).integers(0, 2, size=200)
    rows = [f"{i}\t{i}\t{i}\twhat is it\twhat is it\t{label}" for i, label in enumerate(labels)]
    path.write_text("\n".join(["\t".join(similarity.COLUMNS), *rows]), encoding="utf-8")
    with pytest.raises(AssertionError, match="does not beat its baseline"):
        run("sentence_similarity", "--data", path, "--epochs", 1)
