"""Why two models part at a layer: what makes their values equal, once it is changed, is the cause.

Nothing is guessed from the look of a module. Each suspicion changes the torch model in one place,
runs it again and is told only if the layer's values then equal Keras's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import permutations
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.layers.same import paddings
from torchbp.parity.compare import relative_error

Config = Mapping[str, Any]
Change = tuple[str, AbstractContextManager[None]]

FLOAT32_ROUNDING = 2e-6  # what is left of float64 after some steps in float32
_EPSILONS = (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12)
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: x.softmax(-1),
    "softmax over the channels": lambda x: x.softmax(1),
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu (tanh)": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "mish": F.mish,
    "hard_sigmoid (x / 6 + 0.5)": F.hardsigmoid,
    "hard_sigmoid (0.2 x + 0.5)": lambda x: (0.2 * x + 0.5).clamp(0.0, 1.0),
    "hard_silu": F.hardswish,
    "exponential": torch.exp,
    "leaky_relu with slope 0.2": lambda x: F.leaky_relu(x, 0.2),
    "leaky_relu with slope 0.3": lambda x: F.leaky_relu(x, 0.3),
    "leaky_relu with slope 0.01": lambda x: F.leaky_relu(x, 0.01),
}


def changes(
    module: nn.Module, config: Config, flattened: tuple[int, ...] | None
) -> Iterator[Change]:
    """What may be wrong with a module, each with the change that would mend it.

    Args:
        module: as it is in the torch model; a change is in it while its context is entered.
        config: of the Keras layer.
        flattened: the shape (H, W, C) of what the Keras layer sees flattened, if it does.
    """
    yield from _epsilons(module, config)
    yield from _windows(module, config)
    yield from _flags(module, config)
    yield from _orders(module, flattened)
    if next(module.parameters(), None) is None:
        for name, function in _ACTIVATIONS.items():
            text = f"activation variant: Keras computes {name} here"
            yield text, _answered(module, lambda args, _, f=function: f(args[0]))


def activation_between(value: Tensor, expected: Tensor, bound: float) -> str | None:
    """The name of the activation that makes a value of torch Keras's."""
    if value.ndim < 2 or value.shape != expected.shape:
        return None
    found = (
        name
        for name, function in _ACTIVATIONS.items()
        if relative_error(function(value), expected) <= bound
    )
    return next(found, None)


def rounding(value: Tensor, expected: Tensor) -> str:
    """That values differ by no more than float32 rounds, in words; empty if they do by more."""
    if value.dtype is torch.float64 and relative_error(value, expected) <= FLOAT32_ROUNDING:
        return (
            "dtype: they differ by what float32 rounds; something is computed in it, or is a "
            "number that was rounded to it"
        )
    return ""


def of_momentum(module: nn.Module, config: Config) -> str:
    """That moving statistics take other shares of a batch, in words; empty if they do not."""
    momentum = getattr(module, "momentum", None)
    if (
        "momentum" not in config
        or momentum is None
        or abs(1 - momentum - config["momentum"]) < 1e-9
    ):
        return ""
    return (
        f"momentum: Keras keeps {config['momentum']:g} of the statistics, the module "
        f"{1 - momentum:g} (torch's momentum is the share of the batch: {1 - config['momentum']:g})"
    )


def of_weights(weight: Tensor, expected: Tensor) -> str:
    """How a weight differs from the one it should be, in words."""
    if weight.shape != expected.shape:
        return f"expected shape {tuple(expected.shape)}, got {tuple(weight.shape)}"
    for text, order in _rearrangements(weight):
        if torch.equal(order(weight), expected):
            return text
    if torch.equal(weight.flatten().sort()[0], expected.flatten().sort()[0]):
        return "layout: the same numbers in another order"
    if relative_error(weight, expected) <= FLOAT32_ROUNDING:
        return "dtype: the numbers were rounded to float32, or further"
    changed = int((weight != expected).sum())
    return f"{changed} of {weight.numel()} numbers are others"


# Suspicions


def _epsilons(module: nn.Module, config: Config) -> Iterator[Change]:
    for name in ("eps", "epsilon"):
        own = getattr(module, name, None)
        if isinstance(own, float):
            for epsilon in dict.fromkeys([config.get("epsilon", own), *_EPSILONS]):
                if epsilon != own:
                    text = f"epsilon: Keras has {epsilon:g}, the module {own:g}"
                    yield text, _with(module, name, epsilon)


def _windows(module: nn.Module, config: Config) -> Iterator[Change]:
    """Strides, dilations and padding of convolutions and pooling."""
    padding, kernel_size = getattr(module, "padding", None), getattr(module, "kernel_size", None)
    if padding is None or kernel_size is None:
        return
    for name, keras_name in (("stride", "strides"), ("dilation", "dilation_rate")):
        own, theirs = getattr(module, name, None), config.get(keras_name)
        if own is not None and theirs is not None and _each(own) != _each(theirs):
            text = f"{name}: Keras has {theirs}, the module {own}"
            yield text, _with(module, name, tuple(_each(theirs)))
    if config.get("padding") == "same" and not isinstance(module, nn.modules.conv._ConvTransposeNd):
        text = (
            f"padding side: the module pads {padding} on both sides; Keras, for padding='same', "
            "what the size needs, and of an odd number the larger part after"
        )
        yield text, _padded_as_keras(module)
    if config.get("padding") == "valid" and padding not in (0, "valid"):
        text = f"padding: Keras pads nothing here, the module {padding}"
        yield text, _with(module, "padding", 0)
    if getattr(module, "count_include_pad", False):
        text = "padding: Keras leaves padded cells out of an average, the module counts them"
        yield text, _with(module, "count_include_pad", False)


