"""Functions of Keras's on tensors in a graph: `x * 2`, `keras.ops.add(x, y)`.

This file has what they share, the tensors of a call in one order of axes, and the functions of two
tensors that broadcast. The others are in the files `operations_*`, a file a family.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from torchbp.port.config import UnsupportedError
from torchbp.port.registry import Layer, keras_operation
from torchbp.port.values import Value, aligned

# Keras computes in them, and wraps or rounds; a port has int64 and the model's float
_NARROW = {"int8", "uint8", "int16", "uint16", "uint32", "uint64", "float16", "bfloat16"}
_INTS = {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"}
_FLOATS = {"float16", "bfloat16", "float32", "float64"}


def check_dtypes(layer: Layer) -> None:
    """Refuses arithmetic on numbers that Keras computes with few bits.

    Raises:
        UnsupportedError: the file says so of one of the call's tensors.
    """
    for call in layer.spec.calls:
        for dtype in call.dtypes.values():
            if dtype in _NARROW or "complex" in str(dtype):
                raise UnsupportedError(
                    f"arithmetic on {dtype}; put keras.ops.cast(x, 'float32') before it"
                )


def floating(x: Value) -> Value:
    """The value as numbers of the model's float, which an int or a bool becomes."""
    if x.tensor.is_floating_point():
        return x
    return x.like(x.tensor.type_as(torch.zeros(())))  # a buffer, which has the model's dtype


def constant_of(item: Any) -> Tensor:
    """A constant of the graph, from what the file has of it: floats in float64, ints in int64.

    Raises:
        UnsupportedError: it is no array of numbers.
    """
    if isinstance(item, Mapping) and item.get("class_name") in ("__numpy__", "__tensor__"):
        config = item.get("config")
        dtype = config.get("dtype") if isinstance(config, Mapping) else None
        if isinstance(config, Mapping) and isinstance(dtype, str):
            kind = torch.float64 if dtype in _FLOATS else torch.bool
            if dtype in _INTS | _FLOATS | {"bool"}:
                return torch.tensor(config["value"], dtype=torch.int64 if dtype in _INTS else kind)
    raise UnsupportedError(f"the argument {str(item)[:80]}")


def check_few(count: int, what: str, limit: int = 1 << 16) -> None:
    """Refuses a number that a damaged file could have, of parts that would fill the memory."""
    if count > limit:
        raise UnsupportedError(f"{count} {what}")


def is_constant(item: Any) -> bool:
    """Whether it is an array of the file, and neither a value nor a number."""
    return isinstance(item, Mapping) and item.get("class_name") in ("__numpy__", "__tensor__")


def is_number(item: Any) -> bool:
    """Whether it is a number of Python's, or True or False."""
    return type(item) in (int, float, bool)


def value_of(item: Any) -> Value:
    """A tensor among the arguments.

    Raises:
        UnsupportedError: it is something else.
    """
    if not isinstance(item, Value):
        raise UnsupportedError(f"the argument {str(item)[:80]}, which is no tensor of the graph")
    return item


