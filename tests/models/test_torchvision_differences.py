"""Where torchvision's InceptionV3 and ResNet50 differ from Keras's, which are ours.

Each test is a line of the tables in docs/keras-to-torchbp.md. Two of them show that there are no
others: with our weights, and with all that is said undone, torchvision's networks compute what
ours do.
"""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp.blocks import Bottleneck, ConvNormAct, Inception
from torchbp.data.torchvision import import_torchvision
from torchbp.errors import MissingExtraError
from torchbp.layers import AvgPool2d
from torchbp.models import InceptionV3, ResNet50

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def vision():
    try:
        return import_torchvision().models
    except MissingExtraError as error:
        pytest.skip(str(error).splitlines()[0])


@pytest.fixture(scope="module")
def inceptions(vision):
    """Ours, and torchvision's without a second head; in float64."""
    torch.manual_seed(0)
    ours = InceptionV3(7, probabilities=False)
    theirs = vision.inception_v3(
        weights=None, init_weights=False, aux_logits=False, num_classes=7, dropout=0.0
    )
    return randomized(ours.double()), theirs.double().eval()


@pytest.fixture(scope="module")
def resnets(vision):
    torch.manual_seed(0)
    ours = ResNet50(7, probabilities=False)
    return randomized(ours.double()), vision.resnet50(weights=None, num_classes=7).double().eval()


@torch.no_grad()
def randomized(network):
    """Weights of which none is 0 or 1, and running statistics of a batch."""
    for norm in modules(network, nn.BatchNorm2d):
        norm.bias.normal_(1, 0.3)
        if norm.weight is not None:
            norm.weight.uniform_(0.3, 0.7)
        norm.momentum = 1.0
    network.train()(torch.randn(4, 3, 107, 107, dtype=torch.float64))
    return network.eval()


def modules(network, *kinds):
    return [module for module in network.modules() if isinstance(module, kinds)]


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def statistics(network):
    return sum(b.numel() for b in network.buffers() if b.is_floating_point())


def on_meta(make, *args, **kwargs):
    with torch.device("meta"):
        return make(*args, **kwargs)


def steps(network):
    return [(m.kernel_size, m.stride) for m in modules(network, nn.Conv2d)]


# Both


def test_inception_has_other_numbers_of_parameters(vision):
    ours = on_meta(InceptionV3)
    theirs = on_meta(vision.inception_v3, weights=None, init_weights=False)
    single = on_meta(vision.inception_v3, weights=None, init_weights=False, aux_logits=False)
    assert (count(ours), statistics(ours)) == (23_817_352, 34_432)
    assert (count(theirs), statistics(theirs)) == (27_161_264, 36_224)
    assert (count(single), statistics(single)) == (23_834_568, 34_432)
    assert count(single) - count(ours) == 17_216  # the weights of the normalisations


def test_resnet_has_other_numbers_of_parameters(vision):
    ours, theirs = on_meta(ResNet50), on_meta(vision.resnet50, weights=None)
    assert (count(ours), statistics(ours)) == (25_583_592, 53_120)
    assert (count(theirs), statistics(theirs)) == (25_557_032, 53_120)
    assert count(ours) - count(theirs) == 26_560  # the biases of the convolutions


PAGE = Path(__file__).parents[2] / "docs" / "keras-to-torchbp.md"


def test_the_page_tells_these_numbers():
    text = PAGE.read_text()
    for number in (23_817_352, 27_161_264, 23_834_568, 34_432, 36_224, 17_216, 25_583_592):
        assert f"{number:,}" in text
    for number in (25_557_032, 53_120, 26_560):
        assert f"{number:,}" in text


