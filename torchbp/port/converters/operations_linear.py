"""Functions of Keras's that multiply and sum: products of matrices and tensors."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torchbp.port.config import UnsupportedError
from torchbp.port.converters.operations import check_dtypes, constant_of, floating
from torchbp.port.registry import Layer, keras_operation
from torchbp.port.values import Value


def _factors(layer: Layer, *items: Any) -> list[Any]:
    """Tensors with Keras's axes, all of them floats."""
    check_dtypes(layer)
    known = [item if isinstance(item, Value) else constant_of(item) for item in items]
    own = [floating(item).as_keras() for item in known if isinstance(item, Value)]
    kinds = [i.tensor if isinstance(i, Value) else i for i in known]
    if not own or not any(kind.is_floating_point() for kind in kinds):
        raise UnsupportedError("a product of ints")
    tensors = iter(own)
    return [i.double().type_as(own[0]) if isinstance(i, Tensor) else next(tensors) for i in known]


def _product(function: Callable[[Any, Any], Any]) -> Any:
    def port(layer: Layer, x1: Any, x2: Any) -> Value:
        return Value(function(*_factors(layer, x1, x2)))

    return port


def _dot(a: Any, b: Any) -> Any:
    """Over the last axis of the first and the last but one of the second."""
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    return torch.tensordot(a, b, dims=([a.ndim - 1], [max(b.ndim - 2, 0)]))


def _inner(a: Any, b: Any) -> Any:
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    return torch.tensordot(a, b, dims=([a.ndim - 1], [b.ndim - 1]))


def _outer(a: Any, b: Any) -> Any:
    return a.reshape(-1, 1) * b.reshape(-1)


keras_operation("Matmul")(_product(torch.matmul))
keras_operation("Dot")(_product(_dot))
keras_operation("Inner")(_product(_inner))
keras_operation("Outer")(_product(_outer))


@keras_operation("Tensordot")
def _tensordot(layer: Layer, x1: Any, x2: Any) -> Value:
    axes = layer.config.get("axes", 2)
    a, b = _factors(layer, x1, x2)
    if type(axes) is int:
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise UnsupportedError(f"axes={axes!r}")
        return Value(torch.tensordot(a, b, dims=axes))
    if not isinstance(axes, list | tuple) or len(axes) != 2:
        raise UnsupportedError(f"axes={axes!r}")
    dims = [[side] if type(side) is int else side for side in axes]
    if any(not isinstance(s, list | tuple) or any(type(n) is not int for n in s) for s in dims):
        raise UnsupportedError(f"axes={axes!r}")
    return Value(torch.tensordot(a, b, dims=dims))


@keras_operation("Einsum")
def _einsum(layer: Layer, *operands: Any) -> Value:
    subscripts = layer.config.get("subscripts")
    text = subscripts.replace(" ", "") if isinstance(subscripts, str) else ""
    if not re.fullmatch(r"[A-Za-z.,]+(->[A-Za-z.]*)?", text):
        raise UnsupportedError(f"subscripts={subscripts!r}")
    return Value(torch.einsum(text, *_factors(layer, *operands)))
