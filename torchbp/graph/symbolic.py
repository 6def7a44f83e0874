"""Symbolic values: what a model will compute, known by shape and dtype before any data come."""

from __future__ import annotations

import keyword
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn

from torchbp.errors import GraphError
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
        name = self.target if self.kind == "method" else getattr(self.target, "__name__", "call")
        if self.target is getattr:
            name = self.args[1]
        return name.strip("_") if name.strip("_").isidentifier() else "call"

    def label(self, short: bool = False) -> str:
        """How messages name the call: `answer (Linear)`, or `answer`."""
        name = self.base_name()
        if short or self.kind != "module":
            return name
        return f"{name} ({type(self.target).__name__})"


class Symbolic:
    """A value inside a graph: the call that makes it, and which part of the call's output it is.

    Attributes:
        call: the recorded call.
        path: keys that lead from the call's output to this value.
        samples: the value in each of the two shape runs.
    """

    def __init__(self, call: Call, path: tuple[int | str, ...], samples: tuple[Any, Any]) -> None:
        self.call = call
        self.path = path
        self.samples = samples

    def __bool__(self) -> NoReturn:
        raise _needs_data("bool(), an `if` or a `while` on a symbolic value")

    def __int__(self) -> NoReturn:
        raise _needs_data("int() or an index from a symbolic value")

    __index__ = __int__

    def __float__(self) -> NoReturn:
        raise _needs_data("float() of a symbolic value")

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


class SymbolicSize(Symbolic):
    """A size that is unknown until data come. It prints as None, equals None, and can be computed
    with: `x.reshape(x.shape[0], -1)`, `x.size(1) // 2`.
    """

    def __repr__(self) -> str:
        return "None"

    def __eq__(self, other: object) -> bool:
        if other is None or isinstance(other, SymbolicSize):
            return other is None or other.samples == self.samples
        raise _needs_data("comparing an unknown size")

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

    __iter__ = None  # a symbolic tensor has no rows to go through; see unbind, chunk, split

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

    def __len__(self) -> int:
        size = self.size(0)
        if isinstance(size, SymbolicSize):
            raise _needs_data("len() of an unknown size")
        return size

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(torch.Tensor, name):
            raise AttributeError(f"SymbolicTensor has no attribute '{name}'")
        from torchbp.graph.record import bound_method

        return bound_method(self, name)

    def __setitem__(self, key: object, value: object) -> NoReturn:
        raise in_place_error("x[...] = value", "torch.where or torch.cat")

    def __repr__(self) -> str:
        named = f"name={self.name!r}, " if self.name else ""
        return f"SymbolicTensor({named}shape={shape_text(self)}, dtype={self.dtype})"


def Input(  # noqa: N802 - it reads as the class that it stands for, as in Keras
    shape: Sequence[int | None], dtype: torch.dtype = torch.float32, name: str | None = None
) -> SymbolicTensor:
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
    if isinstance(shape, int | str) or not all(_is_size(size) for size in shape):
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
        check_name(name, "Input")
    samples = tuple(
        torch.empty(
            (batch, *(other if size is None else size for size in shape)),
            dtype=dtype,
            device="meta",
        )
        for batch, other in zip(BATCH_SIZES, OTHER_SIZES, strict=True)
    )
    return SymbolicTensor(Call("input", name, name=name), (), (samples[0], samples[1]))


def snake_case(name: str) -> str:
    """`GlobalMaxPool1d` -> `global_max_pool1d`, `LeakyReLU` -> `leaky_relu`, `LSTM` -> `lstm`."""
    return re.sub(r"((?<=[a-z0-9])|(?<=[A-Z]{2}))(?=[A-Z][a-z])", "_", name).lower().strip("_")


def known_shape(first: Tensor, second: Tensor) -> tuple[int | None, ...]:
    """The sizes that two shape runs agree on; None where they do not."""
    return tuple(a if a == b else None for a, b in zip(first.shape, second.shape, strict=True))


def shape_text(value: Symbolic) -> str:
    """How a symbolic value's shape is written in messages: `(None, 32)`."""
    if isinstance(value, SymbolicTensor):
        return str(known_shape(*value.samples))
    return "an unknown size"


def check_name(name: str, who: str) -> None:
    """Refuse a name that cannot be a Python variable and a submodule's attribute.

    Raises:
        GraphError: it is not an identifier, or `nn.Module` has an attribute of that name.
    """
    usable = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
    if not usable or hasattr(nn.Module, name) or name in ("self", "training"):
        raise GraphError(
            f"{who}: expected a name that can be a Python attribute of a module, got {name!r}.\n"
            "  To mend it: use letters, digits and underscores, and no name that nn.Module has."
        )


def in_place_error(what: str, instead: str) -> GraphError:
    """The error for an operation that would change a tensor that the graph has recorded."""
    return GraphError(
        f"{what} works in place; on a symbolic tensor it would make the graph a cycle: the tensor "
        "would be made from itself.\n"
        f"  To mend it: use the form that returns a new tensor ({instead})."
    )


def _is_size(size: object) -> bool:
    return size is None or (isinstance(size, int) and not isinstance(size, bool) and size > 0)


def _needs_data(what: str) -> GraphError:
    return GraphError(
        f"{what} needs data, and a graph has none while it is built: control flow cannot depend "
        "on a symbolic tensor.\n"
        "  To mend it: use torch.where, or put the condition into an nn.Module's forward and "
        "connect that with torchbp.call(module, x)."
    )


def _binary(function: Callable[..., Any], swapped: bool = False) -> Callable[[Any, Any], Any]:
    def method(self: Symbolic, other: Any) -> Any:
        from torchbp.graph.record import record_function

        return record_function(function, (other, self) if swapped else (self, other), {})

    return method


def _unary(function: Callable[..., Any]) -> Callable[[Any], Any]:
    def method(self: Symbolic) -> Any:
        from torchbp.graph.record import record_function

        return record_function(function, (self,), {})

    return method


def _in_place(symbol: str, name: str) -> Callable[[Any, Any], NoReturn]:
    def method(self: Symbolic, other: Any) -> NoReturn:
        raise in_place_error(f"x {symbol}= y", f"x = x {symbol} y")

    return method


_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
}  # fmt: skip


def _add_operators() -> None:
    for name, symbol in _BINARY.items():
        function = getattr(operator, f"{name}_" if name in ("and", "or") else name)
        setattr(Symbolic, f"__{name}__", _binary(function))
        setattr(Symbolic, f"__r{name}__", _binary(function, swapped=True))
        setattr(Symbolic, f"__i{name}__", _in_place(symbol, name))
    for name in ("neg", "abs", "invert", "pos"):
        setattr(Symbolic, f"__{name}__", _unary(getattr(operator, name)))
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        setattr(SymbolicTensor, f"__{name}__", _binary(getattr(operator, name)))
    SymbolicTensor.__getitem__ = _binary(operator.getitem)  # type: ignore[attr-defined]
    SymbolicTensor.__hash__ = object.__hash__  # type: ignore[method-assign]


_add_operators()
