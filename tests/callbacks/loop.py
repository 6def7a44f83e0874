"""A Trainer whose monitored number is scripted, and whose weight counts the epochs."""

import functools
import io
from pathlib import Path

import torch
from torch import nn

from torchbp.callbacks import LambdaCallback
from torchbp.train import Trainer

LR = 0.5


def make_trainer(values, *callbacks, lr=LR):
    """One weight, which is epoch + 1 from the begin of an epoch on; `score` is values[epoch]."""

    def score(output, target):
        return torch.tensor(values[trainer.epoch], dtype=torch.float64)

    trainer = Trainer(
        nn.Linear(1, 1, bias=False),
        lambda output, target: (output * 0).sum(),
        functools.partial(torch.optim.SGD, lr=lr),
        metrics={"score": score},
        callbacks=[LambdaCallback(on_epoch_begin=count_epoch), *callbacks],
    )
    return trainer


def run(values, *callbacks, lr=LR, **settings):
    """A training of an epoch for each value."""
    trainer = make_trainer(values, *callbacks, lr=lr)
    fit(trainer, epochs=len(values), **settings)
    return trainer


def fit(trainer, *, samples=1, batch_size=1, **settings):
    x = torch.ones(samples, 1)
    return trainer.fit(x, x, batch_size=batch_size, progress=False, **settings)


def resumed(values, make_callbacks, cut, *, beyond=0, lr=LR, **settings):
    """A run that ends `beyond` checkpoints after the `cut`-th, and is resumed from that one.

    `make_callbacks` makes them anew for each part, as a new process does.
    """
    states = []

    def save(trainer):
        states.append(torch_round_trip(trainer.state_dict()))
        if len(states) == cut + beyond:
            raise KeyboardInterrupt

    saver = LambdaCallback(on_checkpoint=save)
    fit(make_trainer(values, *make_callbacks(), saver, lr=lr), epochs=len(values), **settings)
    assert len(states) >= cut
    trainer = make_trainer(values, *make_callbacks(), lr=lr)
    trainer.load_state_dict(states[cut - 1])
    fit(trainer, epochs=len(values), **settings)
    return trainer


def torch_round_trip(state):
    """The state as a file gives it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def count_epoch(trainer):
    nn.init.constant_(trainer.model.weight, trainer.epoch + 1)


def weight(trainer):
    return trainer.model.weight.item()


def saved(folder):
    """The files in a folder by name, with the number that the weight in them has."""
    return {
        path.name: torch.load(path, weights_only=True)["weight"].item()
        for path in sorted(Path(folder).iterdir())
    }
