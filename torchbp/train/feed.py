"""Batches on the device of the model, dealt out to epochs."""

import itertools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from torchbp.errors import DataError
from torchbp.train.batches import Batch, Position
from torchbp.train.class_weight import ClassWeight
from torchbp.train.processes import num_processes
from torchbp.train.random_states import random_states, restore_random_states
from torchbp.train.sources import Arrays, Source
from torchbp.train.tensors import count_samples, map_tensors, move


class Feed:
    """Deals a source of batches out to epochs, on the device of the model.

    Args:
        source: where the batches come from.
        device: where they go.
        steps_per_epoch: batches in an epoch; the next epoch goes on where the last one stopped,
            and a source that can be read again starts anew when it ends. None: an epoch is one
            pass through the source.
        class_weight: gives each sample the weight of its class.
        channels_last: images (N, C, H, W) among the inputs come in this memory format.
    """

    def __init__(
        self,
        source: Source,
        device: torch.device,
        steps_per_epoch: int | None = None,
        class_weight: Mapping[int, float] | None = None,
        channels_last: bool = False,
    ) -> None:
        self.source = source
        self.device = device
        self.steps_per_epoch = steps_per_epoch
        is_known = source.num_samples is not None or num_processes() == 1
        self.num_batches = steps_per_epoch or (source.num_batches if is_known else None)
        self._class_weight = None if class_weight is None else ClassWeight(class_weight, device)
        self._channels_last = channels_last
        self._is_there = isinstance(source, Arrays) and source.devices == {device}
        self._is_endless = steps_per_epoch is not None and not source.is_one_shot
        self._starts_anew = steps_per_epoch is None and not source.is_one_shot
        self._pass: Iterator[Batch] = iter(())
        self._num_passes = 0
        self._before_pass: dict[str, Any] = {}  # the random states
        self._dealt = self._settled = Position()
        self._peeked: list[Batch] = []
        self._has_ended = False

    def __iter__(self) -> Iterator[Batch]:
        """The batches of one epoch."""
        return self.epoch()

    def epoch(self, first: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `first` on."""
        if self._num_passes == 0 or (self._starts_anew and first == 0):
            self._begin_pass()
        for dealt in itertools.count(first):
            if dealt == self.steps_per_epoch:
                return
            batch = self._next()
            if batch is None:
                if dealt < (self.steps_per_epoch or 0):
                    where = f"after {dealt} of {self.steps_per_epoch} steps of an epoch"
                    self._end(f"{where}, which is kept")
                return
            yield self._prepare(batch)

    def is_spent(self) -> bool:
        """Whether a source that can be read once has nothing left for another epoch."""
        if self.source.is_one_shot and not self._has_ended:
            if self._num_passes == 0:
                self._begin_pass()
            self._peeked = self._peeked or list(itertools.islice(self._pass, 1))
            if not self._peeked and self._dealt.batches > 0:
                self._end("with the epochs before this one")
        return self._has_ended

    def settle(self) -> None:
        """Says that the batches dealt so far have done their work."""
        self._settled = self._dealt

    def state_dict(self) -> dict[str, Any]:
        """How far the work has come in the data, and how to come there again."""
        return {
            "num_samples": self.source.num_samples,
            "num_processes": num_processes(),
            "num_passes": self._num_passes,
            "before_pass": self._before_pass,
            "batches": self._settled.batches,
            "samples": self._settled.samples,
        }

    def load_state_dict(self, state: Mapping[str, Any], *, within_epoch: bool) -> None:
        """Goes to where `state_dict` was; the random states are the caller's to restore.

        Raises:
            DataError: other data, or another number of processes for data that each reads for
                itself.
        """
        self._check_state(state)
        self._num_passes = state["num_passes"]
        if self._num_passes == 0 or (self._starts_anew and not within_epoch):
            return
        self._before_pass = state["before_pass"]
        restore_random_states(self._before_pass, self.source.generators)
        self._dealt = self._settled = Position(state["batches"], state["samples"])
        self._pass = self.source.start(self._dealt, self._num_passes - 1)

    def _begin_pass(self) -> None:
        self._before_pass = random_states(self.source.generators)
        self._pass = self.source.start(Position(), self._num_passes)
        self._num_passes += 1
        self._dealt = self._settled = Position()

    def _next(self) -> Batch | None:
        batch = self._pull()
        if batch is None and self._is_endless:
            self._begin_pass()
            batch = self._pull()
        if batch is None and self._dealt.batches == 0:
            raise DataError(
                "data: expected at least one batch, got none.\n"
                "  To mend it: check that the dataset or generator gives something; one that has "
                "been read through gives nothing more."
            )
        if batch is not None:
            total = batch.share.total if batch.share else count_samples(batch.inputs)
            self._dealt = Position(self._dealt.batches + 1, self._dealt.samples + total)
        return batch

    def _pull(self) -> Batch | None:
        return self._peeked.pop() if self._peeked else next(self._pass, None)

    def _end(self, where: str) -> None:
        self._has_ended = True
        warnings.warn(
            f"the data ended {where}; for all epochs the generator must give epochs * "
            "steps_per_epoch batches",
            stacklevel=3,
        )

    def _prepare(self, batch: Batch) -> Batch:
        if not self._is_there and not self._has_arrived(batch):
            batch = move(batch, self.device)
        if self._channels_last:
            batch = batch._replace(inputs=map_tensors(_channels_last, batch.inputs))
        if self._class_weight is None:
            return batch
        if batch.weights is not None:
            raise DataError(
                "class_weight: expected data without sample weights, got batches with both.\n"
                "  To mend it: leave class_weight out and multiply it into the sample weights."
            )
        return batch._replace(weights=self._class_weight(batch.targets))

    def _has_arrived(self, batch: Batch) -> bool:
        """Spares the usual batch on the device a walk through its structure."""
        device = self.device
        return batch.are_tensors() and batch.inputs.device == device == batch.targets.device

    def _check_state(self, state: Mapping[str, Any]) -> None:
        now, then = self.source.num_samples, state["num_samples"]
        if now != then:
            raise DataError(
                f"inputs: expected the data of the checkpoint, {then or 'batches made elsewhere'}"
                f"{' samples' if then else ''}, got {now or 'batches made elsewhere'}"
                f"{' samples' if now else ''}.\n"
                "  To mend it: give the same data, or start anew in another folder."
            )
        if self.source.num_samples is None and state["num_processes"] != num_processes():
            raise DataError(
                f"inputs: expected {state['num_processes']} processes, as when the checkpoint was "
                f"made, got {num_processes()}: batches that each process reads for itself cannot "
                "be dealt out anew.\n"
                "  To mend it: start as many processes, or give arrays or a Dataset."
            )


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


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
