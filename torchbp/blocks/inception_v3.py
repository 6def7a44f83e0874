"""The five modules of Inception V3: what large kernels cost, and how to do without them.

A and C keep the size of the images, B and D halve it, E has the most channels. 5x5 is two 3x3
behind each other, 7x7 is 1x7 and 7x1, and in E 3x3 is 1x3 beside 3x1.

Source: Szegedy et al. 2015, https://arxiv.org/abs/1512.00567
"""

from collections.abc import Callable
from typing import ClassVar

from torch import nn

from torchbp.blocks.inception import Branch, ConvStep, Inception, PoolStep
from torchbp.layers import BatchNorm2d, ReLU

Make = Callable[..., nn.Module]


class _FixedBranches(Inception):
    """A module whose branches its class tells."""

    _branches: ClassVar[list[Branch]]

    def __init__(
        self,
        in_channels: int,
        *,
        norm: Make | None = BatchNorm2d,
        activation: Make | None = ReLU,
        name: str | None = None,
    ) -> None:
        super().__init__(in_channels, self._branches, norm=norm, activation=activation, name=name)


class InceptionA(Inception):
    """1x1, 5x5, twice 3x3, and pooling.

    Args:
        in_channels: C, channels of the input.
        pool_channels: channels after the pooling.
        norm: as for Inception.
        activation: as for Inception.
        name: name of the module in a graph.

    Shape:
        input (N, C, H, W) -> output (N, 224 + pool_channels, H, W).

    Example:
        >>> from torchbp.blocks import InceptionA
        >>> InceptionA(192, pool_channels=32)(torch.zeros(2, 192, 9, 9)).shape
        torch.Size([2, 256, 9, 9])
    """

    def __init__(
        self,
        in_channels: int,
        pool_channels: int,
        *,
        norm: Make | None = BatchNorm2d,
        activation: Make | None = ReLU,
        name: str | None = None,
    ) -> None:
        branches: list[Branch] = [
            [ConvStep(64, 1)],
            [ConvStep(48, 1), ConvStep(64, 5)],
            [ConvStep(64, 1), ConvStep(96, 3), ConvStep(96, 3)],
            [PoolStep(3), ConvStep(pool_channels, 1)],
        ]
        super().__init__(in_channels, branches, norm=norm, activation=activation, name=name)


class InceptionB(_FixedBranches):
    """3x3, twice 3x3 and pooling, all with stride 2 and without padding.

    Args:
        in_channels: C, channels of the input.
        norm: as for Inception.
        activation: as for Inception.
        name: name of the module in a graph.

    Shape:
        input (N, C, H, W) -> output (N, 480 + C, (H - 1) // 2, (W - 1) // 2).

    Example:
        >>> from torchbp.blocks import InceptionB
        >>> InceptionB(288)(torch.zeros(2, 288, 9, 9)).shape
        torch.Size([2, 768, 4, 4])
    """

    _branches: ClassVar[list[Branch]] = [
        [ConvStep(384, 3, 2, 0)],
        [ConvStep(64, 1), ConvStep(96, 3), ConvStep(96, 3, 2, 0)],
        [PoolStep(3, 2, 0, "max")],
    ]


class InceptionC(Inception):
    """1x1, 7x7, twice 7x7, and pooling; 7x7 as 1x7 and 7x1.

    Args:
        in_channels: C, channels of the input.
        channels: channels inside the branches with 7x7.
        norm: as for Inception.
        activation: as for Inception.
        name: name of the module in a graph.

    Shape:
        input (N, C, H, W) -> output (N, 768, H, W).

    Example:
        >>> from torchbp.blocks import InceptionC
        >>> InceptionC(768, channels=128)(torch.zeros(2, 768, 5, 5)).shape
        torch.Size([2, 768, 5, 5])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        norm: Make | None = BatchNorm2d,
        activation: Make | None = ReLU,
        name: str | None = None,
    ) -> None:
        c, wide, high = channels, (1, 7), (7, 1)
        branches: list[Branch] = [
            [ConvStep(192, 1)],
            [ConvStep(c, 1), ConvStep(c, wide), ConvStep(192, high)],
            [
                ConvStep(c, 1),
                ConvStep(c, high),
                ConvStep(c, wide),
                ConvStep(c, high),
                ConvStep(192, wide),
            ],
            [PoolStep(3), ConvStep(192, 1)],
        ]
        super().__init__(in_channels, branches, norm=norm, activation=activation, name=name)


class InceptionD(_FixedBranches):
    """3x3, 7x7 with 3x3, and pooling, all with stride 2 and without padding.

    Args:
        in_channels: C, channels of the input.
        norm: as for Inception.
        activation: as for Inception.
        name: name of the module in a graph.

    Shape:
        input (N, C, H, W) -> output (N, 512 + C, (H - 1) // 2, (W - 1) // 2).

    Example:
        >>> from torchbp.blocks import InceptionD
        >>> InceptionD(768)(torch.zeros(2, 768, 5, 5)).shape
        torch.Size([2, 1280, 2, 2])
    """

    _branches: ClassVar[list[Branch]] = [
        [ConvStep(192, 1), ConvStep(320, 3, 2, 0)],
        [
            ConvStep(192, 1),
            ConvStep(192, (1, 7)),
            ConvStep(192, (7, 1)),
            ConvStep(192, 3, 2, 0),
        ],
        [PoolStep(3, 2, 0, "max")],
    ]


class InceptionE(_FixedBranches):
    """1x1, 3x3, twice 3x3, and pooling; the last 3x3 of a branch as 1x3 beside 3x1.

    Args:
        in_channels: C, channels of the input.
        norm: as for Inception.
        activation: as for Inception.
        name: name of the module in a graph.

    Shape:
        input (N, C, H, W) -> output (N, 2048, H, W).

    Example:
        >>> from torchbp.blocks import InceptionE
        >>> InceptionE(1280)(torch.zeros(2, 1280, 2, 2)).shape
        torch.Size([2, 2048, 2, 2])
    """

    _beside: ClassVar[list[list[ConvStep]]] = [[ConvStep(384, (1, 3))], [ConvStep(384, (3, 1))]]
    _branches: ClassVar[list[Branch]] = [
        [ConvStep(320, 1)],
        [ConvStep(384, 1), _beside],
        [ConvStep(448, 1), ConvStep(384, 3), _beside],
        [PoolStep(3), ConvStep(192, 1)],
    ]
