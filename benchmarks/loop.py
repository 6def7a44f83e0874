"""What the loop costs: the time of a training step, beside a bare loop, other Trainers and Keras.

Each side trains the same model on the same batches, which lie ready as tensors, with Adam, one
metric and two callbacks: one that notes the time at the begin and at the end of an epoch, between
which its steps are counted, and one that counts the steps. The torch sides share one model, weight
for weight; Keras has arrays, and processes of its own, one for each backend.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.keras_worker import KerasWorker
from benchmarks.loop_peers import PEERS, Batches, Task, Times, bare_loop, trainer
from benchmarks.timing import Comparison, comparison
from torchbp import models
from torchbp.data import import_torchvision
from torchbp.losses import ProbBCELoss, ProbCrossEntropyLoss

BACKENDS = ("tensorflow", "jax", "torch")
BATCH_SIZE = 32


@dataclass(frozen=True)
class Network:
    """A model, its batches, and what the loop around it may cost."""

    name: str
    make: Callable[[], nn.Module]
    batches: Callable[[int], Batches]
    loss: Callable[..., Tensor] | dict[str, Callable[..., Tensor]]
    steps: int
    limit: float


def tiny() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 10))


def tiny_batches(count: int) -> Batches:
    def batch() -> tuple[Tensor, Tensor]:
        return torch.randn(BATCH_SIZE, 20), torch.randint(10, (BATCH_SIZE,))

    return Batches([batch() for _ in range(count)])


def question_batches(count: int) -> Batches:
    def words(length: int) -> Tensor:
        return torch.randint(10_000, (BATCH_SIZE, length))

    answers = [torch.randint(500, (BATCH_SIZE,)) for _ in range(count)]
    return Batches([([words(50), words(10)], answer) for answer in answers])


def post_batches(count: int) -> Batches:
    def targets() -> dict[str, Tensor]:
        return {
            "age": torch.randn(8, 1),
            "income": torch.randint(10, (8,)),
            "gender": torch.randint(2, (8, 1)).float(),
        }

    return Batches([(torch.randint(5_000, (8, 300)), targets()) for _ in range(count)])


POST_LOSSES = {"age": F.mse_loss, "income": ProbCrossEntropyLoss(), "gender": ProbBCELoss()}
NETWORKS = [
    Network("tiny MLP, batch 32", tiny, tiny_batches, F.cross_entropy, 300, 1.05),
    Network("question answering, batch 32", models.question_answering, question_batches,
            ProbCrossEntropyLoss(), 12, 1.02),
    Network("posts, batch 8", models.post_attributes, post_batches, POST_LOSSES, 4, 1.02),
]  # fmt: skip


def run(device: str, turns: int = 15) -> list[Comparison]:
    """Nothing on other devices, where Python's part is hidden behind the kernels."""
    if torch.device(device).type != "cpu":
        return []
    import_torchvision()  # Lightning imports it, and would stumble over one without its operators
    with _keras_workers() as workers:
        return [result for network in NETWORKS for result in _compared(network, workers, turns)]


def _compared(
    network: Network, workers: dict[str, KerasWorker], turns: int
) -> Iterator[Comparison]:
    torch.manual_seed(0)
    task = Task(network.make(), network.batches(network.steps), network.loss)
    sides: dict[str, Callable[[], Times]] = {"torchbp": trainer(task), "bare loop": bare_loop(task)}
    sides |= {name: make(task) for name, make in PEERS.items()}
    for backend, worker in workers.items():
        sides[f"Keras on {backend}"] = _in_keras(worker, network)
    times = _in_turns(sides, turns)
    for name in list(sides)[1:]:
        # others have no part in the time of this process; that of another one is known by the wall
        clock = "wall" if name.startswith("Keras") else "cpu"
        ours, theirs = ([getattr(t, clock) for t in times[side]] for side in ("torchbp", name))
        limit = network.limit if name == "bare loop" else 1.0
        yield comparison(f"loop: {network.name} / {name}", ours, theirs, limit)


def _in_turns(sides: dict[str, Callable[[], Times]], turns: int) -> dict[str, list[Times]]:
    """The time of a step on each side, once a turn; who begins changes from turn to turn."""
    for run_epoch in sides.values():
        run_epoch()  # warm up
    names, first = list(sides), itertools.cycle(range(len(sides)))
    times: dict[str, list[Times]] = {name: [] for name in names}
    for _ in range(turns):
        start = next(first)
        for name in names[start:] + names[:start]:
            times[name].append(sides[name]())
    return times


def _in_keras(worker: KerasWorker, network: Network) -> Callable[[], Times]:
    def epoch() -> Times:
        seconds = worker.seconds(network=network.name, steps=network.steps)
        return Times(cpu=seconds, wall=seconds)

    return epoch


@contextmanager
def _keras_workers() -> Iterator[dict[str, KerasWorker]]:
    workers = {backend: KerasWorker(backend, "benchmarks.keras_loop") for backend in BACKENDS}
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.stop()
