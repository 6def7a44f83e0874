"""The image networks: their size, their shapes, their heads, and that they work as layers."""

import copy
import pickle
import re

import pytest
import torch
from torch import nn

from torchbp import Input, Model, models
from torchbp.data.torchvision import import_torchvision
from torchbp.errors import DataError, MissingExtraError, ShapeError
from torchbp.layers import Conv2d, MaxPool2d, SeparableConv2d
from torchbp.layers.init import glorot_
from torchbp.models import InceptionV3, ResNet50, Xception, siamese_vision

NETWORKS = {"Xception": Xception, "InceptionV3": InceptionV3, "ResNet50": ResNet50}


def on_meta(make):
    """What `make` gives, with shapes and without numbers: fast, whatever the size."""
    with torch.device("meta"):
        return make()


def images(batch=2, size=75, channels=3, device="meta"):
    return torch.randn(batch, channels, size, size, device=device)


def count(module):
    """Parameters and running statistics: what Keras counts."""
    buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    return sum(tensor.numel() for tensor in [*module.parameters(), *buffers])


@torch.no_grad()
def calibrated(network):
    """With running statistics of a batch, so that values neither vanish nor grow."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    network.train()(images(4, network.smallest, device="cpu"))
    return network.eval()


# Size


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (lambda: Xception(), 22_910_480),
        (lambda: Xception(include_top=False), 20_861_480),
        (lambda: InceptionV3(), 23_851_784),
        (lambda: InceptionV3(include_top=False), 21_802_784),
        (lambda: ResNet50(), 25_636_712),
        (lambda: ResNet50(include_top=False), 23_587_712),
        (lambda: ResNet50(include_top=False, pooling="avg"), 23_587_712),
        (lambda: Xception(10), 20_861_480 + 2049 * 10),
        (lambda: InceptionV3(10), 21_802_784 + 2049 * 10),
        (lambda: ResNet50(10), 23_587_712 + 2049 * 10),
        (lambda: Xception(in_channels=1), 22_910_480 - 2 * 9 * 32),
        (lambda: InceptionV3(in_channels=4), 23_851_784 + 9 * 32),
        (lambda: ResNet50(in_channels=1), 25_636_712 - 2 * 49 * 64),
        (lambda: models.separable_convnet(), 28_005),
        (lambda: models.separable_convnet(1, 2), 28_005 - 2 * (9 + 32) - 8 * 33),
    ],
)
def test_counts_as_keras_does(network, expected):
    assert count(on_meta(network)) == expected


@pytest.mark.parametrize(
    ("model", "name", "expected"),
    [
        (lambda: models.inception_convnet(), "inception", 738_176),
        (lambda: models.residual_convnet(128), "residual", 442_752),
        (lambda: models.residual_convnet(64, size=32), "residual", 229_760),
    ],
)
def test_the_convnets_of_one_idea_count_as_in_the_chapter(model, name, expected):
    assert count(getattr(model(), name)) == expected


def test_there_are_36_and_94_and_53_convolutions():
    kinds = {Xception: SeparableConv2d, InceptionV3: Conv2d, ResNet50: Conv2d}
    found = [
        sum(isinstance(module, kind) for module in on_meta(make).modules())
        for make, kind in kinds.items()
    ]
    assert found == [34, 94, 53]  # Xception has two plain ones and four in shortcuts, too


# Shapes


@pytest.mark.parametrize(
    ("name", "size", "maps"),
    [
        ("Xception", 71, 3),
        ("Xception", 150, 5),
        ("Xception", 250, 8),
        ("Xception", 299, 10),
        ("InceptionV3", 75, 1),
        ("InceptionV3", 150, 3),
        ("InceptionV3", 299, 8),
        ("ResNet50", 32, 1),
        ("ResNet50", 33, 2),
        ("ResNet50", 197, 7),
        ("ResNet50", 224, 7),
    ],
)
def test_gives_maps_of_features_for_every_size(name, size, maps):
    network = on_meta(lambda: NETWORKS[name](include_top=False))
    assert network(images(2, size)).shape == (2, 2048, maps, maps)
    wide = torch.empty(1, 3, size, 2 * size, device="meta")
    assert network(wide).shape[:3] == (1, 2048, maps)


@pytest.mark.parametrize("make", NETWORKS.values())
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (2, 1000)),
        ({"num_classes": 7}, (2, 7)),
        ({"num_classes": 7, "probabilities": False}, (2, 7)),
        ({"include_top": False, "pooling": "avg"}, (2, 2048)),
        ({"include_top": False, "pooling": "max"}, (2, 2048)),
    ],
)
def test_a_head_gives_classes_and_a_pooling_features(make, options, shape):
    assert on_meta(lambda: make(**options))(images()).shape == shape


@pytest.mark.parametrize("make", NETWORKS.values())
@pytest.mark.parametrize("channels", [1, 4])
def test_images_may_have_other_channels(make, channels):
    network = on_meta(lambda: make(5, in_channels=channels))
    assert network.in_channels == channels
    assert network(images(channels=channels)).shape == (2, 5)
    with pytest.raises(ShapeError, match=rf"images \(N, {channels}, H, W\)"):
        network(images(channels=3))


@pytest.mark.parametrize(("make", "smallest"), [(Xception, 71), (InceptionV3, 75), (ResNet50, 32)])
def test_smaller_images_are_refused(make, smallest):
    network = on_meta(make)
    network(images(size=smallest))
    for shape in ((2, 3, smallest, smallest - 1), (2, 3, smallest - 1, smallest)):
        with pytest.raises(
            ShapeError, match=rf"of {smallest} pixels .* got {re.escape(f'{shape}')}"
        ):
            network(torch.empty(shape, device="meta"))


@pytest.mark.parametrize("shape", [(2, 80, 80, 3), (3, 80, 80), (2, 3, 80)])
def test_channels_last_or_a_missing_batch_are_refused(shape):
    with pytest.raises(
        ShapeError, match=r"ResNet50: expected images \(N, 3, H, W\).*\n.*channels first, add the"
    ):
        on_meta(ResNet50)(torch.empty(shape, device="meta"))


# Heads


@pytest.fixture(scope="module")
def resnets():
    """One with each ending, all with the same weights."""
    endings = [
        {},
        {"probabilities": False},
        {"include_top": False},
        {"include_top": False, "pooling": "avg"},
        {"include_top": False, "pooling": "max"},
    ]
    first, *others = (ResNet50(7, **options) for options in endings)
    calibrated(first)
    for network in others:
        network.eval().load_state_dict(first.state_dict(), strict=False)
    return first, *others


def test_the_endings_follow_from_each_other(resnets):
    """Float32: torch's own bounds."""
    x = images(2, 64, device="cpu")
    probabilities, scores, maps, means, maxima = (network(x) for network in resnets)
    torch.testing.assert_close(probabilities, scores.softmax(dim=-1))
    torch.testing.assert_close(scores, resnets[0].class_scores(means))
    torch.testing.assert_close(means, maps.mean(dim=(2, 3)))
    assert torch.equal(maxima, maps.amax(dim=(2, 3)))
    assert maps.std() > 0.01  # else all of it would be equal anyway


