"""Keras's metrics as the Trainer takes them: means as functions, others from torchmetrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from torchbp.errors import DataError, missing_extra
from torchbp.port.config import Config, UnsupportedError
from torchbp.port.losses import MEANS, by_name, settings_of
from torchbp.port.measures import KerasMeasure
from torchbp.port.objects import keras_object
from torchbp.port.saved import keras_snake_case


def metric_of(found: Any, classes_at_1: bool) -> tuple[str, Any]:
    """The name in the logs, and the metric, of what a file has.

    Raises:
        UnsupportedError: one that has no counterpart here.
        MissingExtraError: torchmetrics is not installed, and the metric needs it.
    """
    given, config = keras_object(found, "the metric")
    name = config.get("name", given if isinstance(found, str) else keras_snake_case(given))
    if not isinstance(name, str):
        raise UnsupportedError(f"the metric {given} of name {name!r}")
    if given in _STATEFUL:
        made: Any = _Elements(_STATEFUL[given](config), given != "RootMeanSquaredError")
    else:
        known = _NAMES.get(given, by_name(given))
        if known == "cosine_similarity":  # as a metric it has the other sign than as a loss
            if not isinstance(found, str) and given == known:
                raise UnsupportedError("the function cosine_similarity, of which there are two")
            known = "positive_cosine_similarity"
        if known not in MEANS and known not in _SETTINGS:
            raise UnsupportedError(f"the metric {given}")
        settings = settings_of(known, config, {**_SETTINGS, **MEANS})
        made = KerasMeasure(known, classes_at_1=classes_at_1, **settings)
    config.check_all_read()
    return name, made


class _Elements:
    """A metric of torchmetrics that takes each element as a sample, as Keras's do.

    Args:
        metric: of torchmetrics.
        is_binary: whether targets are yes or no.
    """

    def __init__(self, metric: Any, is_binary: bool) -> None:
        self.metric = metric
        self.is_binary = is_binary

    def update(self, output: Tensor, target: Tensor) -> None:
        """Takes in a batch."""
        if target.numel() != output.numel():
            raise DataError(
                f"{type(self.metric).__name__}: expected targets {tuple(output.shape)}, got "
                f"{tuple(target.shape)}.\n"
                "  To mend it: reshape the targets, nothing is broadcast."
            )
        flat = target.reshape(-1)
        flat = (flat != 0).long() if self.is_binary else flat.to(output.dtype)
        self.metric.update(output.reshape(-1), flat)

    def compute(self) -> Tensor:
        """The value so far."""
        value: Tensor = self.metric.compute()
        return value

    def reset(self) -> None:
        """Forgets everything."""
        self.metric.reset()

    def to(self, device: torch.device) -> None:
        """Moves what was gathered."""
        self.metric = self.metric.to(device)

    def persistent(self, mode: bool) -> None:
        """Whether `state_dict` has what was gathered."""
        self.metric.persistent(mode)

    def state_dict(self) -> dict[str, Any]:
        """What was gathered."""
        found: dict[str, Any] = self.metric.state_dict()
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self.metric.load_state_dict(state)

    @property
    def _update_count(self) -> int:
        return int(self.metric._update_count)

    @_update_count.setter
    def _update_count(self, count: int) -> None:
        self.metric._update_count = count


def _torchmetrics() -> Any:
    try:
        import torchmetrics
    except ImportError:
        raise missing_extra("torchmetrics", "metrics") from None
    return torchmetrics


def _auc(config: Config) -> Any:
    config.only("curve", "ROC")
    config.only("summation_method", "interpolation")
    for name in ("multi_label", "from_logits"):
        config.only(name, False)
    for name in ("num_labels", "label_weights"):
        config.only(name, None)
    if config.get("thresholds", None) is not None:
        raise UnsupportedError("the metric AUC with thresholds of your own")
    thresholds = config.count("num_thresholds", 200)
    classification = _torchmetrics().classification
    return classification.BinaryAUROC(thresholds=thresholds, validate_args=False)


def _threshold(config: Config) -> float:
    for name in ("top_k", "class_id"):
        config.only(name, None)
    return 0.5 if config.get("thresholds", None) is None else config.number("thresholds")


def _rmse(config: Config) -> Any:
    return _torchmetrics().MeanSquaredError(squared=False)


_STATEFUL: dict[str, Callable[[Config], Any]] = {
    "AUC": _auc,
    "Precision": lambda config: _torchmetrics().classification.BinaryPrecision(
        _threshold(config), validate_args=False
    ),
    "Recall": lambda config: _torchmetrics().classification.BinaryRecall(
        _threshold(config), validate_args=False
    ),
    "RootMeanSquaredError": _rmse,
}
_NAMES = {
    "acc": "accuracy",
    "BinaryAccuracy": "binary_accuracy",
    "CategoricalAccuracy": "categorical_accuracy",
    "SparseCategoricalAccuracy": "sparse_categorical_accuracy",
    "TopKCategoricalAccuracy": "top_k_categorical_accuracy",
    "SparseTopKCategoricalAccuracy": "sparse_top_k_categorical_accuracy",
    "LogCoshError": "log_cosh",
}
_SETTINGS: dict[str, tuple[str, ...]] = {
    "accuracy": (),
    "binary_accuracy": ("threshold",),
    "categorical_accuracy": (),
    "sparse_categorical_accuracy": (),
    "top_k_categorical_accuracy": ("k",),
    "sparse_top_k_categorical_accuracy": ("k",),
    "positive_cosine_similarity": (),
}
