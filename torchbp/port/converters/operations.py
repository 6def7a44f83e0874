"""Functions of Keras's on tensors: `x * 2`, `keras.ops.add(x, y)`."""

import operator
from collections.abc import Callable
from typing import Any

from torchbp.port.config import UnsupportedError
from torchbp.port.converters.activation import apply
from torchbp.port.registry import Layer, keras_operation
from torchbp.port.values import Value, aligned


def _binary(function: Callable[[Any, Any], Any]) -> Any:
    def port(layer: Layer, x1: Any, x2: Any) -> Value:
        values = [value for value in (x1, x2) if isinstance(value, Value)]
        for value in (x1, x2):
            if not isinstance(value, Value) and type(value) not in (int, float):
                raise UnsupportedError(f"the argument {value!r}")
        if len(values) == 1:
            [x] = values
            return x.like(function(*(v.tensor if v is x else v for v in (x1, x2))))
        tensors, order = aligned(values)
        return order.like(function(*tensors))

    return port


for _name, _function in {
    "Add": operator.add,
    "Subtract": operator.sub,
    "Multiply": operator.mul,
    "TrueDivide": operator.truediv,
    "Divide": operator.truediv,
}.items():
    keras_operation(_name)(_binary(_function))


def _of_each(name: str) -> Any:
    def port(layer: Layer, x: Value) -> Value:
        return apply(name, x)

    return port


for _name in ("relu", "relu6", "sigmoid", "silu", "softplus", "softsign"):
    keras_operation(_name.capitalize())(_of_each(_name))
