"""The searches of scripts/tune_digits.py."""

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import RandomSampler, TPESampler
from torch import nn

from torchbp.tune import Study
from torchbp.tune.digits import SPACE, mlp, read_digits, read_fashion_mnist

METHODS = {
    "random": (RandomSampler, NopPruner),
    "TPE": (TPESampler, NopPruner),
    "TPE, pruned": (TPESampler, partial(MedianPruner, n_startup_trials=5, n_warmup_steps=2)),
}


def compare(
    budget: int, epochs: int, seeds: list[int], data: Path | None, workers: int
) -> list[dict[str, Any]]:
    """What came of each method with each seed."""
    jobs = [(method, seed, budget, epochs, data) for seed in seeds for method in METHODS]
    if workers == 1:
        return [told(search(*job)) for job in jobs]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        done = [told(f.result()) for f in as_completed([pool.submit(search, *j) for j in jobs])]
    return sorted(done, key=lambda run: (run["seed"], list(METHODS).index(run["method"])))


def told(run: dict[str, Any]) -> dict[str, Any]:
    """The run, after a line of it."""
    print(
        f"seed {run['seed']}, {run['method']}: {len(run['curve'])} complete and {run['pruned']} "
        f"pruned trials, validation loss {run['validation']:.4f}, test loss {run['test']:.4f}, "
        f"{run['seconds']:.0f} s",
        flush=True,
    )
    return run


def search(method: str, seed: int, budget: int, epochs: int, data: Path | None) -> dict[str, Any]:
    """One search. The cut of the data, the weights and the sampler all follow the seed."""
    torch.set_num_threads(1)
    split = read_digits(seed) if data is None else read_fashion_mnist(data, seed)
    sampler, pruner = METHODS[method]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        study = Study(
            SPACE.search(partial(mlp, in_features=split.round(0).train.inputs[0].numel())),
            split,
            nn.CrossEntropyLoss(),
            storage=optuna.storages.InMemoryStorage(),
            folder=folder,
            sampler=sampler(seed=seed),
            pruner=pruner(),
            epochs=epochs,
            seed=1000 * seed,
        )
        study.run(epochs=budget, progress=False)
        report = study.report()
    trials = study.optuna.trials
    return {
        "method": method,
        "seed": seed,
        "curve": curve(trials, budget),
        "trials": len(trials),
        "pruned": sum(trial.state.name == "PRUNED" for trial in trials),
        "failed": sum(trial.state.name == "FAIL" for trial in trials),
        "validation": report.validation,
        "test": report.test,
        "gap": report.gap,
        "optimism": report.optimism,
        "verdict": report.verdict,
        "params": report.params,
        "seconds": time.monotonic() - began,
    }


def curve(trials: list[optuna.trial.FrozenTrial], budget: int) -> list[list[float]]:
    """After how many epochs which validation loss was the lowest; a line for each full trial.

    The trial at which the budget ends is finished, and counts at the budget.
    """
    spent, best, points = 0, float("inf"), []
    for trial in trials:
        spent += trial.user_attrs.get("epochs", 0)
        if trial.state.name == "COMPLETE":
            best = min(best, trial.value)
            points.append([min(spent, budget), best])
    return points
