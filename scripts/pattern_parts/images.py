"""Images for scripts/patterns.py: scikit-learn's digits, or torchvision's data sets in a folder."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from torchbp.data import import_torchvision
from torchbp.errors import DataError

# the class of torchvision, and where it looks for its files
TORCHVISION = {
    "fashion-mnist": (
        "FashionMNIST",
        "FashionMNIST/raw, unpacked: train-images-idx3-ubyte, train-labels-idx1-ubyte, "
        "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte",
    ),
    "cifar10": (
        "CIFAR10",
        "cifar-10-batches-py, as cifar-10-python.tar.gz has them: data_batch_1 to data_batch_5, "
        "test_batch and batches.meta",
    ),
}


class Images(NamedTuple):
    """Images (N, C, H, W), of mean 0 and variance 1 in each channel, and classes (N,)."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return int(self.y_train.max()) + 1


def read(dataset: str, folder: Path | None) -> Images:
    """The images of a data set; a quarter of the digits is kept for the test."""
    if dataset == "digits":
        digits = load_digits()
        x, y = torch.tensor(digits.images).float().unsqueeze(1), torch.tensor(digits.target)
        parts = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
        x_train, x_test, y_train, y_test = parts
        return standardized(x_train, y_train, x_test, y_test)
    if dataset not in TORCHVISION or folder is None:
        raise DataError(
            f"patterns: expected --dataset digits, or one of {', '.join(TORCHVISION)} with --data, "
            f"got {dataset} with {folder or 'no folder'}.\n"
            "  To mend it: name the data set, and the folder that torchvision has it in."
        )
    name, files = TORCHVISION[dataset]
    return from_torchvision(getattr(import_torchvision().datasets, name), folder, files)


def from_torchvision(make: Any, folder: Path, files: str) -> Images:
    """The two parts of a data set of torchvision's, which checks its files."""
    parts = []
    for train in (True, False):
        try:
            part = make(str(folder), train=train, download=False)
        except (RuntimeError, ValueError, AssertionError, OSError) as error:
            reason = str(error).partition(" You can use download")[0]
            raise DataError(
                f"patterns: expected the files of {make.__name__} in the folder {folder}, which "
                f"torchvision could not read: {reason or type(error).__name__}\n"
                f"  To mend it: put these in {folder}/{files}."
            ) from error
        x = torch.as_tensor(part.data).float()
        x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2).contiguous()  # (N, C, H, W)
        parts += [x, torch.as_tensor(part.targets)]
    return standardized(*parts)


def standardized(x_train: Tensor, y_train: Tensor, x_test: Tensor, y_test: Tensor) -> Images:
    """Both parts on the scale of the training images."""
    dims = (0, 2, 3)
    mean, std = x_train.mean(dims, keepdim=True), x_train.std(dims, keepdim=True)
    return Images((x_train - mean) / std, y_train.long(), (x_test - mean) / std, y_test.long())
