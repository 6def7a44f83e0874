"""The training of scripts/patterns.py."""

import time
from collections import defaultdict
from dataclasses import asdict
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torchbp import Trainer, optim
from torchbp.train import Callback

from .images import Images
from .measures import costs
from .net import VARIANTS, Variant, started

TRAINED = ("Glorot", "He")  # the initialisations that are trained with
LR = 3e-3


class Run(NamedTuple):
    """What came of one training."""

    accuracy: float  # of the test images
    loss: float  # mean over the training images in the last epoch
    step_ms: list[float]


class StepTimes(Callback):
    """The time of each training step in ms.

    On the CPU it is that of this process, which stands still while others have the core.
    """

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_batch_begin(self, trainer: Trainer) -> None:
        self.times.append(-self.now(trainer))

    def on_batch_end(self, trainer: Trainer) -> None:
        self.times[-1] = 1000 * (self.times[-1] + self.now(trainer))

    @staticmethod
    def now(trainer: Trainer) -> float:
        if trainer.device.type == "cpu":
            return time.process_time()
        torch.accelerator.synchronize(trainer.device)
        return time.perf_counter()


def compare(images: Images, seeds: range, **options: Any) -> list[dict[str, Any]]:
    """The figures of each net. The seed changes last, so that each net is timed all along."""
    runs = defaultdict(list)
    for seed in seeds:
        for variant in VARIANTS:
            for start in TRAINED:
                run = train(variant, start, images, seed, **options)
                runs[variant, start].append(run)
                print(f"seed {seed}, {start}, {variant}: accuracy {run.accuracy:.1%}", flush=True)
    return [
        asdict(variant)
        | costs(variant, images.x_train[0], images.num_classes)
        | {"step_ms": median(t for s in TRAINED for run in runs[variant, s] for t in run.step_ms)}
        | {"accuracy": {s: [run.accuracy for run in runs[variant, s]] for s in TRAINED}}
        | {"loss": {s: [run.loss for run in runs[variant, s]] for s in TRAINED}}
        for variant in VARIANTS
    ]


def train(
    variant: Variant,
    start: str,
    images: Images,
    seed: int,
    epochs: int,
    batch_size: int,
    device: str,
) -> Run:
    """Train a net; the seed draws its first weights and the order of the batches."""
    x, y, x_test, y_test = images
    model, times = started(variant, start, x.shape[1], images.num_classes, seed), StepTimes()
    optimizer = optim.Adam(model.parameters(), lr=LR)
    metrics = {"accuracy": accuracy}
    trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, metrics, device=device)
    order = torch.Generator().manual_seed(seed)
    options = {"batch_size": batch_size, "progress": False}
    history = trainer.fit(x, y, epochs=epochs, callbacks=[times], generator=order, **options)
    test = trainer.evaluate(x_test, y_test, **options)
    return Run(test["accuracy"], history["loss"][-1], times.times)


def accuracy(scores: Tensor, classes: Tensor) -> Tensor:
    """Part of the images that are told right."""
    return (scores.argmax(1) == classes).float().mean()
