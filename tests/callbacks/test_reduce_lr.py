import math

import pytest
import torch
from torch import nn

from tests.callbacks.loop import fit, make_trainer, resumed, run
from torchbp.callbacks import LambdaCallback, ReduceLROnPlateau
from torchbp.errors import DataError
from torchbp.train import Trainer

NAN = math.nan
FLAT = [1.0] * 6


@pytest.mark.parametrize(
    ("values", "settings", "lrs"),
    [
        (FLAT, {"patience": 1}, [8, 8, 4, 2, 1, 0.5]),
        (FLAT, {"patience": 0}, [8, 8, 4, 2, 1, 0.5]),
        (FLAT, {"patience": 2}, [8, 8, 8, 4, 4, 2]),
        (FLAT, {"patience": 1, "cooldown": 1}, [8, 8, 4, 2, 1, 0.5]),  # it ends before the next
        (FLAT, {"patience": 1, "cooldown": 2}, [8, 8, 4, 4, 2, 2]),
        (FLAT, {"patience": 2, "cooldown": 2}, [8, 8, 8, 4, 4, 4]),
        (FLAT, {"patience": 1, "min_lr": 3}, [8, 8, 4, 3, 3, 3]),
        ([3, 2, 1, 0, 0, 0], {"patience": 1}, [8, 8, 8, 8, 8, 4]),
        ([3, 2, 1, 0, 0, 0], {"patience": 2, "mode": "max"}, [8, 8, 8, 4, 4, 2]),
        ([3, 2.5, 2, 1.5, 1, 0.5], {"patience": 1, "min_delta": 0.5}, [8, 8, 4, 4, 2, 2]),
        ([NAN, 1, 0, -1, -2, -3], {"patience": 1}, [8, 8, 4, 2, 1, 0.5]),
    ],
)
def test_reduces_after_patience_epochs_without_an_improvement(values, settings, lrs):
    plateau = ReduceLROnPlateau("score", 0.5, **{"mode": "min", **settings})
    assert run(values, plateau, lr=8.0).history["lr"] == lrs


def test_logs_the_learning_rate_that_the_epoch_had():
    lrs = []
    note = LambdaCallback(on_batch_end=lambda t: lrs.append(t.optimizer.param_groups[0]["lr"]))
    plateau = ReduceLROnPlateau("score", 0.5, patience=1, mode="min")
    assert run(FLAT, plateau, note).history["lr"] == lrs


def test_reduces_every_parameter_group_down_to_the_least():
    model = nn.Linear(1, 1)
    groups = [{"params": [model.weight], "lr": 8.0}, {"params": [model.bias], "lr": 1.0}]
    plateau = ReduceLROnPlateau("loss", 0.5, patience=1, min_delta=99.0, min_lr=0.75)
    trainer = Trainer(model, nn.MSELoss(), torch.optim.SGD(groups), callbacks=[plateau])
    fit(trainer, epochs=3)
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [2.0, 0.75]


def test_keeps_a_learning_rate_that_is_a_tensor_in_its_place():
    lr = torch.tensor(8.0)
    model = nn.Linear(1, 1)
    plateau = ReduceLROnPlateau("loss", 0.5, patience=1, min_delta=99.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    fit(Trainer(model, nn.MSELoss(), optimizer, callbacks=[plateau]), epochs=2)
    assert lr == 4.0
    assert optimizer.param_groups[0]["lr"] is lr


def test_starts_afresh_in_each_training():
    plateau = ReduceLROnPlateau("score", 0.5, patience=1, cooldown=9, mode="min")
    run([0.0, 0.0], plateau)
    assert run([1.0, 1.0, 1.0], plateau, lr=8.0).history["lr"] == [8, 8, 4]


@pytest.mark.parametrize("cut", [2, 4, 6, 8, 10, 12])
def test_a_resumed_run_reduces_as_if_nothing_had_happened(cut):
    def make():
        return [ReduceLROnPlateau("score", 0.5, patience=1, cooldown=3, mode="min")]

    values = [1.0] * 8
    assert dict(resumed(values, make, cut).history) == dict(run(values, *make()).history)


def test_a_factor_of_one_or_more_is_an_error():
    with pytest.raises(DataError, match="a factor below 1, got 1"):
        ReduceLROnPlateau(factor=1)


def test_a_number_that_the_logs_lack_is_an_error():
    with pytest.raises(DataError, match="ReduceLROnPlateau: expected 'val_loss' in the logs"):
        fit(make_trainer([1.0], ReduceLROnPlateau()))
