"""Functions of Keras's that move, join and repeat numbers, and change none."""

from itertools import pairwise
from typing import Any

import torch

from torchbp.port.config import UnsupportedError
from torchbp.port.converters.operations import (
    Operands,
    check_few,
    constant_of,
    floating,
    is_constant,
    is_number,
    value_of,
)
from torchbp.port.converters.operations_reductions import axes_of, axis_of
from torchbp.port.registry import Layer, keras_operation
from torchbp.port.values import Value, aligned


def _ints(value: Any, what: str) -> list[int]:
    """A list of ints, of one where it is an int."""
    items = value if isinstance(value, list | tuple) else [value]
    if any(type(item) is not int for item in items):
        raise UnsupportedError(f"{what}={value!r}")
    return list(items)


def in_order(x: Value) -> Value:
    """The value, a vector in torch's order in Keras's."""
    return Value(x.as_keras()) if x.flattened is not None else x


def at_dims(x: Value, parts: list[Any]) -> list[Any]:
    """Parts for Keras's axes where the tensor has them."""
    moved: list[Any] = [None] * x.ndim
    for axis, part in enumerate(parts):
        moved[x.dim(axis)] = part
    return moved


@keras_operation("Reshape")
def _reshape(layer: Layer, x: Any) -> Value:
    sizes = _ints(layer.config.get("newshape"), "newshape")
    if sizes.count(-1) > 1 or any(size < -1 for size in sizes):
        raise UnsupportedError(f"newshape={sizes!r}")
    return Value(value_of(x).as_keras().reshape(sizes))


@keras_operation("Ravel")
def _ravel(layer: Layer, x: Any) -> Value:
    return Value(value_of(x).as_keras().flatten())


@keras_operation("Transpose")
def _transpose(layer: Layer, x: Any) -> Value:
    value, axes = value_of(x), layer.config.get("axes")
    order = list(range(value.ndim))[::-1] if not axes else list(axes_of(axes, value))
    if len(order) != value.ndim:
        raise UnsupportedError(f"axes={axes!r} of an input with {value.ndim} axes")
    return Value(value.as_keras().permute(order))


@keras_operation("Swapaxes")
def _swapaxes(layer: Layer, x: Any) -> Value:
    value = value_of(x)
    first, second = (axis_of(layer.config.get(name), value) for name in ("axis1", "axis2"))
    return Value(value.as_keras().transpose(first, second))


@keras_operation("Moveaxis")
def _moveaxis(layer: Layer, x: Any) -> Value:
    value = value_of(x)
    source, target = (axes_of(layer.config.get(name), value) for name in ("source", "destination"))
    if len(source) != len(target):
        raise UnsupportedError(f"source={source!r}, destination={target!r}")
    return Value(value.as_keras().movedim(source, target))


@keras_operation("ExpandDims")
def _expand_dims(layer: Layer, x: Any) -> Value:
    value = value_of(x)
    axes = _ints(layer.config.get("axis"), "axis")
    rank = value.ndim + len(axes)
    tensor = value.as_keras()
    if any(not -rank <= axis < rank for axis in axes):
        raise UnsupportedError(f"axis={axes!r} of an input with {value.ndim} axes")
    for axis in sorted(axis % rank for axis in axes):
        tensor = tensor.unsqueeze(axis)
    return Value(tensor)


@keras_operation("Squeeze")
def _squeeze(layer: Layer, x: Any) -> Value:
    value, axis = value_of(x), layer.config.get("axis")
    if axis is None:
        axes = tuple(i for i, size in enumerate(value.shape) if size == 1)
        if None in value.shape[1:]:
            raise UnsupportedError("all axes of size 1 of an input of unknown sizes")
    else:
        axes = axes_of(axis, value)
    if any(value.shape[a] != 1 for a in axes):
        raise UnsupportedError(f"axis={axis!r}, which is not of size 1")
    return Value(value.as_keras().squeeze(axes))


@keras_operation("BroadcastTo")
def _broadcast_to(layer: Layer, x: Any) -> Value:
    shape = _ints(layer.config.get("shape"), "shape")
    return Value(value_of(x).as_keras().broadcast_to(shape))


def _alike(layer: Layer, items: Any) -> tuple[list[Any], Value]:
    """Tensors of one rank and one dtype in one order; constants among them, too."""
    if not isinstance(items, list | tuple) or not items:
        raise UnsupportedError("a call with something else than a list of tensors")
    if any(not isinstance(item, Value) and not is_constant(item) for item in items):
        raise UnsupportedError("numbers among the tensors")
    ranks = {i.ndim if isinstance(i, Value) else constant_of(i).ndim for i in items}
    if len(ranks) > 1:
        raise UnsupportedError("tensors with different numbers of axes")
    items = [in_order(item) if isinstance(item, Value) else item for item in items]
    if all(isinstance(item, Value) for item in items):
        is_float = [item.tensor.is_floating_point() for item in items]
        if any(is_float):
            items = [floating(item) for item in items]
        return aligned(items)
    given = Operands(layer, *items)
    return given.tensors, given.order


