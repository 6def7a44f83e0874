"""Data of any form as a source of batches on the CPU: arrays, datasets, loaders, generators."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from torchbp.errors import DataError
from torchbp.train.tensors import as_tensors, map_tensors, named_tensors


class Batch(NamedTuple):
    """What one step needs: tensors, or lists, tuples and dicts of them."""

    inputs: Any
    targets: Any = None
    weights: Any = None


class Arrays:
    """Samples in memory, dealt out by indexing whole tensors; no sample is touched on its own.

    Args:
        samples: tensors that share dimension 0, N.
        batch_size: samples in a batch; the last one may have fewer.
        shuffle: draw a new permutation for each pass. Without it batches are views.
        generator: draws the permutations; torch's default one if None.

    Raises:
        DataError: numbers of samples that differ, or no samples.
    """

    is_one_shot = False

    def __init__(
        self,
        samples: Batch,
        batch_size: int,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        self.samples = samples
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.generator = generator
        self.num_samples = _count_samples(samples)
        self.num_batches = math.ceil(self.num_samples / batch_size)
        self.devices = {tensor.device for _, tensor in named_tensors(samples, "")}

    def __iter__(self) -> Iterator[Batch]:
        orders = self._orders()
        for start in range(0, self.num_samples, self.batch_size):
            stop = min(start + self.batch_size, self.num_samples)
            yield self._take(start, stop, orders)

    def split(self, fraction: float) -> tuple["Arrays", "Arrays"]:
        """The first floor(N * (1 - fraction)) samples, and the tail, which is never shuffled.

        Raises:
            DataError: one of the two would be empty.
        """
        cut = math.floor(self.num_samples * (1 - fraction))
        if not 0 < cut < self.num_samples:
            raise DataError(
                f"validation_fraction={fraction} of {self.num_samples} samples: expected samples "
                f"on both sides, got {cut} to train on and {self.num_samples - cut} to validate.\n"
                "  To mend it: choose a fraction between 0 and 1 that leaves some on each side."
            )
        head: Batch = map_tensors(lambda tensor: tensor[:cut], self.samples)
        tail: Batch = map_tensors(lambda tensor: tensor[cut:], self.samples)
        train = Arrays(head, self.batch_size, self.shuffle, self.generator)
        return train, Arrays(tail, self.batch_size)

    def _orders(self) -> dict[torch.device, Tensor]:
        """The permutation of one pass, where the tensors are; none without shuffling."""
        if not self.shuffle:
            return {}
        order = torch.randperm(self.num_samples, generator=self.generator)
        return {device: order.to(device) for device in self.devices}

    def _take(self, start: int, stop: int, orders: dict[torch.device, Tensor]) -> Batch:
        def take(tensor: Tensor) -> Tensor:
            if not orders:
                return tensor[start:stop]
            return tensor.index_select(0, orders[tensor.device][start:stop])

        batch: Batch = map_tensors(take, self.samples)
        return batch


class Stream:
    """Batches that something else makes: a DataLoader, a generator, any iterable.

    Args:
        batches: gives inputs, or a tuple or list of inputs, targets and, if there are any,
            sample weights.
        dtype: what numpy floats become.
    """

    def __init__(self, batches: Iterable[Any], dtype: torch.dtype) -> None:
        self.batches = batches
        self.dtype = dtype
        self.is_one_shot = isinstance(batches, Iterator)
        self.num_batches = _length(batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            yield as_tensors(unpack(batch), self.dtype, "batch")


Source = Arrays | Stream


def source_of(
    inputs: Any,
    targets: Any,
    sample_weight: Any,
    batch_size: int,
    dtype: torch.dtype,
    shuffle: bool = False,
    generator: torch.Generator | None = None,
) -> Source:
    """The source of batches for data of any form.

    Args:
        inputs: arrays or tensors, also in lists, tuples or dicts; a Dataset; a DataLoader; or an
            iterable of batches.
        targets: in the same forms, for arrays only; the others bring their own.
        sample_weight: as `targets`.
        batch_size: of arrays and datasets.
        dtype: what numpy floats become.
        shuffle: whether arrays and datasets are shuffled.
        generator: draws the permutations.

    Raises:
        DataError: none of these, or targets beside data that brings its own.
    """
    import numpy as np

    check_positive("batch_size", batch_size)
    if isinstance(inputs, Tensor | np.ndarray | Mapping | list | tuple):
        parts = Batch(inputs, targets, sample_weight)._asdict()
        samples = Batch(**{name: as_tensors(part, dtype, name) for name, part in parts.items()})
        return Arrays(samples, batch_size, shuffle, generator)
    _refuse_beside(inputs, targets=targets, sample_weight=sample_weight)
    if type(inputs) is TensorDataset:  # a subclass may do more than index
        return Arrays(unpack(inputs.tensors), batch_size, shuffle, generator)
    if isinstance(inputs, Dataset):
        shuffle = shuffle and not isinstance(inputs, IterableDataset)
        inputs = DataLoader(inputs, batch_size, shuffle=shuffle, generator=generator)
    if isinstance(inputs, Iterable):
        return Stream(inputs, dtype)
    raise DataError(
        f"inputs: expected arrays, tensors, a Dataset, a DataLoader or an iterable of batches, "
        f"got {type(inputs).__name__}.\n"
        "  To mend it: convert it to one of these."
    )


def check_positive(name: str, count: int | None) -> None:
    """Refuses what is neither None nor a positive int.

    Raises:
        DataError: something else.
    """
    if count is not None and (not isinstance(count, int) or count < 1):
        raise DataError(
            f"{name}: expected a positive int, got {count!r}.\n"
            "  To mend it: give a number of at least 1."
        )


def _refuse_beside(inputs: Any, **extras: Any) -> None:
    for name, value in extras.items():
        if value is not None:
            raise DataError(
                f"{name}: expected None beside a {type(inputs).__name__}, which gives its own, "
                f"got {type(value).__name__}.\n"
                "  To mend it: let it give (inputs, targets) or (inputs, targets, sample_weight)."
            )


def _count_samples(samples: Batch) -> int:
    counts: dict[str, int] = {}
    names = ("inputs", "targets", "sample_weight")
    for part, value in zip(names, samples, strict=True):
        for name, tensor in named_tensors(value, part):
            counts[name] = len(tensor) if tensor.ndim else 0
    if len(set(counts.values())) == 1 and min(counts.values()) > 0:
        return min(counts.values())
    listed = ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
    raise DataError(
        f"arrays: expected the same number of samples, more than 0, in each, got {listed}.\n"
        "  To mend it: give arrays that agree in dimension 0, the sample."
    )


def unpack(batch: Any) -> Batch:
    """A batch as a dataset or generator gives it: inputs, or a tuple or list that starts so.

    Raises:
        DataError: more than inputs, targets and weights.
    """
    if not isinstance(batch, list | tuple):
        return Batch(batch)
    if 1 <= len(batch) <= 3:
        return Batch(*batch)
    raise DataError(
        f"batch: expected (inputs, targets) or (inputs, targets, sample_weight), got a "
        f"{type(batch).__name__} of {len(batch)}.\n"
        "  To mend it: put several inputs or targets into a tuple or dict of their own."
    )


def _length(batches: Iterable[Any]) -> int | None:
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:  # a generator, or the loader of an iterable dataset
        return None
