"""Stacking: a linear model of the members' predictions, learned on what they had not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from torchbp.ensemble.pooling import Pooling
from torchbp.ensemble.predictions import Predictions
from torchbp.ensemble.progress import tracked
from torchbp.ensemble.tasks import Task, as_targets
from torchbp.errors import DataError, missing_extra


class Stacking(Pooling):
    """A regression on the predictions of all members: logistic for classes, ridge for numbers.

    Args:
        predictions: out of fold, as `out_of_fold` gives them, or of validation data; the test
            must not see these samples.
        targets: class indices or numbers of the same samples.
        output: which of several outputs.
        strength: the L2 penalty of the coefficients is 1 / strength.

    Shape:
        predictions (M, N, C), weights (M,), which are not used -> (N, C).

    Raises:
        DataError: targets that do not fit.
        MissingExtraError: scikit-learn is not installed.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
        >>> stacking = Stacking(Predictions.of({"net": p}), [0, 0, 1, 1])
        >>> stacking(p.double()[None], torch.ones(1)).argmax(1)
        tensor([0, 0, 1, 1])

    Of classes it sees logarithms of the probabilities.
    Source: Wolpert 1992, https://doi.org/10.1016/S0893-6080(05)80023-1
    """

    takes_weights = False

    def __init__(
        self,
        predictions: Predictions,
        targets: Any,
        output: str | None = None,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        name = next(iter(predictions.values)) if output is None else output
        values, task = predictions.values[name], predictions.tasks[name]
        target = as_targets(targets, task, values.shape[2], None, "stacking targets")
        if len(target) != len(predictions):
            raise DataError(
                f"stacking targets: expected {len(predictions)}, as many as predictions, got "
                f"{len(target)}.\n  To mend it: pass the target of each sample."
            )
        self.is_class = task != "regression"
        present = sorted(set(target.tolist())) if self.is_class else []
        if self.is_class and len(present) < values.shape[2]:
            raise DataError(
                f"stacking targets: expected all of {values.shape[2]} classes, got {present}.\n"
                "  To mend it: stack on more samples."
            )
        coefficients, intercept = _fitted(self._features(values), target, self.is_class, strength)
        self.coefficients: Tensor
        self.intercept: Tensor
        self.rows: Tensor
        self.register_buffer("coefficients", coefficients)  # (C, M * C)
        self.register_buffer("intercept", intercept)  # (C,)
        self.register_buffer("rows", predictions.rows)

    def forward(self, predictions: Tensor, weights: Tensor) -> Tensor:
        """The answer of the regression."""
        features = self._features(predictions)
        x = nn.functional.linear(
            features, self.coefficients.to(features.dtype), self.intercept.to(features.dtype)
        )
        return x.softmax(dim=1) if self.is_class else x

    def _features(self, predictions: Tensor) -> Tensor:
        x = predictions.clamp_min(1e-6).log() if self.is_class else predictions
        return x.transpose(0, 1).flatten(1)  # (N, M * C)

    def settings(self) -> dict[str, Any]:
        """What is not in its buffers."""
        return {"is_class": self.is_class}

    @classmethod
    def rebuilt(cls, settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The pooling that had these settings and this state."""
        made = cls.__new__(cls)
        Pooling.__init__(made)
        made.is_class = bool(settings["is_class"])
        for name, tensor in state.items():
            made.register_buffer(name, tensor)
        return made


def out_of_fold(
    makers: Mapping[str, Callable[[Any, Any], Any]],
    inputs: Any,
    targets: Any,
    *,
    task: Task | Mapping[str, Task] = "classification",
    folds: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> Predictions:
    """Predictions of each member for each sample by one that was not trained on it.

    Args:
        makers: member name -> function(inputs, targets) that trains one anew and returns it, as
            `Ensemble` takes it.
        inputs: an array or a tensor, or a list, tuple or dict of them.
        targets: class indices or numbers.
        task: as in `Ensemble`.
        folds: parts; each is predicted by members that were trained on the others.
        seed: of the permutation that deals the samples out.
        progress: whether to show a bar on a terminal.

    Raises:
        DataError: fewer samples than folds, or fewer than two folds.

    Example:
        >>> make = lambda x, y: lambda z: torch.full((len(z), 2), 0.5)
        >>> x, y = torch.arange(6.0)[:, None], torch.tensor([0, 1] * 3)
        >>> len(out_of_fold({"guess": make}, x, y, folds=3))
        6
    """
    from torchbp.ensemble.ensemble import Ensemble
    from torchbp.ensemble.predictions import rows_of
    from torchbp.train.tensors import as_tensors

    rows = rows_of(inputs)
    if not 2 <= folds <= len(rows):
        raise DataError(
            f"out_of_fold: expected from 2 folds to one for each of {len(rows)} samples, got "
            f"{folds}.\n  To mend it: 5 and 10 are usual."
        )
    targets = as_tensors(targets, torch.float64, "targets")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    parts = []
    for fold in tracked(range(folds), "folds", progress):
        held_out = order[fold::folds]
        others = torch.cat([order[i::folds] for i in range(folds) if i != fold]).sort()[0]
        seen, known = _picked(inputs, others), _picked(targets, others)
        ensemble = Ensemble({name: make(seen, known) for name, make in makers.items()}, task)
        parts.append(ensemble.predictions(_picked(inputs, held_out), progress=False))
    back = torch.cat([order[fold::folds] for fold in range(folds)]).argsort()
    values = {
        name: torch.cat([part.values[name] for part in parts], dim=1)[:, back]
        for name in parts[0].values
    }
    return Predictions(tuple(makers), values, parts[0].tasks, rows, parts[0].architectures)


def _picked(value: Any, places: Tensor) -> Any:
    """The samples at some places, of arrays in any structure."""
    if isinstance(value, Mapping):
        return {name: _picked(item, places) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_picked(item, places) for item in value)
    return value[places] if isinstance(value, Tensor) else value[places.numpy()]


def _fitted(
    features: Tensor, target: Tensor, is_class: bool, strength: float
) -> tuple[Tensor, Tensor]:
    """Coefficients (C, M * C) and intercept (C,) of the regression."""
    try:
        from sklearn.linear_model import LogisticRegression, Ridge
    except ImportError as error:
        raise missing_extra("scikit-learn", "ensemble") from error
    if not is_class:
        ridge = Ridge(alpha=1 / strength).fit(features.numpy(), target.numpy())
        coefficients = torch.as_tensor(ridge.coef_, dtype=torch.float64)
        return coefficients.reshape(target.shape[1], -1), torch.as_tensor(
            ridge.intercept_, dtype=torch.float64
        ).reshape(-1)
    model = LogisticRegression(C=strength, max_iter=5000)
    model.fit(features.numpy(), target.numpy())
    return _of_every_class(model, features.shape[1])


def _of_every_class(model: Any, num_features: int) -> tuple[Tensor, Tensor]:
    """Rows by class; two classes have one row in scikit-learn, which is the second one's."""
    coefficients, intercept = torch.tensor(model.coef_), torch.tensor(model.intercept_)
    if len(intercept) == 1:
        coefficients = torch.cat([torch.zeros_like(coefficients), coefficients])
        intercept = torch.cat([torch.zeros_like(intercept), intercept])
    return coefficients, intercept