@pytest.mark.parametrize(
    ("name", "make", "ours", "theirs"),
    [
        ("inception_v3", InceptionV3, 1e-3, 1e-3),
        ("resnet50", ResNet50, 1.001e-5, 1e-5),
    ],
)
def test_normalisations_have_other_constants(vision, name, make, ours, theirs):
    options = {"init_weights": False} if name == "inception_v3" else {}
    network = on_meta(getattr(vision, name), weights=None, **options)
    mine = modules(on_meta(make), nn.BatchNorm2d)
    others = modules(network, nn.BatchNorm2d)
    assert {norm.eps for norm in mine} == {ours}
    assert {norm.eps for norm in others} == {theirs}
    assert {norm.momentum for norm in mine} == {0.01}
    assert {norm.momentum for norm in others} == {0.1}
    assert all(norm.biased_running_var for norm in mine)


def test_the_running_variance_of_a_batch_is_the_biased_one(vision):
    """Float32: torch's own bounds."""
    x = torch.randn(2, 3, 75, 75)
    ours = modules(ResNet50(), nn.BatchNorm2d)[0]
    theirs = modules(vision.resnet50(weights=None), nn.BatchNorm2d)[0]
    y = F.conv2d(x, torch.randn(64, 3, 1, 1))
    for norm, momentum, unbiased in ((ours, 0.01, False), (theirs, 0.1, True)):
        norm.train()(y)
        variance = y.transpose(0, 1).flatten(1).var(dim=1, unbiased=unbiased)
        expected = (1 - momentum) + momentum * variance
        torch.testing.assert_close(norm.running_var, expected, rtol=1e-6, atol=1e-6)


def test_ours_give_probabilities_and_torchvisions_scores(vision):
    x = torch.randn(2, 3, 75, 75)
    for make in (InceptionV3, ResNet50):
        torch.testing.assert_close(make(5).eval()(x).sum(dim=-1), torch.ones(2))
    for name in ("inception_v3", "resnet50"):
        options = {"init_weights": False} if name == "inception_v3" else {}
        network = getattr(vision, name)(weights=None, num_classes=5, **options).eval()
        assert network(x).amin() < 0


def spread(weight):
    return float(weight.detach().std())


def test_torchvision_starts_from_other_distributions(vision):
    """Within 2 %, for 36,864 numbers or more: four standard errors and more; 1,000 classes."""
    ours = modules(ResNet50(), nn.Conv2d, nn.Linear)
    resnet = modules(vision.resnet50(weights=None), nn.Conv2d, nn.Linear)
    first, second = ours[2], resnet[2]  # 3x3 on 64 channels
    assert first.weight.shape == second.weight.shape == (64, 64, 3, 3)
    assert spread(first.weight) == pytest.approx((1 / 3 / 576) ** 0.5, rel=0.02)  # torch's uniform
    assert first.weight.abs().max() <= 576**-0.5
    assert spread(second.weight) == pytest.approx((2 / 576) ** 0.5, rel=0.02)  # He's, by fan_out
    truncated = vision.inception_v3(weights=None, init_weights=True)
    inside = modules(truncated, nn.Conv2d)
    assert spread(inside[4].weight) == pytest.approx(0.1, rel=0.02)
    assert spread(truncated.AuxLogits.fc.weight) == pytest.approx(0.001, rel=0.02)


# InceptionV3


def test_torchvisions_inception_has_a_weight_in_each_normalisation(inceptions):
    ours, theirs = inceptions
    assert all(norm.weight is None for norm in modules(ours, nn.BatchNorm2d))
    assert all(norm.weight is not None for norm in modules(theirs, nn.BatchNorm2d))


def test_no_convolution_of_either_inception_has_a_bias(inceptions):
    assert all(conv.bias is None for network in inceptions for conv in modules(network, nn.Conv2d))


def test_the_convolutions_of_both_inceptions_have_the_same_sizes_and_order(inceptions):
    ours, theirs = inceptions
    assert steps(ours) == steps(theirs)
    shapes = [[conv.weight.shape for conv in modules(network, nn.Conv2d)] for network in inceptions]
    assert shapes[0] == shapes[1]


