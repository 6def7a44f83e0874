"""Images changed at random in training, each in its own way, and passed on as they are afterwards.

`draw` gives the random numbers for a batch and `change` applies them: call the two to have the same
change of several tensors.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from torchbp.graph.layer import Layer

Fill = Literal["constant", "reflect", "wrap", "nearest"]
Mode = Literal["nearest", "bilinear"]
Range = tuple[float, float]


class _Augmentation(Layer):
    """Draws and changes in training."""

    def forward(self, input: Tensor) -> Tensor:
        """The images, changed in training."""
        return self.change(input, self.draw(input)) if self.training else input

    def draw(self, input: Tensor) -> Tensor:
        """The random numbers for a batch."""
        raise NotImplementedError

    def change(self, input: Tensor, numbers: Tensor) -> Tensor:
        """The images, changed by the numbers."""
        raise NotImplementedError


class RandomFlip(_Augmentation):
    """Images, half of them mirrored.

    Args:
        horizontal: left and right change places.
        vertical: top and bottom change places, in the same images.

    Shape:
        input (N, C, H, W) -> output (N, C, H, W).

    Example:
        >>> from torchbp.layers import RandomFlip
        >>> RandomFlip().eval()(torch.arange(2.0).reshape(1, 1, 1, 2)).flatten()
        tensor([0., 1.])

    Differences from Keras: none in what is computed, with the mode "horizontal_and_vertical" as two
    arguments; the random numbers are torch's.
    """

    def __init__(
        self, horizontal: bool = True, vertical: bool = False, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.horizontal, self.vertical = horizontal, vertical

    def draw(self, input: Tensor) -> Tensor:
        """Which images are mirrored, (N, 1, 1, 1)."""
        return torch.rand((input.shape[0], 1, 1, 1), device=input.device) <= 0.5

    def change(self, input: Tensor, numbers: Tensor) -> Tensor:
        """The images, some of them mirrored."""
        dims = [dim for dim, used in ((3, self.horizontal), (2, self.vertical)) if used]
        return torch.where(numbers, input.flip(dims), input)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"horizontal={self.horizontal}, vertical={self.vertical}"


class RandomContrast(_Augmentation):
    """Images whose distance from their mean colour is multiplied by a random number.

    Args:
        factors: the smallest and the largest factor.
        value_range: the smallest and the largest value of a pixel; what leaves it is cut off.

    Shape:
        input (N, C, H, W) -> output (N, C, H, W).

    Example:
        >>> from torchbp.layers import RandomContrast
        >>> RandomContrast((0.8, 1.2)).eval()(torch.ones(1, 1, 1, 2)).flatten()
        tensor([1., 1.])

    Differences from Keras: factors are what is multiplied; Keras has one less the first and the
    second less one, and (0, f) for a single number f. The random numbers are torch's.
    """

    def __init__(
        self, factors: Range, value_range: Range = (0.0, 255.0), *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.factors, self.value_range = factors, value_range

    def draw(self, input: Tensor) -> Tensor:
        """The factors, (N, 1, 1, 1)."""
        return _uniform(input, self.factors).reshape(-1, 1, 1, 1)

    def change(self, input: Tensor, numbers: Tensor) -> Tensor:
        """The images with other contrasts."""
        mean = input.mean((2, 3), keepdim=True)
        return ((input - mean) * numbers + mean).clamp(*self.value_range)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"{self.factors}, value_range={self.value_range}"


class RandomBrightness(_Augmentation):
    """Images to which a random number is added.

    Args:
        shares: the smallest and the largest number, in parts of the range of values.
        value_range: the smallest and the largest value of a pixel; what leaves it is cut off.

    Shape:
        input (N, C, H, W) -> output (N, C, H, W).

    Example:
        >>> from torchbp.layers import RandomBrightness
        >>> RandomBrightness((-0.1, 0.1)).eval()(torch.ones(1, 1, 1, 2)).flatten()
        tensor([1., 1.])

    Differences from Keras: none in what is computed; the random numbers are torch's.
    """

    def __init__(
        self, shares: Range, value_range: Range = (0.0, 255.0), *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.shares, self.value_range = shares, value_range

    def draw(self, input: Tensor) -> Tensor:
        """What is added, (N, 1, 1, 1)."""
        lowest, highest = self.value_range
        return _uniform(input, self.shares).reshape(-1, 1, 1, 1) * (highest - lowest)

    def change(self, input: Tensor, numbers: Tensor) -> Tensor:
        """The lighter or darker images."""
        return (input + numbers).clamp(*self.value_range)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"{self.shares}, value_range={self.value_range}"


class _Moved(_Augmentation):
    """Images whose pixels are looked up at other places: x' = a x + b y + c, y' = d x + e y + f.

    `draw` gives (a, b, c, d, e, f) for each image, (N, 6), in pixels.
    """

    def __init__(self, fill: Fill, mode: Mode, value: float, *, name: str | None) -> None:
        super().__init__(name=name)
        self.fill, self.mode, self.value = fill, mode, value

    def change(self, input: Tensor, numbers: Tensor) -> Tensor:
        """The images with their pixels at other places."""
        height, width = input.shape[2:]
        y = torch.arange(height, dtype=numbers.dtype, device=input.device).reshape(-1, 1)
        x = torch.arange(width, dtype=numbers.dtype, device=input.device)
        a, b, c, d, e, f = (number.reshape(-1, 1, 1) for number in numbers.unbind(1))
        places = (
            _inside(d * x + e * y + f, height, self.fill),
            _inside(a * x + b * y + c, width, self.fill),
        )
        look = _nearest if self.mode == "nearest" else _bilinear
        return look(input, *places, self.value)

    def _told(self) -> str:
        return f", fill={self.fill!r}, mode={self.mode!r}, value={self.value}"


class RandomRotation(_Moved):
    """Images turned about their middle.

    Args:
        turns: the smallest and the largest angle, in full turns against the clock.
        fill: what is outside the image: "reflect" (d c b a | a b c d | d c b a), "wrap",
            "nearest" or "constant".
        mode: "bilinear", or "nearest" for the nearest pixel.
        value: what is outside with "constant".

    Shape:
        input (N, C, H, W) -> output (N, C, H, W).

    Example:
        >>> from torchbp.layers import RandomRotation
        >>> RandomRotation((-0.1, 0.1)).eval()(torch.ones(1, 1, 1, 2)).flatten()
        tensor([1., 1.])

    Differences from Keras: none in what is computed; the random numbers are torch's. Keras looks
    the places up in float32, whatever the dtype of the images.
    """

    def __init__(
        self,
        turns: Range,
        fill: Fill = "reflect",
        mode: Mode = "bilinear",
        value: float = 0.0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(fill, mode, value, name=name)
        self.turns = turns

    def draw(self, input: Tensor) -> Tensor:
        """Where each pixel is looked up, (N, 6)."""
        angle = _uniform(input, self.turns) * (2.0 * math.pi)
        cos, sin = angle.cos(), angle.sin()
        y, x = ((size - 1) * 0.5 for size in input.shape[2:])
        return torch.stack(
            (cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos), dim=1
        )

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"{self.turns}{self._told()}"


class RandomTranslation(_Moved):
    """Images moved up or down, left or right.

    Args:
        down: the smallest and the largest way down, in heights of the image.
        right: the smallest and the largest way to the right, in widths.
        fill: as of RandomRotation.
        mode: as of RandomRotation.
        value: as of RandomRotation.

    Shape:
        input (N, C, H, W) -> output (N, C, H, W).

    Example:
        >>> from torchbp.layers import RandomTranslation
        >>> RandomTranslation((0.0, 0.1), (0.0, 0.1)).eval()(torch.ones(1, 1, 1, 2)).flatten()
        tensor([1., 1.])

    Differences from Keras: as RandomRotation.
    """

    def __init__(
        self,
        down: Range,
        right: Range,
        fill: Fill = "reflect",
        mode: Mode = "bilinear",
        value: float = 0.0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(fill, mode, value, name=name)
        self.down, self.right = down, right

    def draw(self, input: Tensor) -> Tensor:
        """Where each pixel is looked up, (N, 6)."""
        height, width = input.shape[2:]
        down, right = _uniform(input, self.down) * height, _uniform(input, self.right) * width
        one, zero = torch.ones_like(down), torch.zeros_like(down)
        return torch.stack((one, zero, -right, zero, one, -down), dim=1)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"{self.down}, {self.right}{self._told()}"


class RandomZoom(_Moved):
    """Images made smaller or larger about their middle.

    Args:
        height: the smallest and the largest part of the height that is seen: less than one for a
            larger image.
        width: the same for the width; None for that of the height, drawn once for both.
        fill: as of RandomRotation.
        mode: as of RandomRotation.
        value: as of RandomRotation.

    Shape:
        input (N, C, H, W) -> output (N, C, H, W).

    Example:
        >>> from torchbp.layers import RandomZoom
        >>> RandomZoom((0.8, 1.2)).eval()(torch.ones(1, 1, 1, 2)).flatten()
        tensor([1., 1.])

    Differences from Keras: the parts, which Keras gives less one; else as RandomRotation.
    """

    def __init__(
        self,
        height: Range,
        width: Range | None = None,
        fill: Fill = "reflect",
        mode: Mode = "bilinear",
        value: float = 0.0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(fill, mode, value, name=name)
        self.height, self.width = height, width

    def draw(self, input: Tensor) -> Tensor:
        """Where each pixel is looked up, (N, 6)."""
        tall = _uniform(input, self.height)
        wide = tall if self.width is None else _uniform(input, self.width)
        y, x = ((size - 1) * 0.5 for size in input.shape[2:])
        zero = torch.zeros_like(tall)
        return torch.stack((wide, zero, x * (1.0 - wide), zero, tall, y * (1.0 - tall)), dim=1)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"{self.height}, {self.width}{self._told()}"


def _uniform(input: Tensor, ends: Range) -> Tensor:
    """A number for each image, (N,)."""
    drawn = torch.rand(input.shape[0], dtype=input.dtype, device=input.device)
    return ends[0] + (ends[1] - ends[0]) * drawn


def _inside(place: Tensor, size: int, fill: Fill) -> Tensor:
    """The places within the image that stand for those outside; "constant" leaves them out."""
    if fill == "constant":
        return place
    if fill == "reflect" and size > 1:
        place = torch.where(place < 0.0, -place - 1.0, place) % (2.0 * size)
        place = torch.where(place >= size, 2.0 * size - place - 1.0, place)
    elif fill == "wrap" and size > 1:
        period = size - 1.0
        below = place + size * ((-place / period).trunc() + 1.0)
        above = place - size * (place / period).trunc()
        place = torch.where(place < 0.0, below, torch.where(place > period, above, place))
    elif fill != "nearest":
        place = torch.zeros_like(place)
    return place.clamp(0.0, size - 1.0)


def _nearest(images: Tensor, y: Tensor, x: Tensor, value: float) -> Tensor:
    return _at(images, _rounded(y), _rounded(x), value)


def _rounded(place: Tensor) -> Tensor:
    """To whole numbers, halves away from zero."""
    return place.sign() * (place.abs() + 0.5).floor()


def _bilinear(images: Tensor, y: Tensor, x: Tensor, value: float) -> Tensor:
    top, left = y.floor(), x.floor()
    down, right = (
        (place - start).unsqueeze(1).to(images.dtype) for place, start in ((y, top), (x, left))
    )
    above = (1.0 - right) * _at(images, top, left, value) + right * _at(
        images, top, left + 1, value
    )
    below = (1.0 - right) * _at(images, top + 1, left, value) + right * _at(
        images, top + 1, left + 1, value
    )
    return (1.0 - down) * above + down * below


def _at(images: Tensor, y: Tensor, x: Tensor, value: float) -> Tensor:
    """The pixels at whole places (N, H, W), and the value for those outside."""
    height, width = images.shape[2:]
    is_inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    cells = y.clamp(0, height - 1).long() * width + x.clamp(0, width - 1).long()
    cells = cells.flatten(1).unsqueeze(1).expand(-1, images.shape[1], -1)
    found: Any = images.flatten(2).gather(2, cells).reshape(images.shape)
    return torch.where(is_inside.unsqueeze(1), found, value)
