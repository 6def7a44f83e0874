"""Xception: separable convolutions instead of inception modules, and residual connections."""

from functools import partial

from torch import Tensor, nn

from torchbp.blocks import ConvNormAct, XceptionBlock
from torchbp.layers import BatchNorm2d, ReLU, SeparableConv2d
from torchbp.models.image_network import ImageNetwork, to_plus_minus_one

NORM = partial(BatchNorm2d, eps=1e-3, momentum=0.01, biased_running_var=True)
CONV = partial(ConvNormAct, norm=NORM, activation=partial(ReLU, inplace=True))


class Xception(ImageNetwork):
    """Xception: 36 convolutional layers, of which all but the first two are separable.

    Args:
        num_classes: classes of the head.
        in_channels: channels of the images.
        include_top: whether there is a head: the mean over each map, scores, probabilities.
        pooling: without a head, "avg" or "max" over each of the 2048 maps; None leaves the maps.
        probabilities: whether the head ends with a softmax; otherwise it gives the scores, which
            `nn.CrossEntropyLoss` takes.
        name: name of the network in a graph.

    Shape:
        images (N, in_channels, H, W), H and W >= 71 -> (N, num_classes); without a head (N, 2048)
        or (N, 2048, h, w), h about H / 32.

    Raises:
        ShapeError: images of another shape.
        DataError: an unknown pooling, or one beside a head.

    Example:
        >>> from torchbp.models import Xception
        >>> sum(parameter.numel() for parameter in Xception(include_top=False).parameters())
        20806952

    Differences from Keras: the weights start as torch's do (`layers.init.glorot_` draws them as
    Keras); published ones come by `port.load_weights`. Of Keras's 20,861,480 numbers without the
    head, 54,528 are running statistics, which are buffers here.
    Source: Chollet 2017, https://arxiv.org/abs/1610.02357
    """

    smallest = 71

    @staticmethod
    def _features(in_channels: int) -> nn.Sequential:
        separable = partial(CONV, conv=SeparableConv2d)
        return nn.Sequential(
            CONV(in_channels, 32, 3, 2, 0),
            CONV(32, 64, 3, 1, 0),
            XceptionBlock(64, (128, 128), 2, first_activation=False, norm=NORM),
            XceptionBlock(128, (256, 256), 2, norm=NORM),
            XceptionBlock(256, (728, 728), 2, norm=NORM),
            *(XceptionBlock(728, (728, 728, 728), norm=NORM) for _ in range(8)),
            XceptionBlock(728, (728, 1024), 2, norm=NORM),
            separable(1024, 1536),
            separable(1536, 2048),
        )

    @staticmethod
    def preprocess(images: Tensor) -> Tensor:
        """Images of bytes, 0 to 255, as the published weights want them: from -1 to 1."""
        return to_plus_minus_one(images)
