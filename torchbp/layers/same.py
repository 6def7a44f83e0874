"""Where windows stand when the output is as large as the input, or a stride of it smaller."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Sizes = tuple[int, ...]


def same_padding(size: int, kernel_size: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Cells before and after a dimension such that ceil(size / stride) windows cover it.

    Of an odd number of cells the larger part comes after. With a stride it depends on the size
    which it is, and whether both are equal.

    Example:
        >>> same_padding(32, kernel_size=3, stride=2), same_padding(33, kernel_size=3, stride=2)
        ((0, 1), (1, 1))

    Source: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """
    reach = (kernel_size - 1) * dilation + 1
    total = reach - 1
    if stride != 1:
        total = ((size + stride - 1) // stride - 1) * stride + reach - size
        if reach < stride:  # else it cannot be negative
            total = torch.sym_max(total, 0)  # type: ignore[no-untyped-call]
    return total // 2, total - total // 2


def paddings(
    input: Tensor, kernel_size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """`same_padding` of each of the last dimensions of the input."""
    sizes = input.shape[-len(kernel_size) :]
    return [
        same_padding(size, *window)
        for size, *window in zip(sizes, kernel_size, stride, dilation, strict=True)
    ]


def are_known(around: Sequence[tuple[int, int]]) -> bool:
    """Whether cells are numbers, not the symbols of an export with free sizes."""
    return all(isinstance(cells, int) for pair in around for cells in pair)


def pad(
    input: Tensor, around: Sequence[tuple[int, int]], mode: str = "zeros", value: float = 0.0
) -> Tensor:
    """The input with cells before and after each of its last dimensions."""
    flat = [cells for pair in reversed(around) for cells in pair]
    if mode == "zeros":
        return F.pad(input, flat, value=value)
    return F.pad(input, flat, mode=mode)


def cut(input: Tensor, around: Sequence[tuple[int, int]]) -> Tensor:
    """A view of the input without cells before and after in each of its last dimensions."""
    for dim, (before, after) in enumerate(around, start=-len(around)):
        if before or after:
            input = input.narrow(dim, before, input.shape[dim] - before - after)
    return input


def per_dim(value: int | Sequence[int], num_dims: int) -> Sizes:
    """One number for each dimension, where one for all was given."""
    sizes = (value,) if isinstance(value, int) else tuple(value)
    return sizes * num_dims if len(sizes) == 1 else sizes
