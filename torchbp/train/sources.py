"""Data of any form as a source of batches on the CPU: arrays, datasets, loaders, generators."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from torchbp.errors import DataError
from torchbp.train.batches import Batch, Position, Share, check_positive, unpack
from torchbp.train.processes import from_main, num_processes, rank, sum_over_processes
from torchbp.train.tensors import (
    as_tensors,
    count_samples,
    has_memory_map,
    map_tensors,
    named_tensors,
)


class Cuts:
    """Where the batches of this process lie among the samples, and in which order.

    Args:
        num_samples: N.
        batch_size: samples in a batch of one process.
        shuffle: draw a new permutation for each pass, the same for all processes.
        generator: draws the permutations; torch's default one if None.
    """

    def __init__(
        self, num_samples: int, batch_size: int, shuffle: bool, generator: torch.Generator | None
    ) -> None:
        self.num_samples = num_samples
        self.shuffle = shuffle
        self.generator = generator
        self.step = batch_size * num_processes()
        self.num_batches = math.ceil(num_samples / self.step)

    def order(self) -> Tensor | None:
        """The permutation of one pass, None without shuffling."""
        if not self.shuffle:
            return None
        return from_main(torch.randperm(self.num_samples, generator=self.generator))

    def after(self, samples: int) -> Iterator[tuple[int, int, Share | None]]:
        """Begin and end of each batch that comes after so many samples, and its share."""
        several, own_rank = num_processes(), rank()
        for begin in range(samples, self.num_samples, self.step):
            total = min(self.step, self.num_samples - begin)
            if several == 1:
                yield begin, begin + total, None
                continue
            size, more = divmod(total, several)
            first = begin + own_rank * size + min(own_rank, more)
            own = size + (own_rank < more)
            if own:
                yield first, first + own, Share(own, total)
            else:
                yield begin, begin + 1, Share(0, total)


class Arrays:
    """Samples in memory, dealt out by indexing whole tensors; no sample is touched on its own.

    Args:
        samples: tensors that share dimension 0, N.
        batch_size: samples in a batch; the last one may have fewer.
        shuffle: draw a new permutation for each pass. Without it batches are views.
        generator: draws the permutations; torch's default one if None.
        late_dtype: what floats become batch by batch, for files mapped into memory.

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
        late_dtype: torch.dtype | None = None,
    ) -> None:
        self.samples = samples
        self.batch_size = batch_size
        self.late_dtype = late_dtype
        self.num_samples = _count_samples(samples)
        self._cuts = Cuts(self.num_samples, batch_size, shuffle, generator)
        self.num_batches = self._cuts.num_batches
        self.generators = () if generator is None else (generator,)
        self.devices = {tensor.device for _, tensor in named_tensors(samples, "")}

    def start(self, position: Position, epoch: int = 0) -> Iterator[Batch]:
        """A pass over the samples that goes on from a position."""
        order = self._cuts.order()
        orders = {} if order is None else {device: order.to(device) for device in self.devices}
        return self._deal(position, orders)

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
        size, cuts, dtype = self.batch_size, self._cuts, self.late_dtype
        train = Arrays(head, size, cuts.shuffle, cuts.generator, dtype)
        return train, Arrays(tail, size, late_dtype=dtype)

    def _deal(self, position: Position, orders: Mapping[torch.device, Tensor]) -> Iterator[Batch]:
        for begin, end, share in self._cuts.after(position.samples):
            batch = self._take(begin, end, orders)
            yield batch if share is None else batch._replace(share=share)

    def _take(self, begin: int, end: int, orders: Mapping[torch.device, Tensor]) -> Batch:
        def take(tensor: Tensor) -> Tensor:
            if orders:
                taken = tensor.index_select(0, orders[tensor.device][begin:end])
            else:
                taken = tensor[begin:end]
            return taken if self.late_dtype is None else self._copy(taken)

        batch: Batch = map_tensors(take, self.samples)
        return batch

    def _copy(self, tensor: Tensor) -> Tensor:
        """Apart from the file that it was mapped from, and in the model's type."""
        dtype = self.late_dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(dtype, copy=True)


class Samples:
    """A Dataset with an index: any map-style dataset, which loads one sample at a time.

    Args:
        dataset: gives inputs, or a tuple of inputs, targets and, if there are any, weights.
        batch_size: samples in a batch; the last one may have fewer.
        dtype: what numpy floats become.
        shuffle: draw a new permutation for each pass.
        generator: draws the permutations; torch's default one if None.
    """

    is_one_shot = False

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int,
        dtype: torch.dtype,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        self.dataset = dataset
        self.dtype = dtype
        self.num_samples = len(dataset)  # type: ignore[arg-type] # as torch's samplers ask
        self._cuts = Cuts(self.num_samples, batch_size, shuffle, generator)
        self.num_batches = self._cuts.num_batches
        self.generators = () if generator is None else (generator,)

    def start(self, position: Position, epoch: int = 0) -> Iterator[Batch]:
        """A pass over the samples that goes on from a position."""
        order = self._cuts.order()
        cuts = list(self._cuts.after(position.samples))
        rows = [
            range(begin, end) if order is None else order[begin:end].tolist()
            for begin, end, _ in cuts
        ]
        loader = iter(DataLoader(self.dataset, batch_sampler=rows))  # type: ignore[arg-type]
        return (
            as_tensors(unpack(batch), self.dtype, "batch")._replace(share=share)
            for batch, (_, _, share) in zip(loader, cuts, strict=True)
        )


