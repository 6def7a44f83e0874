import errno
import math

import pytest
import torch
from torch import nn

from tests.callbacks.loop import resumed, run, saved, weight
from torchbp.callbacks import LambdaCallback, ModelCheckpoint, model_checkpoint as module
from torchbp.errors import DataError
from torchbp.train import Trainer

NAN = math.nan
VALUES = [5.0, 4.0, 4.5, 3.0, 3.5]


def names(folder):
    return sorted(saved(folder))


@pytest.mark.parametrize(
    ("template", "settings", "expected"),
    [
        ("{epoch}", {}, {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5}),
        ("last", {}, {"last": 5}),
        ("{epoch:02d}-{score}", {"save_best_only": True}, {"01-5.0": 1, "02-4.0": 2, "04-3.0": 4}),
        ("best", {"save_best_only": True}, {"best": 4}),
        ("best", {"save_best_only": True, "mode": "max"}, {"best": 1}),
        ("{epoch}", {"save_best_only": True, "initial_best": 4.0}, {"4": 4}),
        ("{epoch}", {"keep": 1}, {"4": 4}),
        ("{epoch}", {"keep": 2}, {"4": 4, "5": 5}),
        ("{epoch}", {"keep": 3}, {"2": 2, "4": 4, "5": 5}),
        ("{epoch}", {"keep": 2, "save_best_only": True}, {"2": 2, "4": 4}),
        ("{epoch}", {"keep": 2, "mode": "max"}, {"1": 1, "3": 3}),
    ],
)
def test_saves_the_epochs_that_it_is_to_save(tmp_path, template, settings, expected):
    run(VALUES, ModelCheckpoint(tmp_path / template, "score", **{"mode": "min", **settings}))
    assert saved(tmp_path) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2.0, 2.0, 2.0], ["1", "2"]),  # of ties the earlier ones stay
        ([NAN, 2.0, 3.0], ["2", "3"]),
        ([2.0, NAN, 3.0, NAN], ["1", "3"]),
        ([NAN, NAN, NAN], ["1", "2"]),
        ([2.0], ["1"]),
    ],
)
def test_of_ties_and_nan_the_ones_that_are_kept(tmp_path, values, expected):
    run(values, ModelCheckpoint(tmp_path / "{epoch}", "score", mode="min", keep=2))
    assert names(tmp_path) == expected


def test_a_name_that_stays_is_one_file_of_those_that_are_kept(tmp_path):
    run([3.0, 2.0, 1.0, 4.0], ModelCheckpoint(tmp_path / "best", "score", mode="min", keep=2))
    assert names(tmp_path) == ["best"]


def test_files_load_into_the_model_with_all_its_buffers(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    path = tmp_path / "new" / "folder" / "{epoch}.pt"
    trainer = Trainer(model, nn.MSELoss(), torch.optim.Adam, callbacks=[ModelCheckpoint(path)])
    x = torch.randn(8, 2)
    trainer.fit(x, x, progress=False)
    loaded = torch.load(tmp_path / "new" / "folder" / "1.pt", weights_only=True)
    assert loaded.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded[name], value, rtol=0, atol=0)


def test_counts_batches_across_epochs(tmp_path):
    run([0.0] * 3, ModelCheckpoint(tmp_path / "{epoch}-{batch}", every=4), samples=3)
    assert names(tmp_path) == ["2-1", "3-2"]


def test_compares_the_means_so_far_when_it_goes_by_batches(tmp_path):
    save = ModelCheckpoint(tmp_path / "{epoch}-{batch}-{score}", "score", True, mode="min", every=2)
    run([2.0, 3.0, 1.0], save, samples=4)
    assert names(tmp_path) == ["1-2-2.0", "3-2-1.0"]


def test_the_best_value_outlives_a_training(tmp_path):
    save = ModelCheckpoint(tmp_path / "best", "score", save_best_only=True, mode="min")
    run([2.0, 1.0], save)
    run([9.0, 8.0, 7.0], save)
    assert saved(tmp_path) == {"best": 2}


