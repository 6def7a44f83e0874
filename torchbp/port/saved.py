"""Which arrays of a Keras file are which layer's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from torchbp.errors import DataError
from torchbp.port.architecture import TIME_DISTRIBUTED, Architecture, LayerSpec
from torchbp.port.files import LayerWeights, SavedWeights
from torchbp.port.registry import is_operation

if TYPE_CHECKING:
    from torchbp.port.files import Array

Path = tuple[str, ...]


def by_layer(
    architecture: Architecture, saved: SavedWeights, where: str
) -> dict[Path, list[Array]]:
    """The arrays of each layer, in Keras's order, by the layer's path.

    Args:
        architecture: the model's.
        saved: the weights of the same file, or of a weight file of the model.
        where: what an error calls the file.

    Raises:
        DataError: weights that belong to no layer, or that may belong to several.
    """
    left = dict(saved.layers)
    if saved.is_tree:
        found = dict(_from_tree(architecture, left, saved.names, "layers", ()))
    else:
        found = dict(_from_groups(architecture, left, where))
    if left:
        raise _refused(where, "weights of the model's layers", f"some at {list(left)[:5]}")
    return found


def _from_tree(
    architecture: Architecture,
    left: dict[str, LayerWeights],
    names: dict[str, str | None],
    group: str,
    path: Path,
) -> Iterator[tuple[Path, list[Array]]]:
    """Keras 3 names the groups by the classes, numbered in the model's order."""
    specs = [
        spec
        for spec in architecture.layers
        if not (is_operation(spec) or (architecture.class_name == "Sequential" and spec.is_input))
    ]
    for spec, base in zip(specs, _groups(spec.class_name for spec in specs), strict=True):
        where, own = f"{group}/{base}", (*path, spec.name)
        if spec.model is not None:
            inner = f"{where}/layer" if spec.class_name == TIME_DISTRIBUTED else where
            yield from _from_tree(spec.model, left, names, f"{inner}/layers", own)
        elif where in left:
            name = names.get(where)
            if name not in (None, spec.name):
                raise _refused(where, f"weights of {spec.name!r}", f"those of {name!r}")
            yield own, _in_order(spec, left.pop(where))


def _in_order(spec: LayerSpec, weights: LayerWeights) -> list[Array]:
    """A layer's arrays in the order of its cells, whose groups go by their classes' names."""
    places = _cell_groups(spec)
    numbered = list(zip(weights.names, weights.arrays, strict=True))
    if places:
        numbered.sort(key=lambda item: places.get(item[0].rpartition("/")[0], -1))
    return [array for _, array in numbered]


def _cell_groups(spec: LayerSpec) -> dict[str, int]:
    """The place of each cell in a stack, by its group."""
    cell = spec.config.get("cell")
    cells = cell.get("config", {}).get("cells") if isinstance(cell, dict) else None
    if spec.class_name != "RNN" or not isinstance(cells, list):
        return {}
    groups = _groups(str(item.get("class_name")) for item in cells)
    return {f"cell/cells/{group}": place for place, group in enumerate(groups)}


def _groups(class_names: Iterable[str]) -> Iterator[str]:
    """The names of the groups of a container's parts: of their classes, numbered from 1 on."""
    numbers: Counter[str] = Counter()
    for class_name in class_names:
        base = keras_snake_case(_CALLED_OTHERWISE.get(class_name, class_name))
        yield f"{base}_{numbers[base]}" if numbers[base] else base
        numbers[base] += 1


def _from_groups(
    architecture: Architecture, left: dict[str, LayerWeights], where: str
) -> Iterator[tuple[Path, list[Array]]]:
    """A group a layer under its name; of a nested model, too, whose weights tell the layer."""
    for spec in architecture.layers:
        if spec.name not in left:
            continue
        weights = left.pop(spec.name)
        if spec.model is None:
            yield (spec.name,), list(weights.arrays)
        else:
            yield from _of_nested(spec.model, weights, (spec.name,), where)


def _of_nested(
    model: Architecture, weights: LayerWeights, path: Path, where: str
) -> Iterator[tuple[Path, list[Array]]]:
    """The weights of a model's layers, of which each has its layer's name in its own."""
    owners: dict[str, list[Path]] = {}
    for owner in layer_paths(model, path):
        owners.setdefault(owner[-1], []).append(owner)
    found: dict[Path, list[Array]] = {}
    for name, array in zip(weights.names, weights.arrays, strict=True):
        parts = name.split("/")[:-1]
        candidates = [owner for part in parts for owner in owners.get(part, ())]
        if len(candidates) > 1:  # layers of one name in several models, which stand before it
            candidates = [owner for owner in candidates if set(owner[1:-1]) <= set(parts)]
        if len(candidates) != 1:
            raise _refused(where, f"one layer for the weights {name}", f"{candidates}")
        found.setdefault(candidates[0], []).append(array)
    yield from found.items()


def layer_paths(model: Architecture, path: Path = ()) -> Iterator[Path]:
    """The layers, those of nested models too, in the order of Keras's list of weights."""
    for spec in model.layers:
        if spec.model is not None:
            yield from layer_paths(spec.model, (*path, spec.name))
        elif not is_operation(spec):
            yield (*path, spec.name)


def keras_snake_case(name: str) -> str:
    """How Keras calls a class's group: `Conv2D` -> `conv2d`, `ReLU` -> `re_lu`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


# the class that is called so in a model's description
_CALLED_OTHERWISE = {"GroupQueryAttention": "GroupedQueryAttention"}


def _refused(where: str, expected: str, got: str) -> DataError:
    return DataError(
        f"{where}: expected {expected}, got {got}.\n"
        "  To mend it: take the weights of the same model."
    )
