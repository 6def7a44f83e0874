"""Runs that are killed, interrupted and starved go on as if nothing had happened.

A short version; `make faults` kills many more.
"""

import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from torchbp.callbacks import BackupAndRestore
from torchbp.errors import DataError
from torchbp.train import Callback, Trainer

if sys.platform != "linux":
    pytest.skip("processes are forked here", allow_module_level=True)

sys.path.insert(0, str(Path(__file__).parent))
import runs

numbers = torch.Generator().manual_seed(0)
X, Y = (torch.randn(12, size, generator=numbers) for size in (3, 1))


@pytest.mark.slow
@pytest.mark.parametrize("program", runs.PROGRAMS)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_killed_at_random_moments_ends_bit_for_bit_as_one_that_was_not(
    tmp_path, program, accumulation
):
    began = time.monotonic()
    whole = runs.uninterrupted(program, tmp_path / "whole", accumulation=accumulation)
    longest = (time.monotonic() - began) / 2
    killed, kills, _ = runs.kill_until_done(
        program, tmp_path / "killed", random.Random(0), longest, accumulation=accumulation
    )
    assert kills > 0
    assert runs.are_equal(whole, killed)


def kill_at(function, times, *, afterwards):
    """Replaces a function of `os` so that its call number `times` kills the process."""
    original, calls = getattr(os, function), []

    def replaced(*args, **kwargs):
        calls.append(1)
        is_last = len(calls) == times
        if is_last and not afterwards:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if is_last and afterwards:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(os, function, replaced)


@pytest.mark.parametrize(
    ("function", "afterwards"),
    [("fsync", False), ("fsync", True), ("rename", False), ("unlink", False), ("unlink", True)],
)
def test_a_kill_at_any_point_of_saving_costs_no_checkpoint(tmp_path, function, afterwards):
    """Before the data are flushed, before the rename, before an older one is removed ..."""
    function = "replace" if function == "rename" else function
    whole = runs.uninterrupted("arrays", tmp_path / "whole")
    folder = tmp_path / "killed"
    folder.mkdir()
    process = runs.start(
        "arrays",
        folder,
        folder / "result",
        before=lambda: kill_at(function, 9, afterwards=afterwards),
    )
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list(folder.glob("step-*.pt"))
    assert runs.are_equal(whole, runs.finish("arrays", folder))


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 0)]
)
def test_a_signal_saves_the_step_and_leaves(tmp_path, number, exit_code):
    whole = runs.uninterrupted("dataset", tmp_path / "whole")
    folder = tmp_path / "left"
    folder.mkdir()
    process = runs.start("dataset", folder, folder / "left")
    while not list(folder.glob("step-*4.pt")):
        time.sleep(0.01)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == exit_code
    assert "Traceback" not in (folder / "stderr").read_text()
    assert runs.are_equal(whole, runs.finish("dataset", folder))


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "torn":
        del content[len(content) // 2 :]
    elif how == "empty":
        content.clear()
    else:
        content[len(content) // 3] ^= 1
    path.write_bytes(content)


def train(folder, epochs, **settings):
    torch.manual_seed(0)
    trainer = Trainer(nn.Linear(3, 1), nn.MSELoss(), torch.optim.Adam)
    backup = BackupAndRestore(folder)
    trainer.fit(X, Y, epochs=epochs, callbacks=[backup], progress=False, **settings)
    return trainer


@pytest.mark.parametrize("how", ["torn", "empty", "one bit"])
def test_a_damaged_checkpoint_is_left_aside_for_the_one_before_it(tmp_path, how):
    whole = train(tmp_path / "whole", epochs=4)
    train(tmp_path / "run", epochs=3)
    newest = sorted((tmp_path / "run").glob("step-*.pt"))[-1]
    damage(newest, how)
    with pytest.warns(UserWarning, match=f"{newest.name} is damaged .* left aside"):
        resumed = train(tmp_path / "run", epochs=4)
    assert dict(resumed.history) == dict(whole.history)
    assert torch.equal(resumed.model.weight, whole.model.weight)


def test_only_damaged_checkpoints_are_an_error(tmp_path):
    train(tmp_path, epochs=1)
    for path in tmp_path.glob("step-*.pt"):
        damage(path, "torn")
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(DataError, match=r"expected a whole checkpoint in .*got damaged ones: step"),
    ):
        train(tmp_path, epochs=2)


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match=r"expected a folder that can be written, got .*file"):
        train(tmp_path / "file", epochs=1)


