"""Sizes and places of windows, for any size, kernel, stride and dilation."""

import os
import re
import subprocess
import sys

import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from torch.nn import functional as F

from torchbp import layers
from torchbp.errors import ShapeError
from torchbp.layers import Conv2d

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
SPREAD = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAXIMA = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEANS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}

# sizes, kernels, strides and dilations of one to three dimensions, each another
windows = st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)),
    min_size=1,
    max_size=3,
).map(lambda dims: tuple(zip(*dims, strict=True)))
many = settings(max_examples=80, deadline=None)
# a few hundred products in float64, added in another order
close = {"rtol": 1e-12, "atol": 1e-12}


def random(*shape):
    return torch.randn(shape, dtype=torch.float64)


def ceil_of_quotient(sizes, strides):
    return tuple(-(-n // s) for n, s in zip(sizes, strides, strict=True))


def same(sizes, kernels, strides, dilations):
    """Cells around, in F.pad's order: ceil(n / s) windows cover the size, left = total // 2."""
    flat = []
    for n, k, s, d in zip(sizes, kernels, strides, dilations, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        flat = [total // 2, total - total // 2, *flat]
    return flat


@given(windows)
@many
def test_same_convolution_is_a_valid_one_of_a_padded_input(window):
    sizes, kernels, strides, dilations = window
    layer_class = getattr(layers, f"Conv{len(sizes)}d")
    layer = layer_class(2, 3, kernels, strides, "same", dilations).double()
    x = random(2, 2, *sizes)
    output = layer(x)
    assert output.shape[2:] == ceil_of_quotient(sizes, strides)
    convolve, padded = CONVOLVE[len(sizes)], F.pad(x, same(*window))
    expected = convolve(padded, layer.weight, layer.bias, strides, dilation=dilations)
    torch.testing.assert_close(output, expected, **close)
    torch.testing.assert_close(layer(x[0]), expected[0], **close)


@given(windows)
@many
def test_same_convolution_pads_in_the_mode_given(window):
    sizes, kernels, strides, dilations = window
    layer_class = getattr(layers, f"Conv{len(sizes)}d")
    layer = layer_class(
        2, 3, kernels, strides, "same", dilations, padding_mode="replicate", bias=False
    ).double()
    x = random(2, 2, *sizes)
    padded = F.pad(x, same(*window), mode="replicate")
    expected = CONVOLVE[len(sizes)](padded, layer.weight, None, strides, dilation=dilations)
    torch.testing.assert_close(layer(x), expected, **close)


@given(windows)
@many
def test_same_maximum_is_that_of_an_input_padded_with_less_than_anything(window):
    sizes, kernels, strides, dilations = window
    layer = getattr(layers, f"MaxPool{len(sizes)}d")(kernels, strides, "same", dilations)
    x = random(2, 2, *sizes) - 5  # all below zero
    output = layer(x)
    assert output.shape[2:] == ceil_of_quotient(sizes, strides)
    padded = F.pad(x, same(*window), value=-torch.inf)
    expected = MAXIMA[len(sizes)](padded, kernels, strides, dilation=dilations)
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    torch.testing.assert_close(layer(x[0]), expected[0], rtol=0, atol=0)


@given(windows)
@many
def test_same_maximum_says_where_it_stands(window):
    sizes, kernels, strides, _ = window
    layer = getattr(layers, f"MaxPool{len(sizes)}d")(kernels, strides, "same", return_indices=True)
    x = random(2, 2, *sizes)
    output, indices = layer(x)
    assert output.shape == indices.shape
    found = x.flatten(2).gather(2, indices.flatten(2))
    torch.testing.assert_close(found, output.flatten(2), rtol=0, atol=0)


@given(windows)
@many
def test_same_mean_is_that_of_the_cells_inside(window):
    sizes, kernels, strides, _ = window
    layer = getattr(layers, f"AvgPool{len(sizes)}d")(kernels, strides, "same")
    x, pool = random(2, 2, *sizes), MEANS[len(sizes)]
    output = layer(x)
    assert output.shape[2:] == ceil_of_quotient(sizes, strides)
    around = same(sizes, kernels, strides, (1,) * len(sizes))
    sums, counts = (pool(F.pad(y, around), kernels, strides) for y in (x, torch.ones_like(x)))
    torch.testing.assert_close(output, sums / counts, **close)
    torch.testing.assert_close(layer(x[0]), (sums / counts)[0], **close)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
@many
def test_causal_outputs_do_not_depend_on_later_inputs(length, kernel, stride, dilation):
    layer = layers.Conv1d(2, 3, kernel, stride, "causal", dilation).double()
    x = random(2, 2, length)
    output = layer(x)
    assert output.shape[2] == -(-length // stride)
    for step in range(output.shape[2]):
        now = step * stride
        changed = torch.cat([x[..., : now + 1], random(2, 2, length - now - 1)], -1)
        torch.testing.assert_close(layer(changed)[..., step], output[..., step], **close)
        changed[..., now] += 1
        assert not torch.allclose(layer(changed)[..., step], output[..., step])


# what of (n - 1) s + K cells is cut at the left and at the right, if the kernel reaches over K
# cells; a negative number is appended as zeros
CUTS = {
    ("valid", False): lambda reach, s, p: (0, -(max(reach, s) - reach)),
    ("valid", True): lambda reach, s, p: (0, -p),
    ("same", False): lambda reach, s, p: halves(reach - s),
    ("same", True): lambda reach, s, p: halves(reach - reach % 2 - p),
}
# and how long the output is
LENGTHS = {
    ("valid", False): lambda n, reach, s, p: (n - 1) * s + max(reach, s),
    ("valid", True): lambda n, reach, s, p: (n - 1) * s + reach + p,
    ("same", False): lambda n, reach, s, p: n * s,
    ("same", True): lambda n, reach, s, p: (n - 1) * s + reach % 2 + p,
}


def halves(total):
    left = max(total // 2, 0)
    return left, total - left


@pytest.mark.parametrize(("word", "has_output_padding"), CUTS)
@given(window=windows, more=st.integers(0, 2))
@many
def test_a_transposed_convolution_is_the_natural_one_cut(word, has_output_padding, window, more):
    sizes, kernels, strides, dilations = window
    num_dims, row = len(sizes), (word, has_output_padding)
    more = tuple(min(more, s - 1) for s in strides)
    reaches = [(k - 1) * d + 1 for k, d in zip(kernels, dilations, strict=True)]
    lengths = tuple(map(LENGTHS[row], sizes, reaches, strides, more))
    assume(min(lengths) > 0)

    layer = getattr(layers, f"ConvTranspose{num_dims}d")(
        2, 3, kernels, strides, word, more if has_output_padding else None, dilation=dilations
    ).double()
    x = random(2, 2, *sizes)
    output = layer(x)
    assert output.shape[2:] == lengths

    natural = SPREAD[num_dims](x, layer.weight, None, strides, dilation=dilations)
    cuts = map(CUTS[row], reversed(reaches), reversed(strides), reversed(more))
    expected = F.pad(natural, [-cells for pair in cuts for cells in pair])
    bias = layer.bias.reshape(-1, *[1] * num_dims)
    torch.testing.assert_close(output, expected + bias, **close)


@given(st.data(), st.integers(1, 3))
@many
def test_cropping_undoes_zero_padding(data, num_dims):
    sides = tuple(data.draw(st.integers(0, 3)) for _ in range(2 * num_dims))
    pad = getattr(layers, f"ZeroPad{num_dims}d")(sides)
    crop = getattr(layers, f"Crop{num_dims}d")(sides)
    x = random(2, 3, *range(2, 2 + num_dims))
    padded = pad(x)
    assert padded.shape[-1] == x.shape[-1] + sides[0] + sides[1]
    assert torch.equal(crop(padded), x)
    assert torch.equal(crop(padded[0]), x[0])


def test_cropping_copies_nothing():
    x = torch.zeros(2, 3, 5, 5)
    assert layers.Crop2d(1)(x).untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def test_one_number_in_a_tuple_is_for_all_dimensions():
    x = random(2, 3, 5, 6)
    for layer_class in (layers.MaxPool2d, layers.AvgPool2d):
        expected = layer_class(3, 2, "same")(x)
        assert torch.equal(layer_class((3,), (2,), "same")(x), expected)


IMAGE = torch.zeros(1, 2, 4, 4)
REFUSED = {
    r"Conv2d: .* 'same', 'valid' or numbers, got 'causal'.*Conv1d": lambda: layers.Conv2d(
        2, 2, 3, padding="causal"
    ),
    r"DepthwiseConv2d: .* got 'causal'": lambda: layers.DepthwiseConv2d(2, 3, padding="causal"),
    r"Invalid padding string 'full'": lambda: layers.Conv2d(2, 2, 3, padding="full"),
    r"MaxPool2d: .* 'same' or numbers, got 'valid'.*0 is": lambda: layers.MaxPool2d(
        2, padding="valid"
    ),
    r"AvgPool1d: .* 'same' or numbers, got 'causal'": lambda: layers.AvgPool1d(2, padding="causal"),
    r"AvgPool3d: expected no divisor_override .* got 4": lambda: layers.AvgPool3d(
        2, padding="same", divisor_override=4
    ),
    r"MaxPool2d: expected no return_indices .* dilation \(3, 3\)": lambda: layers.MaxPool2d(
        3, 1, "same", 3, return_indices=True
    )(IMAGE),
    r"ConvTranspose2d: .* 'same', 'valid' or numbers, got 'causal'": lambda: layers.ConvTranspose2d(
        2, 2, 3, padding="causal"
    ),
    r"ConvTranspose2d: expected no output_size with padding='same', .* got \[8, 8\]": lambda: (
        layers.ConvTranspose2d(2, 2, 3, 2, padding="same")(IMAGE, [8, 8])
    ),
    r"Crop2d: .* each of 4 sides, got \(1, 2\)": lambda: layers.Crop2d((1, 2)),
    r"Crop1d: .* each of 2 sides, got -1": lambda: layers.Crop1d(-1),
    r"Crop2d: .* \(N, C, H, W\) larger than the \(2, 2, 2, 2\) cells .* \(1, 2, 4, 4\)": lambda: (
        layers.Crop2d(2)(IMAGE)
    ),
    r"Crop3d: .* \(N, C, D, H, W\) .* got \(4, 4\)": lambda: layers.Crop3d(0)(IMAGE[0, 0]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_done_is_told(message):
    error = ValueError if message.startswith("Invalid") else ShapeError
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        REFUSED[message]()


FEW_PIXELS = """
import torch
from torchbp.layers import Conv2d
torch.set_num_threads(1)
for seed in range(60):
    torch.manual_seed(seed)
    layer = Conv2d({channels}, 16, 1, stride=2, padding={padding!r})
    x = torch.randn(4, 10, 10, {channels}).permute(0, 3, 1, 2).requires_grad_()
    layer(x).sum().backward()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "padding"), [(3, 0), (6, "same"), (12, 0)])
def test_a_strided_1x1_convolution_over_few_channels_writes_where_it_may(channels, padding):
    """oneDNN's own, on a CPU with AVX2, ends the process in this loop."""
    done = subprocess.run(
        [sys.executable, "-c", FEW_PIXELS.format(channels=channels, padding=padding)],
        env=os.environ | {"MALLOC_CHECK_": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("size", [(9, 10), (10, 9)])
def test_a_strided_1x1_convolution_over_few_channels_is_torchs(size):
    x = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    layer = Conv2d(6, 4, 1, stride=(2, 3), groups=2, padding="same").double()
    expected = F.conv2d(x, layer.weight, layer.bias, stride=(2, 3), groups=2)
    torch.testing.assert_close(layer(x), expected, rtol=1e-14, atol=1e-14)
    grads = (torch.autograd.grad(y.square().sum(), x)[0] for y in (layer(x), expected))
    torch.testing.assert_close(*grads, rtol=1e-13, atol=1e-13)