@pytest.mark.parametrize("make", NETWORKS.values())
@pytest.mark.parametrize(
    ("options", "got"),
    [
        ({"pooling": "avg"}, "'avg' with include_top=True"),
        ({"pooling": "mean", "include_top": False}, "'mean' with include_top=False"),
        ({"pooling": "", "include_top": False}, "'' with include_top=False"),
    ],
)
def test_an_unknown_pooling_or_one_beside_a_head_is_refused(make, options, got):
    expected = f"{make.__name__}: expected pooling None, or 'avg' or 'max' .*, got {got}"
    with pytest.raises(DataError, match=expected):
        on_meta(lambda: make(**options))


@pytest.mark.parametrize("make", NETWORKS.values())
def test_starts_as_keras_does_on_demand(make):
    glorot_(on_meta(make))  # a layer that it does not know would be a warning


# Preprocessing

BYTES = torch.tensor([[0, 127, 255], [255, 128, 0]], dtype=torch.uint8)  # (pixels, RGB)


@pytest.mark.parametrize("make", [Xception, InceptionV3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_bytes_become_numbers_from_minus_one_to_one(make, dtype):
    found = make.preprocess(BYTES.to(dtype))
    assert found.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    expected = torch.tensor([[-1, 127 / 127.5 - 1, 1], [1, 128 / 127.5 - 1, -1]])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7, check_dtype=False)
    assert found.amin() == -1
    assert found.amax() == 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_resnet_takes_bgr_less_the_means(dtype):
    """Float32: 1e-5 is the spacing of numbers about 123.68, which is no number of float32."""
    image = BYTES.to(dtype).T[:, None]  # (RGB, 1, pixels)
    found = ResNet50.preprocess(image)
    assert found.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    blue, green, red = found[:, 0].tolist()
    atol = 1e-12 if dtype == torch.float64 else 1e-5
    assert blue == pytest.approx([255 - 103.939, -103.939], abs=atol)
    assert green == pytest.approx([127 - 116.779, 128 - 116.779], abs=atol)
    assert red == pytest.approx([-123.68, 255 - 123.68], abs=atol)


@pytest.mark.parametrize("make", NETWORKS.values())
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_preprocess_takes_one_image_or_a_batch_and_leaves_it_as_it_was(make, dtype):
    batch = torch.randint(256, (4, 3, 5, 6)).to(dtype)
    before = batch.clone()
    found = make.preprocess(batch)
    assert torch.equal(batch, before)
    assert torch.equal(found, torch.stack([make.preprocess(image) for image in batch]))


# Networks as layers


@pytest.mark.parametrize("make", NETWORKS.values())
def test_is_a_layer_with_shared_weights_in_a_graph(make):
    network = on_meta(lambda: make(include_top=False, pooling="avg", name="eye"))
    left, right = (Input((3, 80, 80), name=side) for side in ("left", "right"))
    model = Model([left, right], network(left) - network(right))
    assert model.eye is network
    assert count(model) == count(network)
    assert model(images(size=80), images(size=80)).shape == (2, 2048)


def test_a_graph_refuses_images_that_are_too_small():
    network = on_meta(lambda: Xception(name="eye"))
    with pytest.raises(ShapeError, match="71 pixels"):
        network(Input((3, 64, 64)))


def test_siamese_vision_has_keras_features_and_counts_the_base_once():
    model = on_meta(siamese_vision)
    assert count(model) == 20_861_480
    assert model.input_names == ("left", "right")
    assert model.output_names == ("both",)
    assert model(images(2, 250), images(2, 250)).shape == (2, 4096, 8, 8)


def test_siamese_vision_looks_with_the_same_eye_and_puts_the_left_first():
    base = nn.Conv2d(3, 5, 3, stride=2)
    model, left, right = (
        siamese_vision(base, size=None),
        torch.randn(2, 3, 9, 8),
        torch.ones(2, 3, 9, 8),
    )
    both = model(left, right)
    assert torch.equal(both, torch.cat([base(left), base(right)], dim=1))
    assert model.base is base
    assert count(model) == count(base)


@pytest.fixture(scope="module")
def torchvision():
    try:
        return import_torchvision()
    except MissingExtraError as error:
        pytest.skip(str(error).splitlines()[0])


def resnet18_base(torchvision):
    network = torchvision.models.resnet18(weights=None)
    return nn.Sequential(*list(network.children())[:-2])  # without pooling and head


def test_a_network_of_torchvisions_is_a_shared_base(torchvision):
    base = resnet18_base(torchvision).eval()
    model = siamese_vision(base, size=64)
    left, right = images(2, 64, device="cpu"), images(2, 64, device="cpu")
    both = model(left, right)
    assert both.shape == (2, 1024, 2, 2)
    assert torch.equal(both, torch.cat([base(left), base(right)], dim=1))
    assert count(model) == count(base) == 11_186_112
    assert len(list(model.parameters())) == len(list(base.parameters()))


def test_both_eyes_train_a_base_of_torchvisions(torchvision):
    base = resnet18_base(torchvision)
    model = siamese_vision(base, size=32)
    left, right = images(2, 32, device="cpu"), images(2, 32, device="cpu")
    alone = copy.deepcopy(base)
    model(left, right).sum().backward()
    (alone(left).sum() + alone(right).sum()).backward()
    for mine, other in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    torch.testing.assert_close(base.state_dict(), alone.state_dict())


# PyTorch's ways


@pytest.mark.parametrize("make", NETWORKS.values())
def test_pickles_and_copies(make):
    network = make(3).eval()
    x = images(1, device="cpu")
    expected = network(x)
    for again in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert type(again) is make
        assert torch.equal(again(x), expected)
        assert not {id(p) for p in again.parameters()} & {id(p) for p in network.parameters()}


@pytest.mark.parametrize("make", NETWORKS.values())
def test_channels_last_gives_the_same(make):
    """Float64: kernels for another layout add up in another order, by 1e-12 at most."""
    network = calibrated(make(include_top=False)).double().requires_grad_(False)
    x = images(2, 80, device="cpu").double()
    expected = network(x)
    found = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12 * float(expected.max()))


@pytest.mark.slow
def test_xception_compiles_as_one_graph():
    """Float32, in training: torch's own bounds, ten times for 36 layers of sums in a new order."""
    network, x = Xception(5), images(2, 71, device="cpu")
    copied = copy.deepcopy(network)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    found, expected = compiled(x), copied(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for output in (found, expected):
        output[:, 0].sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    torch.testing.assert_close(network.state_dict(), copied.state_dict(), rtol=1e-4, atol=1e-5)


def test_the_stem_of_resnet_is_padded_on_both_sides():
    stem, pool, *_ = on_meta(ResNet50).features
    assert stem.conv.padding == (3, 3)
    assert isinstance(pool, MaxPool2d)
    assert pool.padding == 1