def test_worse_files_are_deleted_only_after_the_better_one_is_written(tmp_path, monkeypatch):
    seen = []

    def write(path, write):
        seen.append([file.name for file in tmp_path.iterdir()])
        path.write_bytes(b"")

    monkeypatch.setattr(module, "write_atomically", write)
    run([3.0, 2.0], ModelCheckpoint(tmp_path / "{epoch}", "score", mode="min", keep=1))
    assert seen == [[], ["1"]]
    assert [file.name for file in tmp_path.iterdir()] == ["2"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), RuntimeError("No space left")]
)
def test_a_full_disk_is_reported_with_the_files_that_are_safe(tmp_path, monkeypatch, error):
    def fill_disk(trainer):
        if trainer.epoch == 2:
            monkeypatch.setattr(module.torch, "save", no_space)

    def no_space(state, file):
        raise error

    save = ModelCheckpoint(tmp_path / "{epoch}", "score", mode="min", keep=2)
    with pytest.raises(type(error), match="No space left") as caught:
        run([3.0, 2.0, 1.0], LambdaCallback(on_epoch_begin=fill_disk), save)
    assert f"still there: {tmp_path}/2, {tmp_path}/1" in caught.value.__notes__[0]
    assert names(tmp_path) == ["1", "2"]


def test_only_the_main_process_writes_and_deletes(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "is_main", False)
    (tmp_path / "1").touch()
    run([3.0, 2.0], ModelCheckpoint(tmp_path / "{epoch}", "score", mode="min", keep=1))
    assert [file.name for file in tmp_path.iterdir()] == ["1"]


@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("cut", [1, 3, 5, 6, 7])
@pytest.mark.parametrize("settings", [{"keep": 2}, {"save_best_only": True}, {"every": 3}], ids=str)
def test_a_resumed_run_leaves_the_same_files(tmp_path, settings, cut, beyond):
    values = [5.0, 4.0, 4.5, 3.0]

    def make(folder=tmp_path / "resumed"):
        template = "{epoch}-{batch}" if "every" in settings else "{epoch}"
        return [ModelCheckpoint(folder / template, "score", mode="min", **settings)]

    run(values, *make(tmp_path / "whole"), samples=2)
    resumed(values, make, cut, beyond=beyond, samples=2)
    assert saved(tmp_path / "resumed") == saved(tmp_path / "whole")


def test_a_path_of_names_that_the_logs_lack_is_an_error_that_lists_them(tmp_path):
    with pytest.raises(DataError, match=r"names loss, score, epoch, got .*'val_loss' is none"):
        run([1.0], ModelCheckpoint(tmp_path / "{val_loss}"))
    with pytest.raises(DataError, match="'batch' is none of them"):
        run([1.0], ModelCheckpoint(tmp_path / "{batch}"))
    assert names(tmp_path) == []


def test_a_monitored_number_that_the_logs_lack_is_an_error(tmp_path):
    with pytest.raises(DataError, match="expected 'val_loss' in the logs, which have loss, score"):
        run([1.0], ModelCheckpoint(tmp_path / "best", save_best_only=True))
    with pytest.raises(DataError, match="expected 'val_loss' in the logs"):
        run([1.0], ModelCheckpoint(tmp_path / "best", keep=1, every=1))


def test_a_number_that_is_not_looked_at_needs_no_direction(tmp_path):
    trainer = run([1.0], ModelCheckpoint(tmp_path / "last", "score"))
    assert saved(tmp_path) == {"last": weight(trainer)}
    with pytest.raises(DataError, match="'score' is to fall or to grow"):
        run([1.0], ModelCheckpoint(tmp_path / "last", "score", keep=1))


@pytest.mark.parametrize("settings", [{"every": 0}, {"keep": -1}, {"every": 1.5}])
def test_counts_that_are_not_positive_are_errors(settings):
    with pytest.raises(DataError, match=f"expected {next(iter(settings))} to be a positive int"):
        ModelCheckpoint("path", **settings)
