"""Random search, TPE, and TPE that prunes, for the same number of training epochs.

The chapter calls random search often the best, and trees of Parzen estimators (TPE, Hyperopt's
method, which Optuna has too) the one that is reliably better. Here all three get the same budget:
training epochs, not trials, as pruning is there to make trials short. The network and its space
of layers, units, activation, BatchNorm, dropout, optimizer, learning rate and batch size are those
of `torchbp tune`. The data are real, scikit-learn's 1,797 handwritten digits, or FashionMNIST.

Trials are compared by the validation loss, as the accuracy of 359 images moves in steps of a
quarter of a percent. When a search is over, its test set is opened once.

    python scripts/tune_digits.py
    python scripts/tune_digits.py --data ~/data

It writes tuning.json, tuning.md and tuning.png to docs/results, or to --out.
"""

import os
import platform
import shlex
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import typer
from rich.console import Console
from tune_parts.compare import METHODS, compare
from tune_parts.report import table, write

from torchbp.errors import TorchbpError


def main(
    data: Path | None = None,
    budget: int = 600,
    epochs: int = 12,
    seeds: int = 5,
    seed: int = 0,
    workers: int = 2,
    quick: bool = False,
    out: Path | None = None,
) -> None:
    """Search with each method and each seed, print the figures and write them down."""
    if quick:
        budget, epochs, seeds, workers = 12, 2, 2, 1
    settings = {"budget": budget, "epochs": epochs, "seeds": list(range(seed, seed + seeds))}
    try:
        runs = compare(**settings, data=data, workers=workers)
    except TorchbpError as error:
        sys.exit(str(error))
    figures = {
        "command": shlex.join(["python", "scripts/tune_digits.py", *sys.argv[1:]]),
        "machine": {"device": platform.machine(), "cores": os.cpu_count(), "threads": 1},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "optuna")},
        },
        "dataset": "digits" if data is None else "FashionMNIST",
        "settings": settings,
        "methods": list(METHODS),
        "runs": runs,
    }
    Console(width=120).print(table(figures))
    folder = out or (Path(tempfile.mkdtemp()) if quick else Path("docs/results"))
    write(figures, folder)
    print(f"written to {folder}")


if __name__ == "__main__":
    typer.run(main)
