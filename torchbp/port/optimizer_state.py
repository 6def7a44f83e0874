"""The state of Keras's optimizer in a torch optimizer, and back: training goes on.

Keras lists its variables as: the number of steps, the learning rate (unless it has a schedule),
and then what it keeps for each trained array, with the axes of the array. That takes the way of
the weights, to the parameters of the ported model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchbp.errors import DataError
from torchbp.optim import SGD, Adam, RMSprop
from torchbp.port.config import UnsupportedError
from torchbp.port.files import SavedOptimizer
from torchbp.port.isolated import read_optimizer
from torchbp.port.ported import PortedLayer, keras_tensors, ported_layers, tensors_of
from torchbp.port.saved import keras_snake_case

ITERATIONS = "iterations"  # of a parameter group: the steps that Keras had made


def load_optimizer_state(optimizer: Optimizer, model: nn.Module, source: str | Path | Any) -> int:
    """Puts the state of Keras's optimizer into a torch optimizer, so that training goes on.

    Momenta, squares, the number of steps and the learning rate become those that Keras had; the
    next step is the one that Keras would make. Parameters that Keras did not train keep what
    they have.

    Args:
        optimizer: `torchbp.optim.SGD`, `RMSprop` or `Adam` of the ported model's parameters, with
            Keras's formula: what `training_config` gives makes it.
        model: what `load` or `from_keras` returned, with that training.
        source: a `.keras`, `.weights.h5` or `.h5` file, or the live Keras model.

    Returns:
        How many steps Keras has made.

    Raises:
        UnsupportedError: the optimizer is another one, or has another formula.
        DataError: no state, or one of another model or optimizer.
        ShapeError: arrays of other shapes.

    Example:
        model = port.load("model.keras")
        trainer = Trainer(model, **port.training_config("model.keras", model))
        port.load_optimizer_state(trainer.optimizer, model, "model.keras")
        trainer.fit(x, y, epochs=20, initial_epoch=10)

    TensorFlow squares the gradients of an Embedding look-up by look-up:
    `torchbp.optim.per_lookup_squares` does so here.
    """
    where = str(source) if isinstance(source, str | Path) else source.name
    saved = _read(source, where)
    slots = _slots_of(optimizer)
    _check_kind(optimizer, saved, where)
    places = list(_places(model))
    steps, lr, state = _divided(saved, slots, len(places), where)
    values = _as_parameters(model, places, state, where)
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not all(id(parameter) in known for parameter, _ in values):
        raise DataError(
            f"{where}: expected an optimizer of all parameters that Keras trains, got one that "
            "lacks some.\n  To mend it: make it of model.parameters()."
        )
    for parameter, found in values:
        own = {name: slots.signs[name] * tensor for name, tensor in found.items()}
        if slots.counts_steps:
            own["step"] = torch.tensor(float(steps))
        optimizer.state[parameter] = own
    for group in optimizer.param_groups:
        group[ITERATIONS] = steps
        if lr is not None:
            group["lr"] = lr
    return steps


def optimizer_state_to_keras(
    optimizer: Optimizer, model: nn.Module, keras_model: Any, iterations: int | None = None
) -> Any:
    """The way back: Keras goes on where torch stopped.

    Args:
        optimizer: as of `load_optimizer_state`, which has trained the model.
        model: the ported model; `to_keras` takes its weights back.
        keras_model: the live Keras model, compiled with the same kind of optimizer.
        iterations: the number of steps; None takes it from the optimizer. SGD counts none, and
            leaves Keras's number as it is.

    Returns:
        The Keras model.

    Raises:
        UnsupportedError: as of `load_optimizer_state`.
        DataError: the Keras model is not compiled with such an optimizer, or is another one; its
            schedule needs `iterations`.

    Example:
        port.to_keras(model, keras_model)
        port.optimizer_state_to_keras(trainer.optimizer, model, keras_model)
        keras_model.fit(x, y)
    """
    where = keras_model.name
    slots = _slots_of(optimizer)
    theirs = getattr(keras_model, "optimizer", None)
    if theirs is None:
        raise _misfit(where, "a Keras model that is compiled", "one that is not")
    if not theirs.built:
        theirs.build(keras_model.trainable_variables)
    variables = list(theirs.variables)
    now = _live(theirs)
    _check_kind(optimizer, now, where)
    places = list(_places(model))
    _, lr, _ = _divided(now, slots, len(places), where)
    if iterations is None:
        counts = {int(own["step"]) for own in optimizer.state.values() if "step" in own}
        if len(counts) > 1:
            raise _misfit(where, "one number of steps for all parameters", str(sorted(counts)))
        if not counts and lr is None:
            raise _misfit(where, "iterations for a model with a schedule", "None")
        iterations = next(iter(counts), None)
    arrays = _as_arrays(optimizer, model, places, slots)
    own = variables[len(variables) - len(arrays) :]
    for variable, array in zip(own, arrays, strict=True):
        if tuple(variable.shape) != array.shape:
            got = f"{variable.path} of shape {tuple(variable.shape)}"
            raise _misfit(where, f"the state of an array {array.shape}", got)
    for variable, array in zip(own, arrays, strict=True):
        variable.assign(array)
    if iterations is not None:
        variables[0].assign(iterations)
    if lr is not None:
        variables[1].assign(float(_one(optimizer, "lr")))
    return keras_model


@dataclass(frozen=True)
class _Slots:
    """What an optimizer keeps of each parameter, in Keras's order.

    Args:
        blocks: torch's names. Those of a block come array by array, one block after the other.
        signs: what Keras's number is multiplied with.
        counts_steps: whether torch counts the steps of each parameter.
    """

    blocks: tuple[tuple[str, ...], ...]
    counts_steps: bool
    signs: Mapping[str, float]

    @property
    def num(self) -> int:
        return sum(map(len, self.blocks))


@dataclass(frozen=True)
class _Place:
    """An array that Keras trains."""

    layer: PortedLayer
    number: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Read(SavedOptimizer):
    """Args: kind: the class of the optimizer, None if the source does not tell it."""

    kind: str | None = None


_KINDS: dict[type[Optimizer], tuple[str, ...]] = {
    SGD: ("SGD",),
    RMSprop: ("RMSprop",),
    Adam: ("Adam", "AdamW"),
}
_OPTIMIZERS = (
    *("SGD", "RMSprop", "Adam", "AdamW", "Adamax", "Nadam", "Adagrad", "Adadelta", "Adafactor"),
    *("Ftrl", "Lion", "Lamb", "Muon", "LossScaleOptimizer", "ScheduleFreeAdamW"),
)


def _slots_of(optimizer: Optimizer) -> _Slots:
    """Which slots it has; refuses a formula that is not Keras's."""
    blocks: list[tuple[str, ...]] = []
    needed: list[str] = []
    if isinstance(optimizer, SGD):
        if _one(optimizer, "momentum"):
            blocks, needed = [("momentum_buffer",)], ["lr_in_momentum"]
    elif isinstance(optimizer, RMSprop):
        blocks, needed = [("square_avg",)], ["eps_in_sqrt"]
        if _one(optimizer, "momentum"):
            blocks.append(("momentum_buffer",))
            needed.append("lr_in_momentum")
        if _one(optimizer, "centered"):
            blocks.append(("grad_avg",))
    elif isinstance(optimizer, Adam):
        blocks, needed = [("exp_avg", "exp_avg_sq")], ["eps_before_correction"]
        if _one(optimizer, "amsgrad"):
            blocks.append(("max_exp_avg_sq",))
    else:
        raise UnsupportedError(
            "port: expected torchbp.optim.SGD, RMSprop or Adam, got "
            f"{type(optimizer).__module__}.{type(optimizer).__name__}.\n"
            "  To mend it: make the optimizer that training_config gives."
        )
    if not all(_one(optimizer, option) for option in needed):
        raise UnsupportedError(
            f"port: expected {type(optimizer).__name__} with Keras's formula, "
            f"{', '.join(f'{option}=True' for option in needed)}, got torch's.\n"
            "  To mend it: make the optimizer that training_config gives."
        )
    signs = {name: 1.0 for block in blocks for name in block}
    if isinstance(optimizer, SGD):
        signs = dict.fromkeys(signs, -1.0)  # Keras adds what it gathers, torch takes it away
    return _Slots(tuple(blocks), not isinstance(optimizer, SGD), signs)


