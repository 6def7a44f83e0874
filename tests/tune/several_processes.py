"""A search whose trials two processes train together: torchrun several_processes.py FOLDER."""

import sys
from functools import partial
from pathlib import Path

import optuna
import torch
from torch import nn

from torchbp.train.processes import gather, rank
from torchbp.tune import Plan, Split, Study

X = torch.randn(120, 4, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()


def search(trial):
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    if trial.number == 1:
        raise ValueError("does not work")
    model = nn.Linear(4, 2)
    if trial.number == 2:
        nn.init.constant_(model.weight, torch.inf)
    if trial.number == 3:  # worse than the first one, and it stays so
        nn.init.constant_(model.weight, 30.0)
        nn.init.constant_(model.bias[:1], 300.0)
    return Plan(model, partial(torch.optim.SGD, lr=0.0 if trial.number == 3 else lr), batch_size=12)


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    study = Study(
        search,
        Split(X, Y),
        nn.CrossEntropyLoss(),
        storage=folder / "study.db",
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=2),
        epochs=4,
    )
    study.run(6, progress=False)
    report = study.report()
    told = gather((report.trial, report.test, len(study.complete())))
    if rank() == 0:
        torch.save(told, folder / "told.pt")


if __name__ == "__main__":
    main()
