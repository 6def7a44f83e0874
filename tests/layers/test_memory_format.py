"""What layers for images do inside: what they copy, keep of a batch, and are exported as."""

import copy
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from torchbp import Input
from torchbp.errors import ShapeError
from torchbp.layers import (
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    DepthwiseConv2d,
    MaxPool1d,
    MaxPool2d,
    SeparableConv2d,
)

N, C = 16, 16  # of fewer images torch takes another kernel for 1x1 on one thread, which copies
COPIES = {"aten::constant_pad_nd", "aten::pad", "aten::copy_", "aten::contiguous", "aten::clone",
          "aten::_to_copy", "aten::cat", "aten::index"}  # fmt: skip
FORMATS = [torch.contiguous_format, torch.channels_last]


def images(size, memory_format):
    return torch.randn(N, C, size, size).to(memory_format=memory_format)


def copies(layer, x):
    """Names of the operations that copy something as large as an image; and the output."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        output = layer(x)
    return [
        event.name
        for event in profiler.events()
        if event.name in COPIES and any(len(shape) >= 4 for shape in event.input_shapes)
    ], output


def stack():
    return nn.Sequential(
        Conv2d(C, C, 3, stride=2, padding="same"),
        BatchNorm2d(C, biased_running_var=True),
        SeparableConv2d(C, C, 3, padding="same"),
        BatchNorm2d(C),
        MaxPool2d(3, 2, padding="same"),
        DepthwiseConv2d(C, 5, padding="same", dilation=2),
        AvgPool2d(3, 1, padding="same"),
        AvgPool2d(2, 2, padding="same"),
    )


# an odd size needs as many cells before as after for a kernel of 3 and a stride of 2
NO_COPY = [
    (lambda: Conv2d(C, C, 3, padding="same"), 8),
    (lambda: Conv2d(C, C, 3, stride=2, padding="same"), 9),
    (lambda: Conv2d(C, C, 1, stride=2, padding="same"), 8),
    (lambda: DepthwiseConv2d(C, 3, stride=2, padding="same"), 9),
    (lambda: DepthwiseConv2d(C, 3, padding="same", multiplier=2), 8),
    (lambda: SeparableConv2d(C, C, 3, stride=2, padding="same"), 9),
    (lambda: MaxPool2d(3, 2, padding="same"), 9),
    (lambda: AvgPool2d(3, 2, padding="same"), 9),
    (lambda: BatchNorm2d(C), 9),
    (lambda: BatchNorm2d(C).eval(), 9),
    (lambda: BatchNorm2d(C, biased_running_var=True), 9),
    (lambda: BatchNorm2d(C, biased_running_var=True, scale=False).eval(), 9),
    (stack, 17),
    (lambda: stack().eval(), 17),
]


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("make", "size"), NO_COPY)
def test_symmetric_cases_copy_nothing_and_keep_the_layout(make, size, memory_format):
    layer = make().to(memory_format=memory_format)
    found, output = copies(layer, images(size, memory_format))
    assert found == []
    assert output.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: Conv2d(C, C, 3, stride=2, padding="same"),
        lambda: Conv2d(C, C, 2, padding="same"),
        lambda: DepthwiseConv2d(C, 3, stride=2, padding="same"),
        lambda: SeparableConv2d(C, C, 3, stride=2, padding="same"),
    ],
)
def test_an_asymmetric_convolution_pads_once(make, memory_format):
    layer = make().to(memory_format=memory_format)
    found, output = copies(layer, images(8, memory_format))
    # the copy is what padding does inside
    assert found == ["aten::pad", "aten::constant_pad_nd", "aten::copy_"]
    assert output.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("pool", [MaxPool2d, AvgPool2d])
@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 2), (4, 3), (2, 1)])
def test_asymmetric_pooling_copies_nothing(pool, kernel_size, stride, memory_format):
    layer = pool(kernel_size, stride, padding="same")
    found, output = copies(layer, images(8, memory_format))
    assert found == []
    # one output too many is left out as a view where windows are one step apart
    assert output.is_contiguous(memory_format=memory_format) == (stride != 1)


def test_a_change_of_the_layout_would_be_seen():
    found, _ = copies(lambda x: x.contiguous(), images(8, torch.channels_last))
    assert found == ["aten::contiguous", "aten::clone", "aten::copy_"]


def batches(*shape):
    return [np.random.default_rng(i).normal(i, 1 + i, size=shape) for i in range(4)]


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
@pytest.mark.parametrize(
    ("layer_class", "shape"),
    [(BatchNorm1d, (2, 3)), (BatchNorm1d, (5, 3, 2)), (BatchNorm2d, (2, 3, 4, 5))],
)
def test_running_variance_is_a_mix_of_biased_ones(layer_class, shape, momentum):
    layer = layer_class(3, momentum=momentum, biased_running_var=True).double()
    mean, variance = np.zeros(3), np.ones(3)
    for i, x in enumerate(batches(*shape)):
        new = 1 / (i + 1) if momentum is None else momentum
        axes = (0, *range(2, len(shape)))
        mean = (1 - new) * mean + new * x.mean(axes)
        variance = (1 - new) * variance + new * x.var(axes)
        layer(torch.from_numpy(x))
    # a few dozen operations in float64
    np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(layer.running_var.numpy(), variance, rtol=1e-13)
    assert layer.num_batches_tracked == 4


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"shift": False}, {"affine": False}])
def test_biased_statistics_change_neither_outputs_nor_gradients_of_a_shared_layer(options):
    usual = BatchNorm2d(3, **options).double()
    layer = BatchNorm2d(3, biased_running_var=True, **options).double()
    results = []
    for module in (usual, layer):
        x = torch.from_numpy(batches(2, 3, 4, 5)[1]).requires_grad_()
        output = module(module(x) ** 3 + x)
        output.pow(3).sum().backward()
        results.append([output, x.grad, *(p.grad for p in module.parameters())])
    torch.testing.assert_close(*results, rtol=0, atol=0)
    assert layer.num_batches_tracked == 2
    assert not torch.allclose(layer.running_var, usual.running_var)


def test_a_batch_of_one_value_a_channel_is_refused_and_leaves_the_statistics():
    layer = BatchNorm1d(3, biased_running_var=True)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        layer(torch.ones(1, 3))
    assert layer.running_mean.tolist() == [0, 0, 0]
    assert layer.running_var.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="expected 2D or 3D input"):
        layer(torch.ones(2, 3, 4, 4))


def test_neither_evaluation_nor_a_graph_moves_the_statistics():
    layer = BatchNorm2d(3, biased_running_var=True)
    layer(Input((3, 4, 4)))
    assert layer.running_var.tolist() == [1, 1, 1]
    layer(torch.randn(2, 3, 4, 4))
    usual = nn.BatchNorm2d(3).eval()
    usual.load_state_dict(layer.state_dict())
    before, x = copy.deepcopy(layer.state_dict()), torch.randn(2, 3, 4, 4)
    assert torch.equal(layer.eval()(x), usual(x))
    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)


def test_without_statistics_to_track_there_is_no_variance_to_be_biased():
    layer = BatchNorm2d(3, track_running_stats=False, biased_running_var=True)
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(layer(x), nn.BatchNorm2d(3, track_running_stats=False)(x))


EXPORTED = [
    Conv1d(3, 4, 3, stride=2, padding="same"),
    Conv1d(3, 4, 2, padding="causal", dilation=2),
    Conv2d(3, 4, 3, stride=2, padding="same"),
    Conv2d(3, 4, (1, 2), stride=(3, 1), padding="same"),
    MaxPool1d(3, 2, padding="same"),
    MaxPool2d(3, 2, padding="same"),
    MaxPool2d(2, 1, padding="same"),
    MaxPool2d(3, 1, padding="same", dilation=3),
    AvgPool1d(3, 2, padding="same"),
    AvgPool2d(3, 2, padding="same"),
    AvgPool2d(1, 3, padding="same"),
    AvgPool3d(2, 3, padding="same"),
]


@pytest.mark.parametrize("batch", [(2,), ()], ids=["batch", "no batch"])
@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("layer", EXPORTED, ids=repr)
def test_same_padding_is_exported_for_sizes_even_and_odd(layer, size, batch):
    first = len(batch) + 1  # of the sizes, which come after the channels
    free = dict.fromkeys(range(first, first + layer.num_dims), torch.export.Dim.DYNAMIC)
    example = torch.randn(*batch, 3, *[size] * layer.num_dims)
    exported = torch.export.export(layer, (example,), dynamic_shapes=(free,)).module()
    for node in exported.graph.nodes:
        # the windows are numbers, as ONNX wants them; only what is put around depends on the size
        if "conv" in str(node.target) or "pool" in str(node.target):
            lists = [arg for arg in node.args if isinstance(arg, list)]
            assert lists
            assert all(isinstance(number, int) for arg in lists for number in arg)
    for sizes in product((10, 11, 12, 13), repeat=min(layer.num_dims, 2)):
        x = torch.randn(*batch, 3, *sizes, *[14] * (layer.num_dims - len(sizes)))
        # sums of up to nine numbers in another order
        torch.testing.assert_close(exported(x), layer(x), rtol=1e-5, atol=1e-6)


def test_where_maxima_stand_is_not_told_for_free_sizes():
    free = dict.fromkeys((2, 3), torch.export.Dim.DYNAMIC)
    layer = MaxPool2d(3, 2, padding="same", return_indices=True)
    with pytest.raises(ShapeError, match=r"expected no return_indices .* a size is free"):
        torch.export.export(layer, (torch.randn(2, 3, 8, 8),), dynamic_shapes=(free,))


def test_compiled_training_gives_the_same_outputs_gradients_and_statistics():
    eager = stack()
    compiled = copy.deepcopy(eager)
    run = torch.compile(compiled, fullgraph=True, backend="aot_eager")
    for _ in range(3):
        x = torch.randn(N, C, 17, 17)
        expected, output = eager(x), run(x)
        torch.testing.assert_close(output, expected)
        expected.pow(2).sum().backward()
        output.pow(2).sum().backward()
    assert eager[1].num_batches_tracked == 3
    torch.testing.assert_close(compiled.state_dict(), eager.state_dict())
    for ours, theirs in zip(compiled.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
