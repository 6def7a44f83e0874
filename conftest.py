"""What every test and doctest starts from: a fixed seed, and torch and nn at hand in doctests."""

import importlib.util

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp.data import import_torchvision

if importlib.util.find_spec("torchvision"):  # torchmetrics imports it, and would stumble
    import_torchvision()


@pytest.fixture(autouse=True)
def _same_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, object]) -> None:
    doctest_namespace.update(torch=torch, nn=nn, F=F)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, beside which all others run; no test of CUDA without a device."""
    items.sort(key=lambda item: item.path.name != "test_parity.py")
    if torch.cuda.is_available():
        return
    no_gpu = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(no_gpu)
