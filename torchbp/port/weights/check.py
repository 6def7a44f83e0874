"""What every reordering does first and last: check the shape, and copy."""

import torch
from torch import Tensor

from torchbp.errors import ShapeError


def check_ndim(what: str, tensor: Tensor, layout: str, least: int, most: int | None = None) -> None:
    """Refuse a tensor of another number of dimensions than from `least` to `most`."""
    if not least <= tensor.ndim <= (most or least):
        raise wrong_shape(what, layout, tensor)


def wrong_shape(what: str, expected: str, got: Tensor) -> ShapeError:
    """The error for an array in another layout than the function takes."""
    return ShapeError(
        f"port.weights: {what}: expected {expected}, got {tuple(got.shape)}.\n"
        "  To mend it: take the function of the layer that the array belongs to, in the right "
        "direction."
    )


def copied(tensor: Tensor) -> Tensor:
    """A contiguous copy, so that nothing is written into a model that was only read."""
    return tensor.clone(memory_format=torch.contiguous_format)
