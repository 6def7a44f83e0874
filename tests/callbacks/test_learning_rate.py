"""LearningRateScheduler, and the adapter for torch's schedulers."""

import functools

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from tests.callbacks.loop import fit, make_trainer, resumed, run
from torchbp.callbacks import LambdaCallback, LearningRateScheduler, TorchScheduler
from torchbp.errors import DataError
from torchbp.train import Trainer


def test_a_schedule_is_asked_before_each_epoch_with_the_learning_rate_as_it_is():
    asked = []

    def schedule(epoch, lr):
        asked.append((epoch, lr))
        return lr / 2

    trainer = run([0.0] * 3, LearningRateScheduler(schedule), lr=8.0)
    assert asked == [(0, 8.0), (1, 4.0), (2, 2.0)]
    assert trainer.history["lr"] == [4.0, 2.0, 1.0]


def test_a_schedule_sets_every_parameter_group():
    model = nn.Linear(1, 1)
    groups = [{"params": [model.weight], "lr": 8.0}, {"params": [model.bias], "lr": 1.0}]
    halve = LearningRateScheduler(lambda epoch, lr: lr / 2)
    trainer = Trainer(model, nn.MSELoss(), torch.optim.SGD(groups), callbacks=[halve])
    fit(trainer)
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [4.0, 0.5]


def test_a_schedule_that_returns_no_number_is_an_error():
    with pytest.raises(DataError, match="to return a number, got None"):
        run([0.0], LearningRateScheduler(lambda epoch, lr: None))


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 6, 7])
def test_a_resumed_run_has_the_scheduled_learning_rates(cut):
    """Two steps an epoch, so that checkpoints are within epochs as well."""

    def make():
        return [LearningRateScheduler(lambda epoch, lr: lr / 2)]

    trainer = resumed([0.0] * 3, make, cut, samples=2)
    assert dict(trainer.history) == dict(run([0.0] * 3, *make(), samples=2).history)


def step_lr(optimizer):
    return lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)


def test_a_scheduler_steps_at_the_end_of_each_epoch():
    trainer = run([0.0] * 5, TorchScheduler(step_lr), lr=8.0, samples=3)
    assert trainer.history["lr"] == [8.0, 8.0, 4.0, 4.0, 2.0]


def test_a_scheduler_steps_after_each_step():
    lrs = []
    note = LambdaCallback(on_gradients=lambda t: lrs.append(t.optimizer.param_groups[0]["lr"]))
    run([0.0] * 2, TorchScheduler(step_lr, every="step"), note, lr=8.0, samples=3)
    assert lrs == [8.0, 8.0, 4.0, 4.0, 2.0, 2.0]


@pytest.mark.parametrize("knows_its_length", [True, False])
def test_gathered_gradients_make_one_step_of_the_scheduler(knows_its_length):
    x = torch.ones(5, 1)
    scheduler = TorchScheduler(step_lr, every="step")
    trainer = Trainer(
        nn.Linear(1, 1),
        nn.MSELoss(),
        functools.partial(torch.optim.SGD, lr=0.5),
        callbacks=[scheduler],
        grad_accumulation=2,
    )
    data = (x, x) if knows_its_length else (((row, row) for row in x[:, None]),)
    trainer.fit(*data, batch_size=1, progress=False)
    assert scheduler.scheduler.last_epoch == 3  # of 2, 2 and 1 batches


def test_an_instance_is_stepped_as_it_is():
    trainer = make_trainer([0.0] * 3)
    scheduler = step_lr(trainer.optimizer)
    fit(trainer, epochs=3, callbacks=[TorchScheduler(scheduler)])
    assert scheduler.last_epoch == 3


def test_a_later_training_goes_on_where_the_scheduler_stands():
    trainer = make_trainer([0.0] * 5, TorchScheduler(step_lr), lr=8.0)
    fit(trainer, epochs=3)
    assert fit(trainer, initial_epoch=3, epochs=5)["lr"] == [4.0, 2.0]


def test_torch_s_plateau_is_given_the_number_to_monitor():
    make = functools.partial(lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=1)
    trainer = run([1.0] * 5, TorchScheduler(make, monitor="score"), lr=8.0)
    assert trainer.history["lr"] == [8.0, 8.0, 8.0, 4.0, 4.0]
    with pytest.raises(DataError, match="expected 'val_loss' in the logs"):
        run([1.0], TorchScheduler(make, monitor="val_loss"))


SCHEDULERS = {
    "StepLR": step_lr,
    "MultiStepLR": functools.partial(lr_scheduler.MultiStepLR, milestones=[1, 3, 4]),
    "LinearLR": functools.partial(lr_scheduler.LinearLR, start_factor=0.25, total_iters=5),
    "LambdaLR": functools.partial(lr_scheduler.LambdaLR, lr_lambda=lambda n: 1 / (n + 1)),
    "CosineAnnealingLR": functools.partial(lr_scheduler.CosineAnnealingLR, T_max=5),
    "CosineAnnealingWarmRestarts": functools.partial(
        lr_scheduler.CosineAnnealingWarmRestarts, T_0=2
    ),
    "OneCycleLR": functools.partial(lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=9),
    "SequentialLR": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.ConstantLR(optimizer), lr_scheduler.ExponentialLR(optimizer, 0.5)],
        milestones=[2],
    ),
}


@pytest.mark.parametrize("cut", [1, 3, 5])
@pytest.mark.parametrize("every", ["epoch", "step"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_resumed_run_has_the_scheduler_s_learning_rates(name, every, cut):
    def make():
        return [TorchScheduler(SCHEDULERS[name], every), note]

    lrs = []
    note = LambdaCallback(on_gradients=lambda t: lrs.append(hyperparameters(t)))
    run([0.0] * 4, *make(), samples=2)
    expected = lrs.copy()
    lrs.clear()
    resumed([0.0] * 4, make, cut, samples=2)
    assert lrs == expected


def hyperparameters(trainer):
    """What a scheduler changes: OneCycleLR also cycles the momentum."""
    group = trainer.optimizer.param_groups[0]
    return group["lr"], group["momentum"]


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_resumed_run_has_torch_s_plateaus(cut):
    def make():
        scheduler = functools.partial(lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=0)
        return [TorchScheduler(scheduler, monitor="score")]

    values = [1.0, 1.0, 0.5, 0.5, 0.5]
    assert dict(resumed(values, make, cut).history) == dict(run(values, *make()).history)


def test_a_scheduler_of_another_optimizer_is_an_error():
    other = step_lr(torch.optim.SGD([torch.zeros(1)]))
    with pytest.raises(DataError, match="of the trainer's optimizer, got StepLR of another"):
        run([0.0], TorchScheduler(other))


@pytest.mark.parametrize(
    ("scheduler", "settings"),
    [
        (lr_scheduler.ReduceLROnPlateau, {}),
        (lr_scheduler.ReduceLROnPlateau, {"monitor": "score", "every": "step"}),
        (step_lr, {"monitor": "score"}),
    ],
)
def test_a_number_to_monitor_belongs_to_plateaus_and_epochs(scheduler, settings):
    with pytest.raises(DataError, match="for ReduceLROnPlateau alone"):
        run([0.0], TorchScheduler(scheduler, **settings))


def test_an_unknown_rhythm_is_an_error():
    with pytest.raises(DataError, match="every='epoch' or every='step', got 'batch'"):
        TorchScheduler(step_lr, every="batch")
