"""What a step is made of: a batch, its share among processes, its place in the data."""

from typing import Any, NamedTuple

from torch import Tensor

from torchbp.errors import DataError


class Share(NamedTuple):
    """How many samples of a step this process has, and how many all processes have."""

    own: int
    total: int


class Batch(NamedTuple):
    """What one step needs: tensors, or lists, tuples and dicts of them.

    Of several processes each has its share of a step. One whose share is empty has a batch all
    the same, which does not count: all of them must take part in the step.
    """

    inputs: Any
    targets: Any = None
    weights: Any = None
    share: Share | None = None

    def are_tensors(self) -> bool:
        """Whether it is just a tensor of inputs and one of targets, as most batches are."""
        return type(self.inputs) is Tensor and type(self.targets) is Tensor and self.weights is None


class Position(NamedTuple):
    """How far a pass has come: the batches of this process, the samples of all processes."""

    batches: int = 0
    samples: int = 0


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
