"""Shapes and dtypes that are found by rules of our own are those of real calls."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp import Input, call
from torchbp.errors import DtypeError, ShapeError, TorchbpError
from torchbp.graph.structure import leaves
from torchbp.graph.symbolic import known_shape

RNNS = [
    (kind, options)
    for kind in (nn.LSTM, nn.GRU, nn.RNN)
    for options in (
        {"batch_first": True},
        {"num_layers": 2, "bidirectional": True, "batch_first": True},
        {"nonlinearity": "relu"} if kind is nn.RNN else {"bias": False},
    )
]
FITTING = [
    (nn.Linear(4, 3), (4,)),
    (nn.Linear(4, 3, bias=False), (5, 6, 4)),
    (nn.BatchNorm1d(4), (4,)),
    (nn.BatchNorm1d(4, affine=False), (4, 7)),
    (nn.BatchNorm2d(4, track_running_stats=False), (4, 7, 7)),
    (nn.BatchNorm2d(4).eval(), (4, 7, 7)),
    (nn.ReLU(), (4, 7)),
    *((kind(4, 3, **options), (6, 4)) for kind, options in RNNS),
]


@pytest.mark.parametrize(("module", "shape"), FITTING, ids=str)
def test_outputs_are_described_as_they_come(module, shape):
    for dtype in (torch.float32, torch.float64):
        module.to(dtype)
        described = list(leaves(call(module, Input(shape, dtype=dtype))))
        real = list(leaves(module(torch.zeros(5, *shape, dtype=dtype))))
        assert known_shape(*described[0].samples).count(None) == 1, "the batch, or the length"
        for symbolic, tensor in zip(described, real, strict=True):
            told = known_shape(*symbolic.samples)
            assert symbolic.dtype == tensor.dtype
            assert all(a in (None, b) for a, b in zip(told, tensor.shape, strict=True))


UNFITTING = [
    (nn.Linear(4, 3), (5,)),
    (nn.BatchNorm1d(4), (5,)),
    (nn.BatchNorm2d(4), (4,)),
    (nn.BatchNorm2d(4, track_running_stats=False), (3, 7, 7)),
    (nn.LSTM(4, 3), (6, 5)),
]


@pytest.mark.parametrize(("module", "shape"), UNFITTING, ids=str)
def test_what_torch_refuses_is_refused(module, shape):
    with pytest.raises((RuntimeError, ValueError)):
        module(torch.zeros(5, *shape))
    with pytest.raises(ShapeError, match="can take, got"):
        call(module, Input(shape))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
@pytest.mark.parametrize(
    "module",
    [nn.Linear(4, 4), nn.Conv1d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.ConvTranspose2d(4, 4, 1)],
    ids=str,
)
def test_dtypes_that_torch_refuses_are_refused(module, dtype):
    shape = (4,) * (1 if isinstance(module, nn.Linear) else module.weight.ndim - 1)
    with pytest.raises(RuntimeError):
        module(torch.zeros(5, *shape, dtype=dtype))
    with pytest.raises(DtypeError, match=f"expected inputs of one dtype, got {dtype} and"):
        call(module, Input(shape, dtype=dtype))


def test_products_of_different_dtypes_are_refused():
    x, y = Input((4, 4)), Input((4, 4), dtype=torch.int64)
    for product in (torch.matmul, lambda x, y: x @ y, lambda x, y: torch.ones(4, 4) @ y):
        with pytest.raises(DtypeError, match="one dtype"):
            product(x, y)


def test_integers_are_normalized_by_no_rule():
    with pytest.raises(TorchbpError):
        call(nn.BatchNorm1d(4), Input((4,), dtype=torch.bool))


def test_mixed_precision_of_batch_norm_is_that_of_the_input():
    norm = nn.BatchNorm1d(4)
    x = call(norm, Input((4, 7), dtype=torch.bfloat16))
    assert x.dtype == norm(torch.zeros(2, 4, 7, dtype=torch.bfloat16)).dtype


def test_relu_keeps_integers():
    x = F.relu(Input((4,), dtype=torch.int64))
    assert x.dtype == torch.int64
