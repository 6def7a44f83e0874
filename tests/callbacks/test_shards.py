"""Callbacks that keep weights, where two processes have a shard of the model each."""

import functools
import os

import pytest
import torch
from torch import nn

from torchbp.callbacks import (
    ClipGradients,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    TerminateOnNaN,
    WeightAveraging,
)
from torchbp.train import Trainer
from torchbp.train.nonfinite import first_nonfinite_layer

X = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(8, 2)
Y = X.sum(1, keepdim=True)


def make_trainer(folder, *callbacks):
    torch.manual_seed(0)
    return Trainer(
        nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double(),
        nn.MSELoss(),
        functools.partial(torch.optim.Adam, lr=0.1),
        parallel="fsdp",
        callbacks=[
            WeightAveraging(0.5),
            EarlyStopping("loss", mode="max", patience=9, restore_best_weights=True),
            ModelCheckpoint(folder / "{epoch}.pt"),
            ClipGradients(max_norm=0.2),
            ClipGradients(max_norm_each=0.1),
            ClipGradients(max_value=0.05),
            *callbacks,
        ],
    )


def train(trainer, batch_size):
    settings = {"epochs": 3, "shuffle": False, "progress": False}
    trainer.fit(X, Y, batch_size=batch_size, validation_data=(X, Y), **settings)


def train_in_two(rank, folder):
    """A whole run, and one that is resumed within its second epoch."""
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", None, 2, rank)

    def save(trainer):
        state = trainer.state_dict()
        if trainer.is_main:
            torch.save(state, folder / f"{trainer.global_step} {trainer.is_within_epoch}")

    save = LambdaCallback(on_checkpoint=save)
    whole = make_trainer(folder / "whole", save)
    train(whole, batch_size=2)
    torch.distributed.barrier()
    for name in ("3 True", "4 False"):  # four steps make two epochs
        resumed = make_trainer(folder / "resumed")
        resumed.load_state_dict(torch.load(folder / name, weights_only=True))
        train(resumed, batch_size=2)
        for name, value in resumed.model.state_dict().items():
            assert torch.equal(value.full_tensor(), whole.model.state_dict()[name].full_tensor())
    check_that_both_stop(rank, folder)
    nn.init.constant_(whole.model[2].bias, torch.nan)
    assert first_nonfinite_layer(whole.model, X) == "'2' (Linear): its bias is not finite"
    torch.distributed.destroy_process_group()


def check_that_both_stop(rank, folder):
    """A target of one process is not finite: no process takes the step, and both know why."""
    trainer = make_trainer(folder / "stopped", TerminateOnNaN())
    y = Y.clone()
    y[5] = torch.nan
    trainer.fit(X, y, batch_size=2, epochs=3, shuffle=False, progress=False)
    assert trainer.global_step == 2
    assert trainer.stop_reason.endswith("its targets are not finite")
    state = trainer.model.state_dict()
    assert all(value.full_tensor().isfinite().all() for value in state.values())


@pytest.mark.slow
def test_a_sharded_model_is_averaged_restored_saved_and_resumed_as_a_whole_one(tmp_path):
    torch.multiprocessing.spawn(train_in_two, (tmp_path,), nprocs=2)
    alone = make_trainer(tmp_path / "alone")
    train(alone, batch_size=4)
    for epoch in (1, 2, 3):
        expected = torch.load(tmp_path / "alone" / f"{epoch}.pt", weights_only=True)
        found = torch.load(tmp_path / "whole" / f"{epoch}.pt", weights_only=True)
        # means of two in each process, then of both, instead of four: float64 rounding
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    # the first epoch has the highest loss
    best = torch.load(tmp_path / "alone" / "1.pt", weights_only=True)
    assert all(torch.equal(value, best[name]) for name, value in alone.model.state_dict().items())
