"""Functions of Keras's of each number by itself."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch.nn import functional as F

from torchbp.port.config import UnsupportedError
from torchbp.port.converters import activation
from torchbp.port.converters.operations import check_dtypes, floating, is_number, value_of
from torchbp.port.registry import Layer, keras_operation
from torchbp.port.values import Value

Ints = Literal["floats", "kept", "refused"]
Function = Callable[[Any], Any]


def of_each(function: Function, ints: Ints = "floats") -> Any:
    """A function that ports one of each number; ints become floats first, stay or are refused."""

    def port(layer: Layer, x: Any) -> Value:
        return applied(layer, x, function, ints)

    return port


def applied(layer: Layer, x: Any, function: Function, ints: Ints = "floats") -> Value:
    """The value after a function of each number."""
    check_dtypes(layer)
    value = value_of(x)
    if ints == "floats":
        value = floating(value)
    elif ints == "refused" and not value.tensor.is_floating_point():
        raise UnsupportedError("an input of ints")
    return value.like(function(value.tensor))


def _cube_root(x: Any) -> Any:
    return torch.sign(x) * torch.abs(x) ** (1.0 / 3.0)


def _sinc(x: Any) -> Any:
    """No gradient at 0."""
    product = x * math.pi
    return torch.where(x == 0.0, 1.0, torch.sin(product) / product)


def _trunc(x: Any) -> Any:
    return torch.trunc(x) if x.is_floating_point() else x


_OF_FLOATS: dict[str, Function] = {
    "Arccos": torch.acos,
    "Arccosh": torch.acosh,
    "Arcsin": torch.asin,
    "Arcsinh": torch.asinh,
    "Arctan": torch.atan,
    "Arctanh": torch.atanh,
    "Cbrt": _cube_root,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Deg2rad": torch.deg2rad,
    "Rad2deg": torch.rad2deg,
    "Exp": torch.exp,
    "Exp2": torch.exp2,
    "Expm1": torch.expm1,
    "Fabs": torch.abs,
    "Floor": torch.floor,
    "Log": torch.log,
    "Log10": torch.log10,
    "Log1p": torch.log1p,
    "Log2": torch.log2,
    "Sin": torch.sin,
    "Sinc": _sinc,
    "Sinh": torch.sinh,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
_OF_FLOATS_ALONE: dict[str, Function] = {
    "Erf": torch.erf,
    "Erfc": torch.erfc,
    "Erfinv": torch.erfinv,
    "Reciprocal": torch.reciprocal,
    "Rsqrt": torch.rsqrt,
    "Relu6": F.relu6,
    "Sigmoid": torch.sigmoid,
    "SparseSigmoid": activation.sparse_sigmoid,
    "Softplus": activation.softplus,
    "Softsign": F.softsign,
    "SparsePlus": activation.sparse_plus,
    "Silu": F.silu,
    "LogSigmoid": F.logsigmoid,
    "HardSigmoid": activation.hard_sigmoid,
    "HardSilu": activation.hard_silu,
    "Selu": activation.selu,
    "TanhShrink": F.tanhshrink,
    "HardTanh": lambda x: torch.clamp(x, -1.0, 1.0),
    "Isneginf": torch.isneginf,
    "Isposinf": torch.isposinf,
}
_OF_ANY: dict[str, Function] = {
    "Absolute": torch.abs,
    "Abs": torch.abs,
    "Copy": lambda x: x,
    "Isfinite": torch.isfinite,
    "Isinf": torch.isinf,
    "Isnan": torch.isnan,
    "Negative": torch.neg,
    "Relu": F.relu,
    "Sign": torch.sign,
    "Square": torch.square,
    "StopGradient": lambda x: x.detach(),
    "Trunc": _trunc,
}
for _table, _ints in ((_OF_FLOATS, "floats"), (_OF_FLOATS_ALONE, "refused"), (_OF_ANY, "kept")):
    for _name, _function in _table.items():
        keras_operation(_name)(of_each(_function, _ints))  # type: ignore[arg-type]


_WITH_A_NUMBER: dict[str, tuple[str, Callable[[Any, float], Any]]] = {
    "SoftShrink": ("threshold", F.softshrink),
    "HardShrink": ("threshold", F.hardshrink),
    "Squareplus": ("b", activation.squareplus),
    "LeakyRelu": ("negative_slope", F.leaky_relu),
    "Elu": ("alpha", activation.elu),
    "Celu": ("alpha", activation.celu),
}


def _with_a_number(argument: str, function: Callable[[Any, float], Any]) -> Any:
    def port(layer: Layer, x: Any) -> Value:
        number = layer.config.number(argument)
        return applied(layer, x, lambda t: function(t, number), "refused")

    return port


for _name, _arguments in _WITH_A_NUMBER.items():
    keras_operation(_name)(_with_a_number(*_arguments))


@keras_operation("Threshold")
def _threshold(layer: Layer, x: Any) -> Value:
    threshold, default = layer.config.number("threshold"), layer.config.number("default_value")
    return applied(layer, x, lambda t: F.threshold(t, threshold, default), "refused")


@keras_operation("Gelu")
def _gelu(layer: Layer, x: Any) -> Value:
    approximate = "tanh" if layer.config.flag("approximate", True) else "none"
    return applied(layer, x, lambda t: F.gelu(t, approximate=approximate), "refused")


@keras_operation("Round")
def _round(layer: Layer, x: Any) -> Value:
    decimals = layer.config.get("decimals", 0)
    if type(decimals) is not int:
        raise UnsupportedError(f"decimals={decimals!r}")
    if decimals == 0:
        return applied(layer, x, torch.round, "refused")
    factor = 10.0**decimals
    return applied(layer, x, lambda t: torch.round(t * factor) / factor, "refused")


@keras_operation("Clip")
def _clip(layer: Layer, x: Any) -> Value:
    low, high = layer.config.get("x_min"), layer.config.get("x_max")
    value = value_of(x)
    is_float = value.tensor.is_floating_point()
    for bound in (low, high):
        if not is_number(bound) or (type(bound) is float and not is_float):
            raise UnsupportedError(f"a bound {str(bound)[:80]}")
    if value.tensor.dtype is torch.bool:
        raise UnsupportedError("an input of truth values")
    return applied(layer, x, lambda t: torch.clamp(t, low, high), "kept")


@keras_operation("NanToNum")
def _nan_to_num(layer: Layer, x: Any) -> Value:
    config = layer.config
    nan, high, low = config.number("nan", 0.0), config.get("posinf"), config.get("neginf")
    if any(bound is not None and not is_number(bound) for bound in (high, low)):
        raise UnsupportedError(f"posinf={high!r}, neginf={low!r}")
    return applied(layer, x, lambda t: torch.nan_to_num(t, nan, high, low), "refused")


@keras_operation("Cast")
def _cast(layer: Layer, x: Any) -> Value:
    return cast(value_of(x), layer.config.get("dtype"))


@keras_operation("ConvertToTensor")
def _convert_to_tensor(layer: Layer, x: Any) -> Value:
    layer.config.only("sparse", None, False)
    layer.config.only("ragged", None, False)
    return cast(value_of(x), layer.config.get("dtype", None))


def cast(x: Value, dtype: Any) -> Value:
    """The value in a dtype of Keras's.

    Raises:
        UnsupportedError: one of few bits.
    """
    if dtype is None:
        return x.like(x.tensor)
    if dtype in ("float32", "float64"):
        return floating(x)
    if dtype in ("int32", "int64"):
        return x.like(x.tensor.long())
    if dtype == "bool":
        return x.like(x.tensor if x.tensor.dtype is torch.bool else x.tensor != 0)
    raise UnsupportedError(f"a cast to {dtype!r}")


@keras_operation("OnesLike")
def _ones_like(layer: Layer, x: Any) -> Value:
    return cast(value_of(x).like(torch.ones_like(x.tensor)), layer.config.get("dtype", None))


@keras_operation("ZerosLike")
def _zeros_like(layer: Layer, x: Any) -> Value:
    return cast(value_of(x).like(torch.zeros_like(x.tensor)), layer.config.get("dtype", None))


@keras_operation("FullLike")
def _full_like(layer: Layer, x: Any, fill_value: Any) -> Value:
    like, dtype = value_of(x), layer.config.get("dtype", None)
    if not is_number(fill_value):
        raise UnsupportedError(f"fill_value={str(fill_value)[:80]}")
    like = cast(like, dtype)
    return like.like(torch.full_like(like.tensor, fill_value))
