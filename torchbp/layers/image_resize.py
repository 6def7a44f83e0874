"""Images brought to a given size."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from torchbp.graph.layer import Layer

Mode = Literal["nearest", "bilinear", "bicubic"]
_PHASES = 1024  # of the cubic curve, which is looked up in a table


class Resize(Layer):
    """Images in another size.

    Args:
        size: height and width of the output.
        mode: "nearest" for the pixel whose middle is nearest; "bilinear"; "bicubic", by the curve
            of Keys with a = -0.5.
        antialias: smooth what is made smaller; nothing for "nearest".
        crop: cut the middle that has the output's ratio of sides out of the input first, instead of
            stretching it.

    Shape:
        input (N, C, H, W) -> output (N, C, *size).

    Example:
        >>> from torchbp.layers import Resize
        >>> Resize((4, 6))(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 3, 4, 6])

    Differences from Keras: Resizing, for floats. Keras on TensorFlow computes in float32, whatever
    the dtype of the input.
    Source: Keys 1981, https://doi.org/10.1109/TASSP.1981.1163711
    """

    def __init__(
        self,
        size: tuple[int, int],
        mode: Mode = "bilinear",
        *,
        antialias: bool = False,
        crop: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.size, self.mode, self.antialias, self.crop = size, mode, antialias, crop

    def forward(self, input: Tensor) -> Tensor:
        """The images in the size."""
        if self.crop:
            input = self._cropped(input)
        if tuple(input.shape[2:]) == self.size:
            return input
        if self.mode == "nearest":
            return F.interpolate(input, self.size, mode="nearest-exact")
        if self.mode == "bilinear" or self.antialias:
            return F.interpolate(input, self.size, mode=self.mode, antialias=self.antialias)
        rows, columns = (
            _cubic(old, new).to(input) for old, new in zip(input.shape[2:], self.size, strict=True)
        )
        return rows @ input @ columns.transpose(0, 1)

    def _cropped(self, input: Tensor) -> Tensor:
        height, width = input.shape[2:]
        tall, wide = self.size
        rows = max(min(height, int(width * tall / wide)), 1)
        columns = max(min(width, int(height * wide / tall)), 1)
        top, left = (height - rows) // 2, (width - columns) // 2
        return input[:, :, top : top + rows, left : left + columns]

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        text = f"{self.size}, mode={self.mode!r}"
        text += ", antialias=True" if self.antialias else ""
        return text + (", crop=True" if self.crop else "")


def _cubic(old: int, new: int) -> Tensor:
    """Which part each of the old pixels has in each of the new, (new, old).

    Pixels outside have none; the parts of a pixel add up to one.
    """
    scale = torch.tensor(old / new, dtype=torch.float32)
    place = (torch.arange(new, dtype=torch.float32) + 0.5) * scale - 0.5
    first = place.floor()
    phase = ((place - first) * _PHASES).round().double() / _PHASES
    steps = torch.arange(-1, 3)
    distance = (phase.unsqueeze(1) - steps).abs()
    near = (1.5 * distance - 2.5) * distance * distance + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    parts = torch.where(distance <= 1.0, near, far)
    pixels = first.long().unsqueeze(1) + steps
    is_inside = (pixels >= 0) & (pixels < old)
    parts = torch.where(is_inside, parts, 0.0)
    parts = parts / parts.sum(1, keepdim=True)
    found = torch.zeros(new, old, dtype=torch.float64)
    return found.scatter_add(1, pixels.clamp(0, old - 1), parts)
