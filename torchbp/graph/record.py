"""One call on symbolic values becomes a recorded call with symbolic outputs."""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.errors import GraphError
from torchbp.graph.functions import qualified_name
from torchbp.graph.lazy import initialize_lazy
from torchbp.graph.names import check_name
from torchbp.graph.results import PLAIN_TYPES, symbolic_results
from torchbp.graph.shapes import infer_outputs
from torchbp.graph.structure import leaves, map_leaves
from torchbp.graph.symbolic import (
    Call,
    Symbolic,
    SymbolicTensor,
    in_place_error,
    needs_data_error,
)


def call(
    target: nn.Module | Callable[..., Any], *args: Any, name: str | None = None, **kwargs: Any
) -> Any:
    """Call any module or function on symbolic tensors, so that it becomes part of the graph.

    This is how modules that are not torchbp's come in: torchvision's, timm's, your own. The
    module itself becomes part of the model; called several times, its weights are shared. A
    function is one step of the graph. What happens inside either is not recorded, so that it may
    depend on data: it runs when the model runs. Without symbolic arguments this is the plain
    call.

    To find the shapes of what comes out, the target is run twice, hooks included, on tensors of
    torch's meta device; the module has the same weights, buffers and attributes afterwards. A
    target that looks at data is run on the CPU instead, on zeros and then on ones.

    Args:
        target: an `nn.Module`, or a function of tensors without weights of its own.
        *args: its positional arguments, with symbolic tensors anywhere inside.
        name: the module's name in the model, as a layer's `name=`.
        **kwargs: its keyword arguments.

    Returns:
        What the target returns, with symbolic tensors for tensors.

    Raises:
        GraphError: the target is neither, the call works in place, a function has weights of its
            own, or what comes out is not made of tensors and numbers.
        ShapeError: the target cannot take the shapes.
        DtypeError: the target cannot take the element types.

    Example:
        >>> from torchbp import Input, call
        >>> call(nn.Linear(3, 2), Input((3,)), name="scores")
        SymbolicTensor(name='scores', shape=(None, 2), dtype=torch.float32)
    """
    if name is not None:
        check_name(name, "call")
    if not callable(target):
        raise GraphError(
            f"call: expected a module or a function, got {type(target).__name__}.\n"
            "  To mend it: write torchbp.call(module, x)."
        )
    if not has_symbolic(args, kwargs):
        return target(*args, **kwargs)
    if isinstance(target, nn.Module):
        return record_module(target, args, kwargs, name)
    return record_function(target, args, kwargs, name)


