"""Merges: layers that make one tensor of several."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from torchbp.errors import ShapeError
from torchbp.graph.layer import Layer


class Merge(Layer):
    """One tensor out of several: the base of all merges.

    A subclass says how in `merge`. A RuntimeError there becomes a ShapeError with all the shapes
    where these do not broadcast.

    Shape:
        inputs, two or more, that fit together -> one output.

    Raises:
        ShapeError: the inputs do not fit together, or there are too few of them.

    Example:
        >>> from torchbp.layers.merge import Merge
        >>> class Median(Merge):
        ...     def merge(self, *inputs):
        ...         return torch.stack(inputs).median(0).values
        >>> Median()(torch.tensor([1.0]), torch.tensor([5.0]), torch.tensor([3.0]))
        tensor([3.])

    Differences from Keras: the tensors are arguments, `Add()(a, b)`, not one list. Shapes
    broadcast by torch's rule, from the last dimension; Keras puts the missing dimensions of an
    input behind its batch.
    """

    def forward(self, *inputs: Tensor) -> Tensor:
        """The merged inputs."""
        if len(inputs) < 2 or not all(isinstance(input, Tensor) for input in inputs):
            raise self._misfit(inputs, "two or more tensors, each an argument of its own")
        try:
            return self.merge(*inputs)
        except (RuntimeError, IndexError) as error:
            if not self._fits(*inputs):
                raise self._misfit(inputs, self._expected()) from error
            raise

    def merge(self, *inputs: Tensor) -> Tensor:
        """The merged inputs; a RuntimeError or IndexError if they do not fit together."""
        raise NotImplementedError

    def _fits(self, *inputs: Tensor) -> bool:
        """Whether the shapes fit together; asked after an error, to tell the cause."""
        try:
            torch.broadcast_tensors(*inputs)  # type: ignore[no-untyped-call]
        except RuntimeError:
            return False
        return True

    def _expected(self) -> str:
        """What the inputs must be like, for the message."""
        return "inputs whose shapes broadcast"

    def _misfit(self, inputs: Sequence[object], expected: str) -> ShapeError:
        got = [
            str(tuple(input.shape)) if isinstance(input, Tensor) else type(input).__name__
            for input in inputs
        ]
        who = type(self).__name__ if self.name is None else f"{self.name} ({type(self).__name__})"
        return ShapeError(
            f"{who}: expected {expected}, got {', '.join(got) or 'nothing'}.\n"
            "  To mend it: connect tensors that fit, or reshape, unsqueeze or pad one of them."
        )


class Add(Merge):
    """The sum of the inputs.

    Shape:
        two or more inputs whose shapes broadcast -> output of the common shape.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> from torchbp.layers import Add
        >>> Add()(torch.ones(2), torch.ones(2), torch.ones(2))
        tensor([3., 3.])

    Differences from Keras: see `Merge`.
    """

    def merge(self, *inputs: Tensor) -> Tensor:
        """The sum, from the first input to the last."""
        return reduce(torch.add, inputs)


class Subtract(Merge):
    """The first input minus the second.

    Shape:
        two inputs whose shapes broadcast -> output of the common shape.

    Raises:
        ShapeError: the shapes do not broadcast, or there are not two inputs.

    Example:
        >>> from torchbp.layers import Subtract
        >>> Subtract()(torch.ones(2), torch.tensor([0.0, 3.0]))
        tensor([ 1., -2.])

    Differences from Keras: see `Merge`.
    """

    def merge(self, *inputs: Tensor) -> Tensor:
        """The difference of the two."""
        if len(inputs) != 2:
            raise self._misfit(inputs, "two inputs")
        return inputs[0] - inputs[1]


class Multiply(Merge):
    """The product of the inputs, element by element.

    Shape:
        two or more inputs whose shapes broadcast -> output of the common shape.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> from torchbp.layers import Multiply
        >>> Multiply()(torch.tensor([2.0, 3.0]), torch.tensor([4.0, 5.0]))
        tensor([ 8., 15.])

    Differences from Keras: see `Merge`.
    """

    def merge(self, *inputs: Tensor) -> Tensor:
        """The product, from the first input to the last."""
        return reduce(torch.mul, inputs)


class Average(Merge):
    """The mean of the inputs, element by element.

    Shape:
        two or more inputs whose shapes broadcast -> output of the common shape.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> from torchbp.layers import Average
        >>> Average()(torch.tensor([2.0, 3.0]), torch.tensor([4.0, 5.0]))
        tensor([3., 4.])

    Differences from Keras: see `Merge`.
    """

    def merge(self, *inputs: Tensor) -> Tensor:
        """The sum divided by the number of inputs."""
        return reduce(torch.add, inputs) / len(inputs)


class Maximum(Merge):
    """The largest of the inputs, element by element.

    Shape:
        two or more inputs whose shapes broadcast -> output of the common shape.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> from torchbp.layers import Maximum
        >>> Maximum()(torch.tensor([2.0, 6.0]), torch.tensor([4.0, 5.0]))
        tensor([4., 6.])

    Differences from Keras: two equal values share the gradient; TensorFlow gives it all to the
    first. Else see `Merge`.
    """

    def merge(self, *inputs: Tensor) -> Tensor:
        """The maximum, from the first input to the last."""
        return reduce(torch.maximum, inputs)


class Minimum(Merge):
    """The smallest of the inputs, element by element.

    Shape:
        two or more inputs whose shapes broadcast -> output of the common shape.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> from torchbp.layers import Minimum
        >>> Minimum()(torch.tensor([2.0, 6.0]), torch.tensor([4.0, 5.0]))
        tensor([2., 5.])

    Differences from Keras: two equal values share the gradient; TensorFlow gives it all to the
    first. Else see `Merge`.
    """

    def merge(self, *inputs: Tensor) -> Tensor:
        """The minimum, from the first input to the last."""
        return reduce(torch.minimum, inputs)


class Concat(Merge):
    """The inputs one behind the other along a dimension.

    Args:
        dim: the dimension, counted with the batch; 1 is that of the channels.

    Shape:
        two or more inputs of the same shape but for `dim` -> output whose `dim` is their sum.

    Raises:
        ShapeError: the inputs differ elsewhere than in `dim`.

    Example:
        >>> from torchbp.layers import Concat
        >>> Concat(dim=-1)(torch.zeros(2, 3), torch.ones(2, 1))
        tensor([[0., 0., 0., 1.],
                [0., 0., 0., 1.]])

    Differences from Keras: the default is dimension 1, the channels, which are Keras's last.
    """

    def __init__(self, dim: int = 1, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.dim = dim

    def merge(self, *inputs: Tensor) -> Tensor:
        """The concatenation."""
        return torch.cat(inputs, self.dim)

    def _fits(self, *inputs: Tensor) -> bool:
        """Whether all dimensions but `dim` are equal."""
        if not all(-input.ndim <= self.dim < input.ndim for input in inputs):
            return False
        others = [list(input.shape) for input in inputs]
        for sizes in others:
            del sizes[self.dim]
        return all(sizes == others[0] for sizes in others)

    def _expected(self) -> str:
        """What the inputs must be like, for the message."""
        return f"inputs that differ in dimension {self.dim} only"

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"dim={self.dim}"


class Dot(Merge):
    """The dot product of two inputs along one dimension of each, sample by sample.

    Args:
        dim: the dimension to sum over, counted with the batch; a pair if it is another one in the
            second input than in the first.
        normalize: divide both inputs by their length along `dim` first: the cosine similarity.

    Shape:
        inputs (N, ..., K, ...) and (N, ..., K, ...) -> output (N, rest of the first, rest of the
        second), (N, 1) where nothing is left: (N, 3, 5) and (N, 10, 3) with dim=(1, 2) give
        (N, 5, 10).

    Raises:
        ShapeError: there are not two inputs, or they differ in batch or in K.

    Example:
        >>> from torchbp.layers import Dot
        >>> Dot(dim=1)(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[11.]])
        >>> Dot(dim=1, normalize=True)(torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 0.0]]))
        tensor([[1.]])

    Differences from Keras: `dim` is Keras's axes. Lengths below 1e-7 count as 1e-7 on both sides.
    """

    def __init__(
        self, dim: int | tuple[int, int], normalize: bool = False, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.dim = dim
        self.normalize = normalize

    def merge(self, *inputs: Tensor) -> Tensor:
        """The contraction over the two dimensions, batch by batch."""
        if not self._fits(*inputs):  # einsum would broadcast a size of 1
            raise self._misfit(inputs, self._expected())
        first, second = inputs
        dim0, dim1 = self._dims(first, second)
        if self.normalize:
            first, second = (
                F.normalize(first, dim=dim0, eps=1e-7),
                F.normalize(second, dim=dim1, eps=1e-7),
            )
        # every dimension has a number: the batch 0, the contracted one that of the first input
        axes0 = list(range(first.ndim))
        axes1 = [0, *range(first.ndim, first.ndim + second.ndim - 1)]
        axes1[dim1] = dim0
        kept = [axis for axis in (*axes0, *axes1[1:]) if axis != dim0]
        output = torch.einsum(first, axes0, second, axes1, kept)
        return output if len(kept) > 1 else output.unsqueeze(1)

    def _fits(self, *inputs: Tensor) -> bool:
        """Whether there are two inputs of the same batch and size along `dim`."""
        if len(inputs) != 2 or min(input.ndim for input in inputs) < 2:
            return False
        dims = self._dims(*inputs)
        if not all(0 < dim < input.ndim for dim, input in zip(dims, inputs, strict=True)):
            return False
        first, second = inputs
        return first.shape[0] == second.shape[0] and first.shape[dims[0]] == second.shape[dims[1]]

    def _expected(self) -> str:
        """What the inputs must be like, for the message."""
        return f"two inputs of one batch and of one size along dim {self.dim} (never the batch)"

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return f"dim={self.dim}" + (", normalize=True" if self.normalize else "")

    def _dims(self, first: Tensor, second: Tensor) -> tuple[int, int]:
        dim0, dim1 = (self.dim, self.dim) if isinstance(self.dim, int) else self.dim
        return dim0 + first.ndim * (dim0 < 0), dim1 + second.ndim * (dim1 < 0)