def _flags(module: nn.Module, config: Config) -> Iterator[Change]:
    for name, own in vars(module).items():
        if isinstance(own, bool) and not name.startswith("_") and name != "training":
            text = f"{name}: Keras computes as {name}={not own} does, the module has {own}"
            yield text, _with(module, name, not own)
        elif name in config and isinstance(own, float) and own != config[name]:
            text = f"{name}: Keras has {config[name]}, the module {own}"
            yield text, _with(module, name, config[name])


def _orders(module: nn.Module, flattened: tuple[int, ...] | None) -> Iterator[Change]:
    """Gates, axes and features of weights in another order."""
    own = dict(module.named_parameters())
    for count in _gate_counts(own):
        for order in list(permutations(range(count)))[1:]:
            text = f"gate order: the module's gates stand in Keras's places {list(order)}"
            rows = [p for p in own.values() if p.shape[0] % count == 0]
            yield text, _rearranged(rows, _blocks(order))
    for name, weight in own.items():
        for text, order_of in _rearrangements(weight):
            if not text.startswith("gate"):
                yield f"{text} ({name})", _rearranged([weight], order_of)
        features = weight.shape[1] if weight.ndim == 2 else 0
        if flattened and features == prod(flattened):
            text = (
                f"layout: of the flattened {'x'.join(map(str, flattened))} the module has the "
                "channels at the other end"
            )
            yield text, _rearranged([weight], lambda w: _columns(w, flattened, to_last=True))
            yield text, _rearranged([weight], lambda w: _columns(w, flattened, to_last=False))


def _rearrangements(weight: Tensor) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Orders in which the numbers of a weight could stand in its shape."""
    for count in (4, 3):
        if weight.shape[:1] and weight.shape[0] % count == 0 and weight.shape[0] > count:
            for order in list(permutations(range(count)))[1:]:
                yield f"gate order: blocks of rows stand in the order {list(order)}", _blocks(order)
    for axes in list(permutations(range(weight.ndim)))[1:]:
        if all(weight.shape[axis] == size for axis, size in zip(axes, weight.shape, strict=True)):
            yield f"layout: axes stand in the order {list(axes)}", _axes(axes)
    for axis in range(weight.ndim):
        if weight.shape[axis] > 1:
            yield f"layout: axis {axis} runs backwards", _backwards(axis)


def _gate_counts(parameters: Mapping[str, Tensor]) -> list[int]:
    """How many gates the recurrent kernels among some parameters may hold."""
    kernels = [p for name, p in parameters.items() if "weight_hh" in name and p.ndim == 2]
    return sorted({k.shape[0] // k.shape[1] for k in kernels if k.shape[1]} & {3, 4})


def _blocks(order: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    return lambda w: torch.cat([w.chunk(len(order))[block] for block in order])


def _axes(axes: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    return lambda w: w.permute(axes)


def _backwards(axis: int) -> Callable[[Tensor], Tensor]:
    return lambda w: w.flip(axis)


def _columns(weight: Tensor, shape: tuple[int, ...], to_last: bool) -> Tensor:
    """A weight of flattened features, whose channels come first, with them last, or back."""
    *space, channels = shape
    if to_last:
        return weight.reshape(-1, channels, *space).movedim(1, -1).reshape(weight.shape)
    return weight.reshape(-1, *space, channels).movedim(-1, 1).reshape(weight.shape)


def _each(sizes: Any) -> list[int]:
    """Sizes of which one stands for all of them."""
    found = list(sizes) if isinstance(sizes, list | tuple) else [sizes]
    return found[:1] if len(set(found)) == 1 else found


# Changes


@contextmanager
def _with(module: nn.Module, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def _rearranged(weights: Sequence[Tensor], order: Callable[[Tensor], Tensor]) -> Iterator[None]:
    before = [weight.detach().clone() for weight in weights]
    try:
        with torch.no_grad():
            for weight, values in zip(weights, before, strict=True):
                weight.copy_(order(values))
        yield
    finally:
        with torch.no_grad():
            for weight, values in zip(weights, before, strict=True):
                weight.copy_(values)


@contextmanager
def _answered(module: nn.Module, answer: Callable[..., Tensor]) -> Iterator[None]:
    """The module gives a function of its arguments and of its output."""
    handle = module.register_forward_hook(lambda module, args, output: answer(args, output))
    try:
        yield
    finally:
        handle.remove()


def activated(module: nn.Module, activation: str) -> AbstractContextManager[None]:
    """While it is entered, a module's output passes through an activation, by its name here."""
    return _answered(module, lambda _, output: _ACTIVATIONS[activation](output))


@contextmanager
def _padded_as_keras(module: nn.Module) -> Iterator[None]:
    """The module gets its input with the cells around it that Keras gives it."""
    known: Any = module

    def sizes(name: str, count: int) -> list[int]:
        found = getattr(known, name, 1)
        return list(found) if isinstance(found, tuple) else [found] * count

    def pad(module: nn.Module, args: Any) -> Any:
        count = args[0].ndim - 2
        around = paddings(
            args[0], *(sizes(n, count) for n in ("kernel_size", "stride", "dilation"))
        )
        flat = [cells for pair in reversed(around) for cells in pair]
        is_maximum = "Max" in type(module).__name__
        return (F.pad(args[0], flat, value=float("-inf") if is_maximum else 0.0), *args[1:])

    handle = module.register_forward_pre_hook(pad)
    try:
        with _with(module, "padding", 0):
            yield
    finally:
        handle.remove()
