"""scikit-learn's digits in three parts: to train on, to validate on, to test on."""

from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor


class Digits(NamedTuple):
    """Images (N, 1, 8, 8) from 0 to 1, and the digits that they show."""

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor


def read(train: int, seed: int) -> Digits:
    """`train` images to train on, 400 to validate on, and the rest to test on."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(seed))
    x = torch.tensor(data.images).float().unsqueeze(1)[order] / 16
    y = torch.tensor(data.target)[order]
    cuts = slice(0, train), slice(train, train + 400), slice(train + 400, None)
    return Digits(*(part[cut] for cut in cuts for part in (x, y)))
