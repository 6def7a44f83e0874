"""The call that makes a module, read from the module: its class, and arguments from attributes."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from torchbp import layers
from torchbp.errors import DataError
from torchbp.graph.functions import qualified_name
from torchbp.port.eject.text import called, flat, name

_PLACES = {"device", "dtype", "name", "_weight", "_freeze"}  # arguments that say nothing of a layer


@dataclass(frozen=True)
class Argument:
    """An argument of a call that makes a module.

    Args:
        value: what it is.
        default: what it is if nothing is said; None if it must be given.
        is_positional: whether it may be given without its name.
    """

    value: ast.expr
    default: ast.expr | None = None
    is_positional: bool = True

    @property
    def is_default(self) -> bool:
        """Whether it need not be given."""
        return self.default is not None and ast.dump(self.value) == ast.dump(self.default)


@dataclass(frozen=True)
class Creation:
    """A call that makes a module.

    Args:
        function: what is called: `nn.Conv2d`.
        arguments: all of them, those that need not be given, too.
        why: the reason why it is no layer of torch's; empty if it is one.
        imports: lines that the call needs, beside torch's.
        keys: the entries of the module's state dict, and what they were called in the port.
        fixed: the parameters that do not require grad.
        is_fixed: whether these are all that it has.
        has_weights: whether it has parameters.
        kind: whether it is a layer, or a class of the file.
        shapes: of what each of the arguments, which are modules in a row, gives.
    """

    function: str
    arguments: dict[str, Argument]
    why: str = ""
    imports: frozenset[str] = frozenset()
    keys: dict[str, str] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    is_fixed: bool = False
    has_weights: bool = False
    kind: Literal["layer", "gate", "block", "row", "model"] = "layer"
    shapes: tuple[Any, ...] = ()

    def call(self) -> ast.Call:
        """The call, with the arguments that must be given, and those that are not the default."""
        args, kwargs = [], {}
        for key, argument in self.arguments.items():
            if argument.is_default:
                continue
            if argument.is_positional and argument.default is None:
                args.append(argument.value)
            else:
                kwargs[key] = argument.value
        return called(self.function, args, **kwargs)

    def told(self) -> set[str]:
        """The arguments that are given."""
        return {key for key, argument in self.arguments.items() if not argument.is_default}

    def renamed(self, keys: dict[str, str]) -> Creation:
        """The same call, the entries of the state dict having other names in the port."""
        return dataclasses.replace(self, keys=keys)

    def with_values(self, values: dict[str, ast.expr]) -> Creation:
        """The same call with other arguments."""
        new = {
            key: dataclasses.replace(argument, value=values.get(key, argument.value))
            for key, argument in self.arguments.items()
        }
        return dataclasses.replace(self, arguments=new)


def creation_of(module: nn.Module, cls: type | None = None, **given: Any) -> Creation:
    """The call that makes a module like this one, from its attributes.

    Args:
        module: of torch, of torchbp.layers, or of any class that can be imported and whose
            attributes are named as its arguments.
        cls: make one of this class instead, of which the module's class is a subclass.
        given: arguments that are known, by name.

    Raises:
        DataError: what the attributes tell does not make such a module.
    """
    made = cls or type(module)
    imports: set[str] = set()
    arguments = {
        parameter.name: _argument(module, parameter, imports, given)
        for parameter in _parameters(made)
    }
    if isinstance(module, nn.Sequential):
        arguments = _items(module, imports)
    creation = Creation(
        _qualified(made, imports),
        arguments,
        imports=frozenset(imports),
        keys={key: key for key in module.state_dict()},
        fixed=tuple(key for key, p in module.named_parameters() if not p.requires_grad),
        is_fixed=not any(p.requires_grad for p in module.parameters()),
        has_weights=any(True for _ in module.parameters()),
    )
    check(creation, module, is_same_class=made is type(module))
    return creation


def check(creation: Creation, module: nn.Module, is_same_class: bool = True) -> None:
    """Make a module by the call and compare it with the one that it is to be like.

    Raises:
        DataError: they differ.
    """
    try:
        with torch.device("meta"):
            made = eval(flat(creation.call()), namespace(creation.imports))
    except Exception as error:
        raise cannot(module, str(error)) from error
    expected = {key: tensor.shape for key, tensor in module.state_dict().items()}
    got = {creation.keys.get(key, key): tensor.shape for key, tensor in made.state_dict().items()}
    if got != expected:
        raise cannot(module, f"{flat(creation.call())} has the weights {got}")
    if is_same_class and _shown(made) != _shown(module):
        raise cannot(module, f"{flat(creation.call())} makes {made}")


def _shown(module: nn.Module) -> str:
    """What printing it shows, with 3 for (3, 3), which pooling keeps as it was given."""
    return re.sub(r"\((\d+)(, \1)*,?\)", r"\1", repr(module))


def cannot(module: nn.Module, why: str) -> DataError:
    """The error for a module that no source can be written for."""
    return DataError(
        f"eject: expected modules that can be written as source, got {module}: {why}.\n"
        "  To mend it: keep the arguments of its class as attributes of their names."
    )


def namespace(imports: frozenset[str]) -> dict[str, Any]:
    """What the source of a module can name."""
    names: dict[str, Any] = {"torch": torch, "nn": nn, "F": nn.functional, "layers": layers}
    for line in imports:
        home, _, what = line.removeprefix("from ").partition(" import ")
        names[what] = getattr(importlib.import_module(home), what)
    return names


def literal(value: Any, imports: set[str]) -> ast.expr:
    """A value as source.

    Raises:
        ValueError: it cannot be written.
    """
    if isinstance(value, nn.Module):
        creation = creation_of(value)
        imports |= creation.imports
        return creation.call()
    if isinstance(value, tuple | list):
        items = [literal(item, imports) for item in value]
        return ast.List(items) if isinstance(value, list) else ast.Tuple(items)
    if value is None or value is Ellipsis or isinstance(value, bool | int | str):
        return ast.Constant(value)
    if isinstance(value, float):
        return ast.Constant(value) if value - value == 0 else _not_finite(value)
    if isinstance(value, torch.dtype):
        return name(str(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        made = _qualified(type(value), imports)
        return called(made, [literal(item, imports) for item in fields.values()])
    if isinstance(value, dict):
        keys, items = ([literal(v, imports) for v in part] for part in (value, value.values()))
        return ast.Dict(list(keys), items)
    known = qualified_name(value) if callable(value) else None
    if known is None and not inspect.isfunction(value):
        raise ValueError(f"a {type(value).__name__} cannot be written as source")
    return name(known or _qualified(value, imports))


def _momentum(value: float) -> ast.expr:
    """`1 - 0.99`: the weight of the new value, where that of the old one is a shorter number."""
    rest = round(1.0 - value, 9)
    if 0 < rest < 1 and 1.0 - rest == value and len(repr(rest)) < len(repr(value)) - 4:
        return ast.BinOp(ast.Constant(1), ast.Sub(), ast.Constant(rest))
    return ast.Constant(value)


def _not_finite(value: float) -> ast.expr:
    if value != value:
        return name("torch.nan")
    return name("torch.inf") if value > 0 else ast.UnaryOp(ast.USub(), name("torch.inf"))


def _qualified(thing: Any, imports: set[str]) -> str:
    """`nn.Linear`, `layers.Conv2d`, or the name that an import gives; it is noted."""
    short, home = thing.__name__, thing.__module__
    if getattr(nn, short, None) is thing:
        return f"nn.{short}"
    if getattr(layers, short, None) is thing:
        imports.add("from torchbp import layers")
        return f"layers.{short}"
    found = getattr(importlib.import_module(home), short, None) if home != "__main__" else None
    if found is not thing:
        raise ValueError(f"{thing.__qualname__} of {home} cannot be imported")
    imports.add(f"from {home} import {short}")
    return str(short)


def _parameters(cls: type) -> Iterator[inspect.Parameter]:
    """The arguments of a class, those that it hands on to its bases too."""
    named: list[inspect.Parameter] = []
    seen: set[str] = set(_PLACES)
    if issubclass(cls, nn.RNNBase) and cls is not nn.RNNBase:
        seen.add("mode")
    hands_on = True  # whether the positional arguments, too
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is nn.Module:
            continue
        own = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        kinds = {parameter.kind for parameter in own}
        for parameter in own:
            is_named = parameter.kind is parameter.KEYWORD_ONLY
            if parameter.name in seen or parameter.kind in _ALL or not (hands_on or is_named):
                continue
            seen.add(parameter.name)
            named.append(parameter)
        hands_on = hands_on and inspect.Parameter.VAR_POSITIONAL in kinds
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    yield from (p for p in named if p.kind is not p.KEYWORD_ONLY)
    yield from (p for p in named if p.kind is p.KEYWORD_ONLY)


_ALL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _argument(
    module: nn.Module, parameter: inspect.Parameter, imports: set[str], given: dict[str, Any]
) -> Argument:
    default = parameter.default
    try:
        if parameter.name in given:
            value = given[parameter.name]
        else:
            value = _plain(parameter.name, _attribute(module, parameter))
        told = None if default is parameter.empty else literal(default, set())
        is_positional = parameter.kind is not parameter.KEYWORD_ONLY
        is_momentum = parameter.name == "momentum" and isinstance(value, float)
        tree = _momentum(value) if is_momentum else literal(value, imports)
        return Argument(tree, told, is_positional)
    except (AttributeError, ValueError) as error:
        raise cannot(module, f"its argument {parameter.name!r} is unknown ({error})") from error


def _attribute(module: nn.Module, parameter: inspect.Parameter) -> Any:
    """What a module was made with, as far as its attributes tell it."""
    key, default = parameter.name, parameter.default
    if key == "bias" and isinstance(module, nn.MultiheadAttention):
        return module.in_proj_bias is not None
    if key == "add_bias_kv":
        return module.bias_k is not None
    if key in _FOLLOWS and getattr(module, key) == getattr(module, _FOLLOWS[key], None):
        return default
    if key == "stride" and default is None and module.stride == module.kernel_size:
        return None
    if key == "multiplier" and isinstance(module, nn.modules.conv._ConvNd):
        return module.out_channels // module.in_channels
    if key in _WHETHER and not getattr(module, "affine", getattr(module, _AFFINE, True)):
        return default  # there is neither, whatever is asked for
    if key in _WHETHER and hasattr(module, _WHETHER[key]):
        value = getattr(module, _WHETHER[key])
        return value if isinstance(value, bool) else value is not None
    if key.endswith("shape") and not hasattr(module, key):
        tensor = getattr(module, key.removesuffix("shape").strip("_") or "weight")
        return None if tensor is None else tuple(tensor.shape)
    for owner in (module, *module.children()):
        if hasattr(owner, key):
            return _told_by(getattr(owner, key), default)
    if default is parameter.empty:
        raise AttributeError("no attribute has this name")
    return default


def _told_by(value: Any, default: Any) -> Any:
    """The argument that an attribute was made of."""
    if isinstance(value, nn.modules.dropout._DropoutNd):
        return value.p
    if isinstance(default, bool) and not isinstance(value, bool):
        return value is not None  # a weight, or a part that is there or not
    return default if value is None and isinstance(default, float) else value


_FOLLOWS = {
    "kdim": "embed_dim", "vdim": "embed_dim", "num_kv_heads": "num_heads",
    "value_head_dim": "head_dim",
}  # fmt: skip
_AFFINE = "elementwise_affine"
_WHETHER = {"bias": "bias", "scale": "weight", "shift": "bias"}


def _plain(key: str, value: Any) -> Any:
    """One number for several of the same; lists for modules that are listed."""
    if isinstance(value, nn.ModuleList):
        return list(value)
    if key in _PER_DIM and isinstance(value, tuple) and len(set(value)) == 1:
        return value[0]
    if key == "normalized_shape" and len(value) == 1:
        return value[0]
    return value


_PER_DIM = {"kernel_size", "stride", "padding", "dilation", "output_padding", "cropping"}


def _items(module: nn.Sequential, imports: set[str]) -> dict[str, Argument]:
    return {key: Argument(literal(item, imports)) for key, item in module.named_children()}