def has_symbolic(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a symbolic value stands anywhere among the arguments."""
    for arg in (*args, *kwargs.values()):
        kind = type(arg)
        if kind is Tensor or kind is int or kind is float or arg is None:
            continue
        if any(isinstance(leaf, Symbolic) for leaf in leaves(arg)):
            return True
    return False


def record_module(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None = None
) -> Any:
    """Record a module's call; a lazy module is initialized by the shapes of its input."""
    _refuse_plain_module()
    given = name or getattr(module, "name", None)
    record = Call("module", module, args, kwargs, given if isinstance(given, str) else None)
    return _record(record)


def record_function(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str | None = None,
) -> Any:
    """Record the call of a function, an operator or a method of torch.Tensor."""
    _refuse_plain_module()
    if function is operator.getitem:
        args = (args[0], _without_masks(args[1]))
    label = getattr(function, "__name__", type(function).__name__)
    if getattr(Tensor, label, None) is not function:
        return _record_function(Call("function", function, args, kwargs, name), label)
    standard = _OPERATORS.get(label.removeprefix("__").removesuffix("__"))
    if standard is not None and len(args) == 2 and not kwargs:
        return _record_function(Call("function", standard, args, {}, name), label)
    return _record_function(Call("method", label, args, kwargs, name), label)


def bound_method(value: SymbolicTensor, name: str) -> Any:
    """What `value.name` is: a method that records its call, or the recorded attribute."""
    _refuse_plain_module()
    if not callable(getattr(Tensor, name)):
        if name in _OF_DATA or name.startswith("is_"):
            raise needs_data_error(f"x.{name}")
        return _record_function(Call("function", getattr, (value, name)), name)
    if name in _OF_DATA:
        raise needs_data_error(f"x.{name}()")

    def method(*args: Any, **kwargs: Any) -> Any:
        return _record_function(Call("method", name, (value, *args), kwargs), name)

    return method


def _record_function(record: Call, label: str) -> Any:
    if record.kind == "method" or qualified_name(record.target):
        _check_torch_call(record, label)
    if record.kind == "function":
        record.kwargs = _without_defaults(record.target, record.kwargs)
    return _record(record)


def _check_torch_call(record: Call, label: str) -> None:
    """Refuse what torch's functions and methods do to more than their result."""
    if "training" in record.kwargs:
        raise GraphError(
            f"{label}: its `training` would be fixed when the graph is built.\n"
            "  To mend it: use the layer from torchbp.layers, which follows model.train() and "
            "model.eval()."
        )
    if record.kwargs.get("out") is not None:
        raise in_place_error(f"{label}(..., out=...)", "without out=")
    if label.endswith("_") and not label.endswith("__"):
        raise in_place_error(f"{label}(...)", f"{label.rstrip('_')}(...)")


def _record(record: Call) -> Any:
    _check_arguments(record)
    record.args, record.kwargs = map_leaves(_plain, (record.args, record.kwargs))
    if record.kind == "module":
        initialize_lazy(record)
    record.outputs = infer_outputs(record)
    return symbolic_results(record, *record.outputs)


def _plain(leaf: Any) -> Any:
    """The float that a float64 of numpy is."""
    return float(leaf) if isinstance(leaf, float) else leaf


def _without_masks(index: Any) -> Any:
    """An index with the positions that constant masks select: without data a mask has no size."""
    parts: list[Any] = []
    for part in index if isinstance(index, tuple) else (index,):
        is_mask = isinstance(part, Tensor) and part.dtype is torch.bool and not part.is_meta
        parts += part.nonzero(as_tuple=True) if is_mask else [part]
    return tuple(parts) if isinstance(index, tuple) or len(parts) != 1 else parts[0]


def _check_arguments(record: Call) -> None:
    for leaf in leaves((record.args, record.kwargs)):
        if isinstance(leaf, Tensor):
            if leaf.requires_grad:
                raise GraphError(
                    f"{record.label()}: got a tensor that requires grad among the arguments: as "
                    "part of the graph it would be a constant, not a weight that is trained.\n"
                    "  To mend it: make it an nn.Parameter of a module and connect that with "
                    "torchbp.call(module, x), or detach() it if it is a constant."
                )
        elif not isinstance(leaf, (Symbolic, *PLAIN_TYPES)):
            raise GraphError(
                f"{record.label()}: expected tensors, numbers and torch's own types, got "
                f"{type(leaf).__name__}.\n"
                "  To mend it: turn arrays into tensors with torch.as_tensor, or give the value "
                "to a module or a function that is connected with torchbp.call."
            )


def _refuse_plain_module() -> None:
    """Refuse to record inside the forward of a module that was called on a symbolic tensor.

    What it does would be recorded without its weights and its train or eval mode.

    Raises:
        GraphError: the caller, or one of its callers, is such a forward.
    """
    module, frame = None, sys._getframe(1)
    while frame is not None:
        if frame.f_code is nn.Module._call_impl.__code__:
            local = frame.f_locals
            if has_symbolic(local["args"], local["kwargs"]):
                module = type(local["self"]).__name__  # at last the one that the user called
        frame = frame.f_back  # type: ignore[assignment]  # None above the outermost
    if module is not None:
        raise GraphError(
            f"{module} is a plain module and was called on a symbolic tensor.\n"
            f"  To mend it: write torchbp.call(module, x), or use torchbp.layers.{module} if "
            "there is one."
        )


def _without_defaults(function: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Leave out arguments that say what is so anyway; torch fills them in before it asks us."""
    if not kwargs:
        return kwargs
    try:
        # F.max_pool1d and its like choose between two functions and hide their signature
        plain = getattr(F, f"_{getattr(function, '__name__', '')}", function)
        defaults = inspect.signature(plain).parameters
    except (TypeError, ValueError):
        return kwargs
    return {
        key: value
        for key, value in kwargs.items()
        if key not in defaults or value is not defaults[key].default
    }


_OF_DATA = {
    "item", "tolist", "numpy", "backward", "grad", "grad_fn", "data", "data_ptr", "requires_grad",
}  # fmt: skip
_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "matmul": operator.matmul, "getitem": operator.getitem, "pow": operator.pow,
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
    "gt": operator.gt, "ge": operator.ge, "and": operator.and_, "or": operator.or_,
    "xor": operator.xor, "truediv": operator.truediv, "floordiv": operator.floordiv,
    "mod": operator.mod,
}  # fmt: skip
