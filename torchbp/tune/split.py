"""Data in three parts: to train on, to choose by, and a test set that stays closed meanwhile."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchbp.errors import DataError, missing_extra


class Part(NamedTuple):
    """Samples: inputs in any form of the Trainer's arrays, and their targets."""

    inputs: Any
    targets: Any

    def __len__(self) -> int:
        return len(self.targets)


class Round(NamedTuple):
    """What one training of a trial sees."""

    train: Part
    validation: Part


class Split:
    """Training data, validation data, and a test set that only `Study.report` opens.

    Args:
        inputs: arrays or tensors that share dimension 0, the sample: one, a list or tuple of
            several, or a dict by the names of the model's inputs.
        targets: (N, ...), an array or a tensor.
        validation: the fraction of the samples to choose by, or (inputs, targets) of their own.
        test: the fraction of the samples to keep closed, or (inputs, targets) of their own. It
            is taken first; `validation` is a fraction of all samples, too.
        folds: cut the samples that are not the test set into so many folds instead; each trial
            then trains a model for each fold, and its score is their mean.
        seed: draws who goes where.

    Raises:
        DataError: fractions that leave a part empty, or inputs and targets of different lengths.
        MissingExtraError: scikit-learn is not installed.

    Example:
        >>> x, y = torch.randn(100, 4), torch.arange(100) % 2
        >>> Split(x, y, validation=0.2, test=0.3)
        Split(train=50, validation=20, test=30)
        >>> Split(x, y, test=0.3, folds=7)
        Split(folds=7 of 10, test=30)

    Classes keep their shares in all parts if the targets are (N,) integers. Samples that belong
    together (pictures of one person) must be dealt out by you: pass the parts.
    """

    def __init__(
        self,
        inputs: Any,
        targets: Any,
        *,
        validation: float | tuple[Any, Any] = 0.2,
        test: float | tuple[Any, Any] = 0.2,
        folds: int | None = None,
        seed: int = 0,
    ) -> None:
        whole = _checked(inputs, targets, "data")
        rest = torch.arange(len(whole))
        if isinstance(test, tuple):
            self._test = _checked(*test, "test")
        else:
            num_test = _count(test, len(rest), "test")
            rest, closed = _cut(rest, whole.targets, num_test, seed)
            self._test = take(whole, closed)
        self._whole, self._seed = whole, seed
        self._given = _checked(*validation, "validation") if isinstance(validation, tuple) else None
        self._cuts = self._cut_rest(rest, validation, folds)

    @property
    def num_rounds(self) -> int:
        """Models that a trial trains: 1, or one for each fold."""
        return len(self._cuts)

    @property
    def num_validation(self) -> int:
        """Samples that choices are made by."""
        return sum(len(validation) for _, validation in self._cuts)

    def round(self, index: int) -> Round:
        """The training and validation data of one round."""
        train, validation = self._cuts[index]
        chosen_by = take(self._whole, validation) if self._given is None else self._given
        return Round(take(self._whole, train), chosen_by)

    def fingerprint(self) -> str:
        """The same for the same data, cut in the same way, and for nothing else."""
        digest = hashlib.sha256()
        parts = [self._whole, self._test, *([self._given] if self._given else [])]
        for part in parts:
            digest.update(torch.as_tensor(part.targets).cpu().contiguous().numpy().tobytes())
            digest.update(repr([tuple(array.shape) for array in arrays(part.inputs)]).encode())
        for cut in self._cuts:
            digest.update(torch.cat(cut).numpy().tobytes())
        return digest.hexdigest()[:16]

    def __repr__(self) -> str:
        test = f"test={len(self._test)}"
        if self.num_rounds > 1:
            return f"Split(folds={self.num_rounds} of {len(self._cuts[0][1])}, {test})"
        train, validation = self._cuts[0]
        return f"Split(train={len(train)}, validation={len(validation)}, {test})"

    def _cut_rest(
        self, rest: Tensor, validation: float | tuple[Any, Any], folds: int | None
    ) -> list[tuple[Tensor, Tensor]]:
        """Indices of the training and the validation samples of each round."""
        if folds is not None:
            return _folds(rest, self._whole.targets, folds, self._seed)
        if self._given is not None:
            return [(rest, torch.arange(len(self._given)))]
        count = _count(validation, len(self._whole), "validation")
        return [_cut(rest, self._whole.targets, count, self._seed)]


