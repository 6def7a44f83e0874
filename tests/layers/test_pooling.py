"""Pooling against numpy, and where gradients of equal maxima go."""

import numpy as np
import pytest
import torch

from torchbp.errors import ShapeError
from torchbp.layers import (
    AvgPool1d,
    GlobalAvgPool1d,
    GlobalAvgPool2d,
    GlobalAvgPool3d,
    GlobalMaxPool1d,
    GlobalMaxPool2d,
    GlobalMaxPool3d,
    MaxPool1d,
)

GLOBAL = [
    (GlobalMaxPool1d, np.max, (2, 3, 5)),
    (GlobalMaxPool2d, np.max, (2, 3, 5, 4)),
    (GlobalMaxPool3d, np.max, (2, 3, 5, 4, 2)),
    (GlobalAvgPool1d, np.mean, (2, 3, 5)),
    (GlobalAvgPool2d, np.mean, (2, 3, 5, 4)),
    (GlobalAvgPool3d, np.mean, (2, 3, 5, 4, 2)),
]


@pytest.mark.parametrize(("layer_class", "reduce", "shape"), GLOBAL)
def test_global_pooling_leaves_one_number_a_channel(layer_class, reduce, shape):
    array = np.random.default_rng(0).normal(size=shape)
    expected = reduce(array, axis=tuple(range(2, len(shape))))
    layer, x = layer_class(), torch.from_numpy(array)
    # a mean of up to 40 numbers, summed in another order
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(layer(x[0]).numpy(), expected[0], rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(("layer_class", "reduce", "shape"), GLOBAL)
def test_global_pooling_refuses_another_number_of_dimensions(layer_class, reduce, shape):
    for wrong in ((4,) * (len(shape) - 2), (4,) * (len(shape) + 1)):
        with pytest.raises(ShapeError, match=rf"{layer_class.__name__}: .*\(N, C, .*\(4,"):
            layer_class()(torch.zeros(wrong))


def test_equal_maxima_share_the_gradient_in_global_pooling():
    x = torch.tensor([[[1.0, 3.0, 3.0, 2.0, 3.0]]], requires_grad=True)
    GlobalMaxPool1d()(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([[[0, 1, 1, 0, 1]]]) / 3)


def test_the_first_of_equal_maxima_gets_the_gradient_in_a_window():
    x = torch.tensor([[[1.0, 3.0, 3.0, 2.0, 3.0, 0.0]]], requires_grad=True)
    MaxPool1d(3)(x).sum().backward()
    assert torch.equal(x.grad, torch.tensor([[[0.0, 1, 0, 0, 1, 0]]]))


def test_windows_without_remainder():
    x = torch.arange(7.0).reshape(1, 1, 7)
    assert MaxPool1d(3, stride=2)(x).tolist() == [[[2, 4, 6]]]
    assert AvgPool1d(3)(x).tolist() == [[[1, 4]]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 5},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_size": (2,), "stride": (3,), "dilation": (2,), "return_indices": True},
    ],
)
def test_max_pool1d_exports_with_any_length(options):
    layer = MaxPool1d(**options)
    dim = torch.export.Dim.DYNAMIC
    exported = torch.export.export(
        layer, (torch.randn(2, 3, 50),), dynamic_shapes=({0: dim, 2: dim},)
    )
    x = torch.randn(3, 3, 41)
    torch.testing.assert_close(exported.module()(x), layer(x), rtol=0, atol=0)
