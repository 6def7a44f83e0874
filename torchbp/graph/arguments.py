"""The arguments of a model's call: brought into the order of its inputs, and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, fx

from torchbp.errors import DataError, DtypeError, ShapeError
from torchbp.graph.lower import Node
from torchbp.graph.symbolic import SymbolicTensor

Fits = Callable[[tuple[Any, ...], dict[str, Any]], bool]


def compile_fits(inputs: Sequence[Node]) -> Fits:
    """A test whether arguments are tensors that fit the inputs, one for each and in their order.

    Generated code, since it runs at every call: for an input of shape (None, 64)
    `type(_0) is Tensor and len(shape := _0.shape) == 2 and shape[1] == 64 and ...`.
    """
    names = "".join(f"_{i}, " for i in range(len(inputs)))  # names that no input can have
    tests = "\n        and ".join(_test(f"_{i}", node) for i, node in enumerate(inputs))
    source = (
        "def fits(args, kwargs):\n"
        f"    if kwargs or len(args) != {len(inputs)}:\n        return False\n"
        f"    {names}= args\n    return (\n        {tests}\n    )\n"
    )
    namespace: dict[str, Any] = {"Tensor": Tensor}
    exec(source, namespace)
    fits: Fits = namespace["fits"]
    return fits


def bound(
    who: str, inputs: Sequence[Node], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    """The arguments in the order of the inputs, however they were given.

    Raises:
        DataError: there are too few, too many or unknown ones, or they are no tensors.
        ShapeError: one has other sizes than its input.
        DtypeError: one is of integers for a floating-point input, or the reverse.
    """
    names = [node.name for node in inputs]
    if len(args) == 1 and not kwargs:
        (only,) = args
        if isinstance(only, Mapping):
            args, kwargs = (), dict(only)
        elif isinstance(only, list | tuple):
            args = tuple(only)
    by_name = dict(zip(names, args, strict=False)) | kwargs
    twice = len(by_name) < min(len(args), len(names)) + len(kwargs)
    if len(args) > len(names) or twice or set(by_name) != set(names):
        raise _wrong_names(who, names, args, kwargs)
    for node in inputs:
        _check(who, node, by_name[node.name])
    return tuple(by_name[name] for name in names)


def _test(name: str, node: Node) -> str:
    shape, dtype = node.output.shape, node.output.dtype
    sizes = [f" and shape[{i}] == {size}" for i, size in enumerate(shape) if size is not None]
    floating = "" if dtype.is_floating_point else "not "
    return (
        f"type({name}) is Tensor and len(shape := {name}.shape) == {len(shape)}{''.join(sizes)} "
        f"and {floating}{name}.dtype.is_floating_point"
    )


def _check(who: str, node: Node, value: object) -> None:
    if isinstance(value, SymbolicTensor | fx.Proxy):
        return  # the call is recorded or traced
    if not isinstance(value, Tensor):
        raise DataError(
            f"{who}: expected a tensor as input '{node.name}', got {type(value).__name__}.\n"
            "  To mend it: convert it with torch.as_tensor."
        )
    shape, dtype = node.output.shape, node.output.dtype
    expected = (
        f"{who}: expected input '{node.name}' of shape {shape} and {dtype}, got "
        f"{tuple(value.shape)} {value.dtype}"
    )
    if value.is_floating_point() is not dtype.is_floating_point:
        wanted = "floating-point numbers" if dtype.is_floating_point else "integers"
        raise DtypeError(f"{expected}.\n  To mend it: pass {wanted}.")
    fits = len(shape) == value.ndim and all(
        size is None or size == got for size, got in zip(shape, value.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"{expected}.\n  To mend it: pass data of that shape (None is any size), or build the "
            "model with another Input."
        )


def _wrong_names(
    who: str, names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> DataError:
    got = [f"{len(args)} positional"] if args else []
    got += [f"by name {list(kwargs)}"] if kwargs else []
    return DataError(
        f"{who}: expected {len(names)} inputs {names}, got {' and '.join(got) or 'none'}.\n"
        "  To mend it: pass one tensor for each, positionally, by name, as one list or as one dict."
    )