def _one(optimizer: Optimizer, option: str) -> Any:
    """An option that all groups share."""
    values = [group.get(option) for group in optimizer.param_groups]
    if any(value != values[0] for value in values):
        raise UnsupportedError(
            f"port: expected one {option} for all parameters, as Keras has it, got {values}.\n"
            "  To mend it: make one group of them."
        )
    return values[0]


def _read(source: Any, where: str) -> _Read:
    if isinstance(source, str | Path):
        found = read_optimizer(source)
        if found is None or not found.arrays:
            raise _misfit(where, "a file with the state of an optimizer", "one without")
        return _Read(found.name, found.names, found.arrays, _kind_in(found.name))
    theirs = getattr(source, "optimizer", None)
    if theirs is None:
        raise _misfit(where, "a Keras model that is compiled", "one that is not")
    return _live(theirs)


def _live(theirs: Any) -> _Read:
    """A live optimizer of Keras's."""
    import numpy as np

    arrays = tuple(np.array(variable.numpy()) for variable in theirs.variables)
    names = tuple(variable.path for variable in theirs.variables)
    return _Read(theirs.name, names, arrays, type(theirs).__name__)


def _kind_in(name: str | None) -> str | None:
    """The class that an automatic name such as "adam_1" tells."""
    if name is None:
        return None
    plain = name.rstrip("0123456789").rstrip("_")
    return next((kind for kind in _OPTIMIZERS if keras_snake_case(kind) == plain), None)


