"""Lazy layers, and layers that change the shape only."""

import pytest
import torch

from torchbp import Input, Model, Sequential
from torchbp.errors import ShapeError
from torchbp.layers import Conv1d, Embedding, LazyLinear, Linear, Transpose


def test_a_lazy_layer_has_its_weights_as_soon_as_it_is_connected():
    layer = LazyLinear(3, name="scores")
    output = layer(Input((8,)))
    assert tuple(output.shape) == (None, 3)
    assert type(layer) is Linear
    assert layer.weight.shape == (3, 8)
    assert layer.name == "scores"


def test_a_lazy_layer_becomes_linear_on_its_first_tensor():
    layer = LazyLinear(3, bias=False)
    layer(torch.zeros(2, 8))
    assert type(layer) is Linear
    assert repr(layer) == "Linear(in_features=8, out_features=3, bias=False)"


def test_a_lazy_layer_draws_torchs_weights():
    lazy = LazyLinear(3)
    torch.manual_seed(1)
    lazy(torch.zeros(2, 8))
    torch.manual_seed(1)
    expected = Linear(8, 3)
    torch.testing.assert_close(lazy.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_transpose_stands_between_embedding_and_convolution():
    model = Sequential(Embedding(10, 4), Transpose(1, 2), Conv1d(4, 3, 2))
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert model(ids).shape == (2, 3, 2)
    x = Input((None,), dtype=torch.int64)
    assert tuple(Model(x, model(x)).nodes[-1].output.shape)[:2] == (None, 3)


def test_transpose_exchanges_two_dimensions():
    x = torch.arange(24).reshape(2, 3, 4)
    assert torch.equal(Transpose(1, -1)(x), x.transpose(1, 2))
    assert repr(Transpose(1, -1)) == "Transpose(1, -1)"


def test_transpose_names_the_dimension_that_is_missing():
    with pytest.raises(ShapeError, match=r"Transpose: .*dimensions 1 and 2, got \(2, 3\)"):
        Transpose(1, 2)(torch.zeros(2, 3))
