"""Layers that put noise on their input in training and pass it on unchanged in evaluation."""

import math

import torch
from torch import Tensor

from torchbp.errors import DataError
from torchbp.graph.layer import Layer


class SharedDropout(Layer):
    """Dropout in which all cells along some dimensions are kept, or dropped, together.

    With everything but the batch shared it is stochastic depth: a sample's branch is there or not.

    Args:
        p: the probability that a value is dropped.
        dims: the dimensions along which values share their fate.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import SharedDropout
        >>> SharedDropout(0.2, (1, 2, 3)).eval()(torch.ones(2, 1, 1, 1)).flatten()
        tensor([1., 1.])

    Differences from Keras: Dropout with `noise_shape`, which has 1 where the dimension is shared.
    Source: Huang et al. 2016, https://arxiv.org/abs/1603.09382
    """

    def __init__(self, p: float, dims: tuple[int, ...], *, name: str | None = None) -> None:
        super().__init__(name=name)
        _check_share(self, p, 1.0)
        self.p, self.dims = p, dims

    def forward(self, input: Tensor) -> Tensor:
        """The input; in training, what is kept of it divided by 1 - p."""
        if not self.training or self.p == 0.0:
            return input
        if self.p == 1.0:
            return torch.zeros_like(input)
        shape = list(input.shape)
        for dim in self.dims:
            shape[dim] = 1
        kept = torch.rand(shape, dtype=input.dtype, device=input.device) >= self.p
        return input * kept / (1.0 - self.p)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"p={self.p}, dims={self.dims}"


class GaussianNoise(Layer):
    """Normal noise added in training.

    Args:
        std: its standard deviation.

    Shape:
        input and output have the same shape, whatever it is.

    Example:
        >>> from torchbp.layers import GaussianNoise
        >>> GaussianNoise(0.1).eval()(torch.ones(3))
        tensor([1., 1., 1.])

    Differences from Keras: none in what is computed; the random numbers are torch's.
    """

    def __init__(self, std: float, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.std = std

    def forward(self, input: Tensor) -> Tensor:
        """The input, with noise in training."""
        return input + self.std * torch.randn_like(input) if self.training else input

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"std={self.std}"


class GaussianDropout(Layer):
    """Multiplication by normal noise around one in training.

    Args:
        p: sets the noise's standard deviation, sqrt(p / (1 - p)): that of a dropout of p.

    Shape:
        input and output have the same shape, whatever it is.

    Raises:
        DataError: p is not at least 0 and less than 1.

    Example:
        >>> from torchbp.layers import GaussianDropout
        >>> GaussianDropout(0.1).eval()(torch.ones(3))
        tensor([1., 1., 1.])

    Differences from Keras: none in what is computed; the random numbers are torch's.
    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html
    """

    def __init__(self, p: float, *, name: str | None = None) -> None:
        super().__init__(name=name)
        _check_share(self, p, math.nextafter(1.0, 0.0))
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        """The input, multiplied by noise in training."""
        if not self.training:
            return input
        std = math.sqrt(self.p / (1.0 - self.p))
        return input * (1.0 + std * torch.randn_like(input))

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"p={self.p}"


def _check_share(layer: Layer, p: float, most: float) -> None:
    if not 0.0 <= p <= most:
        raise DataError(
            f"{type(layer).__name__}: expected a share p of the values, got {p}.\n"
            "  To mend it: take a number from 0 to 1, such as 0.1."
        )
