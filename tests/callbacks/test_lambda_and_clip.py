import functools

import pytest
import torch
from torch import nn

from tests.callbacks.loop import run
from torchbp.callbacks import ClipGradients, LambdaCallback
from torchbp.errors import DataError
from torchbp.train import Trainer
from torchbp.train.callback import HOOKS


def test_functions_hear_the_hooks_that_they_are_given_for():
    heard = []
    functions = {hook: lambda trainer, hook=hook: heard.append(hook) for hook in HOOKS}
    trainer = run([0.0], LambdaCallback(**functions))
    assert heard[:3] == ["on_train_begin", "on_epoch_begin", "on_batch_begin"]
    trainer.evaluate(torch.ones(1, 1), torch.ones(1, 1), progress=False)
    trainer.predict(torch.ones(1, 1), progress=False)
    assert set(heard) == set(HOOKS)


def test_a_name_that_is_no_hook_is_an_error_that_lists_them():
    with pytest.raises(DataError, match=r"on_train_begin, .*, got on_epoch_stop"):
        LambdaCallback(on_epoch_stop=print)


GRADIENTS = [[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]


def clipped(clip, gradients=GRADIENTS):
    """What becomes of gradients that are set before they are clipped."""
    model = nn.ParameterList([torch.zeros(2) for _ in gradients])

    def set_gradients(trainer):
        for parameter, gradient in zip(model, gradients, strict=True):
            parameter.grad = None if gradient is None else torch.tensor(gradient)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = model

        def forward(self, x):
            return x + sum(weight.sum() for weight in self.weights)

    trainer = Trainer(
        Net(),
        nn.MSELoss(),
        functools.partial(torch.optim.SGD, lr=1.0),
        callbacks=[LambdaCallback(on_gradients=set_gradients), clip],
    )
    trainer.fit(torch.ones(1, 1), torch.ones(1, 1), progress=False)
    return [(-parameter).tolist() for parameter in model]  # SGD with lr 1 from zero


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_norm_each": 1.0}, [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]),
        ({"max_norm_each": 0.1}, [[0.06, 0.08], [0.06, 0.08], [0.0, 0.0]]),
        ({"max_value": 0.35}, [[0.35, 0.35], [0.3, 0.35], [0.0, 0.0]]),
        ({"max_norm": 100.0}, GRADIENTS),
    ],
)
def test_gradients_are_clipped_each_by_its_norm_or_its_values(limits, expected):
    for actual, wanted in zip(clipped(ClipGradients(**limits)), expected, strict=True):
        assert actual == pytest.approx(wanted, rel=1e-6)  # float32


def test_gradients_are_scaled_together_to_a_norm():
    rows = torch.tensor(clipped(ClipGradients(max_norm=1.0)))
    assert rows.norm().item() == pytest.approx(1.0, rel=1e-6)
    assert rows[0] / rows[1] == pytest.approx(torch.tensor([10.0, 10.0]), rel=1e-6)


def test_negative_values_are_clipped_as_well():
    assert clipped(ClipGradients(max_value=0.5), [[-3.0, 0.25]]) == [[-0.5, 0.25]]


def test_parameters_without_a_gradient_are_left_alone():
    assert clipped(ClipGradients(max_norm_each=1.0), [None, [3.0, 4.0]])[0] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("limits", "got"),
    [
        ({}, "got none"),
        ({"max_norm": 1.0, "max_value": 2.0}, "got max_norm=1.0, max_value=2.0"),
        ({"max_norm_each": 0}, "got max_norm_each=0"),
        ({"max_norm": -1.0}, "got max_norm=-1.0"),
    ],
)
def test_anything_but_one_positive_limit_is_an_error(limits, got):
    with pytest.raises(DataError, match=got):
        ClipGradients(**limits)
