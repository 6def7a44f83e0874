"""What one process does, or several do together under torchrun, on the same data.

    python several_processes.py FOLDER                              as one process
    torchrun --nproc-per-node 2 several_processes.py FOLDER         as two, at half the batch

Writes what each case comes to into FOLDER/<number of processes>.pt.
"""

import itertools
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from torchbp import callbacks, data
from torchbp.train import Callback, Trainer
from torchbp.train.processes import gather, num_processes, rank

data.import_torchvision()  # torchmetrics imports it
from torchmetrics.classification import MulticlassAccuracy  # noqa: E402

BATCH_SIZE = 16  # of all processes together
X = torch.randn(70, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
Y = (X.sum(1) > 0).long() + (X[:, 0] > 1).long()
STEPS = [X[:10], X[10:20], X[20:25]]  # of a stream: the last is all process 0's


class Rows(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index], Y[index]


class Shards(IterableDataset):
    """Each process reads its own part, of its own length."""

    def __iter__(self):
        own = [step[rank() * 5 : (rank() + 1) * 5] for step in STEPS]
        whole = list(STEPS) if num_processes() == 1 else [part for part in own if len(part)]
        for part in whole:
            yield part, (part.sum(1) > 0).long()


class Seen(Callback):
    """The samples that this process has trained on, by their first number."""

    def __init__(self):
        self.samples = []

    def on_batch_end(self, trainer):
        own = trainer.current.share.own
        self.samples += trainer.current.inputs[:own, 0].tolist()


class LeaveAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_checkpoint(self, trainer):
        if trainer.global_step == self.step:
            trainer.stop("as if the machine had failed", finish_epoch=False)


def make_trainer(**settings):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    accuracy = MulticlassAccuracy(3, average="micro")
    metrics = {"accuracy": accuracy, "mean_score": lambda output, target: output.mean()}
    sgd = torch.optim.Adam if settings.pop("adam", False) else torch.optim.SGD
    make = lambda parameters: sgd(parameters, lr=0.05)  # noqa: E731
    return Trainer(model, nn.CrossEntropyLoss(), make, metrics, **settings)


def fit(trainer, inputs=X, targets=Y, **settings):
    share = BATCH_SIZE // num_processes()
    given = {"batch_size": share, "epochs": 3, "progress": False}
    return trainer.fit(inputs, targets, **(given | settings))


def outcome(trainer, **more):
    from torchbp.train.state import model_and_optimizer_state

    weights, _ = model_and_optimizer_state(trainer.model, trainer.optimizer)
    return {"weights": weights, "history": dict(trainer.history), **more}


def arrays(folder):
    trainer, seen = make_trainer(), Seen()
    fit(trainer, callbacks=[seen], validation_data=(X[:11], Y[:11]))
    results = trainer.evaluate(X[:33], Y[:33], batch_size=4, progress=False)
    predicted = trainer.predict(X[:33], batch_size=5, progress=False)
    return outcome(trainer, results=results, predicted=predicted, seen=seen.samples)


def dataset(folder):
    trainer, seen = make_trainer(), Seen()
    fit(trainer, Rows(), None, callbacks=[seen])
    return outcome(trainer, seen=seen.samples)


def lonely_samples(folder):
    """One sample is left for the last step: all processes but one have none."""
    trainer, seen = make_trainer(), Seen()
    fit(trainer, X[:33], Y[:33], callbacks=[seen], validation_data=(X[:1], Y[:1]))
    return outcome(trainer, seen=seen.samples)


def accumulation(folder):
    trainer = make_trainer(grad_accumulation=3)
    fit(trainer)
    return outcome(trainer)


def weighted(folder):
    trainer = make_trainer()
    fit(trainer, class_weight={0: 3.0, 2: 0.5}, validation_fraction=0.3)
    return outcome(trainer)


def sharded_model(folder):
    trainer = make_trainer(parallel="fsdp", adam=True)
    fit(trainer, validation_data=(X[:11], Y[:11]))
    return outcome(trainer)


def stream(folder):
    from torch.utils.data import DataLoader

    trainer = make_trainer()
    fit(trainer, DataLoader(Shards(), batch_size=None), None, batch_size=32)
    return outcome(trainer)


def files(folder):
    """All processes have the callbacks, one of them writes."""
    trainer = make_trainer()
    written = folder / f"files-{num_processes()}"
    hearing = [
        callbacks.CSVLogger(written / "log.csv"),
        callbacks.ModelCheckpoint(written / "{epoch}.pt", monitor="loss"),
        callbacks.BackupAndRestore(written / "run"),
    ]
    fit(trainer, callbacks=hearing)
    return outcome(trainer)


def interrupted(folder, **settings):
    """Stops within an epoch; the other number of processes goes on from there."""
    trainer = make_trainer(adam=True, **settings)
    backup = callbacks.BackupAndRestore(folder / f"interrupted-{num_processes()}", every=1)
    trainer.metrics = None
    fit(trainer, callbacks=[backup, LeaveAt(7)])
    return {}


def resumed(folder):
    trainer = make_trainer(adam=True)
    trainer.metrics = None
    other = 3 - num_processes()
    if (folder / f"interrupted-{other}").exists():
        fit(trainer, callbacks=[callbacks.BackupAndRestore(folder / f"interrupted-{other}")])
    return outcome(trainer)


def not_interrupted(folder):
    trainer = make_trainer(adam=True)
    trainer.metrics = None
    fit(trainer)
    return outcome(trainer)


CASES = [
    *(arrays, dataset, lonely_samples, accumulation, weighted, sharded_model, stream, files),
    *(interrupted, resumed, not_interrupted),
]


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    results = {}
    for case in CASES:
        result = case(folder)
        if "seen" in result:
            result["seen"] = sorted(itertools.chain(*gather(result["seen"])))
        results[case.__name__] = result
    if rank() == 0:
        torch.save(results, folder / f"{num_processes()}.pt")


if __name__ == "__main__":
    main()
