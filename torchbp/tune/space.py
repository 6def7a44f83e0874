"""A declared search space: which parameters there are, and when."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from torchbp.errors import DataError
from torchbp.train.objectives import name_of
from torchbp.tune.plan import Plan, Search

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

_NOT_THERE = object()


class Parameter:
    """What a parameter may be; `Int`, `Float` and `Choice` are the kinds."""

    def __init__(self) -> None:
        self.conditions: dict[str, Any] = {}
        self.count: str | None = None

    def when(self, **conditions: Any) -> Self:
        """The same parameter, which is there only if others have certain values.

        Args:
            conditions: for a parameter declared before, its value, or several values as a list,
                tuple, set or range.

        Example:
            >>> Float(0.0, 0.99).when(optimizer="SGD")
            Float(0.0, 0.99).when(optimizer='SGD')
        """
        copied = copy.copy(self)
        copied.conditions = {**self.conditions, **conditions}
        return copied

    def each(self, count: str) -> Self:
        """A list of such parameters, as many as the parameter named `count` says.

        Example:
            >>> Int(8, 64, log=True).each("layers")
            Int(8, 64, log=True).each('layers')
        """
        copied = copy.copy(self)
        copied.count = count
        return copied

    def suggest(self, trial: BaseTrial, name: str) -> Any:
        """The value of one parameter in a trial."""
        raise NotImplementedError

    def is_there(self, params: Mapping[str, Any]) -> bool:
        """Whether the conditions hold."""
        return all(
            _agrees(params.get(name, _NOT_THERE), wanted)
            for name, wanted in self.conditions.items()
        )

    def __repr__(self) -> str:
        conditions = ", ".join(f"{name}={value!r}" for name, value in self.conditions.items())
        when = f".when({conditions})" if conditions else ""
        each = f".each({self.count!r})" if self.count else ""
        return f"{type(self).__name__}({self._arguments()}){when}{each}"

    def _arguments(self) -> str:
        raise NotImplementedError


class Int(Parameter):
    """A whole number from low to high, both included; evenly, or evenly in its logarithm.

    Raises:
        DataError: bounds that hold no number, or a logarithm of numbers that are not positive.
    """

    def __init__(self, low: int, high: int, *, log: bool = False) -> None:
        super().__init__()
        _check_bounds("Int", low, high, log)
        self.low, self.high, self.log = low, high, log

    def suggest(self, trial: BaseTrial, name: str) -> int:
        """The value in a trial."""
        return trial.suggest_int(name, self.low, self.high, log=self.log)

    def _arguments(self) -> str:
        return f"{self.low}, {self.high}{', log=True' if self.log else ''}"


class Float(Parameter):
    """A number from low to high; evenly, or evenly in its logarithm.

    Raises:
        DataError: bounds that hold no number, or a logarithm of numbers that are not positive.
    """

    def __init__(self, low: float, high: float, *, log: bool = False) -> None:
        super().__init__()
        _check_bounds("Float", low, high, log)
        self.low, self.high, self.log = low, high, log

    def suggest(self, trial: BaseTrial, name: str) -> float:
        """The value in a trial."""
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def _arguments(self) -> str:
        return f"{self.low}, {self.high}{', log=True' if self.log else ''}"


class Choice(Parameter):
    """One of several things.

    Args:
        values: strings, numbers, booleans or None, which a trial records as they are; classes
            and functions, which it records by their names.
        named: anything else, which it records by these names.

    Raises:
        DataError: nothing to choose from, or two things of one name.

    Example:
        >>> Choice(nn.ReLU, nn.Tanh), Choice(16, 32), Choice(none=nn.Identity)
        (Choice('ReLU', 'Tanh'), Choice(16, 32), Choice('none'))
    """

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__()
        keys = [value if _is_plain(value) else name_of(value) for value in values]
        self.keys = [*keys, *named]
        self.values = [*values, *named.values()]
        if not self.keys or len(set(map(repr, self.keys))) < len(self.keys):
            raise DataError(
                f"Choice: expected things of different names to choose from, got {self.keys}.\n"
                "  To mend it: name them, as in Choice(slow=partial(...), fast=partial(...))."
            )

    def suggest(self, trial: BaseTrial, name: str) -> Any:
        """The thing in a trial."""
        key = trial.suggest_categorical(name, self.keys)
        return self.values[self.keys.index(key)]

    def _arguments(self) -> str:
        return ", ".join(map(repr, self.keys))


class Space:
    """Parameters of a model and its training, by name, in the order in which they are suggested.

    Args:
        parameters: what each may be.

    Raises:
        DataError: a condition on a parameter that is not declared before.

    Example:
        >>> space = Space(
        ...     layers=Int(1, 3),
        ...     units=Int(8, 64, log=True).each("layers"),
        ...     activation=Choice(nn.ReLU, nn.Tanh),
        ...     optimizer=Choice(torch.optim.Adam, torch.optim.SGD),
        ...     lr=Float(1e-4, 1e-1, log=True),
        ...     momentum=Float(0.0, 0.99).when(optimizer="SGD"),
        ...     batch_size=Choice(16, 32, 64),
        ... )
        >>> def mlp(units, activation):
        ...     sizes = [4, *units]
        ...     pairs = zip(sizes, units)
        ...     hidden = [m for i, o in pairs for m in (nn.Linear(i, o), activation())]
        ...     return nn.Sequential(*hidden, nn.Linear(units[-1], 2))
        >>> search = space.search(mlp)
    """

    def __init__(self, **parameters: Parameter) -> None:
        self.parameters = parameters
        declared: list[str] = []
        for name, parameter in parameters.items():
            if not isinstance(parameter, Parameter):
                raise DataError(
                    f"Space: expected Int, Float or Choice for {name!r}, got {parameter!r}.\n"
                    f"  To mend it: Choice({parameter!r}), or leave it to the builder's default."
                )
            needed = [*parameter.conditions, *([parameter.count] if parameter.count else [])]
            if missing := [other for other in needed if other not in declared]:
                raise DataError(
                    f"Space: expected {name!r} to depend on parameters declared before it, "
                    f"{declared or 'of which there are none'}, got {missing}.\n"
                    f"  To mend it: declare {', '.join(missing)} first."
                )
            declared.append(name)

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        """The values of all parameters that are there in a trial."""
        keys: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if not parameter.is_there(keys):
                continue
            if parameter.count is None:
                values[name] = parameter.suggest(trial, name)
                keys[name] = trial.params[name]
            elif parameter.count in keys:
                places = range(int(keys[parameter.count]))
                values[name] = [parameter.suggest(trial, f"{name}_{i}") for i in places]
        return values

    def search(
        self,
        builder: Callable[..., nn.Module],
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    ) -> Search:
        """A search function: the builder makes the model, the rest says how it is trained.

        A parameter that others depend on (the number of layers) need not be the builder's;
        `batch_size` is that of the training; `optimizer` is a Choice of classes of optimizers;
        what the builder does not take and the optimizers do (lr, weight_decay ...) is theirs.

        Args:
            builder: gets its parameters by name and returns a model.
            optimizer: the class if the space does not choose one.

        Raises:
            DataError: a parameter that nobody takes, or one that the builder needs and that is
                not there or not always there.
        """
        own = self.parameters.get("optimizer")
        optimizers = dict(zip(own.keys, own.values, strict=True)) if isinstance(own, Choice) else {}
        optimizers = optimizers or {name_of(optimizer): optimizer}
        for_builder = self._for_builder(builder, optimizers)
        for_optimizer = set(self.parameters) - for_builder - {"batch_size", "optimizer"}
        for_optimizer -= self._structure()
        for name in for_optimizer:
            self._check_optimizers(name, optimizers, builder)

        def search(trial: BaseTrial) -> Plan:
            params = self.suggest(trial)
            model = builder(**{name: params[name] for name in params if name in for_builder})
            settings = {name: params[name] for name in params if name in for_optimizer}
            made = partial(params.get("optimizer", optimizer), **settings)
            return Plan(model, made, **{n: params[n] for n in params if n == "batch_size"})

        return search

    def _structure(self) -> set[str]:
        """The names that others depend on."""
        declared = self.parameters.values()
        counts = {parameter.count for parameter in declared if parameter.count}
        return counts.union(*(parameter.conditions for parameter in declared))

    def _for_builder(
        self, builder: Callable[..., nn.Module], optimizers: Mapping[str, Any]
    ) -> set[str]:
        """The names that go to the builder."""
        signature = inspect.signature(builder).parameters
        for name, argument in signature.items():
            parameter = self.parameters.get(name)
            is_needed = argument.default is argument.empty and argument.kind not in (
                argument.VAR_POSITIONAL,
                argument.VAR_KEYWORD,
            )
            if is_needed and (parameter is None or parameter.conditions):
                state = "does not have it" if parameter is None else f"has {parameter!r}"
                raise DataError(
                    f"Space: expected {name!r}, which {name_of(builder)} needs, in every trial; "
                    f"the space {state}.\n"
                    "  To mend it: declare it without a condition, or give it a default there."
                )
        taken = {name for name in self.parameters if name in signature}
        if any(argument.kind == argument.VAR_KEYWORD for argument in signature.values()):
            for_training = {"batch_size", "optimizer"}
            for_training |= {
                n for o in optimizers.values() for n in inspect.signature(o).parameters
            }
            taken |= set(self.parameters) - for_training
        return taken

    def _check_optimizers(
        self, name: str, optimizers: Mapping[str, Any], builder: Callable[..., nn.Module]
    ) -> None:
        """Refuses a parameter that is there with an optimizer that does not take it."""
        parameter = self.parameters[name]
        takers = [key for key, o in optimizers.items() if name in inspect.signature(o).parameters]
        if not takers:
            raise DataError(
                f"Space: expected parameters that {name_of(builder)}{_signature(builder)} or the "
                f"optimizers {', '.join(optimizers)} take, got {name!r}.\n"
                f"  To mend it: take {name!r} out, or let the builder take it."
            )
        wanted = parameter.conditions.get("optimizer", _NOT_THERE)
        others = [key for key in optimizers if key not in takers]
        if any(wanted is _NOT_THERE or _agrees(key, wanted) for key in others):
            raise DataError(
                f"Space: expected {name!r} only with optimizers that take it, {takers}, got "
                f"{parameter!r}, which is there with {others}, too.\n"
                f"  To mend it: .when(optimizer={takers})."
            )


def _agrees(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Container) and not isinstance(wanted, str):
        return value in wanted
    return bool(value == wanted)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _signature(function: Callable[..., Any]) -> str:
    return f"({', '.join(inspect.signature(function).parameters)})"


def _check_bounds(kind: str, low: float, high: float, log: bool) -> None:
    if not low <= high or (log and low <= 0):
        raise DataError(
            f"{kind}: expected low <= high{', both positive for a logarithm' if log else ''}, got "
            f"{low} and {high}.\n"
            "  To mend it: change the bounds."
        )