class Operands:
    """The arguments of a function that broadcasts, in one order of axes.

    Args:
        layer: whose call it is.
        items: values, numbers of Python's and constants of the file, at least one of them a value.
        floats: compute ints as floats, too, as Keras does for some functions.
        conditions: how many of the first items choose among the others, and promote nothing.

    Attributes:
        tensors: tensors and numbers, which broadcast as they stand.
        order: a value with their order of axes.
    """

    def __init__(
        self, layer: Layer, *items: Any, floats: bool = False, conditions: int = 0
    ) -> None:
        check_dtypes(layer)
        known = [i if isinstance(i, Value) or is_number(i) else constant_of(i) for i in items]
        floats = floats or any(_is_float(item) for item in known[conditions:])
        for place, item in enumerate(known):
            if floats and place >= conditions and isinstance(item, Value):
                known[place] = floating(item)
        values = [item for item in known if isinstance(item, Value)]
        constants = [item for item in known if isinstance(item, Tensor)]
        if not values:
            raise UnsupportedError("a call without a tensor of the graph")
        tensors, self.order = _in_one_order(values, constants)
        moved = iter(tensors)
        placed = [next(moved) if isinstance(item, Value) else item for item in known]
        self.tensors = [self._placed(i) if isinstance(i, Tensor) else i for i in placed]
        if floats:
            self._as_floats(conditions)

    def _placed(self, constant: Tensor) -> Tensor:
        """A constant with its axes where the tensors have theirs."""
        if constant.ndim and self.order.channels_at_1:
            constant = constant[(None,) * (self.order.ndim - constant.ndim)]
            constant = constant.movedim(-1, 1).contiguous()
        return constant

    def _as_floats(self, conditions: int) -> None:
        """Constants as floats of the tensors' dtype."""
        own = [t for t in self.tensors[conditions:] if not is_number(t) and type(t) is not Tensor]
        reference = own[0] if own else floating(self.order).tensor
        for place in range(conditions, len(self.tensors)):
            item = self.tensors[place]
            if type(item) is Tensor:
                self.tensors[place] = item.double().type_as(reference)
            elif not own:  # numbers alone, which would have torch's default
                self.tensors[place] = torch.tensor(item, dtype=torch.float64).type_as(reference)


def _in_one_order(values: list[Value], constants: list[Tensor]) -> tuple[list[Any], Value]:
    tensors, order = aligned(values)
    for constant in constants:
        if constant.ndim > order.ndim or (order.flattened is not None and constant.numel() > 1):
            tensors = [value.as_keras() for value in values]
            return tensors, Value(max(tensors, key=lambda tensor: tensor.ndim))
    return tensors, order


def _is_float(item: Any) -> bool:
    if isinstance(item, Value):
        return bool(item.tensor.is_floating_point())
    return item.is_floating_point() if isinstance(item, Tensor) else type(item) is float


def _binary(function: Callable[[Any, Any], Any], floats: bool = False) -> Any:
    def port(layer: Layer, x1: Any, x2: Any) -> Value:
        given = Operands(layer, x1, x2, floats=floats)
        return given.order.like(function(*given.tensors))

    return port


def _tensor(item: Any, other: Any) -> Any:
    """A number as a tensor of another's dtype."""
    return torch.tensor(item, dtype=torch.float64).type_as(other) if is_number(item) else item


def _both(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A function that needs tensors and gets numbers, too."""

    def of_tensors(a: Any, b: Any) -> Any:
        return function(_tensor(a, b), _tensor(b, a))

    return of_tensors


def _maximum(a: Any, b: Any) -> Any:
    """Of two equal numbers the first gets the gradient, as TensorFlow has it."""
    if is_number(b):
        return torch.clamp(a, min=b)
    a = _tensor(a, b)
    return torch.where((a >= b) | (a != a), a, b)


def _minimum(a: Any, b: Any) -> Any:
    if is_number(b):
        return torch.clamp(a, max=b)
    a = _tensor(a, b)
    return torch.where((a <= b) | (a != a), a, b)


def _power(a: Any, b: Any) -> Any:
    """With no gradient to an exponent whose base is not positive, as TensorFlow has it."""
    if is_number(a) or is_number(b) or not b.is_floating_point():
        return a**b
    safe = torch.where(a > 0.0, a, 1.0)
    return torch.where(a > 0.0, safe**b, a ** b.detach())


def _floor_divide(a: Any, b: Any) -> Any:
    """Floats as TensorFlow has them: torch takes the remainder off first."""
    if any(not is_number(t) and t.is_floating_point() for t in (a, b)):
        return torch.floor(a / b)
    return torch.div(*(_tensor(t, o) for t, o in ((a, b), (b, a))), rounding_mode="floor")


def _divide_no_nan(a: Any, b: Any) -> Any:
    if is_number(b):
        return a * 0.0 if b == 0 else a / b
    return torch.where(b == 0.0, 0.0, a / torch.where(b == 0.0, 1.0, b))


def _hypot(a: Any, b: Any) -> Any:
    """Keras's steps, for the gradient of equal numbers."""
    a, b = a.abs(), b.abs()
    largest = _maximum(a, b)
    return largest * torch.sqrt(1.0 + _divide_no_nan(_minimum(a, b), largest) ** 2)


def _logaddexp(a: Any, b: Any) -> Any:
    """Keras's steps, for the gradient of equal numbers."""
    a, b = _tensor(a, b), _tensor(b, a)
    difference = a - b
    near = _maximum(a, b) + torch.log1p(torch.exp(-difference.abs()))
    return torch.where(difference.isnan(), a + b, near)


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "Subtract": operator.sub,
    "Multiply": operator.mul,
    "Maximum": _maximum,
    "Minimum": _minimum,
    "Power": _power,
    "FloorDivide": _floor_divide,
    "Mod": _both(torch.remainder),
    "Equal": operator.eq,
    "NotEqual": operator.ne,
    "Greater": operator.gt,
    "GreaterEqual": operator.ge,
    "Less": operator.lt,
    "LessEqual": operator.le,
}
_OF_FLOATS: dict[str, Callable[[Any, Any], Any]] = {
    "TrueDivide": operator.truediv,
    "Divide": operator.truediv,
    "DivideNoNan": _divide_no_nan,
    "Arctan2": _both(torch.atan2),
    "Hypot": _both(_hypot),
    "Logaddexp": _logaddexp,
}
for _name, _function in _ARITHMETIC.items():
    keras_operation(_name)(_binary(_function))
