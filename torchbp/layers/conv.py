"""Convolutions over one, two and three dimensions, and transposed ones."""

from torch import nn

from torchbp.graph.layer import Layer


class Conv1d(Layer, nn.Conv1d):
    """Convolution over time.

    Arguments are those of `torch.nn.Conv1d`.

    Shape:
        input (N, C, T) -> output (N, C', T').

    Example:
        >>> from torchbp.layers import Conv1d
        >>> Conv1d(128, 32, kernel_size=7)(torch.zeros(2, 128, 100)).shape
        torch.Size([2, 32, 94])

    Differences from Keras: channels come before time; `padding="same"` exists for stride 1 only.
    """


class Conv2d(Layer, nn.Conv2d):
    """Convolution over height and width.

    Arguments are those of `torch.nn.Conv2d`.

    Shape:
        input (N, C, H, W) -> output (N, C', H', W').

    Example:
        >>> from torchbp.layers import Conv2d
        >>> Conv2d(3, 16, kernel_size=3, stride=2)(torch.zeros(2, 3, 9, 9)).shape
        torch.Size([2, 16, 4, 4])

    Differences from Keras: channels come first; `padding="same"` exists for stride 1 only.
    """


class Conv3d(Layer, nn.Conv3d):
    """Convolution over depth, height and width.

    Arguments are those of `torch.nn.Conv3d`.

    Shape:
        input (N, C, D, H, W) -> output (N, C', D', H', W').

    Example:
        >>> from torchbp.layers import Conv3d
        >>> Conv3d(1, 4, kernel_size=2)(torch.zeros(2, 1, 5, 5, 5)).shape
        torch.Size([2, 4, 4, 4, 4])

    Differences from Keras: channels come first; `padding="same"` exists for stride 1 only.
    """


class ConvTranspose1d(Layer, nn.ConvTranspose1d):
    """Transposed convolution over time.

    Arguments are those of `torch.nn.ConvTranspose1d`.

    Shape:
        input (N, C, T) -> output (N, C', T').

    Example:
        >>> from torchbp.layers import ConvTranspose1d
        >>> ConvTranspose1d(8, 4, kernel_size=2, stride=2)(torch.zeros(2, 8, 5)).shape
        torch.Size([2, 4, 10])

    Differences from Keras: the output is (T - 1) stride + kernel_size long. Keras pads it to
    max(kernel_size, stride) where the stride is the larger, and its "same" is another crop.
    """


class ConvTranspose2d(Layer, nn.ConvTranspose2d):
    """Transposed convolution over height and width.

    Arguments are those of `torch.nn.ConvTranspose2d`.

    Shape:
        input (N, C, H, W) -> output (N, C', H', W').

    Example:
        >>> from torchbp.layers import ConvTranspose2d
        >>> ConvTranspose2d(8, 4, kernel_size=2, stride=2)(torch.zeros(2, 8, 5, 5)).shape
        torch.Size([2, 4, 10, 10])

    Differences from Keras: as for ConvTranspose1d.
    """


class ConvTranspose3d(Layer, nn.ConvTranspose3d):
    """Transposed convolution over depth, height and width.

    Arguments are those of `torch.nn.ConvTranspose3d`.

    Shape:
        input (N, C, D, H, W) -> output (N, C', D', H', W').

    Example:
        >>> from torchbp.layers import ConvTranspose3d
        >>> ConvTranspose3d(8, 4, kernel_size=2, stride=2)(torch.zeros(2, 8, 3, 3, 3)).shape
        torch.Size([2, 4, 6, 6, 6])

    Differences from Keras: as for ConvTranspose1d.
    """
