"""Tensors in lists, tuples and dicts: convert, walk, move and join them, structure kept."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torchbp.errors import DataError


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """`value` with `function` applied to each of its tensors; everything else stays."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        return _like(value, [map_tensors(function, item) for item in value])
    if value is not None and isinstance(value, Mapping):
        return {name: map_tensors(function, item) for name, item in value.items()}
    return value


def named_tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Each tensor in `value` with the expression that reaches it, such as "inputs['text']"."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from named_tensors(item, f"{name}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from named_tensors(item, f"{name}[{index}]")


def as_tensors(value: Any, dtype: torch.dtype, name: str) -> Any:
    """`value` with numpy arrays as tensors, those of floats in `dtype`, without a needless copy.

    A file mapped into memory stays one, in its own type, and must not be written to.

    Args:
        value: an array, a tensor, None, or lists, tuples and dicts of these.
        dtype: the floating type of the model, which numpy's float64 is seldom meant to differ
            from. Tensors have the type that somebody gave them, and keep it.
        name: what an error calls `value`.

    Raises:
        DataError: something that is no array of numbers.
    """
    if value is None or isinstance(value, Tensor):
        return value
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        tensor = _from_numpy(np.asarray(value), isinstance(value, np.memmap), name)
        is_late = isinstance(value, np.memmap) or not tensor.is_floating_point()
        return tensor if is_late else tensor.to(dtype)
    if isinstance(value, Mapping):
        return {key: as_tensors(item, dtype, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [as_tensors(item, dtype, f"{name}[{i}]") for i, item in enumerate(value)]
        return _like(value, items)
    raise DataError(
        f"{name}: expected an array or a tensor, got {type(value).__name__}.\n"
        "  To mend it: convert it, as in torch.tensor(values)."
    )


def has_memory_map(value: Any) -> bool:
    """Whether `value` holds a file that is mapped into memory, a numpy.memmap."""
    import numpy as np

    if isinstance(value, Mapping):
        return any(has_memory_map(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_memory_map(item) for item in value)
    return isinstance(value, np.memmap)


def move(value: Any, device: torch.device) -> Any:
    """`value` on the device; the copy to a GPU goes through pinned memory and is not awaited."""
    if device.type == "cpu":
        return map_tensors(lambda tensor: tensor.to(device), value)
    return map_tensors(lambda tensor: _pinned(tensor, device).to(device, non_blocking=True), value)


def fetch(value: Any) -> Any:
    """`value` on its way to the CPU, not awaited: it is complete after `finish_fetching`."""
    return map_tensors(lambda tensor: tensor.to("cpu", non_blocking=True), value)


def finish_fetching(device: torch.device) -> None:
    """Waits for everything that `fetch` has under way from the device."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def count_samples(value: Any) -> int:
    """The length of the first tensor in `value`, 0 if there is none."""
    if isinstance(value, Tensor):
        return value.shape[0]
    return next((tensor.shape[0] for _, tensor in named_tensors(value, "")), 0)


def concatenate(parts: Sequence[Any]) -> Any:
    """The batches of `parts`, which are structures alike, joined along dimension 0."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, Mapping):
        return {name: concatenate([part[name] for part in parts]) for name in first}
    if isinstance(first, list | tuple):
        return _like(first, [concatenate(items) for items in zip(*parts, strict=True)])
    return first


def widest_float(device: torch.device) -> torch.dtype:
    """The type for sums over an epoch: float64, which Apple's devices alone do not have."""
    return torch.float32 if device.type == "mps" else torch.float64


def _like(sequence: list[Any] | tuple[Any, ...], items: list[Any]) -> Any:
    return type(sequence)(*items) if hasattr(sequence, "_fields") else type(sequence)(items)


def _from_numpy(array: Any, is_mapped: bool, name: str) -> Tensor:
    if array.dtype.kind not in "biufc":
        raise DataError(
            f"{name}: expected an array of numbers, got dtype {array.dtype}.\n"
            "  To mend it: give it a numeric dtype, as in array.astype('float32')."
        )
    is_shared = is_mapped or array.flags.writeable
    if not is_shared or any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch shares neither read-only nor reversed memory
    with warnings.catch_warnings():  # batches of a mapped file are copies
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.as_tensor(array)


def _pinned(tensor: Tensor, device: torch.device) -> Tensor:
    needs_pinning = device.type == "cuda" and tensor.device.type == "cpu"
    return tensor.pin_memory() if needs_pinning else tensor