for _name, _function in _OF_FLOATS.items():
    keras_operation(_name)(_binary(_function, floats=True))


@keras_operation("Add")
def _add(layer: Layer, x1: Any, x2: Any) -> Value:
    _check_bias(x1, x2)
    given = Operands(layer, x1, x2)
    return given.order.like(given.tensors[0] + given.tensors[1])


def _check_bias(x1: Any, x2: Any) -> None:
    """Refuses a sum that TensorFlow mistakes for that with a bias, on another axis than numpy's.

    A second tensor with one axis that is as long as the first's last, or its axis 1, is added
    along that.
    """
    if not isinstance(x1, Value) or is_number(x2):
        return
    shape = x2.shape if isinstance(x2, Value) else tuple(constant_of(x2).shape)
    wide = [axis - len(shape) for axis, size in enumerate(shape) if size != 1]
    if x1.ndim < 2 or len(wide) != 1 or shape[wide[0]] not in (x1.shape[1], x1.shape[-1]):
        return
    size = shape[wide[0]]
    taken = -1 if x1.shape[-1] == size else 1 - x1.ndim
    if size is not None and (wide[0] != taken or len(shape) > x1.ndim):
        raise UnsupportedError(
            f"a sum of {x1.shape} and {shape}, which TensorFlow takes for one with a bias"
        )


def _as_bool(layer: Layer, item: Any) -> Value:
    value = value_of(item)
    return value if value.tensor.dtype is torch.bool else value.like(value.tensor != 0)


def _logical(function: Callable[[Any, Any], Any]) -> Any:
    def port(layer: Layer, x1: Any, x2: Any) -> Value:
        given = Operands(layer, *(_as_bool(layer, x) for x in (x1, x2)))
        return given.order.like(function(*given.tensors))

    return port


keras_operation("LogicalAnd")(_logical(operator.and_))
keras_operation("LogicalOr")(_logical(operator.or_))
keras_operation("LogicalXor")(_logical(operator.xor))


@keras_operation("LogicalNot")
def _logical_not(layer: Layer, x: Any) -> Value:
    value = _as_bool(layer, x)
    return value.like(~value.tensor)


@keras_operation("Where")
def _where(layer: Layer, condition: Any, x1: Any = None, x2: Any = None) -> Value:
    if x1 is None or x2 is None:
        raise UnsupportedError("a call without both of x1 and x2")
    if isinstance(condition, Value):
        condition = _as_bool(layer, condition)
    elif not is_constant(condition):
        raise UnsupportedError("a condition that is no tensor")
    given = Operands(layer, condition, x1, x2, conditions=1)
    chosen, a, b = given.tensors
    if type(chosen) is Tensor:
        chosen = chosen != 0
    return given.order.like(torch.where(chosen, a, b))
