"""Models that look at images: small ones of one idea each, and one that looks with two eyes."""

from torch import nn
from torch.nn import functional as F

from torchbp import layers
from torchbp.blocks import Residual, four_branches
from torchbp.graph import Input, Model, call
from torchbp.graph.symbolic import SymbolicTensor
from torchbp.models.xception import Xception


def inception_convnet(in_channels: int = 192, channels: int = 128, num_classes: int = 10) -> Model:
    """One inception module of four branches, and a classifier on the means of its channels.

    Args:
        in_channels: channels of the maps that come in.
        channels: channels of each convolution.
        num_classes: number of classes.

    Shape:
        features (N, in_channels, H, W) -> classes (N, num_classes), probabilities.

    Example:
        >>> from torchbp.models import inception_convnet
        >>> sum(parameter.numel() for parameter in inception_convnet().inception.parameters())
        738176
    """
    features = Input((in_channels, None, None), name="features")
    x = four_branches(in_channels, channels, stride=2, name="inception")(features)
    return Model(features, _classified(x, num_classes))


def residual_convnet(
    in_channels: int = 128, channels: int = 128, num_classes: int = 10, size: int | None = None
) -> Model:
    """Convolutions with a residual connection around them, and a classifier.

    With as many channels as come in there are three convolutions, and the input itself is added.
    Otherwise there are two and a pooling, and a 1x1 convolution with stride 2 projects the input.

    Args:
        in_channels: channels of the maps that come in.
        channels: channels of each convolution.
        num_classes: number of classes.
        size: height and width of the maps, even where they are pooled.

    Shape:
        features (N, in_channels, size, size) -> classes (N, num_classes), probabilities.

    Example:
        >>> from torchbp.models import residual_convnet
        >>> models = residual_convnet(128), residual_convnet(64, size=32)
        >>> [sum(p.numel() for p in model.residual.parameters()) for model in models]
        [442752, 229760]
    """
    features = Input((in_channels, size, size), name="features")
    first, second = _conv_relu(in_channels, channels), _conv_relu(channels, channels)
    if in_channels == channels:
        branch = nn.Sequential(*first, *second, *_conv_relu(channels, channels))
    else:
        branch = nn.Sequential(*first, *second, layers.MaxPool2d(2, stride=2))
    x = Residual(branch, name="residual")(features)
    return Model(features, _classified(x, num_classes))


def separable_convnet(in_channels: int = 3, num_classes: int = 10) -> Model:
    """A light convnet of separable convolutions, for small images and few data.

    Args:
        in_channels: channels of the images.
        num_classes: number of classes.

    Shape:
        images (N, in_channels, H, W), H and W >= 18 -> classes (N, num_classes), probabilities.

    Example:
        >>> from torchbp.models import separable_convnet
        >>> sum(parameter.numel() for parameter in separable_convnet().parameters())
        28005
    """
    images = Input((in_channels, None, None), name="images")
    x = F.relu(layers.SeparableConv2d(in_channels, 32, 3, name="sepconv_1")(images))
    x = F.relu(layers.SeparableConv2d(32, 64, 3, name="sepconv_2")(x))
    x = F.relu(layers.SeparableConv2d(64, 64, 3, name="sepconv_3")(x))
    x = layers.MaxPool2d(2, name="pool_1")(x)
    x = F.relu(layers.SeparableConv2d(64, 128, 3, name="sepconv_4")(x))
    x = F.relu(layers.SeparableConv2d(128, 64, 3, name="sepconv_5")(x))
    x = layers.GlobalAvgPool2d(name="pool_2")(x)  # (N, 64)
    x = F.relu(layers.Linear(64, 32, name="hidden")(x))
    scores = layers.Linear(32, num_classes, name="class_scores")(x)
    return Model(images, layers.Softmax(dim=-1, name="classes")(scores))


def siamese_vision(base: nn.Module | None = None, *, size: int | None = 250) -> Model:
    """Two cameras side by side: one network looks at both images, and its features are joined.

    Args:
        base: any module from images (N, 3, H, W) to maps of features, torchvision's too; by
            default an `Xception` without a head.
        size: height and width of the images, None for any.

    Shape:
        left and right (N, 3, size, size) -> both (N, 2 C, h, w), the features of the left image
        before those of the right one.

    Example:
        >>> from torchbp.models import siamese_vision
        >>> siamese_vision()
        ... # doctest: +ELLIPSIS
        Model(...

    Differences from Keras: the channels come first: (N, 4096, 8, 8) for two images of 250 x 250,
    where Keras has (N, 8, 8, 4096).
    """
    base = Xception(include_top=False) if base is None else base
    left = Input((3, size, size), name="left")
    right = Input((3, size, size), name="right")
    features = [call(base, left, name="base"), call(base, right)]
    return Model([left, right], layers.Concat(dim=1, name="both")(*features))


def _conv_relu(in_channels: int, channels: int) -> tuple[nn.Module, nn.Module]:
    return layers.Conv2d(in_channels, channels, 3, padding="same"), layers.ReLU()


def _classified(x: SymbolicTensor, num_classes: int) -> SymbolicTensor:
    x = layers.GlobalAvgPool2d(name="pool")(x)
    scores = layers.Linear(x.shape[-1], num_classes, name="class_scores")(x)
    return layers.Softmax(dim=-1, name="classes")(scores)
