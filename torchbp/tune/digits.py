"""The search that `torchbp tune` runs: a network for handwritten digits."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from torchbp.data import import_torchvision
from torchbp.errors import DataError, missing_extra
from torchbp.tune.space import Choice, Float, Int, Space
from torchbp.tune.split import Split

SPACE = Space(
    layers=Int(1, 3),
    units=Int(8, 128, log=True).each("layers"),
    activation=Choice(nn.ReLU, nn.Tanh, nn.GELU),
    batch_norm=Choice(True, False),
    dropout=Float(0.0, 0.6),
    optimizer=Choice(torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop),
    lr=Float(1e-5, 1.0, log=True),
    momentum=Float(0.0, 0.99).when(optimizer="SGD"),
    batch_size=Choice(16, 32, 64, 128),
)


def mlp(
    units: Sequence[int],
    activation: type[nn.Module],
    batch_norm: bool,
    dropout: float,
    in_features: int = 64,
) -> nn.Module:
    """A network for images: hidden layers of these units, and scores for ten classes.

    Args:
        units: of each hidden layer.
        activation: its class.
        batch_norm: whether BatchNorm stands before each activation.
        dropout: the part of the units that is left out after it.
        in_features: pixels of an image.

    Example:
        >>> mlp([16], nn.ReLU, batch_norm=True, dropout=0.5)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    parts: list[nn.Module] = [nn.Flatten()]
    for size in units:
        parts += [
            nn.Linear(in_features, size, bias=not batch_norm),
            *([nn.BatchNorm1d(size)] if batch_norm else []),
            activation(),
            nn.Dropout(dropout),
        ]
        in_features = size
    return nn.Sequential(*parts, nn.Linear(in_features, 10))


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Part of the images that are told right."""
    return (output.argmax(1) == target).float().mean()


def read_digits(seed: int = 0, folds: int | None = None) -> Split:
    """scikit-learn's 1,797 digits of 8 x 8 pixels: 60 % to train on, 20 % and 20 %.

    Args:
        seed: draws who goes where.
        folds: instead of one validation set.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise missing_extra("scikit-learn", "tune") from error
    digits = load_digits()
    images = torch.tensor(digits.images).float().unsqueeze(1) / 16  # (N, 1, 8, 8)
    return Split(images, torch.tensor(digits.target), folds=folds, seed=seed)


def read_fashion_mnist(folder: Path, seed: int = 0) -> Split:
    """Zalando's 70,000 images of 28 x 28 pixels, as torchvision reads them.

    Args:
        folder: that holds FashionMNIST/raw.
        seed: draws which sixth of the training images choices are made by.

    Raises:
        DataError: the files are not there.
        MissingExtraError: torchvision is not installed.
    """
    make = import_torchvision().datasets.FashionMNIST
    try:
        parts = [make(str(folder), train=train, download=False) for train in (True, False)]
    except (RuntimeError, ValueError, OSError) as error:
        raise DataError(
            f"tune: expected the files of FashionMNIST in {folder}, which torchvision could not "
            f"read: {str(error).partition(' You can use download')[0]}\n"
            f"  To mend it: put train-images-idx3-ubyte, train-labels-idx1-ubyte and both of "
            f"t10k-... into {folder}/FashionMNIST/raw."
        ) from error
    (x, y), test = ((part.data.float().unsqueeze(1) / 255, part.targets) for part in parts)
    return Split(x, y, validation=1 / 6, test=test, seed=seed)
