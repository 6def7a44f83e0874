"""Searches that are small and whose outcome is known."""

from functools import partial

import optuna
import torch
from torch import nn

from torchbp.tune import Plan, Split, Study

X = torch.randn(120, 4, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()


def accuracy(output, target):
    return (output.argmax(1) == target).float().mean()


def sgd(model, lr):
    return partial(torch.optim.SGD, lr=lr)(model.parameters())


def search(trial):
    """A linear model, whose learning rate is searched."""
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    return Plan(nn.Linear(4, 2), partial(torch.optim.SGD, lr=lr), batch_size=24)


def make_study(folder, function=search, split=None, **settings):
    """A study in memory, or where the settings say."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    given = {"storage": optuna.storages.InMemoryStorage(), "folder": folder, "epochs": 2}
    given |= {"sampler": optuna.samplers.RandomSampler(seed=0)}
    split = split or Split(X, Y, validation=0.25, test=0.25)
    return Study(function, split, nn.CrossEntropyLoss(), **(given | settings))


def run(study, n_trials, **settings):
    study.run(n_trials, progress=False, **settings)
    return study
