"""One call on symbolic values becomes a recorded call with symbolic outputs."""

from __future__ import annotations

import inspect
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.lazy import LazyModuleMixin

from torchbp.errors import GraphError
from torchbp.graph.shapes import infer_outputs
from torchbp.graph.structure import leaves
from torchbp.graph.symbolic import (
    Call,
    Symbolic,
    SymbolicSize,
    SymbolicTensor,
    check_name,
    in_place_error,
)

PLAIN_TYPES = (
    int, float, bool, complex, str, type(None), type(Ellipsis), range, torch.dtype, torch.device,
    torch.layout, torch.memory_format,
)  # fmt: skip


def call(
    target: nn.Module | Callable[..., Any], *args: Any, name: str | None = None, **kwargs: Any
) -> Any:
    """Call any module or function on symbolic tensors, so that it becomes part of the graph.

    This is how modules that are not torchbp's come in: torchvision's, timm's, your own. The
    module itself becomes part of the model; called several times, its weights are shared. A
    function is one step of the graph: what it does inside is not recorded, so that it may
    depend on data. Without symbolic arguments this is the plain call.

    Args:
        target: an `nn.Module`, or a function of tensors without weights of its own.
        *args: its positional arguments, with symbolic tensors anywhere inside.
        name: the module's name in the model, as a layer's `name=`.
        **kwargs: its keyword arguments.

    Returns:
        What the target returns, with symbolic tensors for tensors.

    Raises:
        GraphError: the target is neither, the call works in place, or it needs data.
        ShapeError: the target cannot take the shapes.
        DtypeError: the target cannot take the element types.

    Example:
        >>> from torchbp import Input, call
        >>> call(nn.Linear(3, 2), Input((3,)), name="scores")
        SymbolicTensor(name='scores', shape=(None, 2), dtype=torch.float32)
    """
    if name is not None:
        check_name(name, "call")
    if not callable(target) or isinstance(target, Symbolic):
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
    refuse_plain_module()
    _check_arguments(f"{type(module).__name__}", args, kwargs)
    given = name or getattr(module, "name", None)
    record = Call("module", module, args, kwargs, given if isinstance(given, str) else None)
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        _initialize_lazy(module, record)
    return _record(record)


def record_function(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str | None = None,
) -> Any:
    """Record the call of a function, an operator or a method of torch.Tensor."""
    refuse_plain_module()
    label = getattr(function, "__name__", type(function).__name__)
    if "training" in kwargs:
        raise GraphError(
            f"{label}: its `training` would be fixed when the graph is built.\n"
            "  To mend it: use the layer from torchbp.layers, which follows model.train() and "
            "model.eval()."
        )
    if (label.endswith("_") and not label.endswith("__")) or kwargs.get("out") is not None:
        raise in_place_error(f"{label}(...)", f"{label.rstrip('_')} without out=")
    _check_arguments(label, args, kwargs)
    kwargs = _without_defaults(function, kwargs)
    if isinstance(function, types.MethodDescriptorType | types.WrapperDescriptorType):
        plain = label.strip("_")
        standard = _OPERATORS.get(plain) if len(args) == 2 and not kwargs else None
        if standard is None:
            return _record(Call("method", label, args, kwargs, name))
        function = standard
    return _record(Call("function", function, args, kwargs, name))


def bound_method(value: SymbolicTensor, name: str) -> Any:
    """What `value.name` is: a method that records its call, or the recorded attribute."""
    refuse_plain_module()
    if not callable(getattr(Tensor, name)):
        if name == "grad" or name == "data":
            raise GraphError(
                f"a symbolic tensor has no .{name}: there are no data while a graph is built.\n"
                "  To mend it: read it from the model's tensors when it has run."
            )
        return _record(Call("function", getattr, (value, name)))
    if name.endswith("_"):
        raise in_place_error(f"x.{name}(...)", f"x.{name.rstrip('_')}(...)")
    if name in ("item", "tolist", "numpy"):
        raise GraphError(
            f"x.{name}() needs data, and a graph has none while it is built.\n"
            "  To mend it: put the computation into an nn.Module's forward or a function, and "
            "connect that with torchbp.call(module, x)."
        )

    def method(*args: Any, **kwargs: Any) -> Any:
        _check_arguments(name, args, kwargs)
        return _record(Call("method", name, (value, *args), kwargs))

    return method


