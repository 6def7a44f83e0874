"""The faults that ports of image models have most often, planted in cases that are right.

Each is what a PyTorch user writes who does not know where Keras differs: padding on both sides at
stride 2, padded zeros in a mean, torch's constants in a normalisation, its estimate of the
variance, another order of branches, an activation on the wrong side of a normalisation. The first
level that fails and the layer that it names must be the right ones.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from parity_tests.image_cases import (
    CONV_NORM_RELU,
    CONV_RELU_NORM,
    DENSE_NORM,
    INCEPTION,
    INCEPTION_V3,
    PROJECTION,
    RESNET,
    SEPARABLE,
    SGD,
    XCEPTION,
    sizes,
)
from parity_tests.planting import first_failure, with_fault
from torchbp import layers

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]
FAULTS = []
EVEN_INCEPTION = replace(INCEPTION, small=sizes(4, 10, channels=16, width=8))


def planted(case, level, layer, *marks):
    """The decorated function changes the torch model of `case`, which is built small."""

    def register(change):
        small = replace(case, full=case.small, optimizers=(SGD,), steps=(1, 5))
        fault = with_fault(small, change)
        FAULTS.append(pytest.param(fault, level, layer, id=change.__name__, marks=marks))
        return change

    return register


def with_weights_of(layer, other):
    other.load_state_dict(layer.state_dict())
    return other


def norms(model):
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@planted(EVEN_INCEPTION, 3, "branch_b_2")
def padding_on_both_sides_at_stride_2(model):
    model.inception.branches[1][1].conv = layers.Conv2d(8, 8, 3, stride=2, padding=1)


@planted(EVEN_INCEPTION, 3, "branch_c_pool")
def pooling_windows_one_pixel_off(model):
    model.inception.branches[2][0] = layers.AvgPool2d(3, 2, 1, count_include_pad=False)


@planted(INCEPTION, 3, "branch_c_pool")
def padded_zeros_counted_in_a_mean(model):
    model.inception.branches[2][0] = layers.AvgPool2d(3, 2, 1)


@planted(INCEPTION, 3, "branch_c_pool")
def maxima_instead_of_means(model):
    model.inception.branches[2][0] = layers.MaxPool2d(3, 2, "same")


@planted(INCEPTION, 2, "branch_a")
def one_branch_without_its_stride(model):
    model.inception.branches[0][0].conv.stride = (1, 1)


@planted(INCEPTION, 3, "branches")
def branches_in_another_order(model):
    forward = model.inception.forward
    model.inception.forward = lambda x: torch.cat(forward(x).chunk(4, dim=1)[::-1], dim=1)


@planted(PROJECTION, 3, "sum")
def no_shortcut(model):
    branch, shortcut = model.residual.branch, model.residual.shortcut
    model.residual.forward = lambda x: branch(x) + 0 * shortcut(x)


@planted(PROJECTION, 1, "shortcut")
def projection_without_a_bias(model):
    model.residual.shortcut = layers.Conv2d(16, 24, 1, 2, bias=False)


@planted(PROJECTION, 3, "shortcut")
def projection_of_the_other_pixels(model):
    shortcut = model.residual.shortcut
    shortcut.register_forward_pre_hook(lambda module, args: args[0].roll((-1, -1), (2, 3)))


@planted(CONV_NORM_RELU, 3, "norm_1")
def torchs_epsilon(model):
    norms(model)[0].eps = 1e-5


@planted(CONV_NORM_RELU, 4, "norm_1")
def torchs_momentum(model):
    for norm in norms(model):
        norm.momentum = 0.1


@planted(DENSE_NORM, 4, "norm_1")
def keras_momentum_as_torchs(model):
    for norm in norms(model):
        norm.momentum = 0.99


@planted(DENSE_NORM, 4, "norm_1")
def unbiased_running_variance(model):
    for norm in norms(model):
        norm.biased_running_var = False


@planted(DENSE_NORM, 4, "norm_2")
def statistics_that_stand_still(model):
    norms(model)[1].forward = frozen(norms(model)[1])


def frozen(norm):
    def forward(x):
        weight, bias = norm.weight, norm.bias
        return nn.functional.batch_norm(
            x, norm.running_mean, norm.running_var, weight, bias, False, 0.0, norm.eps
        )

    return forward


@planted(CONV_RELU_NORM, 3, "conv_1")
def activation_after_the_normalisation(model):
    block = model.block_1
    conv, norm, activation = block.conv, block.norm, block.activation
    block.forward = lambda x: activation(norm(conv(x)))


@planted(CONV_RELU_NORM, 1, "norm_2")
def normalisation_without_a_scale(model):
    model.block_2.norm = layers.BatchNorm2d(32, eps=1e-3, momentum=0.01, scale=False)


@planted(SEPARABLE, 1, "sepconv_2")
def bias_in_both_steps(model):
    model.sepconv_2.depthwise = layers.DepthwiseConv2d(32, 3)


@planted(SEPARABLE, 1, "sepconv_3")
def plain_convolution(model):
    model.sepconv_3 = layers.Conv2d(64, 64, 3)


@planted(SEPARABLE, 3, "sepconv_1")
def activation_between_the_steps(model):
    model.sepconv_1.depthwise.register_forward_hook(lambda *call: call[-1].relu())


@planted(SEPARABLE, 3, "sepconv_4")
def pointwise_before_depthwise_channels(model):
    model.sepconv_4.depthwise.register_forward_hook(lambda *call: call[-1].flip(1))


@planted(XCEPTION, 3, "add_1", pytest.mark.slow)
def xceptions_pooling_with_padding_on_both_sides(model):
    model.network.features[3].branch[2] = layers.MaxPool2d(3, 2, 1)


@planted(XCEPTION, 3, "add_3", pytest.mark.slow)
def one_of_xceptions_identities_left_out(model):
    block = model.network.features[5]
    block.forward = lambda x: block.branch(x)


@planted(INCEPTION_V3, 3, "conv2d_11", pytest.mark.slow)  # what reads the pooling
def inceptions_poolings_count_their_padding(model):
    pool = layers.AvgPool2d(3, 1, 1)
    model.network.features[7].branches[3][0] = pool


@planted(RESNET, 2, "conv3_block1_1_conv", pytest.mark.slow)
def torchvisions_stride_in_the_3x3_convolution(model):
    branch = model.network.features[5].residual.branch
    first, second = branch[0].conv, branch[1].conv
    branch[0].conv = with_weights_of(first, layers.Conv2d(256, 128, 1, 1, "same"))
    branch[1].conv = with_weights_of(second, layers.Conv2d(128, 128, 3, 2, "same"))


@pytest.mark.parametrize(("case", "level", "layer"), FAULTS)
def test_a_fault_is_found_at_its_level_and_layer(case, level, layer):
    assert first_failure(case, level) == [(level, layer)]
