"""Layer normalisation over any dimensions, where torch's has the last ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.errors import ShapeError
from torchbp.graph.layer import Layer


class LayerNormOver(Layer):
    """Normalisation of each sample over some dimensions, which need not be its last.

    Args:
        sizes: the sizes of these dimensions, and so of the weight and the bias.
        dims: which they are.
        eps: added to the variance.
        scale: whether there is a weight.
        shift: whether there is a bias.

    Shape:
        input and output have the same shape.

    Raises:
        ShapeError: sizes and dims are not equally many.

    Example:
        >>> from torchbp.layers import LayerNormOver
        >>> LayerNormOver((3, 8), (1, 3))(torch.randn(2, 3, 5, 8)).shape
        torch.Size([2, 3, 5, 8])

    Differences from Keras: LayerNormalization with `axis`; eps is 1e-5 (Keras 1e-3).
    Source: Ba et al. 2016, https://arxiv.org/abs/1607.06450
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        dims: tuple[int, ...],
        eps: float = 1e-5,
        *,
        scale: bool = True,
        shift: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if len(sizes) != len(dims):
            raise ShapeError(
                f"LayerNormOver: expected a dimension for each size, got {sizes} and {dims}.\n"
                "  To mend it: give the sizes of the dimensions."
            )
        self.sizes, self.dims, self.eps = sizes, dims, eps
        self.weight = nn.Parameter(torch.ones(sizes)) if scale else None
        self.bias = nn.Parameter(torch.zeros(sizes)) if shift else None

    def reset_parameters(self) -> None:
        """Ones and zeros."""
        for parameter, start in ((self.weight, 1.0), (self.bias, 0.0)):
            if parameter is not None:
                nn.init.constant_(parameter, start)

    def forward(self, input: Tensor) -> Tensor:
        """The normalised values."""
        last = tuple(range(-len(self.dims), 0))
        moved = input.movedim(self.dims, last)
        normed = F.layer_norm(moved, self.sizes, self.weight, self.bias, self.eps)
        return normed.movedim(last, self.dims)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        text = f"{self.sizes}, dims={self.dims}, eps={self.eps}"
        text += "" if self.weight is not None else ", scale=False"
        return text + ("" if self.bias is not None else ", shift=False")
