"""Training runs that are killed and started again, and what they come to.

Each program is a run with everything that must survive: dropout, batch normalisation, momentum,
a learning rate that changes, shuffling, random augmentation, metrics with a state, callbacks with
a state. The same run without a kill is the measure.
"""

import contextlib
import os
import random
import signal
import time
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from torchbp import callbacks
from torchbp.data import import_torchvision
from torchbp.train import Callback, Trainer

import_torchvision()  # torchmetrics imports it
from torchmetrics.classification import MulticlassAccuracy  # noqa: E402

EPOCHS = 3
CONTEXT = get_context("fork")  # a child has torch loaded already


class Noisy(Dataset):
    """Images that are turned and disturbed at random, by each of the random generators."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        noise = torch.randn(()) + random.random() + np.random.rand()
        return self.x[index] + 0.1 * noise, self.y[index]


class Chunks(IterableDataset):
    """Batches that are read in pieces, as from a file, by several workers."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        for index in range(worker.id, len(self.x), worker.num_workers):
            yield self.x[index] + 0.1 * torch.randn(()), self.y[index]


class Slow(Callback):
    """Makes the steps long enough for kills to find them."""

    def on_batch_end(self, trainer):
        time.sleep(0.004)


class Count(Callback):
    """What it has heard since the very beginning enters the logs."""

    def __init__(self):
        self.count = 0

    def on_batch_end(self, trainer):
        self.count += 1

    def on_epoch_end(self, trainer):
        trainer.logs["count"] = self.count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def data():
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(70, 6, generator=generator)
    return x, (x.sum(1) > 0).long() + (x[:, 0] > 1).long()


def endless(x, y):
    """A generator for all epochs, which begins anew in each process."""
    generator = torch.Generator().manual_seed(7)
    while True:
        rows = torch.randint(len(x), (16,), generator=generator)
        yield x[rows], y[rows]


def arrays(trainer, x, y, **settings):
    trainer.fit(x, y, batch_size=16, validation_data=(x, y), **settings)


def dataset(trainer, x, y, **settings):
    trainer.fit(Noisy(x, y), batch_size=16, validation_data=(x, y), **settings)


def loader(trainer, x, y, **settings):
    loading = DataLoader(Noisy(x, y), 16, shuffle=True, generator=torch.Generator().manual_seed(3))
    trainer.fit(loading, validation_data=DataLoader(Noisy(x, y), 32), **settings)


def workers(trainer, x, y, **settings):
    loading = DataLoader(Chunks(x, y), 16, num_workers=1)
    trainer.fit(loading, **settings)


def generator(trainer, x, y, **settings):
    trainer.fit(endless(x, y), steps_per_epoch=5, validation_data=(x, y), **settings)


def across(trainer, x, y, **settings):
    """Epochs that end within a pass over the data."""
    trainer.fit(x, y, batch_size=16, steps_per_epoch=4, **settings)


PROGRAMS = {
    program.__name__: program for program in (arrays, dataset, loader, workers, generator, across)
}


def make_trainer(accumulation=1):
    model = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    accuracy = MulticlassAccuracy(3, average="micro")
    return Trainer(
        model,
        nn.CrossEntropyLoss(),
        optimizer,
        {"accuracy": accuracy},
        grad_accumulation=accumulation,
    )


def seed(number):
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number)


def run(program, folder, result, *, accumulation=1, before=None):
    """One run from its beginning or its last checkpoint to its end; writes what it comes to.

    Args:
        program: a name in PROGRAMS.
        folder: of the checkpoints, one after each step.
        result: the file of the final weights and the history.
        accumulation: batches in a step.
        before: is called first, to plant a fault.
    """
    torch.set_num_threads(1)
    is_resumed = any(folder.glob("*.pt"))
    seed(1)
    trainer = make_trainer(accumulation)
    seed(2 if is_resumed else 1)  # what a resumed run draws must come from its checkpoint
    hearing = [
        callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.9),
        callbacks.EarlyStopping("loss", patience=2, restore_best_weights=True),
        Count(),
        Slow(),
        callbacks.BackupAndRestore(folder, every=1),
    ]
    if before is not None:
        before()
    PROGRAMS[program](trainer, *data(), epochs=EPOCHS, callbacks=hearing, progress=False)
    outcome = {"model": trainer.model.state_dict(), "history": dict(trainer.history)}
    temporary = result.with_suffix(".tmp")
    torch.save(outcome, temporary)
    temporary.replace(result)


def start(program, folder, result, **settings) -> BaseProcess:
    """A run in a process of its own, whose complaints about being killed nobody needs."""
    process = CONTEXT.Process(target=_run_silently, args=(program, folder, result), kwargs=settings)
    process.start()
    return process


def uninterrupted(program, folder, **settings):
    """What a run comes to that nothing happens to."""
    folder.mkdir()
    process = start(program, folder, folder / "result", **settings)
    process.join()
    assert process.exitcode == 0, (folder / "stderr").read_text()
    return outcome_of(folder / "result")


def finish(program, folder, **settings):
    """Starts a run again and lets it end; what it comes to."""
    process = start(program, folder, folder / "result", **settings)
    process.join()
    assert process.exitcode == 0, (folder / "stderr").read_text()
    return outcome_of(folder / "result")


def kill_until_done(program, folder, rng, longest_s, **settings):
    """Starts a run again and again, killed at random moments, until it ends.

    Returns:
        What it comes to, the number of kills, and how many of them left an unfinished file.
    """
    folder.mkdir()
    kills = unfinished = 0
    while not (folder / "result").exists():
        process = start(program, folder, folder / "result", **settings)
        process.join(rng.uniform(0.02, longest_s))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
        kill(process)
        assert process.exitcode in (0, -signal.SIGKILL), (folder / "stderr").read_text()
        unfinished += bool(list(folder.glob(".*.tmp")))
    return outcome_of(folder / "result"), kills, unfinished


def outcome_of(result):
    return torch.load(result, weights_only=True)


def are_equal(first, second):
    """Bit for bit, NaN included."""
    same_history = repr(first["history"]) == repr(second["history"])
    pairs = zip(first["model"].items(), second["model"].items(), strict=True)
    return same_history and all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def kill(process):
    """Kills a run and the workers that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _run_silently(program, folder, result, **settings):
    os.setsid()  # a group that can be killed as one
    with (folder / "stderr").open("w") as file:
        os.dup2(file.fileno(), 2)
        run(program, folder, result, **settings)