class Stream:
    """Batches that something else makes: a DataLoader, a generator, any iterable.

    Of several processes each reads its own; they take their steps together until the last of
    them has ended.

    Args:
        batches: gives inputs, or a tuple or list of inputs, targets and, if there are any,
            sample weights.
        dtype: what numpy floats become.
    """

    num_samples = None

    def __init__(self, batches: Iterable[Any], dtype: torch.dtype) -> None:
        self.batches = batches
        self.dtype = dtype
        self.is_one_shot = isinstance(batches, Iterator)
        self.num_batches = _length(batches)
        self.generators = tuple(_generators_of(batches))

    def start(self, position: Position, epoch: int = 0) -> Iterator[Batch]:
        """A pass over the batches; those before the position are read and left aside.

        Raises:
            DataError: there are not so many.
        """
        for sampler in _samplers_of(self.batches):
            if hasattr(sampler, "set_epoch"):  # torch's DistributedSampler shuffles by it
                sampler.set_epoch(epoch)
        iterator = iter(self.batches)
        skipped = sum(1 for _ in itertools.islice(iterator, position.batches))
        if skipped < position.batches:
            raise DataError(
                f"inputs: expected the data of the checkpoint, which had {position.batches} "
                f"batches behind it, got {skipped} in all.\n"
                "  To mend it: give the same data, a generator from its beginning."
            )
        batches = (self._batch(batch) for batch in iterator)
        return batches if num_processes() == 1 else _in_step(batches)

    def _batch(self, given: Any) -> Batch:
        batch = unpack(given)
        if not batch.are_tensors():
            batch = as_tensors(batch, self.dtype, "batch")
        return batch


Source = Arrays | Samples | Stream


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
        parts = {"inputs": inputs, "targets": targets, "weights": sample_weight}
        samples = Batch(**{name: as_tensors(part, dtype, name) for name, part in parts.items()})
        late_dtype = dtype if has_memory_map(list(parts.values())) else None
        return Arrays(samples, batch_size, shuffle, generator, late_dtype)
    _refuse_beside(inputs, targets=targets, sample_weight=sample_weight)
    if type(inputs) is TensorDataset:  # a subclass may do more than index
        return Arrays(unpack(inputs.tensors), batch_size, shuffle, generator)
    if isinstance(inputs, IterableDataset):
        inputs = DataLoader(inputs, batch_size, generator=generator)
    elif isinstance(inputs, Dataset):
        return Samples(inputs, batch_size, dtype, shuffle, generator)
    if isinstance(inputs, Iterable):
        return Stream(inputs, dtype)
    raise DataError(
        f"inputs: expected arrays, tensors, a Dataset, a DataLoader or an iterable of batches, "
        f"got {type(inputs).__name__}.\n"
        "  To mend it: convert it to one of these."
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
    for part, value in zip(names, samples[:3], strict=True):
        for name, tensor in named_tensors(value, part):
            counts[name] = len(tensor) if tensor.ndim else 0
    if len(set(counts.values())) == 1 and min(counts.values()) > 0:
        return min(counts.values())
    listed = ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
    raise DataError(
        f"arrays: expected the same number of samples, more than 0, in each, got {listed}.\n"
        "  To mend it: give arrays that agree in dimension 0, the sample."
    )


def _length(batches: Iterable[Any]) -> int | None:
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:  # a generator, or the loader of an iterable dataset
        return None


def _in_step(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches of this process, and when it has no more, its last one without weight."""
    last: Batch | None = None
    while True:
        batch = next(batches, None)
        own = 0 if batch is None else count_samples(batch.inputs)
        total = int(sum_over_processes(torch.tensor(own)).item())
        last = batch or last
        if total == 0:
            return
        if last is None:
            raise DataError(
                f"data: expected a batch or more in each process, got none in process {rank()}.\n"
                "  To mend it: give every process a part of the data."
            )
        yield last._replace(share=Share(own, total))


def _samplers_of(batches: Iterable[Any]) -> list[Any]:
    batch_sampler = getattr(batches, "batch_sampler", None)
    samplers = [getattr(batches, "sampler", None), batch_sampler]
    return [*samplers, getattr(batch_sampler, "sampler", None)]


def _generators_of(batches: Iterable[Any]) -> list[torch.Generator]:
    owners = [batches, *_samplers_of(batches)]
    found = [getattr(owner, "generator", None) for owner in owners]
    distinct = {id(item): item for item in found if isinstance(item, torch.Generator)}
    return list(distinct.values())
