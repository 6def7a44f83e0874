"""What the image networks have in common: features, and a head that may be left out."""

from typing import Literal

from torch import Tensor, nn

from torchbp.errors import DataError, ShapeError
from torchbp.graph import Layer
from torchbp.layers import GlobalAvgPool2d, GlobalMaxPool2d, Linear, Softmax

Pooling = Literal["avg", "max"] | None


class ImageNetwork(Layer):
    """A network over images: what a subclass tells of its `features`, and a head.

    Args:
        num_classes: classes of the head.
        in_channels: channels of the images.
        include_top: whether there is a head: the mean over each map, scores, probabilities.
        pooling: without a head, "avg" or "max" over each map; None leaves the maps as they are.
        probabilities: whether the head ends with a softmax; otherwise it gives the scores, which
            `nn.CrossEntropyLoss` takes.
        name: name of the network in a graph.

    Raises:
        DataError: an unknown pooling, or one beside a head.
    """

    smallest = 32
    """The least height and width of an image, in pixels."""
    num_features = 2048
    """Maps that the features give."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        include_top: bool = True,
        pooling: Pooling = None,
        probabilities: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        _check_pooling(type(self).__name__, pooling, include_top)
        self.in_channels = in_channels
        self.features = self._features(in_channels)
        self.pool: nn.Module | None = None
        self.class_scores: nn.Module | None = None
        self.classes: nn.Module | None = None
        if include_top or pooling:
            self.pool = GlobalMaxPool2d() if pooling == "max" else GlobalAvgPool2d()
        if include_top:
            self.class_scores = Linear(self.num_features, num_classes)
            self.classes = Softmax(dim=-1) if probabilities else None

    @staticmethod
    def _features(in_channels: int) -> nn.Sequential:
        """The convolutional part, from images to maps of features."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities, scores, pooled features, or maps of features."""
        if (
            images.ndim != 4
            or images.shape[1] != self.in_channels
            or min(images.shape[2:]) < self.smallest
        ):
            raise ShapeError(
                f"{type(self).__name__}: expected images (N, {self.in_channels}, H, W) of "
                f"{self.smallest} pixels or more on each side, got {tuple(images.shape)}.\n"
                "  To mend it: put the channels first, add the batch, or enlarge the images."
            )
        x = self.features(images)
        for part in (self.pool, self.class_scores, self.classes):
            if part is not None:
                x = part(x)
        return x


def _check_pooling(who: str, pooling: Pooling, include_top: bool) -> None:
    if pooling not in (None, "avg", "max") or (pooling and include_top):
        raise DataError(
            f"{who}: expected pooling None, or 'avg' or 'max' with include_top=False, got "
            f"{pooling!r} with include_top={include_top}.\n"
            "  To mend it: leave pooling out; the head takes the mean itself."
        )


def to_plus_minus_one(images: Tensor) -> Tensor:
    """Images of bytes, 0 to 255, as numbers from -1 to 1."""
    return images / 127.5 - 1
