"""Regularizers and constraints of Keras's layers: which of a layer's arrays each is for.

A regularizer gives a term of the loss, a constraint is a projection after each step. Both see an
array with its axes as Keras has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from torchbp.port.config import Config, UnsupportedError
from torchbp.port.objects import keras_object
from torchbp.port.registry import Layer

EPSILON = 1e-7  # keras.config.epsilon()
Projection = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Regularizer:
    """l1 * sum(abs(w)) + l2 * sum(w ** 2)."""

    l1: float = 0.0
    l2: float = 0.0

    def __call__(self, weight: Tensor) -> Tensor:
        """The term of the loss, a scalar."""
        terms = [self.l1 * weight.abs().sum()] if self.l1 else []
        terms += [self.l2 * weight.square().sum()] if self.l2 else []
        return sum(terms, weight.new_zeros(()))


@dataclass(frozen=True)
class NonNeg:
    """Nothing below zero."""

    def __call__(self, weight: Tensor) -> Tensor:
        """The projection."""
        return weight.clamp(min=0)


@dataclass(frozen=True)
class Norms:
    """Norms along some axes from `least` to `most`, or on the way there.

    Args:
        axis: over which the squares are summed.
        least: the smallest norm.
        most: the largest.
        rate: which part of the way is gone.
    """

    axis: tuple[int, ...]
    least: float
    most: float
    rate: float = 1.0

    def __call__(self, weight: Tensor) -> Tensor:
        """The projection."""
        norms = weight.square().sum(self.axis, keepdim=True).sqrt()
        wanted = norms.clamp(self.least, self.most)
        if self.rate != 1:
            wanted = self.rate * wanted + (1 - self.rate) * norms
        return weight * (wanted / (EPSILON + norms))


@dataclass(frozen=True)
class UnitNorm:
    """Norms of one along some axes.

    Args:
        axis: over which the squares are summed.
    """

    axis: tuple[int, ...]

    def __call__(self, weight: Tensor) -> Tensor:
        """The projection."""
        return weight / (EPSILON + weight.square().sum(self.axis, keepdim=True).sqrt())


@dataclass(frozen=True)
class WeightRules:
    """What a layer's configuration asks of its weights.

    Args:
        regularizers: by the number of the array in the layer's list.
        constraints: in the same way.
    """

    regularizers: tuple[tuple[int, Regularizer], ...] = ()
    constraints: tuple[tuple[int, Projection], ...] = ()


NO_RULES = WeightRules()


def rules_of(layer: Layer) -> WeightRules:
    """The regularizers and constraints of a layer that was converted.

    Raises:
        UnsupportedError: one that has no counterpart here, or whose array is not known.
    """
    config = _own_config(layer.spec.config, layer.spec.class_name)
    regularizers = list(_by_array(layer, config, "_regularizer", _regularizer))
    constraints = list(_by_array(layer, config, "_constraint", _constraint))
    return WeightRules(tuple(regularizers), tuple(constraints))


def asks_rules(config: Any) -> bool:
    """Whether there is a regularizer or a constraint, however deep in a configuration."""
    return any(True for _ in _requests(config))


def _own_config(config: Mapping[str, Any], class_name: str) -> Mapping[str, Any]:
    """The configuration in which the rules stand: in a wrapper that of the layer in it."""
    inner = config.get(_WRAPPED.get(class_name, ""))
    if class_name in _WRAPPED and isinstance(inner, Mapping):
        own = inner.get("config")
        backward = config.get("backward_layer")
        if isinstance(own, Mapping):
            if isinstance(backward, Mapping):
                asked = [sorted(map(str, _requests(c))) for c in (own, backward.get("config"))]
                if asked[0] != asked[1]:
                    raise UnsupportedError("other regularizers or constraints backward")
            config = own
    for name, value in config.items():
        if isinstance(value, Mapping | list) and not _is_rule(name):
            for key, _ in _requests(value):
                raise UnsupportedError(f"the argument {key} of a layer in {name}")
    return config


def _by_array(
    layer: Layer, config: Mapping[str, Any], suffix: str, read: Callable[[Any, str], Any]
) -> Iterator[tuple[int, Any]]:
    names = [name for weights in layer.weights for name in weights.names]
    in_keras = all(weights.kind != "same" for weights in layer.weights)
    for key, value in config.items():
        if not key.endswith(suffix) or value is None:
            continue
        rule = read(value, key)
        prefix = key.removesuffix(suffix)
        wanted = _ARRAYS.get(prefix, (prefix,))
        found = [number for number, name in enumerate(names) if name in wanted]
        if not found and not (in_keras and names and prefix in _OPTIONAL):
            raise UnsupportedError(f"{key}={str(value)[:80]}, whose weights are not known")
        yield from ((number, rule) for number in found)  # none, for example, without a bias


def _regularizer(found: Any, what: str) -> Regularizer:
    name, config = keras_object(found, what)
    if name not in _REGULARIZERS or isinstance(found, str):
        raise UnsupportedError(f"{what} {name}")
    rule = Regularizer(**{key: config.number(key) for key in _REGULARIZERS[name]})
    config.check_all_read()
    return rule


def _constraint(found: Any, what: str) -> Projection:
    name, config = keras_object(found, what)
    if name not in _CONSTRAINTS or isinstance(found, str):
        raise UnsupportedError(f"{what} {name}")
    rule = _CONSTRAINTS[name](config)
    config.check_all_read()
    return rule


def _axes(config: Config) -> tuple[int, ...]:
    axis = config.get("axis", 0)
    axes = tuple(axis) if isinstance(axis, list | tuple) else (axis,)
    if not axes or any(type(number) is not int for number in axes):
        raise UnsupportedError(f"a constraint along axis={axis!r}")
    return axes


def _max_norm(config: Config) -> Projection:
    return Norms(_axes(config), 0.0, config.number("max_value"))


def _min_max_norm(config: Config) -> Projection:
    least, most = config.number("min_value"), config.number("max_value")
    return Norms(_axes(config), least, most, config.number("rate"))


def _requests(value: Any) -> Iterator[tuple[str, Any]]:
    """Every regularizer and constraint that is asked for."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if _is_rule(name):
                if item is not None:
                    yield name, item
            else:
                yield from _requests(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _requests(item)


def _is_rule(name: Any) -> bool:
    return isinstance(name, str) and name.endswith(("_regularizer", "_constraint"))


# where a wrapper has the layer in it
_WRAPPED = {"TimeDistributed": "layer", "Bidirectional": "layer", "RNN": "cell"}
# what the arrays of an argument are called
_ARRAYS = {
    "kernel": ("kernel",),
    "bias": ("bias",),
    "recurrent": ("recurrent_kernel",),
    "depthwise": ("depthwise_kernel", "kernel"),
    "pointwise": ("pointwise_kernel",),
    "embeddings": ("embeddings",),
    "gamma": ("gamma", "scale"),
    "beta": ("beta",),
}
_OPTIONAL = ("bias", "gamma", "beta")
_REGULARIZERS = {"L1": ("l1",), "L2": ("l2",), "L1L2": ("l1", "l2")}
_CONSTRAINTS: dict[str, Callable[[Config], Projection]] = {
    "MaxNorm": _max_norm,
    "MinMaxNorm": _min_max_norm,
    "NonNeg": lambda config: NonNeg(),
    "UnitNorm": lambda config: UnitNorm(_axes(config)),
}
