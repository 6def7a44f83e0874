"""Batches on the device of the model, dealt out to epochs."""

import itertools
import warnings
from collections.abc import Iterator, Mapping

import torch

from torchbp.errors import DataError
from torchbp.train.batches import Arrays, Batch, Source
from torchbp.train.class_weight import ClassWeight
from torchbp.train.tensors import move


class Feed:
    """Deals a source of batches out to epochs, on the device of the model.

    Args:
        source: where the batches come from.
        device: where they go.
        steps_per_epoch: batches in an epoch; the next epoch goes on where the last one stopped,
            and a source that can be read again starts anew when it ends. None: an epoch is one
            pass through the source.
        class_weight: gives each sample the weight of its class.
    """

    def __init__(
        self,
        source: Source,
        device: torch.device,
        steps_per_epoch: int | None = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> None:
        self.source = source
        self.device = device
        self.steps_per_epoch = steps_per_epoch
        self.num_batches = steps_per_epoch or source.num_batches
        self._class_weight = None if class_weight is None else ClassWeight(class_weight, device)
        self._is_there = isinstance(source, Arrays) and source.devices == {device}
        self._endless = _repeat(source)
        self._peeked: list[Batch] = []
        self._has_ended = False

    def __iter__(self) -> Iterator[Batch]:
        """The batches of one epoch."""
        dealt = 0
        for batch in self._one_epoch():
            yield self._prepare(batch)
            dealt += 1
        if dealt < (self.steps_per_epoch or 0):
            self._end(f"after {dealt} of {self.steps_per_epoch} steps of an epoch, which is kept")

    def is_spent(self) -> bool:
        """Whether a source that can be read once has nothing left for another epoch."""
        if self.source.is_one_shot and not self._has_ended:
            self._peek()
        return self._has_ended

    def _peek(self) -> None:
        self._peeked = self._peeked or list(itertools.islice(self._endless, 1))
        if not self._peeked:
            self._end("with the epochs before this one")

    def _end(self, where: str) -> None:
        self._has_ended = True
        warnings.warn(
            f"the data ended {where}; for all epochs the generator must give epochs * "
            "steps_per_epoch batches",
            stacklevel=3,
        )

    def _one_epoch(self) -> Iterator[Batch]:
        if self.steps_per_epoch is None and not self.source.is_one_shot:
            return _one_pass(self.source)
        peeked, self._peeked = self._peeked, []
        return itertools.islice(itertools.chain(peeked, self._endless), self.steps_per_epoch)

    def _prepare(self, batch: Batch) -> Batch:
        batch = batch if self._is_there else move(batch, self.device)
        if self._class_weight is None:
            return batch
        if batch.weights is not None:
            raise DataError(
                "class_weight: expected data without sample weights, got batches with both.\n"
                "  To mend it: leave class_weight out and multiply it into the sample weights."
            )
        return batch._replace(weights=self._class_weight(batch.targets))


def split_validation(
    source: Source, validation: Source | None, fraction: float
) -> tuple[Source, Source | None]:
    """The source to train on, and the one to validate on, if there is any.

    Args:
        source: the training data.
        validation: the validation data, if there is some of its own.
        fraction: of the arrays in `source`, cut off their end; 0 for none.

    Raises:
        DataError: both are given, a fraction of what is not in memory, or one out of range.
    """
    if not fraction:
        return source, validation
    if validation is not None or not isinstance(source, Arrays):
        found = "validation_data too" if validation is not None else "batches made elsewhere"
        raise DataError(
            f"validation_fraction={fraction}: expected arrays to cut it from and no "
            f"validation_data, got {found}.\n"
            "  To mend it: pass validation_data alone."
        )
    return source.split(fraction)


def check_rereadable(source: Source | None, name: str, num_epochs: int) -> None:
    """Refuses a generator that is asked for more than its one pass.

    Raises:
        DataError: `source` ends after the first of several epochs.
    """
    if source is not None and source.is_one_shot and num_epochs > 1:
        raise DataError(
            f"{name}: expected data that can be read in each of {num_epochs} epochs, got a "
            "generator, which ends after the first.\n"
            "  To mend it: pass arrays, a Dataset or a DataLoader; generators of training data "
            "take steps_per_epoch."
        )


def _one_pass(source: Source) -> Iterator[Batch]:
    batch = None
    for batch in source:
        yield batch
    if batch is None:
        raise DataError(
            "data: expected at least one batch, got none.\n"
            "  To mend it: check that the dataset or generator gives something; one that has "
            "been read through gives nothing more."
        )


def _repeat(source: Source) -> Iterator[Batch]:
    yield from _one_pass(source)
    while not source.is_one_shot:
        yield from _one_pass(source)