def refuse_plain_module() -> None:
    """Refuse to record inside the forward of a module that was called on a symbolic tensor.

    What it does would be recorded without its weights and its train or eval mode.

    Raises:
        GraphError: the caller, or one of its callers, is a module's forward.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code is nn.Module._call_impl.__code__:
            module = type(frame.f_locals["self"]).__name__
            raise GraphError(
                f"{module} is a plain module and was called on a symbolic tensor.\n"
                f"  To mend it: write torchbp.call(module, x), or use torchbp.layers.{module} if "
                "there is one."
            )
        frame = frame.f_back  # type: ignore[assignment]  # None above the outermost


def _record(call: Call) -> Any:
    call.outputs = infer_outputs(call)
    return _symbolic(call, (), *call.outputs)


def _symbolic(call: Call, path: tuple[int | str, ...], first: Any, second: Any) -> Any:
    """The two runs' outputs as one structure with symbolic values for what data decide."""
    if isinstance(first, Tensor):
        return SymbolicTensor(call, path, (first, second))
    if isinstance(first, dict):
        return {key: _symbolic(call, (*path, key), first[key], second[key]) for key in first}
    if isinstance(first, tuple | list):
        items = [
            _symbolic(call, (*path, i), a, b)
            for i, (a, b) in enumerate(zip(first, second, strict=True))
        ]
        if isinstance(first, list):
            return items
        return type(first)(*items) if hasattr(first, "_fields") else tuple(items)
    if isinstance(first, int) and first != second:
        return SymbolicSize(call, path, (first, second))
    return Symbolic(call, path, (first, second)) if isinstance(first, torch.device) else first


def _initialize_lazy(module: Any, record: Call) -> None:
    """Let a lazy module create its weights for the shapes that it meets."""
    samples = [
        value.samples[0] for value in record.symbolic_arguments() if isinstance(value.samples[0], Tensor)
    ]
    last = record.symbolic_arguments()[0]
    if isinstance(last, SymbolicTensor) and isinstance(last.shape[_feature_dim(module, last)], SymbolicSize):
        raise GraphError(
            f"{record.label()}: expected an input whose features are known, got "
            f"{tuple(last.shape)}.\n"
            "  To mend it: give the sizes when the layer is created, or to Input."
        )
    module._infer_parameters(module, tuple(samples), {})


def _feature_dim(module: Any, value: SymbolicTensor) -> int:
    return -1 if isinstance(module, nn.LazyLinear) else min(1, value.ndim - 1)


def _check_arguments(label: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for leaf in leaves((args, kwargs)):
        if isinstance(leaf, Tensor):
            if leaf.requires_grad:
                raise GraphError(
                    f"{label}: got a tensor that requires grad among the arguments: as part of "
                    "the graph it would be a constant, not a weight that is trained.\n"
                    "  To mend it: make it an nn.Parameter of a module and connect that with "
                    "torchbp.call(module, x), or detach() it if it is a constant."
                )
        elif not isinstance(leaf, (Symbolic, *PLAIN_TYPES)):
            raise GraphError(
                f"{label}: expected tensors, numbers and torch's own types, got "
                f"{type(leaf).__name__}.\n"
                "  To mend it: turn arrays into tensors with torch.as_tensor, or give the value "
                "to a module or a function that is connected with torchbp.call."
            )


def _without_defaults(function: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Leave out arguments that say what is so anyway; torch fills them in before it asks us."""
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


_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "matmul": operator.matmul, "getitem": operator.getitem, "pow": operator.pow,
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
    "gt": operator.gt, "ge": operator.ge, "and": operator.and_, "or": operator.or_,
    "xor": operator.xor, "truediv": operator.truediv, "floordiv": operator.floordiv,
    "mod": operator.mod,
}  # fmt: skip
