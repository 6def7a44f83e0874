"""ResNet: bottlenecks with residual connections."""

from functools import partial

import torch
from torch import Tensor, nn

from torchbp.blocks import Bottleneck, ConvNormAct
from torchbp.layers import BatchNorm2d, MaxPool2d, ReLU
from torchbp.models.image_network import ImageNetwork

NORM = partial(BatchNorm2d, eps=1.001e-5, momentum=0.01, biased_running_var=True)
MEANS = (103.939, 116.779, 123.68)  # of blue, green and red over ImageNet, in bytes
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # channels, blocks, stride


class ResNet50(ImageNetwork):
    """ResNet50: sixteen bottlenecks behind a 7x7 convolution.

    Args:
        num_classes: classes of the head.
        in_channels: channels of the images.
        include_top: whether there is a head: the mean over each map, scores, probabilities.
        pooling: without a head, "avg" or "max" over each of the 2048 maps; None leaves the maps.
        probabilities: whether the head ends with a softmax; otherwise it gives the scores, which
            `nn.CrossEntropyLoss` takes.
        name: name of the network in a graph.

    Shape:
        images (N, in_channels, H, W), H and W >= 32 -> (N, num_classes); without a head (N, 2048)
        or (N, 2048, h, w), h = ceil(H / 32).

    Raises:
        ShapeError: images of another shape.
        DataError: an unknown pooling, or one beside a head.

    Example:
        >>> from torchbp.models import ResNet50
        >>> sum(parameter.numel() for parameter in ResNet50().parameters())
        25583592

    Differences from Keras: as for Xception; of Keras's 25,636,712 numbers, 53,120 are running
    statistics. torchvision's ResNet50 has no biases in the convolutions, the stride in the 3x3
    convolution of a block instead of the first, and other constants in the normalisation.
    Source: He et al. 2015, https://arxiv.org/abs/1512.03385
    """

    @staticmethod
    def _features(in_channels: int) -> nn.Sequential:
        stem = ConvNormAct(
            in_channels, 64, 7, 2, 3, norm=NORM, activation=partial(ReLU, inplace=True), bias=True
        )
        features = nn.Sequential(stem, MaxPool2d(3, 2, 1))
        width = 64
        for channels, num_blocks, stride in STAGES:
            for i in range(num_blocks):
                step = stride if i == 0 else 1
                features.append(Bottleneck(width, channels, step, norm=NORM, bias=True))
                width = 4 * channels
        return features

    @staticmethod
    def preprocess(images: Tensor) -> Tensor:
        """RGB images of bytes as the published weights want them: BGR, less ImageNet's means."""
        means = images.new_tensor(MEANS, dtype=torch.result_type(images, 1.0))
        return images.flip(-3) - means[:, None, None]
