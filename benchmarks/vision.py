"""Image networks: a training step and inference, beside modules written by hand and Keras.

All of them compute in turns, on all cores. Keras is measured as it is used, by `fit` and `predict`
over several batches; the step in PyTorch is the bare one: forward, loss, backward, SGD.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks import vision_by_hand
from benchmarks.keras_worker import KerasWorker
from benchmarks.timing import Comparison, comparison, seconds
from torchbp import models

LIMIT = round(1 / 0.98, 3)  # at least 0.98 of the throughput of the module written by hand
BACKENDS = ("tensorflow", "jax")


@dataclass(frozen=True)
class Network:
    """A network in both forms, at a size that two cores can hold."""

    name: str
    torchbp: Callable[[], nn.Module]
    by_hand: Callable[[], nn.Module]
    size: int
    batch_size: int
    num_classes: int
    steps: int
    gpu_batch_size: int


NETWORKS = [
    Network("Xception", lambda: models.Xception(probabilities=False), vision_by_hand.Xception,
            149, 4, 1000, 2, 64),
    Network("ResNet50", lambda: models.ResNet50(probabilities=False), vision_by_hand.ResNet50,
            128, 8, 1000, 2, 128),
    Network("SeparableConvnet", models.separable_convnet, vision_by_hand.SeparableConvnet,
            64, 32, 10, 6, 512),
]  # fmt: skip


def run(device: str, turns: int = 7) -> list[Comparison]:
    on_cpu = torch.device(device).type == "cpu"
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    workers = {backend: KerasWorker(backend) for backend in BACKENDS} if on_cpu else {}
    try:
        return [
            comparison
            for network in NETWORKS
            for mode in ("training", "inference")
            for comparison in _compared(network, mode, device, workers, turns)
        ]
    finally:
        torch.set_num_threads(threads)
        for worker in workers.values():
            worker.stop()


def _compared(
    network: Network, mode: str, device: str, workers: dict[str, KerasWorker], turns: int
) -> list[Comparison]:
    on_cpu = bool(workers)
    batch_size = network.batch_size if on_cpu else network.gpu_batch_size
    images = torch.randn(batch_size, 3, network.size, network.size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    classes = torch.randint(network.num_classes, (batch_size,), device=device)
    steps = network.steps if on_cpu else 10
    plans: list[tuple[str, dict[str, Any]]] = [("", {})]
    if not on_cpu:
        plans += [(", compiled", {"compiled": True}), (", bf16", {"bf16": True})]
    results = []
    for suffix, options in plans:
        modules = [make().to(device) for make in (network.torchbp, network.by_hand)]
        for module in modules:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _share(*modules)
        ours, peer = (_step(module, images, classes, mode, **options) for module in modules)
        calls: dict[str, Callable[[], float]] = {
            "": partial(seconds, ours, steps, time.perf_counter),
            "by hand": partial(seconds, peer, steps, time.perf_counter),
        }
        request = {
            "network": network.name,
            "mode": mode,
            "size": network.size,
            "batch_size": batch_size,
            "steps": steps,
        }
        for backend, worker in workers.items():
            calls[f"Keras on {backend}"] = partial(worker.seconds, **request)
        what = f"{network.name}, {mode}, {batch_size} images of {network.size}{suffix}"
        results += _in_turns(what, calls, turns)
    return results


def _in_turns(what: str, calls: dict[str, Callable[[], float]], turns: int) -> list[Comparison]:
    """Each party once a turn; who begins changes from turn to turn."""
    for call in calls.values():
        call()  # warm up
    order, times = itertools.cycle(range(len(calls))), {name: [] for name in calls}
    names = list(calls)
    for _ in range(turns):
        first = next(order)
        for name in names[first:] + names[:first]:
            times[name].append(calls[name]())
    return [
        comparison(f"{what} / {peer}", times[""], times[peer], LIMIT if peer == "by hand" else 1.0)
        for peer in names[1:]
    ]


def _share(ours: nn.Module, by_hand: nn.Module) -> None:
    """Give both the very same weights: where they lie in memory is worth some per cent."""
    pairs = zip(ours.parameters(), list(by_hand.named_parameters()), strict=True)
    for weight, (name, replaced) in pairs:
        assert weight.shape == replaced.shape, name
        module, _, leaf = name.rpartition(".")
        setattr(by_hand.get_submodule(module), leaf, weight)


def _step(
    module: nn.Module,
    images: torch.Tensor,
    classes: torch.Tensor,
    mode: str,
    compiled: bool = False,
    bf16: bool = False,
) -> Callable[[], object]:
    forward: Any = torch.compile(module) if compiled else module
    precision = torch.autocast(images.device.type, torch.bfloat16, enabled=bf16)
    if mode == "inference":
        module.eval()

        @torch.inference_mode()
        def infer() -> object:
            with precision:
                return forward(images)

        return infer
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9)

    def train() -> None:
        optimizer.zero_grad()
        with precision:
            loss = nn.functional.cross_entropy(forward(images), classes)
        loss.backward()
        optimizer.step()

    return train
