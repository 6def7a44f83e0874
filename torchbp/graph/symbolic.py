"""Symbolic values: what a model will compute, known by shape and dtype before any data come."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor

from torchbp.errors import GraphError
from torchbp.graph.functions import plain_name
from torchbp.graph.names import check_input_name, snake_case
from torchbp.graph.structure import leaves

# Sizes that stand in for the unknown ones in the two shape runs: the batch, and any other.
# A size that differs between the runs is unknown. The large ones divide well, so that models
# that halve or pool them many times can be built.
BATCH_SIZES = (2, 3)
OTHER_SIZES = (480, 960)


@dataclass(eq=False)
class Call:
    """One recorded call.

    Attributes:
        kind: what is called: a module, a function, a tensor method, or nothing (an input).
        target: the module, the function, the method's name, or the input's name (may be None).
        args: positional arguments with symbolic values anywhere inside.
        kwargs: keyword arguments, likewise.
        name: the name that the user gave, or None.
        outputs: what came out in each of the two shape runs.
    """

    kind: Literal["input", "module", "function", "method"]
    target: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    name: str | None = None
    outputs: tuple[Any, Any] = (None, None)

    def symbolic_arguments(self) -> list[Symbolic]:
        """The symbolic values among the arguments, in order."""
        return [leaf for leaf in leaves((self.args, self.kwargs)) if isinstance(leaf, Symbolic)]

    def base_name(self) -> str:
        """What the call's result is called where nothing else is that: `lstm`, `cat`, `x`."""
        if self.name is not None:
            return self.name
        if self.kind == "input":
            return "x"
        if self.kind == "module":
            return snake_case(type(self.target).__name__)
        if self.kind == "method":
            return str(self.target).strip("_")
        return self.args[1] if self.target is getattr else plain_name(self.target)

    def label(self, short: bool = False) -> str:
        """How messages name the call: `answer (Linear)`, or `answer`."""
        name = self.base_name()
        if short or self.kind != "module":
            return name
        return f"{name} ({type(self.target).__name__})"


def _recorded(function: Callable[..., Any], swapped: bool = False) -> Callable[..., Any]:
    """An operator as a method that records it."""

    def method(self: Symbolic, *others: Any) -> Any:
        from torchbp.graph.record import record_function

        return record_function(function, (*others, self) if swapped else (self, *others), {})

    return method


def _refused(error: Callable[..., GraphError], *about: str) -> Callable[..., Any]:
    """An operator as a method that raises an error."""

    def method(self: Symbolic, *args: Any, **kwargs: Any) -> NoReturn:
        raise error(*about)

    return method


def in_place_error(what: str, instead: str) -> GraphError:
    """The error for an operation that would change a tensor that the graph has recorded."""
    return GraphError(
        f"{what} works in place; on a symbolic tensor it would make the graph a cycle: the tensor "
        "would be made from itself.\n"
        f"  To mend it: use the form that returns a new tensor ({instead})."
    )


def needs_data_error(what: str) -> GraphError:
    """The error for what cannot be known while a graph is built."""
    return GraphError(
        f"{what} needs data, and a graph has none while it is built: neither control flow nor "
        "shapes can depend on the values of a symbolic tensor.\n"
        "  To mend it: use torch.where, or put the computation into an nn.Module's forward and "
        "connect that with torchbp.call(module, x)."
    )


