"""Transposed convolutions over one, two and three dimensions."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from torchbp.errors import ShapeError
from torchbp.graph.layer import Layer
from torchbp.layers.same import cut, per_dim


class _ConvTranspose(Layer):
    """torch's transposed convolution, with Keras's output sizes where padding is a word."""

    num_dims: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] | None = None,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, ...] = 1,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self.padding_word = padding if isinstance(padding, str) else None
        self.crop = ((0, 0),) * self.num_dims
        if isinstance(padding, str):
            padding, output_padding, self.crop = _native(
                type(self).__name__,
                padding,
                per_dim(kernel_size, self.num_dims),
                per_dim(stride, self.num_dims),
                per_dim(dilation, self.num_dims),
                output_padding,
            )
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            0 if output_padding is None else output_padding,
            groups,
            bias,
            dilation,
            *args,
            **kwargs,
        )

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The input spread out; `output_size` is torch's, for padding in numbers."""
        if output_size is not None and self.padding_word:
            raise ShapeError(
                f"{type(self).__name__}: expected no output_size with padding="
                f"{self.padding_word!r}, which fixes it, got {list(output_size)}.\n"
                "  To mend it: leave it out, or give the padding in numbers."
            )
        output: Tensor = super().forward(input, output_size)
        return cut(output, self.crop)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        shown: str = super().extra_repr()
        return shown if self.padding_word is None else f"{shown}, like={self.padding_word!r}"


def _native(
    who: str,
    word: str,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    output_padding: int | tuple[int, ...] | None,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Torch's padding and output_padding, and the cells to cut at the end, for a word."""
    if word not in ("same", "valid"):
        raise ShapeError(
            f"{who}: expected padding 'same', 'valid' or numbers, got {word!r}.\n"
            "  To mend it: choose one of them."
        )
    num_dims = len(kernel_size)
    more: Sequence[int | None] = (
        [None] * num_dims if output_padding is None else per_dim(output_padding, num_dims)
    )
    cuts = [
        _cut(word, (k - 1) * d + 1, s, extra)
        for k, s, d, extra in zip(kernel_size, stride, dilation, more, strict=True)
    ]
    return (
        tuple(before for before, _ in cuts),
        tuple(max(before - after, 0) for before, after in cuts),
        tuple((0, max(after - before, 0)) for before, after in cuts),
    )


def _cut(word: str, reach: int, stride: int, output_padding: int | None) -> tuple[int, int]:
    """Cells that are cut before and after (n - 1) stride + reach of them; negative: appended."""
    if word == "valid":
        more = max(reach, stride) - reach if output_padding is None else output_padding
        return 0, -more
    total = reach - (stride if output_padding is None else reach % 2 + output_padding)
    before = max(total // 2, 0)
    return before, total - before


class ConvTranspose1d(_ConvTranspose, nn.ConvTranspose1d):
    """Transposed convolution over time.

    Arguments are those of `torch.nn.ConvTranspose1d`; further, padding may be a word. "same" gives
    T stride steps, "valid" (T - 1) stride + max(K, stride), where the kernel reaches over
    K = (kernel_size - 1) dilation + 1 steps. With an `output_padding` p, "same" gives
    (T - 1) stride + K % 2 + p, and "valid" (T - 1) stride + K + p.

    Shape:
        input (N, C, T) -> output (N, C', T').

    Raises:
        ShapeError: an unknown word, or an output_size beside a word.

    Example:
        >>> from torchbp.layers import ConvTranspose1d
        >>> ConvTranspose1d(8, 4, kernel_size=3, stride=2)(torch.zeros(2, 8, 5)).shape
        torch.Size([2, 4, 11])
        >>> ConvTranspose1d(8, 4, kernel_size=3, stride=2, padding="same")(
        ...     torch.zeros(2, 8, 5)
        ... ).shape
        torch.Size([2, 4, 10])

    Differences from Keras: the default, padding=0, is (T - 1) stride + K long; Keras's is "valid".
    """

    num_dims = 1


class ConvTranspose2d(_ConvTranspose, nn.ConvTranspose2d):
    """Transposed convolution over height and width.

    Arguments are those of `torch.nn.ConvTranspose2d`; further, padding may be "same" or "valid", as
    for ConvTranspose1d.

    Shape:
        input (N, C, H, W) -> output (N, C', H', W').

    Raises:
        ShapeError: an unknown word, or an output_size beside a word.

    Example:
        >>> from torchbp.layers import ConvTranspose2d
        >>> upsample = ConvTranspose2d(8, 4, kernel_size=3, stride=2, padding="same")
        >>> upsample(torch.zeros(2, 8, 5, 5)).shape
        torch.Size([2, 4, 10, 10])

    Differences from Keras: as for ConvTranspose1d.
    """

    num_dims = 2


class ConvTranspose3d(_ConvTranspose, nn.ConvTranspose3d):
    """Transposed convolution over depth, height and width.

    Arguments are those of `torch.nn.ConvTranspose3d`; further, padding may be "same" or "valid", as
    for ConvTranspose1d.

    Shape:
        input (N, C, D, H, W) -> output (N, C', D', H', W').

    Raises:
        ShapeError: an unknown word, or an output_size beside a word.

    Example:
        >>> from torchbp.layers import ConvTranspose3d
        >>> ConvTranspose3d(8, 4, kernel_size=2, stride=2)(torch.zeros(2, 8, 3, 3, 3)).shape
        torch.Size([2, 4, 6, 6, 6])

    Differences from Keras: as for ConvTranspose1d.
    """

    num_dims = 3
