"""Inception modules: several branches read the same input, and their channels are put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchbp.blocks.conv_norm_act import ConvNormAct
from torchbp.errors import DataError, ShapeError
from torchbp.graph import Layer
from torchbp.layers import AvgPool2d, MaxPool2d, ReLU

Pair = tuple[int, int]


@dataclass(frozen=True)
class ConvStep:
    """A convolution in a branch, with normalisation and activation if the module has them.

    Args:
        out_channels: channels that it gives.
        kernel_size: sides of the kernel, in pixels; 1 mixes channels and nothing else.
        stride: of the convolution.
        padding: of the convolution.
    """

    out_channels: int
    kernel_size: int | Pair
    stride: int | Pair = 1
    padding: str | int | Pair = "same"


@dataclass(frozen=True)
class PoolStep:
    """A pooling in a branch.

    Args:
        kernel_size: sides of the window, in pixels.
        stride: of the windows.
        padding: "same", which counts no padded cell, or numbers.
        kind: "avg" or "max".
    """

    kernel_size: int | Pair
    stride: int | Pair = 1
    padding: str | int | Pair = "same"
    kind: Literal["avg", "max"] = "avg"


Branch = Sequence["ConvStep | PoolStep | Sequence[Branch]"]


class Inception(Layer):
    """Branches of convolutions and poolings side by side, their channels put together.

    Args:
        in_channels: C, channels of the input.
        branches: the steps of each branch. A step that is itself a list of branches splits the
            branch in these, as a module inside the module.
        norm: the class of the normalisation after each convolution, called with its number of
            channels; None for none, and then the convolutions have biases.
        activation: the class of the activation after that.

    Attributes:
        out_channels: channels of the output, the sum over the branches.

    Shape:
        input (N, C, H, W) -> output (N, out_channels, H', W').

    Raises:
        DataError: no branch, or a step of another kind.
        ShapeError: the branches give images of different sizes.

    Example:
        >>> from torchbp.blocks import ConvStep, Inception, PoolStep
        >>> module = Inception(
        ...     64,
        ...     [
        ...         [ConvStep(32, 1)],
        ...         [ConvStep(48, 1), ConvStep(64, (1, 3)), ConvStep(64, (3, 1))],
        ...         [PoolStep(3), ConvStep(16, 1)],
        ...     ],
        ... )
        >>> module(torch.zeros(2, 64, 9, 9)).shape
        torch.Size([2, 112, 9, 9])

    Source: Szegedy et al. 2014, https://arxiv.org/abs/1409.4842
    """

    def __init__(
        self,
        in_channels: int,
        branches: Sequence[Branch],
        *,
        norm: Callable[..., nn.Module] | None = None,
        activation: Callable[..., nn.Module] | None = ReLU,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if not branches or not all(_is_branch(steps) and steps for steps in branches):
            raise DataError(
                f"Inception: expected branches of one step or more, got {list(branches)}.\n"
                "  To mend it: give each branch as a list of its steps, or leave the branch out."
            )
        self.branches = nn.ModuleList()
        self.out_channels = 0
        for steps in branches:
            branch, channels = nn.Sequential(), in_channels
            for step in steps:
                module, channels = _module(step, channels, norm, activation)
                branch.append(module)
            self.branches.append(branch)
            self.out_channels += channels

    def forward(self, input: Tensor) -> Tensor:
        """The outputs of all branches, one after the other in the channels."""
        outputs = [branch(input) for branch in self.branches]
        if any(output.shape[-2:] != outputs[0].shape[-2:] for output in outputs):
            raise ShapeError(
                "Inception: expected branches that give images of one size, got "
                f"{[tuple(output.shape[-2:]) for output in outputs]}.\n"
                '  To mend it: give every branch the same stride, and padding="same".'
            )
        return torch.cat(outputs, dim=1)


def four_branches(
    in_channels: int,
    channels: int = 128,
    stride: int = 2,
    *,
    norm: Callable[..., nn.Module] | None = None,
    activation: Callable[..., nn.Module] | None = ReLU,
    name: str | None = None,
) -> Inception:
    """The basic inception module: 1x1, 3x3, pooling with 3x3, and two 3x3 behind each other.

    Args:
        in_channels: C, channels of the input.
        channels: channels of each convolution.
        stride: of each branch, in its last spatial step but for the pooling, which has it itself.
        norm: as for Inception.
        activation: as for Inception.
        name: name of the module in a graph.

    Shape:
        input (N, C, H, W) -> output (N, 4 * channels, ceil(H / stride), ceil(W / stride)).

    Example:
        >>> from torchbp.blocks import four_branches
        >>> module = four_branches(192)
        >>> module(torch.zeros(2, 192, 8, 8)).shape
        torch.Size([2, 512, 4, 4])
        >>> sum(parameter.numel() for parameter in module.parameters())
        738176
    """
    return Inception(
        in_channels,
        [
            [ConvStep(channels, 1, stride)],
            [ConvStep(channels, 1), ConvStep(channels, 3, stride)],
            [PoolStep(3, stride), ConvStep(channels, 3)],
            [ConvStep(channels, 1), ConvStep(channels, 3), ConvStep(channels, 3, stride)],
        ],
        norm=norm,
        activation=activation,
        name=name,
    )


def _module(
    step: Any,
    in_channels: int,
    norm: Callable[..., nn.Module] | None,
    activation: Callable[..., nn.Module] | None,
) -> tuple[nn.Module, int]:
    """The module for a step, and the channels that it gives."""
    if isinstance(step, ConvStep):
        conv = ConvNormAct(
            in_channels,
            step.out_channels,
            step.kernel_size,
            step.stride,
            step.padding,
            norm=norm,
            activation=activation,
        )
        return conv, step.out_channels
    if isinstance(step, PoolStep) and step.kind in _POOLS:
        pool = _POOLS[step.kind]
        return pool(step.kernel_size, step.stride, step.padding), in_channels
    if _is_branch(step):
        inside = Inception(in_channels, step, norm=norm, activation=activation)
        return inside, inside.out_channels
    raise DataError(
        f"Inception: expected a ConvStep, a PoolStep or a list of branches, got {step!r}.\n"
        "  To mend it: write ConvStep(out_channels, kernel_size), or a PoolStep of kind 'avg' or "
        "'max'."
    )


def _is_branch(steps: Any) -> bool:
    return isinstance(steps, Sequence) and not isinstance(steps, str)


_POOLS: dict[str, Any] = {"avg": AvgPool2d, "max": MaxPool2d}
