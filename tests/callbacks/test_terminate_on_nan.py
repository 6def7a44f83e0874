"""TerminateOnNaN, and how the layer is found that makes the first number that is not finite."""

import functools
import math

import pytest
import torch
from torch import nn

from tests.callbacks.loop import torch_round_trip
from torchbp import Input, Model, layers
from torchbp.callbacks import LambdaCallback, TerminateOnNaN
from torchbp.errors import DataError
from torchbp.train import Trainer
from torchbp.train.nonfinite import first_nonfinite_layer

NAN, INF = math.nan, math.inf
SGD = functools.partial(torch.optim.SGD, lr=0.1)
SETTINGS = {"batch_size": 1, "shuffle": False, "progress": False}


def make_net():
    return nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))


def data(bad_row, value=NAN, rows=6):
    x = torch.ones(rows, 2)
    y = torch.zeros(rows, 1)
    y[bad_row] = value
    return x, y


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("row", [0, 3, 5])
def test_stops_at_the_batch_with_the_weights_that_it_had(row, value):
    trainer = Trainer(make_net(), nn.MSELoss(), SGD)
    before = []

    def keep(trainer):
        before.append(torch_round_trip(trainer.model.state_dict()))

    callbacks = [TerminateOnNaN(), LambdaCallback(on_batch_begin=keep)]
    trainer.fit(*data(row, value), callbacks=callbacks, epochs=2, **SETTINGS)
    assert trainer.global_step == row + 1
    assert trainer.stop_reason == (
        f"TerminateOnNaN: the loss of epoch 1, batch {row + 1} is not finite; "
        "the batch itself: its targets are not finite"
    )
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, before[-1][name])


def test_training_with_finite_losses_goes_on():
    trainer = Trainer(make_net(), nn.MSELoss(), SGD)
    trainer.fit(*data(0, 1.0), callbacks=[TerminateOnNaN()], epochs=2, **SETTINGS)
    assert (trainer.global_step, trainer.stop_reason) == (12, None)


def test_names_the_layer_that_gave_it():
    trainer = Trainer(make_net(), nn.MSELoss(), SGD)
    nn.init.constant_(trainer.model[2].bias, NAN)
    trainer.fit(*data(0, 1.0), callbacks=[TerminateOnNaN()], **SETTINGS)
    assert trainer.stop_reason.endswith("; '2' (Linear): its bias is not finite")


def test_says_when_the_loss_is_at_fault():
    def loss(output, target):
        return (output * 0).log().mean()

    trainer = Trainer(make_net(), loss, SGD)
    trainer.fit(*data(0, 1.0), callbacks=[TerminateOnNaN()], **SETTINGS)
    assert trainer.stop_reason.endswith(
        "all layers give finite outputs, so that the loss is at fault"
    )


@pytest.mark.filterwarnings("ignore:the loss is nan in epoch 1")  # the Trainer sees it first
@pytest.mark.parametrize(("every", "num_steps"), [(1, 2), (2, 2), (3, 3), (6, 6), (7, 12)])
def test_looks_at_every_nth_step_at_the_losses_since(every, num_steps):
    """With 7 it looks in the next epoch, at batch 0: the sixth loss was of epoch 0."""
    trainer = Trainer(make_net(), nn.MSELoss(), SGD)
    trainer.fit(*data(1), callbacks=[TerminateOnNaN(every)], epochs=2, **SETTINGS)
    assert trainer.global_step == (7 if every == 7 else num_steps)


@pytest.mark.parametrize("row", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("knows_its_length", [True, False])
def test_finds_it_in_any_of_the_batches_whose_gradients_are_gathered(row, knows_its_length):
    trainer = Trainer(make_net(), nn.MSELoss(), SGD, grad_accumulation=3)
    x, y = data(row, rows=5)
    batches = (x, y) if knows_its_length else (zip(x[:, None], y[:, None], strict=True),)
    trainer.fit(*batches, callbacks=[TerminateOnNaN()], **SETTINGS)
    assert trainer.stop_reason is not None
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


def test_a_resumed_run_remembers_the_losses_that_it_has_not_looked_at():
    states = []
    save = LambdaCallback(on_checkpoint=lambda t: states.append(torch_round_trip(t.state_dict())))
    make = functools.partial(Trainer, make_net(), nn.MSELoss(), SGD)
    make().fit(*data(1), callbacks=[TerminateOnNaN(4), save], **SETTINGS)
    trainer = make()
    trainer.load_state_dict(states[2])
    for parameter in trainer.model.parameters():
        nn.init.zeros_(parameter)  # so that later losses are finite again
    trainer.fit(*data(1), callbacks=[TerminateOnNaN(4)], **SETTINGS)
    assert trainer.global_step == 4


@pytest.mark.parametrize("every", [0, 1.5, None])
def test_a_rhythm_that_is_no_positive_int_is_an_error(every):
    with pytest.raises(DataError, match="every to be a positive int"):
        TerminateOnNaN(every)


class Divide(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.last = nn.Linear(2, 2)

    def forward(self, x):
        return self.last(self.first(x) / 0)


class Take(nn.Module):
    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, a, b):
        return {"out": [self.first(a), b.log()]}


def spoil(module, name):
    nn.init.constant_(getattr(module, name), INF)
    return module


X = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("model", "inputs", "found"),
    [
        (make_net(), X, None),
        (spoil(nn.Linear(2, 1), "weight"), X, "the model (Linear): its weight is not finite"),
        (
            nn.Sequential(make_net(), spoil(nn.BatchNorm1d(1), "running_var")).train(),
            X,
            None,  # BatchNorm computes with the batch's own statistics in training
        ),
        (
            nn.Sequential(make_net(), spoil(nn.BatchNorm1d(1), "running_mean")).eval(),
            X,
            "'1' (BatchNorm1d): its running_mean is not finite",
        ),
        (
            nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.LogSoftmax(1), nn.Softplus(1e-45))),
            torch.full((1, 2), 1e38),
            "'0.2' (Softplus): its output is not finite while its input is",
        ),
        (make_net(), torch.tensor([[NAN, 1.0]]), "the batch itself: its inputs is not finite"),
        (
            Divide(),
            X,
            "an operation before 'last' (Linear), outside of a layer: it gives that one an input "
            "that is not finite",
        ),
        (
            Take(first=nn.Linear(2, 1)),
            {"a": X, "b": torch.zeros(3)},
            "the model (Take): its output is not finite while its input is",
        ),
        (
            Take(first=spoil(nn.Linear(2, 1), "weight")),
            [X, torch.zeros(3)],
            "'first' (Linear): its weight is not finite",
        ),
        (nn.Embedding(3, 2), torch.tensor([0, 1]), None),
    ],
)
def test_finds_the_first_that_is_not_finite(model, inputs, found):
    assert first_nonfinite_layer(model, inputs) == found


def test_finds_layers_of_functional_models_by_their_names():
    x = Input((2,))
    h = layers.Linear(2, 3, name="hidden")(x)
    model = Model(x, layers.Linear(3, 1, name="score")(h))
    nn.init.constant_(model.get_submodule("hidden").weight, NAN)
    assert first_nonfinite_layer(model, X) == "'hidden' (Linear): its weight is not finite"


def test_leaves_no_trace():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), spoil(nn.Linear(2, 1), "bias"))
    before, random = torch_round_trip(model.state_dict()), torch.get_rng_state()
    first_nonfinite_layer(model, X)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
