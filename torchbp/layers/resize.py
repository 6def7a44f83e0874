"""Cells put around an input, cut off, or put between."""

from torch import Tensor, nn

from torchbp.errors import ShapeError
from torchbp.graph.layer import Layer
from torchbp.layers.same import cut, per_dim


class ZeroPad1d(Layer, nn.ZeroPad1d):
    """Zeros before and after a sequence.

    Arguments are those of `torch.nn.ZeroPad1d`: one number for both sides, or (before, after).

    Shape:
        input (N, C, T) -> output (N, C, before + T + after).

    Example:
        >>> from torchbp.layers import ZeroPad1d
        >>> ZeroPad1d((2, 1))(torch.ones(1, 1, 2))
        tensor([[[0., 0., 1., 1., 0.]]])

    Differences from Keras: none.
    """


class ZeroPad2d(Layer, nn.ZeroPad2d):
    """Zeros around an image.

    Arguments are those of `torch.nn.ZeroPad2d`: one number for all sides, or
    (left, right, top, bottom).

    Shape:
        input (N, C, H, W) -> output (N, C, top + H + bottom, left + W + right).

    Example:
        >>> from torchbp.layers import ZeroPad2d
        >>> ZeroPad2d((0, 1, 0, 1))(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 3, 9, 9])

    Differences from Keras: the order; Keras's is ((top, bottom), (left, right)).
    """


class ZeroPad3d(Layer, nn.ZeroPad3d):
    """Zeros around a volume.

    Arguments are those of `torch.nn.ZeroPad3d`: one number for all sides, or
    (left, right, top, bottom, front, back).

    Shape:
        input (N, C, D, H, W) -> output (N, C, front + D + back, top + H + bottom,
        left + W + right).

    Example:
        >>> from torchbp.layers import ZeroPad3d
        >>> ZeroPad3d(1)(torch.zeros(2, 3, 4, 4, 4)).shape
        torch.Size([2, 3, 6, 6, 6])

    Differences from Keras: the order, as for ZeroPad2d.
    """


class _Crop(Layer):
    """A view of the input without the cells at its sides; one letter for each dimension."""

    sizes: str

    def __init__(self, cropping: int | tuple[int, ...], *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.cropping = per_dim(cropping, 2 * len(self.sizes))
        if len(self.cropping) != 2 * len(self.sizes) or min(self.cropping) < 0:
            raise ShapeError(
                f"{type(self).__name__}: expected a number of cells for each of "
                f"{2 * len(self.sizes)} sides, got {cropping}.\n"
                "  To mend it: name the sides in torch's order, the last dimension first."
            )

    def forward(self, input: Tensor) -> Tensor:
        """What is left of the input."""
        num_dims = len(self.sizes)
        if input.ndim < num_dims + 1:
            raise self._wrong_shape(input)
        sides = list(zip(self.cropping[::2], self.cropping[1::2], strict=True))[::-1]
        if any(n <= sum(cells) for n, cells in zip(input.shape[-num_dims:], sides, strict=True)):
            raise self._wrong_shape(input)
        return cut(input, sides)

    def _wrong_shape(self, input: Tensor) -> ShapeError:
        return ShapeError(
            f"{type(self).__name__}: expected input (N, C, {', '.join(self.sizes)}) larger than "
            f"the {self.cropping} cells to be cut, got {tuple(input.shape)}.\n"
            "  To mend it: cut less, or take the class with the number of dimensions of the input."
        )

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return str(self.cropping)


class Crop1d(_Crop):
    """A sequence without its first and last steps.

    Args:
        cropping: steps to cut, one number for both sides, or (before, after).

    Shape:
        input (N, C, T) -> output (N, C, T - before - after), a view.

    Raises:
        ShapeError: nothing would be left, or the sides are not two.

    Example:
        >>> from torchbp.layers import Crop1d
        >>> Crop1d((2, 1))(torch.arange(6.0).reshape(1, 1, 6))
        tensor([[[2., 3., 4.]]])

    Differences from Keras: none.
    """

    sizes = "T"


class Crop2d(_Crop):
    """An image without its border.

    Args:
        cropping: pixels to cut, one number for all sides, or (left, right, top, bottom): the order
            of `ZeroPad2d`.

    Shape:
        input (N, C, H, W) -> output (N, C, H - top - bottom, W - left - right), a view.

    Raises:
        ShapeError: nothing would be left, or the sides are not four.

    Example:
        >>> from torchbp.layers import Crop2d
        >>> Crop2d((0, 1, 0, 1))(torch.zeros(2, 3, 9, 9)).shape
        torch.Size([2, 3, 8, 8])

    Differences from Keras: the order; Keras's is ((top, bottom), (left, right)).
    """

    sizes = "HW"


class Crop3d(_Crop):
    """A volume without its border.

    Args:
        cropping: cells to cut, one number for all sides, or
            (left, right, top, bottom, front, back): the order of `ZeroPad3d`.

    Shape:
        input (N, C, D, H, W) -> output (N, C, D - front - back, H - top - bottom,
        W - left - right), a view.

    Raises:
        ShapeError: nothing would be left, or the sides are not six.

    Example:
        >>> from torchbp.layers import Crop3d
        >>> Crop3d(1)(torch.zeros(2, 3, 6, 6, 6)).shape
        torch.Size([2, 3, 4, 4, 4])

    Differences from Keras: the order, as for Crop2d.
    """

    sizes = "DHW"


class Upsample(Layer, nn.Upsample):  # type: ignore[misc]  # which has a name of another kind
    """A sequence, image or volume made larger, by repetition or by interpolation.

    Arguments are those of `torch.nn.Upsample`.

    Shape:
        input (N, C, T), (N, C, H, W) or (N, C, D, H, W) -> output with the last sizes multiplied
        by `scale_factor`.

    Example:
        >>> from torchbp.layers import Upsample
        >>> Upsample(scale_factor=2)(torch.tensor([[[1.0, 2.0]]]))
        tensor([[[1., 1., 2., 2.]]])

    Differences from Keras: none for mode "nearest", Keras's default, and for "bilinear" without
    `align_corners`. Keras computes in float32 there, whatever the dtype of the input. Its "bicubic"
    is another curve than torch's.
    """