def take(part: Part, index: Tensor) -> Part:
    """Some of the samples."""
    return Part(pick(part.inputs, index), pick(part.targets, index))


def pick(value: Any, index: Tensor) -> Any:
    """Rows of arrays or tensors in lists, tuples and dicts."""
    if isinstance(value, Mapping):
        return {name: pick(item, index) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(pick(item, index) for item in value)
    return value[index.to(value.device)] if isinstance(value, Tensor) else value[index.numpy()]


def arrays(value: Any) -> list[Any]:
    """The arrays and tensors in lists, tuples and dicts."""
    if isinstance(value, Mapping):
        return [array for item in value.values() for array in arrays(item)]
    if isinstance(value, list | tuple):
        return [array for item in value for array in arrays(item)]
    return [value]


def _checked(inputs: Any, targets: Any, name: str) -> Part:
    lengths = [len(array) if hasattr(array, "shape") else None for array in arrays(inputs)]
    if not hasattr(targets, "shape") or any(n != len(targets) for n in lengths) or not lengths:
        raise DataError(
            f"Split: expected arrays or tensors with one row a sample as inputs and targets of "
            f"{name}, got lengths {lengths} and {getattr(targets, 'shape', type(targets))}.\n"
            "  To mend it: pass arrays of one length; read a Dataset into tensors first."
        )
    return Part(inputs, targets)


def _count(part: Any, num_samples: int, name: str) -> int:
    """How many samples a fraction is."""
    if not isinstance(part, int | float) or not 0 < part < 1 or round(part * num_samples) < 1:
        raise DataError(
            f"Split: expected {name} to be a fraction between 0 and 1 of {num_samples} samples "
            f"that holds at least one, or (inputs, targets), got {part!r}.\n"
            f"  To mend it: {name}=0.2, for example."
        )
    return round(part * num_samples)


def _classes(targets: Any, index: Tensor) -> Any:
    """The classes to keep in proportion, None if the targets are none."""
    own = torch.as_tensor(pick(targets, index))
    return own.numpy() if own.ndim == 1 and not own.is_floating_point() else None


def _cut(index: Tensor, targets: Any, count: int, seed: int) -> tuple[Tensor, Tensor]:
    selection = _model_selection()
    classes = _classes(targets, index)
    try:
        kept, cut = selection.train_test_split(
            index.numpy(), test_size=count, random_state=seed, stratify=classes
        )
    except ValueError as error:
        raise _cannot_cut(len(index), error) from error
    return torch.as_tensor(kept), torch.as_tensor(cut)


def _folds(index: Tensor, targets: Any, folds: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    selection = _model_selection()
    classes = _classes(targets, index)
    kind = selection.KFold if classes is None else selection.StratifiedKFold
    try:
        cutter = kind(folds, shuffle=True, random_state=seed)
        return [
            (index[train], index[validation]) for train, validation in cutter.split(index, classes)
        ]
    except (ValueError, TypeError) as error:
        raise _cannot_cut(len(index), error) from error


def _cannot_cut(num_samples: int, error: Exception) -> DataError:
    return DataError(
        f"Split: expected {num_samples} samples that can be cut as asked for, but {error}.\n"
        "  To mend it: take smaller fractions or fewer folds, or pass the parts that you have cut."
    )


def _model_selection() -> Any:
    try:
        from sklearn import model_selection
    except ImportError as error:
        raise missing_extra("scikit-learn", "tune") from error
    return model_selection
