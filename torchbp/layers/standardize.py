"""Numbers that are fixed rather than learnt: means and variances of the data, and scales."""

import torch
from torch import Tensor, nn

from torchbp.errors import ShapeError
from torchbp.graph.layer import Layer

LEAST_DEVIATION = 1e-7


class Standardize(Layer):
    """Subtraction of known means, and division by the roots of known variances.

    The statistics are buffers that no training changes: put those of the data there, or load them.

    Args:
        shape: sizes of the mean and variance.
        dims: which dimensions of the input these are; all others share their numbers.
        invert: the way back: from numbers with zero mean and unit variance to those of the data.

    Shape:
        input and output have the same shape.

    Raises:
        ShapeError: shape and dims are not equally many.

    Example:
        >>> from torchbp.layers import Standardize
        >>> standardize = Standardize((3,), (1,))
        >>> standardize.mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
        tensor([1., 2., 3.])
        >>> standardize(torch.ones(1, 3))
        tensor([[ 0., -1., -2.]])

    Differences from Keras: Normalization. There is no `adapt`: the mean, the variance and the count
    are set from outside. `count` is what Keras keeps for the sake of old files; nothing uses it.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        dims: tuple[int, ...],
        *,
        invert: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if len(shape) != len(dims):
            raise ShapeError(
                f"Standardize: expected a dimension for each size, got {shape} and {dims}.\n"
                "  To mend it: name as many dimensions as the statistics have."
            )
        self.shape, self.dims, self.invert = shape, dims, invert
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("variance", torch.ones(shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, input: Tensor) -> Tensor:
        """The numbers with zero mean and unit variance; with `invert` those of the data."""
        mean = self._of(input, self.mean)
        deviation = self._of(input, self.variance.sqrt().clamp(min=LEAST_DEVIATION))
        return mean + input * deviation if self.invert else (input - mean) / deviation

    def _of(self, input: Tensor, numbers: Tensor) -> Tensor:
        """The numbers in the shape in which they meet the input."""
        view, dims = [1] * input.ndim, [dim % input.ndim for dim in self.dims]
        for size, dim in zip(self.shape, dims, strict=True):
            view[dim] = size
        order = sorted(range(len(dims)), key=dims.__getitem__)
        return numbers.permute(order).reshape(view)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"{self.shape}, dims={self.dims}" + (", invert=True" if self.invert else "")


class LayerScale(Layer):
    """Multiplication of each feature by a number that is learnt.

    Args:
        num_features: how many features.
        dim: where they are in the input.
        start: the number at the start.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import LayerScale
        >>> LayerScale(3, start=0.5)(torch.ones(1, 3)).tolist()
        [[0.5, 0.5, 0.5]]

    Differences from Keras: the layer of that name in keras.applications.convnext, for any
    dimension.
    Source: Touvron et al. 2021, https://arxiv.org/abs/2103.17239
    """

    def __init__(
        self, num_features: int, dim: int = -1, start: float = 1e-6, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.num_features, self.dim, self.start = num_features, dim, start
        self.weight = nn.Parameter(torch.full((num_features,), start))

    def reset_parameters(self) -> None:
        """The number at the start for all."""
        nn.init.constant_(self.weight, self.start)

    def forward(self, input: Tensor) -> Tensor:
        """The scaled features."""
        dim = self.dim % input.ndim
        return input * self.weight.reshape(-1, *(1,) * (input.ndim - 1 - dim))

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"{self.num_features}, dim={self.dim}, start={self.start}"