def _check_kind(optimizer: Optimizer, saved: _Read, where: str) -> None:
    kinds = next(names for made, names in _KINDS.items() if isinstance(optimizer, made))
    if any(name.endswith(":0") for name in saved.names):
        raise UnsupportedError(
            f"{where}: expected the state of an optimizer of Keras 3, got one of tf.keras 2.\n"
            "  To mend it: load and save the model in Keras 3, or start with a fresh optimizer."
        )
    if saved.kind is not None and saved.kind not in kinds:
        raise _misfit(where, f"the state of {' or '.join(kinds)}", f"that of {saved.kind}")


def _places(model: nn.Module) -> Iterator[_Place]:
    """The arrays that Keras trains, in its order."""
    for layer in sorted(ported_layers(model), key=lambda layer: layer.position):
        if not layer.num_arrays or not layer.trainable:
            continue
        module = model.get_submodule(layer.module)
        parameters = {name for name, _ in module.named_parameters()}
        own = {
            name: torch.empty_like(t, device="meta").requires_grad_(name in parameters)
            if t.is_floating_point()
            else torch.empty_like(t, device="meta")
            for name, t in (*module.named_parameters(), *module.named_buffers())
        }
        with torch.enable_grad():
            arrays = keras_tensors(layer, module, own)
        for number, array in enumerate(arrays):
            if array.requires_grad:
                yield _Place(layer, number, tuple(array.shape))


def _divided(
    saved: SavedOptimizer, slots: _Slots, num_places: int, where: str
) -> tuple[int, float | None, dict[str, list[Any]]]:
    """The number of steps, the learning rate, and for each slot an array for each place."""
    arrays = list(saved.arrays)
    wanted = slots.num * num_places
    num_first = len(arrays) - wanted
    is_fresh = len(arrays) in (1, 2) and arrays[0].size == 1 and int(arrays[0]) == 0
    if is_fresh and wanted:
        num_first = len(arrays)
    first = arrays[: max(num_first, 0)]
    if num_first not in (1, 2) or any(array.shape for array in first):
        got = f"{len(arrays)} variables"
        raise _misfit(
            where,
            f"{wanted} arrays of {num_places} weights, after the number of steps and the "
            "learning rate",
            got,
        )
    rest = iter(arrays[num_first:])
    state: dict[str, list[Any]] = {name: [] for block in slots.blocks for name in block}
    if len(arrays) > num_first:
        for block in slots.blocks:
            for _ in range(num_places):
                for name in block:
                    state[name].append(next(rest))
    lr = float(first[1]) if num_first == 2 else None
    return int(first[0]), lr, state


def _as_parameters(
    model: nn.Module, places: Sequence[_Place], state: Mapping[str, list[Any]], where: str
) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """For each parameter that Keras trains, the slots in its layout."""
    found: dict[int, tuple[Tensor, dict[str, Tensor]]] = {}
    for layer in dict.fromkeys(place.layer for place in places):
        module = model.get_submodule(layer.module)
        parameters = dict(module.named_parameters())
        numbers = [i for i, place in enumerate(places) if place.layer is layer]
        for parameter in parameters.values():
            found[id(parameter)] = (parameter, {})
        for name, arrays in state.items():
            if not arrays:
                continue
            whole = _whole(layer, module)
            for i in numbers:
                if arrays[i].shape != places[i].shape:
                    expected = f"{name} of {layer.name} of shape {places[i].shape}"
                    raise _misfit(where, expected, str(arrays[i].shape))
                whole[places[i].number] = arrays[i]
            for own, tensor in tensors_of(layer, module, whole, where).items():
                if own in parameters:
                    found[id(parameters[own])][1][name] = tensor.to(parameters[own].device)
    return list(found.values())


def _whole(layer: PortedLayer, module: nn.Module) -> list[Any]:
    """Zeros for all arrays of a layer."""
    own = {
        name: torch.zeros_like(tensor, device="cpu")
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }
    return [array.detach().numpy() for array in keras_tensors(layer, module, own)]


def _as_arrays(
    optimizer: Optimizer, model: nn.Module, places: Sequence[_Place], slots: _Slots
) -> list[Any]:
    """The way back: all slots in Keras's order; zeros for a parameter that has had no step."""
    arrays: dict[tuple[str, int], Any] = {}
    for layer in dict.fromkeys(place.layer for place in places):
        module = model.get_submodule(layer.module)
        buffers = dict(module.named_buffers())
        for name, sign in slots.signs.items():
            own = {key: torch.zeros_like(b, device="cpu") for key, b in buffers.items()}
            for key, parameter in module.named_parameters():
                slot = (
                    optimizer.state[parameter].get(name) if parameter in optimizer.state else None
                )
                slot = torch.zeros_like(parameter) if slot is None else sign * slot
                own[key] = slot.detach().cpu()
            found = keras_tensors(layer, module, own)
            for i, place in enumerate(places):
                if place.layer is layer:
                    arrays[name, i] = found[place.number].numpy()
    return [arrays[name, i] for block in slots.blocks for i in range(len(places)) for name in block]


def _misfit(where: str, expected: str, got: str) -> DataError:
    return DataError(
        f"{where}: expected {expected}, got {got}.\n"
        "  To mend it: take the optimizer and the model that were trained together."
    )