def test_the_stems_of_both_inceptions_are_padded_alike(inceptions):
    ours, theirs = inceptions
    stem = [m for m in ours.features if not isinstance(m, Inception)]
    padding = [
        (0, 0) if m.conv.padding == (0, 0) or m.conv.kernel_size == (1, 1) else m.conv.padding
        for m in stem
        if isinstance(m, ConvNormAct)
    ]
    assert padding == [(0, 0), (0, 0), "same", (0, 0), (0, 0)]
    convs = modules(theirs, nn.Conv2d)[:5]
    assert [conv.padding for conv in convs] == [(0, 0), (0, 0), (1, 1), (0, 0), (0, 0)]


def test_torchvisions_mean_poolings_count_the_padding(vision):
    x = torch.ones(1, 192, 5, 5)
    pool = next(m for m in modules(InceptionV3(), AvgPool2d))
    assert torch.equal(pool(x), x)
    module = vision.inception_v3(weights=None, init_weights=False).Mixed_5b
    module.branch_pool = nn.Identity()
    theirs = module.eval()(x)[0, 64 + 64 + 96].tolist()
    assert theirs[0][0] == pytest.approx(4 / 9)  # a corner sees four cells of nine
    assert theirs[1][1] == pytest.approx(1)


@torch.no_grad()
def with_our_weights(inceptions):
    ours, theirs = inceptions[0], copy.deepcopy(inceptions[1])
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    for mine, other in zip(modules(ours, *kinds), modules(theirs, *kinds), strict=True):
        ones = {} if mine.weight is not None else {"weight": torch.ones_like(other.weight)}
        other.load_state_dict(mine.state_dict() | ones)
    return theirs


def test_inception_without_the_padding_in_its_means_is_ours(inceptions, monkeypatch):
    """Float64: 1e-12, the bound of a whole net."""
    ours, theirs = inceptions[0], with_our_weights(inceptions)
    x = torch.randn(2, 3, 107, 107, dtype=torch.float64)
    expected = ours(x).detach()
    size = expected.abs().max()
    assert (theirs(x) - expected).abs().max() > 1e-3 * size

    def without_padding(*args, **kwargs):
        return F.avg_pool2d(*args, **kwargs, count_include_pad=False)

    functional = SimpleNamespace(**vars(F) | {"avg_pool2d": without_padding})
    module = __import__("torchvision.models.inception", fromlist=["F"])
    monkeypatch.setattr(module, "F", functional)
    assert (theirs(x) - expected).abs().max() <= 1e-12 * size


def test_torchvisions_inception_has_a_second_head_in_training(vision):
    theirs = vision.inception_v3(weights=None, init_weights=False, num_classes=5)
    x = torch.randn(2, 3, 299, 299)
    assert type(theirs.eval()(x)) is torch.Tensor
    with torch.no_grad():
        scores, second = theirs.train()(x)
    assert scores.shape == second.shape == (2, 5)
    assert count(theirs.AuxLogits) == 3_326_696 - 769 * 995  # for 5 classes of 1000


def test_torchvisions_inception_drops_half_before_the_head(vision):
    theirs = on_meta(vision.inception_v3, weights=None, init_weights=False)
    assert theirs.dropout.p == 0.5
    assert not modules(on_meta(InceptionV3), nn.Dropout)
    assert not modules(on_meta(vision.resnet50, weights=None), nn.Dropout)