@keras_operation("Concatenate")
def _concatenate(layer: Layer, xs: Any) -> Value:
    tensors, order = _alike(layer, xs)
    return order.like(torch.cat(tensors, dim=order.dim(axis_of(layer.config.get("axis"), order))))


@keras_operation("Hstack")
def _hstack(layer: Layer, xs: Any) -> Value:
    tensors, order = _alike(layer, xs)
    return order.like(torch.cat(tensors, dim=order.dim(min(1, order.ndim - 1))))


@keras_operation("Stack")
def _stack(layer: Layer, x: Any) -> Value:
    tensors, order = _alike(layer, x)
    axis, rank = layer.config.get("axis"), order.ndim + 1
    if type(axis) is not int or not -rank <= axis < rank:
        raise UnsupportedError(f"axis={axis!r} of inputs with {order.ndim} axes")
    return Value(torch.stack([order.like(t).as_keras() for t in tensors], dim=axis % rank))


@keras_operation("Split")
def _split(layer: Layer, x: Any) -> list[Value]:
    value = in_order(value_of(x))
    where, axis = layer.config.get("indices_or_sections"), layer.config.get("axis")
    axis = axis_of(axis, value)
    size = value.shape[axis]
    if size is None:
        raise UnsupportedError("an axis of unknown size")
    if type(where) is int:
        if where < 1 or size % where:
            raise UnsupportedError(f"{where} equal parts of {size}")
        check_few(where, "parts")
        ends = list(range(0, size + 1, size // where))
    else:
        ends = [0, *_ints(where, "indices_or_sections"), size]
    sizes = [stop - start for start, stop in pairwise(ends)]
    if min(sizes) < 0:
        raise UnsupportedError(f"indices_or_sections={where!r} of {size}")
    return [value.like(t) for t in torch.split(value.tensor, sizes, dim=value.dim(axis))]


@keras_operation("Unstack")
def _unstack(layer: Layer, x: Any) -> list[Value]:
    value = value_of(x)
    axis = axis_of(layer.config.get("axis"), value)
    if value.shape[axis] is None or layer.config.get("num") not in (None, value.shape[axis]):
        raise UnsupportedError(f"num={layer.config.get('num')!r} of {value.shape[axis]}")
    check_few(value.shape[axis] or 0, "parts")
    return [Value(tensor) for tensor in torch.unbind(value.as_keras(), dim=axis)]


@keras_operation("Tile")
def _tile(layer: Layer, x: Any) -> Value:
    repeats = _ints(layer.config.get("repeats"), "repeats")
    if min(repeats, default=1) < 1:
        raise UnsupportedError(f"repeats={repeats!r}")
    return Value(torch.tile(value_of(x).as_keras(), repeats))


@keras_operation("Repeat")
def _repeat(layer: Layer, x: Any) -> Value:
    value = in_order(value_of(x))
    repeats, axis = layer.config.count("repeats"), layer.config.get("axis")
    if axis is None:
        return Value(torch.repeat_interleave(value.as_keras().flatten(), repeats, dim=0))
    dim = value.dim(axis_of(axis, value))
    return value.like(torch.repeat_interleave(value.tensor, repeats, dim=dim))


@keras_operation("Roll")
def _roll(layer: Layer, x: Any) -> Value:
    value = in_order(value_of(x))
    shifts, axis = _ints(layer.config.get("shift"), "shift"), layer.config.get("axis")
    if axis is None:
        return Value(torch.roll(value.as_keras(), shifts))
    axes = axes_of(axis, value)
    if len(axes) != len(shifts):
        raise UnsupportedError(f"shift={shifts!r} of axis={axis!r}")
    return value.like(torch.roll(value.tensor, shifts, [value.dim(a) for a in axes]))


@keras_operation("Flip")
def _flip(layer: Layer, x: Any) -> Value:
    return _flipped(x, layer.config.get("axis"))


@keras_operation("Fliplr")
def _fliplr(layer: Layer, x: Any) -> Value:
    return _flipped(x, 1)


@keras_operation("Flipud")
def _flipud(layer: Layer, x: Any) -> Value:
    return _flipped(x, 0)


def _flipped(x: Any, axis: Any) -> Value:
    value = in_order(value_of(x))
    return value.like(torch.flip(value.tensor, [value.dim(a) for a in axes_of(axis, value)]))


@keras_operation("Pad")
def _pad(layer: Layer, x: Any, constant_values: Any = None) -> Value:
    value = in_order(value_of(x))
    mode = layer.config.word("mode", "constant", "reflect", "symmetric", default="constant")
    pairs = [_ints(pair, "pad_width") for pair in _list(layer.config.get("pad_width"))]
    pairs = pairs * value.ndim if len(pairs) == 1 else pairs
    sides = [pair * 2 if len(pair) == 1 else pair for pair in pairs]
    if len(sides) != value.ndim or any(len(s) != 2 or min(s) < 0 for s in sides):
        raise UnsupportedError(f"pad_width={pairs!r} of an input with {value.ndim} axes")
    if mode != "constant":
        return value.like(_mirrored(value, sides, mode))
    fill = 0 if constant_values is None else constant_values
    if not is_number(fill) or (type(fill) is float and not value.tensor.is_floating_point()):
        raise UnsupportedError(f"constant_values={str(fill)[:80]}")
    widths = [n for pair in at_dims(value, sides)[::-1] for n in pair]
    return value.like(torch.nn.functional.pad(value.tensor, widths, value=fill))


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple) or not value:
        raise UnsupportedError(f"pad_width={value!r}")
    return list(value)


def _mirrored(x: Value, sides: list[list[int]], mode: str) -> Any:
    """With the numbers at each end once more, backwards: without the last of them in "reflect"."""
    tensor = x.tensor
    for axis, (before, after) in enumerate(sides):
        size, gap = x.shape[axis], int(mode == "reflect")
        if before == after == 0:
            continue
        if size is None or max(before, after) > size - gap:
            raise UnsupportedError(f"{(before, after)} more of an axis of size {size}")
        check_few(size, "numbers to be chosen one by one", 1 << 24)
        first = range(before - 1 + gap, gap - 1, -1)
        last = range(size - 1 - gap, size - 1 - gap - after, -1)
        places = torch.tensor([*first, *range(size), *last])
        tensor = tensor.index_select(x.dim(axis), places)
    return tensor


@keras_operation("Diff")
def _diff(layer: Layer, a: Any) -> Value:
    value, n = in_order(value_of(a)), layer.config.count("n", 1)
    return value.like(
        torch.diff(value.tensor, n, value.dim(axis_of(layer.config.get("axis"), value)))
    )


@keras_operation("Diagonal")
def _diagonal(layer: Layer, x: Any) -> Value:
    value, (offset,) = value_of(x), _ints(layer.config.get("offset", 0), "offset")
    first, second = (axis_of(layer.config.get(name), value) for name in ("axis1", "axis2"))
    return Value(torch.diagonal(value.as_keras(), offset, first, second))


def _triangle(function: Any) -> Any:
    def port(layer: Layer, x: Any) -> Value:
        (k,) = _ints(layer.config.get("k", 0), "k")
        return Value(function(value_of(x).as_keras(), k))

    return port


keras_operation("Tril")(_triangle(torch.tril))
keras_operation("Triu")(_triangle(torch.triu))


def _of_pixels(layer: Layer, x: Any) -> tuple[Any, bool]:
    """An image with the channels last, and whether Keras has them so."""
    value = value_of(x)
    data_format = layer.config.word(
        "data_format", "channels_last", "channels_first", default="channels_last"
    )
    if value.ndim != 4:
        raise UnsupportedError(f"an input with {value.ndim} axes")
    is_last = data_format == "channels_last"
    return (value.as_keras() if is_last else value.as_keras().movedim(1, -1)), is_last


@keras_operation("DepthToSpace")
def _depth_to_space(layer: Layer, x: Any) -> Value:
    """torch.pixel_shuffle has the channels in another order."""
    (image, is_last), side = _of_pixels(layer, x), layer.config.count("block_size")
    blocks = image.unflatten(3, (side, side, -1)).permute(0, 1, 3, 2, 4, 5)
    result = blocks.flatten(3, 4).flatten(1, 2)
    return Value(result if is_last else result.movedim(-1, 1))


@keras_operation("SpaceToDepth")
def _space_to_depth(layer: Layer, x: Any) -> Value:
    (image, is_last), side = _of_pixels(layer, x), layer.config.count("block_size")
    blocks = image.unflatten(2, (-1, side)).unflatten(1, (-1, side))
    result = blocks.permute(0, 1, 3, 2, 4, 5).flatten(3)
    return Value(result if is_last else result.movedim(-1, 1))
