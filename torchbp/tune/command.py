"""What `torchbp tune` does."""

from functools import partial
from pathlib import Path

import torch
from torch import nn

from torchbp.errors import DataError
from torchbp.tune.digits import SPACE, accuracy, mlp, read_digits, read_fashion_mnist
from torchbp.tune.storage import import_optuna
from torchbp.tune.study import Study


def tune(
    trials: int,
    epochs: int,
    storage: str,
    html: Path,
    seed: int,
    folds: int | None = None,
    data: Path | None = None,
    device: str = "cpu",
) -> None:
    """Searches for a network for handwritten digits, opens the test set once, writes a page.

    Args:
        trials: of the study, those of earlier runs included.
        epochs: of each training.
        storage: as of `Study`.
        html: the page.
        seed: of the sampler, the cut of the data and the trials.
        folds: instead of one validation set.
        data: a folder of torchvision's with FashionMNIST instead of the digits.
        device: where to train.

    Raises:
        DataError: folds of FashionMNIST, whose validation set is large enough, or what `Study`
            refuses.
    """
    samplers, pruners = import_optuna().samplers, import_optuna().pruners
    if data is not None and folds is not None:
        raise DataError(
            "tune: expected folds or a data folder, got both.\n"
            "  To mend it: leave --folds out; FashionMNIST has 10,000 images to choose by."
        )
    torch.set_num_threads(1)  # a second one is of little use to nets as small as these
    split = read_digits(seed, folds) if data is None else read_fashion_mnist(data, seed)
    size = split.round(0).train.inputs[0].numel()
    study = Study(
        SPACE.search(partial(mlp, in_features=size)),
        split,
        nn.CrossEntropyLoss(),
        score=accuracy,
        storage=storage,
        name="digits" if data is None else "fashion-mnist",
        folder=Path("tune-trials") if "://" in storage else None,
        sampler=samplers.TPESampler(seed=seed),
        pruner=pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0 if folds else 2),
        epochs=epochs,
        seed=seed,
        device=device,
    )
    study.run(trials)
    print(f"\n{study.report()}\n")  # noqa: T201 - it is a command
    study.page(html)
    print(f"pictures: {html}\nlive:     optuna-dashboard {_url(storage)}")  # noqa: T201


def _url(storage: str) -> str:
    is_file = "://" not in storage and not storage.endswith((".journal", ".log"))
    return f"sqlite:///{storage}" if is_file else storage