def imagenet_normalised(image):
    """What torchvision's transforms make of bytes."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (image / 255 - mean) / std


def test_torchvisions_published_inception_brings_its_input_to_our_scale(vision):
    """Float32: 1e-6, a few roundings of numbers about 1."""
    weights = vision.Inception_V3_Weights.IMAGENET1K_V1
    assert (weights.transforms.keywords["crop_size"], MEAN) == (299, weights.transforms().mean)
    theirs = on_meta(vision.inception_v3, weights=None, init_weights=False, transform_input=True)
    assert on_meta(vision.inception_v3, weights=None, init_weights=False).transform_input is False
    image = torch.randint(256, (1, 3, 4, 5)).to(torch.uint8)
    found = theirs._transform_input(imagenet_normalised(image))
    torch.testing.assert_close(found, InceptionV3.preprocess(image), rtol=0, atol=1e-6)


# ResNet50


def test_no_convolution_of_torchvisions_resnet_has_a_bias(resnets):
    ours, theirs = resnets
    assert all(conv.bias is not None for conv in modules(ours, nn.Conv2d))
    assert all(conv.bias is None for conv in modules(theirs, nn.Conv2d))


def test_torchvisions_resnet_has_the_stride_in_the_3x3_convolution(resnets):
    ours, theirs = resnets
    for block in modules(ours, Bottleneck):
        strides = [step.conv.stride[0] for step in block.residual.branch]
        assert strides[1:] == [1, 1]
    mine = [b.residual.branch[0].conv.stride[0] for b in modules(ours, Bottleneck)]
    others = [m for m in theirs.modules() if type(m).__name__ == "Bottleneck"]
    assert all(block.conv1.stride == (1, 1) for block in others)
    assert [block.conv2.stride[0] for block in others] == mine
    assert mine.count(2) == 3


def test_the_stems_of_both_resnets_are_padded_alike(resnets):
    """Zeros around maps that are nowhere negative change no maximum."""
    ours, theirs = resnets
    stem, pool, *_ = ours.features
    assert stem.conv.padding == theirs.conv1.padding == (3, 3)
    assert (pool.kernel_size, pool.stride, pool.padding) == (3, 2, 1)
    assert (theirs.maxpool.kernel_size, theirs.maxpool.stride, theirs.maxpool.padding) == (3, 2, 1)
    maps = torch.rand(2, 4, 9, 9)
    assert torch.equal(pool(maps), F.max_pool2d(F.pad(maps, (1, 1, 1, 1)), 3, 2))


def in_torchvisions_order(block):
    """Convolution and normalisation pairs: the branch, then the shortcut."""
    residual = block.residual
    pairs = [*residual.branch]
    return [*pairs, residual.shortcut] if isinstance(residual.shortcut, ConvNormAct) else pairs


@torch.no_grad()
def with_our_resnet_weights(ours, theirs):
    """A bias before a normalisation is the same as a smaller running mean."""
    pairs = [ours.features[0]]
    for block in modules(ours, Bottleneck):
        pairs += in_torchvisions_order(block)
    convs, norms = modules(theirs, nn.Conv2d), modules(theirs, nn.BatchNorm2d)
    for pair, conv, norm in zip(pairs, convs, norms, strict=True):
        conv.weight.copy_(pair.conv.weight)
        norm.load_state_dict(pair.norm.state_dict())
        norm.running_mean -= pair.conv.bias
    theirs.fc.load_state_dict(ours.class_scores.state_dict())
    return theirs


def test_resnet_with_our_strides_and_eps_is_ours(resnets):
    """Float64: 1e-12, the bound of a whole net."""
    ours, theirs = resnets[0], with_our_resnet_weights(resnets[0], copy.deepcopy(resnets[1]))
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    expected = ours(x).detach()
    size = expected.abs().max()
    assert (theirs(x) - expected).abs().max() > 1e-3 * size
    for block in [m for m in theirs.modules() if type(m).__name__ == "Bottleneck"]:
        block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    assert (theirs(x) - expected).abs().max() > 1e-9 * size  # eps is left
    for norm in modules(theirs, nn.BatchNorm2d):
        norm.eps = 1.001e-5
    assert (theirs(x) - expected).abs().max() <= 1e-12 * size


def test_resnets_want_their_images_in_other_scales_and_channel_orders(vision):
    transforms = vision.ResNet50_Weights.IMAGENET1K_V1.transforms()
    assert (transforms.mean, transforms.std) == (MEAN, STD)
    red = torch.tensor([255.0, 0, 0])[:, None, None].expand(3, 2, 2)
    assert ResNet50.preprocess(red)[:, 0, 0].argmax() == 2
    assert imagenet_normalised(red)[:, 0, 0].argmax() == 0
    assert ResNet50.preprocess(red).amax() > 100
    assert imagenet_normalised(red).amax() < 3