class Symbolic:
    """A value inside a graph: the call that makes it, and which part of the call's output it is.

    Attributes:
        call: the recorded call.
        path: keys that lead from the call's output to this value.
        samples: the value in each of the two shape runs.
    """

    __array_ufunc__ = None  # numpy leaves operators between its arrays and symbolic values to us

    def __init__(self, call: Call, path: tuple[int | str, ...], samples: tuple[Any, Any]) -> None:
        self.call = call
        self.path = path
        self.samples = samples

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        from torchbp.graph.record import record_function  # record builds on this module

        return record_function(function, args, kwargs or {})

    __bool__ = _refused(needs_data_error, "bool(), an `if` or a `while` on a symbolic value")
    __int__ = __index__ = _refused(
        needs_data_error, "int(), range() or an index from a symbolic value"
    )
    __float__ = __complex__ = _refused(needs_data_error, "float() of a symbolic value")
    __array__ = _refused(needs_data_error, "a numpy array of a symbolic value")
    __lt__ = __le__ = __gt__ = __ge__ = _refused(needs_data_error, "comparing a symbolic value")
    __eq__ = _refused(needs_data_error, "comparing a symbolic value")
    __hash__ = object.__hash__

    __neg__ = _recorded(operator.neg)
    __pos__ = _recorded(operator.pos)
    __invert__ = _recorded(operator.invert)

    __add__, __radd__ = _recorded(operator.add), _recorded(operator.add, swapped=True)
    __sub__, __rsub__ = _recorded(operator.sub), _recorded(operator.sub, swapped=True)
    __mul__, __rmul__ = _recorded(operator.mul), _recorded(operator.mul, swapped=True)
    __mod__, __rmod__ = _recorded(operator.mod), _recorded(operator.mod, swapped=True)
    __pow__, __rpow__ = _recorded(operator.pow), _recorded(operator.pow, swapped=True)
    __and__, __rand__ = _recorded(operator.and_), _recorded(operator.and_, swapped=True)
    __or__, __ror__ = _recorded(operator.or_), _recorded(operator.or_, swapped=True)
    __xor__, __rxor__ = _recorded(operator.xor), _recorded(operator.xor, swapped=True)
    __matmul__, __rmatmul__ = _recorded(operator.matmul), _recorded(operator.matmul, swapped=True)
    __lshift__, __rlshift__ = _recorded(operator.lshift), _recorded(operator.lshift, swapped=True)
    __rshift__, __rrshift__ = _recorded(operator.rshift), _recorded(operator.rshift, swapped=True)
    __truediv__ = _recorded(operator.truediv)
    __rtruediv__ = _recorded(operator.truediv, swapped=True)
    __floordiv__ = _recorded(operator.floordiv)
    __rfloordiv__ = _recorded(operator.floordiv, swapped=True)


class SymbolicSize(Symbolic):
    """A number that is unknown until data come: a size, or what is computed from sizes.

    It prints as None, equals None, and can be computed with: `x.reshape(x.shape[0], -1)`,
    `x[:, : x.size(1) // 2]`. Among several sizes of torch's functions it stands in a tuple:
    `torch.zeros((x.shape[0], 3))`.
    """

    def __repr__(self) -> str:
        return "None"

    def __eq__(self, other: object) -> bool:
        if other is None or isinstance(other, SymbolicSize):
            return other is None or other.samples == self.samples
        raise needs_data_error("comparing an unknown size")

    def __hash__(self) -> int:
        return hash(None)