def starve():
    """From now on no file may be larger than 2000 bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))


class Starve(Callback):
    def on_epoch_end(self, trainer):
        if trainer.epoch == 2:
            starve()


def test_a_full_disk_is_reported_with_what_is_safe_and_training_goes_on(tmp_path):
    """Beyond the limit a write fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    trainer = Trainer(nn.Linear(3, 1), nn.MSELoss(), torch.optim.Adam)
    hearing = [Starve(), BackupAndRestore(tmp_path)]
    try:
        with pytest.warns(UserWarning, match=r"step-000000003.pt could .* step-000000002.pt is st"):
            trainer.fit(X, Y, epochs=3, callbacks=hearing, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert trainer.history.epochs == [0, 1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000000001.pt",
        "step-000000002.pt",
    ]


class Fail(Callback):
    def on_batch_end(self, trainer):
        if trainer.global_step == 3:
            raise RuntimeError("broken")


def test_an_exception_in_a_callback_leaves_a_checkpoint_of_the_last_step(tmp_path):
    whole = train(tmp_path / "whole", epochs=4)
    torch.manual_seed(0)
    trainer = Trainer(nn.Linear(3, 1), nn.MSELoss(), torch.optim.Adam)
    hearing = [Fail(), BackupAndRestore(tmp_path / "run")]
    with pytest.raises(RuntimeError, match="broken") as caught:
        trainer.fit(X, Y, epochs=4, callbacks=hearing, progress=False)
    assert any("the state after step 3 is saved" in note for note in caught.value.__notes__)
    assert torch.equal(train(tmp_path / "run", epochs=4).model.weight, whole.model.weight)


def test_keeps_as_many_checkpoints_as_asked(tmp_path):
    trainer = Trainer(nn.Linear(3, 1), nn.MSELoss(), torch.optim.Adam)
    backup = BackupAndRestore(tmp_path, every=2, keep=3)
    trainer.fit(X, Y, batch_size=4, epochs=5, callbacks=[backup], progress=False)
    steps = [int(path.stem.removeprefix("step-")) for path in sorted(tmp_path.glob("*.pt"))]
    assert steps == [12, 14, 15]


def test_a_checkpoint_of_another_model_data_or_callbacks_is_refused(tmp_path):
    train(tmp_path, epochs=1)
    other = Trainer(nn.Linear(2, 1), nn.MSELoss(), torch.optim.Adam)
    with pytest.raises(DataError, match="checkpoint: expected for its model"):
        other.fit(X[:, :2], Y, callbacks=[BackupAndRestore(tmp_path)], progress=False)
    bare = Trainer(nn.Linear(3, 1, bias=False), nn.MSELoss(), torch.optim.Adam)
    with pytest.raises(DataError, match=r"checkpoint: expected for its optimizer 1 parameters"):
        bare.fit(X, Y, callbacks=[BackupAndRestore(tmp_path)], progress=False)
    trainer = Trainer(nn.Linear(3, 1), nn.MSELoss(), torch.optim.Adam)
    with pytest.raises(DataError, match="inputs: expected the data of the checkpoint, 12 samples"):
        trainer.fit(
            X[:9], Y[:9], epochs=2, shuffle=False, steps_per_epoch=1, progress=False,
            callbacks=[BackupAndRestore(tmp_path)],
        )  # fmt: skip


def test_a_finished_run_is_not_run_again(tmp_path):
    first = train(tmp_path, epochs=2)
    second = train(tmp_path, epochs=2)
    assert dict(second.history) == dict(first.history)
    assert second.global_step == first.global_step == 2


class BreaksOff(torch.optim.SGD):
    """Changes some weights, and fails in its fourth step before it has changed all."""

    steps = 0

    def step(self):
        self.steps += 1
        if self.steps == 4:
            with torch.no_grad():
                self.param_groups[0]["params"][0].add_(1.0)
            raise RuntimeError("broken off")
        return super().step()


def test_weights_of_a_step_that_was_broken_off_are_not_saved(tmp_path):
    trainer = Trainer(nn.Linear(3, 1), nn.MSELoss(), BreaksOff)
    backup = BackupAndRestore(tmp_path)
    with pytest.raises(RuntimeError, match="broken off"):
        trainer.fit(X, Y, batch_size=6, epochs=4, callbacks=[backup], progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000002.pt"]


def test_the_scale_of_half_precision_goes_on(tmp_path):
    def train_in_half(folder, epochs):
        torch.manual_seed(0)
        trainer = Trainer(nn.Linear(3, 1), nn.MSELoss(), torch.optim.Adam, precision="fp16")
        trainer._engine.scaler.set_growth_interval(3)
        trainer.fit(X, Y, epochs=epochs, callbacks=[BackupAndRestore(folder)], progress=False)
        return trainer

    whole = train_in_half(tmp_path / "whole", 5)
    train_in_half(tmp_path / "run", 2)
    resumed = train_in_half(tmp_path / "run", 5)
    assert resumed._engine.scaler.state_dict() == whole._engine.scaler.state_dict()
    assert resumed._engine.scaler.get_scale() != 2.0**16  # it has changed
    assert torch.equal(resumed.model.weight, whole.model.weight)
