"""Functions of Keras's that choose and sort numbers: items, indices, the largest."""

from collections.abc import Mapping
from typing import Any

import torch

from torchbp.port.config import UnsupportedError
from torchbp.port.converters.operations import constant_of, value_of
from torchbp.port.converters.operations_reductions import axis_of
from torchbp.port.converters.operations_shapes import at_dims, in_order
from torchbp.port.registry import Layer, keras_operation
from torchbp.port.values import Value


@keras_operation("GetItem")
def _get_item(layer: Layer, x: Any, key: Any) -> Value:
    value = in_order(value_of(x))
    parts = [_part(item) for item in (key if isinstance(key, list | tuple) else [key])]
    if parts.count(Ellipsis) > 1:
        raise UnsupportedError(f"several ... in {key!r}")
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    if taken > value.ndim:
        raise UnsupportedError(f"{taken} indices of an input with {value.ndim} axes")
    place = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
    rest = [slice(None)] * (value.ndim - taken)
    parts = [*parts[:place], *rest, *parts[place + 1 :]]
    if all(isinstance(part, slice) for part in parts):  # no axis comes or goes
        return value.like(_sliced(value.tensor, at_dims(value, parts)))
    return Value(_sliced(value.as_keras(), parts))


def _part(item: Any) -> Any:
    """One part of an index."""
    if item is None or type(item) is int:
        return item
    kind = item.get("class_name") if isinstance(item, Mapping) else None
    if kind == "__ellipsis__":
        return Ellipsis
    config = item.get("config") if kind == "__slice__" else None
    if not isinstance(config, Mapping):
        raise UnsupportedError(f"the index {str(item)[:80]}")
    ends = [config.get(name) for name in ("start", "stop", "step")]
    if any(end is not None and type(end) is not int for end in ends) or ends[2] == 0:
        raise UnsupportedError(f"the index {ends!r}")
    return slice(*ends)


def _sliced(tensor: Any, parts: list[Any]) -> Any:
    """An index that may step backwards, which torch's may not."""
    axis, flips, forward = 0, [], []
    for part in parts:
        if isinstance(part, slice) and part.step is not None and part.step < 0:
            flips.append(axis)
            start, stop = (None if end is None else -1 - end for end in (part.start, part.stop))
            part = slice(start, stop, -part.step)
        forward.append(part)
        axis += part is not None
    if flips:
        tensor = tensor.flip(flips)
    while forward and forward[-1] == slice(None):
        forward.pop()
    return tensor[tuple(forward)] if forward else tensor


@keras_operation("Take")
def _take(layer: Layer, x: Any, indices: Any) -> Value:
    value, axis = value_of(x), layer.config.get("axis")
    if not isinstance(indices, Value):
        places: Any = torch.tensor(indices) if _is_list(indices) else constant_of(indices)
    else:
        places = indices.as_keras()
    if places.is_floating_point() or places.dtype is torch.bool:
        raise UnsupportedError("indices that are no ints")
    if not isinstance(indices, Value) and places.ndim == 0:
        places = places.item()
    tensor = value.as_keras().flatten() if axis is None else value.as_keras()
    before = 0 if axis is None else axis_of(axis, value)
    return Value(tensor[(*(slice(None),) * before, places)])


def _is_list(indices: Any) -> bool:
    """Whether they are an int, or ints in lists."""
    if isinstance(indices, list | tuple):
        return all(_is_list(item) for item in indices)
    return type(indices) is int


@keras_operation("TakeAlongAxis")
def _take_along_axis(layer: Layer, x: Any, indices: Any) -> Value:
    value, axis = value_of(x), layer.config.get("axis")
    places = indices.as_keras() if isinstance(indices, Value) else constant_of(indices)
    if places.is_floating_point() or axis is None or places.ndim != value.ndim:
        raise UnsupportedError(f"axis={axis!r}, or indices of another kind")
    axis = axis_of(axis, value)
    tensor = value.as_keras()
    size = value.shape[axis]
    if size is None:
        raise UnsupportedError("an axis of unknown size")
    places = torch.where(places < 0, places + size, places)
    return Value(torch.take_along_dim(tensor, places, dim=axis))


@keras_operation("Sort")
def _sort(layer: Layer, x: Any) -> Value:
    return _sorted(layer, x, 0)


@keras_operation("Argsort")
def _argsort(layer: Layer, x: Any) -> Value:
    return _sorted(layer, x, 1)


def _sorted(layer: Layer, x: Any, which: int) -> Value:
    """The numbers from the least on, or where they stood; equal ones stay in their order."""
    value, axis = in_order(value_of(x)), layer.config.get("axis")
    if value.tensor.dtype is torch.bool:
        raise UnsupportedError("an input of truth values")
    if axis is None:
        return Value(torch.sort(value.as_keras().flatten(), dim=0, stable=True)[which])
    dim = value.dim(axis_of(axis, value))
    return value.like(torch.sort(value.tensor, dim=dim, stable=True)[which])


@keras_operation("TopK")
def _top_k(layer: Layer, x: Any) -> list[Value]:
    """The largest of the last axis; of equal ones the first, which torch.topk does not promise."""
    value, k = value_of(x), layer.config.count("k")
    layer.config.flag("sorted", True)
    size = value.shape[-1]
    if size is None or k > size:
        raise UnsupportedError(f"k={k} of {size}")
    ordered = torch.sort(value.as_keras(), dim=-1, descending=True, stable=True)
    return [Value(ordered[0][..., :k]), Value(ordered[1][..., :k])]