class SymbolicTensor(Symbolic):
    """A tensor that a model will compute.

    It takes Python's operators, indexing, the methods of `torch.Tensor`, and every `torch.*` and
    `torch.nn.functional.*` function; each returns new symbolic tensors. What needs data (`if x >
    0`, `float(x)`, `x.item()`) and what works in place (`x.add_(1)`, `x[0] = 1`) is a GraphError.

    Example:
        >>> from torchbp import Input
        >>> x = Input((None, 8), name="x")
        >>> (x * 2).mean(dim=1)
        SymbolicTensor(shape=(None, 8), dtype=torch.float32)
    """

    __eq__, __ne__ = _recorded(operator.eq), _recorded(operator.ne)
    __lt__, __le__ = _recorded(operator.lt), _recorded(operator.le)
    __gt__, __ge__ = _recorded(operator.gt), _recorded(operator.ge)
    __hash__ = object.__hash__
    __getitem__ = _recorded(operator.getitem)
    __setitem__ = __delitem__ = _refused(in_place_error, "x[...] = y", "torch.where, torch.cat")

    __iadd__ = _refused(in_place_error, "x += y", "x = x + y")
    __isub__ = _refused(in_place_error, "x -= y", "x = x - y")
    __imul__ = _refused(in_place_error, "x *= y", "x = x * y")
    __itruediv__ = _refused(in_place_error, "x /= y", "x = x / y")
    __ifloordiv__ = _refused(in_place_error, "x //= y", "x = x // y")
    __imod__ = _refused(in_place_error, "x %= y", "x = x % y")
    __ipow__ = _refused(in_place_error, "x **= y", "x = x ** y")
    __imatmul__ = _refused(in_place_error, "x @= y", "x = x @ y")
    __iand__ = _refused(in_place_error, "x &= y", "x = x & y")
    __ior__ = _refused(in_place_error, "x |= y", "x = x | y")
    __ixor__ = _refused(in_place_error, "x ^= y", "x = x ^ y")
    __ilshift__ = _refused(in_place_error, "x <<= y", "x = x << y")
    __irshift__ = _refused(in_place_error, "x >>= y", "x = x >> y")

    @property
    def dtype(self) -> torch.dtype:
        """Element type."""
        return self.samples[0].dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions, with the batch."""
        return self.samples[0].ndim

    @property
    def shape(self) -> tuple[int | SymbolicSize, ...]:
        """Sizes with the batch; an unknown one prints as None and equals None."""
        return tuple(self.size(dim) for dim in range(self.ndim))

    @property
    def name(self) -> str | None:
        """The name that the user gave to the input or the layer that makes this tensor."""
        return self.call.name

    def dim(self) -> int:
        """Number of dimensions, with the batch."""
        return self.ndim

    def size(self, dim: int | None = None) -> Any:
        """The size of one dimension (an int, or a SymbolicSize where it is unknown), or all."""
        if dim is None:
            return self.shape
        first, second = (sample.size(dim) for sample in self.samples)
        if first == second:
            return first
        return SymbolicSize(Call("method", "size", (self, dim)), (), (first, second))

    def is_floating_point(self) -> bool:
        """Whether the elements are floating-point numbers."""
        return self.dtype.is_floating_point

    def __abs__(self) -> SymbolicTensor:
        return self.abs()

    def __len__(self) -> int:
        size = self.size(0)
        if isinstance(size, SymbolicSize):
            raise needs_data_error("len() of an unknown size")
        return size

    def __iter__(self) -> Iterator[SymbolicTensor]:
        if isinstance(self.size(0), SymbolicSize):
            raise GraphError(
                f"going through a symbolic tensor, or unpacking it, takes its first dimension "
                f"apart, whose size is unknown in {shape_text(self)}.\n"
                "  To mend it: take another one apart, with x.unbind(dim), x.chunk(n, dim) or "
                "x.split(sizes, dim)."
            )
        return iter(self.unbind(0))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(torch.Tensor, name):
            raise AttributeError(f"SymbolicTensor has no attribute '{name}'")
        from torchbp.graph.record import bound_method

        return bound_method(self, name)

    def __repr__(self) -> str:
        named = f"name={self.name!r}, " if self.name else ""
        return f"SymbolicTensor({named}shape={shape_text(self)}, dtype={self.dtype})"


def Input(  # noqa: N802 - it reads as the class that it stands for, as in Keras
    shape: Sequence[int | None], dtype: torch.dtype = torch.float32, name: str | None = None
) -> Any:  # a SymbolicTensor, which type checkers would not let into torch's functions
    """A symbolic tensor that stands for data to come.

    Args:
        shape: sizes without the batch; None where the size is unknown.
        dtype: element type.
        name: name of the argument in the model's `forward`; `x`, `x_1` ... by default.

    Returns:
        A symbolic tensor of shape `(None, *shape)`.

    Raises:
        GraphError: the shape is not a sequence of sizes, the dtype is not torch's, or the name is
            not a Python identifier.

    Example:
        >>> from torchbp import Input
        >>> Input((None,), dtype=torch.int64, name="posts")
        SymbolicTensor(name='posts', shape=(None, None), dtype=torch.int64)

    Differences from Keras: dtypes are torch's (`torch.int64`, not "int64").
    """
    if not isinstance(shape, list | tuple) or not all(_is_size(size) for size in shape):
        raise GraphError(
            f"Input: expected a sequence of sizes (None where unknown), got {shape!r}.\n"
            "  To mend it: write Input((64,)) for 64 features, Input((None,)) for a sequence."
        )
    if not isinstance(dtype, torch.dtype):
        raise GraphError(
            f"Input: expected a torch dtype, got {dtype!r}.\n"
            "  To mend it: write torch.float32, torch.int64 ..."
        )
    if name is not None:
        check_input_name(name, "Input")
    samples = tuple(
        torch.empty(
            (batch, *(other if size is None else size for size in shape)),
            dtype=dtype,
            device="meta",
        )
        for batch, other in zip(BATCH_SIZES, OTHER_SIZES, strict=True)
    )
    return SymbolicTensor(Call("input", name, name=name), (), (samples[0], samples[1]))


def known_shape(first: Tensor, second: Tensor) -> tuple[int | None, ...]:
    """The sizes that two shape runs agree on; None where they do not."""
    return tuple(a if a == b else None for a, b in zip(first.shape, second.shape, strict=True))


def shape_text(value: Symbolic) -> str:
    """How a symbolic value's shape is written in messages: `(None, 32)`."""
    if isinstance(value, SymbolicTensor):
        return str(known_shape(*value.samples))
    return "an unknown size"


def _is_size(size: object) -> bool:
    return size is None or (isinstance(size, int) and not isinstance(size, bool) and size > 0)
