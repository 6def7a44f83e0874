"""What tests of the graph share: a function on symbolic tensors against the same on data."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from torchbp import Input, Model
from torchbp.graph import SymbolicTensor
from torchbp.graph.structure import leaves, map_leaves
from torchbp.graph.symbolic import known_shape


@pytest.fixture
def assert_same() -> Callable[..., Model]:
    """A check that a function builds a graph that computes what it computes on tensors."""
    return _assert_same


def _assert_same(function: Callable[..., Any], *data: Tensor, unknown: bool = False) -> Model:
    """Compare for the data, and for twice the batch.

    With `unknown`, no size is told to `Input`.
    """
    inputs = [
        Input([None if unknown else size for size in tensor.shape[1:]], dtype=tensor.dtype)
        for tensor in data
    ]
    output = function(*inputs)
    model = Model(inputs, output)
    for batch in (data, [torch.cat([tensor, tensor]) for tensor in data]):
        expected = function(*batch)
        torch.testing.assert_close(
            map_leaves(lambda leaf: leaf, model(*batch)),
            map_leaves(lambda leaf: leaf, expected),
            rtol=0,
            atol=0,
            equal_nan=True,
        )
        for symbolic, tensor in zip(leaves(output), leaves(expected), strict=True):
            _check_told(symbolic, tensor)
    return model


def _check_told(symbolic: SymbolicTensor, tensor: Tensor) -> None:
    told = known_shape(*symbolic.samples)
    assert symbolic.dtype == tensor.dtype
    assert len(told) == tensor.ndim
    assert all(size in (None, real) for size, real in zip(told, tensor.shape, strict=True))
