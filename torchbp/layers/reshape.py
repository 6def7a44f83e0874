"""Layers that change the shape and nothing else."""

from torch import Tensor, nn

from torchbp.errors import ShapeError
from torchbp.graph.layer import Layer


class Flatten(Layer, nn.Flatten):
    """Puts dimensions into one; by default all but the batch.

    Arguments are those of `torch.nn.Flatten`.

    Shape:
        input (N, A, B) -> output (N, A * B).

    Example:
        >>> from torchbp.layers import Flatten
        >>> Flatten()(torch.zeros(2, 3, 4, 5)).shape
        torch.Size([2, 60])

    Differences from Keras: Keras flattens in the order (H, W, C); with the channels first it is
    (C, H, W). The rows of a Linear that follows are ordered accordingly.
    """


class Unflatten(Layer, nn.Unflatten):
    """Takes one dimension apart into several.

    Arguments are those of `torch.nn.Unflatten`.

    Shape:
        input (N, A * B) -> output (N, A, B).

    Example:
        >>> from torchbp.layers import Unflatten
        >>> Unflatten(1, (3, 4))(torch.zeros(2, 12)).shape
        torch.Size([2, 3, 4])

    Differences from Keras: Reshape, for one dimension.
    """


class Transpose(Layer):
    """Exchanges two dimensions: what stands between an `Embedding` and a `Conv1d`.

    Args:
        dim0: one dimension, counted with the batch.
        dim1: the other.

    Shape:
        input (N, T, C) -> output (N, C, T) for `Transpose(1, 2)`.

    Raises:
        ShapeError: the input has not these dimensions.

    Example:
        >>> from torchbp.layers import Transpose
        >>> Transpose(1, 2)(torch.zeros(2, 100, 64)).shape
        torch.Size([2, 64, 100])

    Differences from Keras: Permute, for two dimensions, counted with the batch.
    """

    def __init__(self, dim0: int, dim1: int, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.dim0 = dim0
        self.dim1 = dim1

    def forward(self, input: Tensor) -> Tensor:
        """The input with the two dimensions exchanged."""
        if not all(-input.ndim <= dim < input.ndim for dim in (self.dim0, self.dim1)):
            raise ShapeError(
                f"Transpose: expected an input with dimensions {self.dim0} and {self.dim1}, got "
                f"{tuple(input.shape)}.\n"
                "  To mend it: count the dimensions with the batch, from 0."
            )
        return input.transpose(self.dim0, self.dim1)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"{self.dim0}, {self.dim1}"


class Identity(Layer, nn.Identity):
    """Gives back its input, whatever it is.

    Arguments, of any kind, are ignored, as those of `torch.nn.Identity` are.

    Shape:
        input and output are the same tensor.

    Example:
        >>> from torchbp.layers import Identity
        >>> Identity()(torch.ones(3))
        tensor([1., 1., 1.])
    """
