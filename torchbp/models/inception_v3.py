"""Inception V3: a graph of modules whose branches factor large kernels."""

from functools import partial

from torch import Tensor, nn

from torchbp.blocks import (
    ConvNormAct,
    InceptionA,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)
from torchbp.layers import BatchNorm2d, MaxPool2d, ReLU
from torchbp.models.image_network import ImageNetwork, to_plus_minus_one

NORM = partial(BatchNorm2d, eps=1e-3, momentum=0.01, scale=False, biased_running_var=True)
RELU = partial(ReLU, inplace=True)
CONV = partial(ConvNormAct, norm=NORM, activation=RELU)


class InceptionV3(ImageNetwork):
    """Inception V3: 94 convolutions in eleven modules behind a plain stem.

    Args:
        num_classes: classes of the head.
        in_channels: channels of the images.
        include_top: whether there is a head: the mean over each map, scores, probabilities.
        pooling: without a head, "avg" or "max" over each of the 2048 maps; None leaves the maps.
        probabilities: whether the head ends with a softmax; otherwise it gives the scores, which
            `nn.CrossEntropyLoss` takes.
        name: name of the network in a graph.

    Shape:
        images (N, in_channels, H, W), H and W >= 75 -> (N, num_classes); without a head (N, 2048)
        or (N, 2048, h, w), h about H / 32 - 2.

    Raises:
        ShapeError: images of another shape.
        DataError: an unknown pooling, or one beside a head.

    Example:
        >>> from torchbp.models import InceptionV3
        >>> sum(parameter.numel() for parameter in InceptionV3().parameters())
        23817352

    Differences from Keras: as for Xception; of Keras's 23,851,784 numbers, 34,432 are running
    statistics. torchvision's Inception V3 has a weight in each normalisation, counts the padding
    in its mean poolings, and has a dropout and a second head for training.
    Source: Szegedy et al. 2015, https://arxiv.org/abs/1512.00567
    """

    smallest = 75

    @staticmethod
    def _features(in_channels: int) -> nn.Sequential:
        return nn.Sequential(
            CONV(in_channels, 32, 3, 2, 0),
            CONV(32, 32, 3, 1, 0),
            CONV(32, 64, 3),
            MaxPool2d(3, 2),
            CONV(64, 80, 1),
            CONV(80, 192, 3, 1, 0),
            MaxPool2d(3, 2),
            InceptionA(192, 32, norm=NORM, activation=RELU),
            InceptionA(256, 64, norm=NORM, activation=RELU),
            InceptionA(288, 64, norm=NORM, activation=RELU),
            InceptionB(288, norm=NORM, activation=RELU),
            *(InceptionC(768, c, norm=NORM, activation=RELU) for c in (128, 160, 160, 192)),
            InceptionD(768, norm=NORM, activation=RELU),
            InceptionE(1280, norm=NORM, activation=RELU),
            InceptionE(2048, norm=NORM, activation=RELU),
        )

    @staticmethod
    def preprocess(images: Tensor) -> Tensor:
        """Images of bytes, 0 to 255, as the published weights want them: from -1 to 1."""
        return to_plus_minus_one(images)
