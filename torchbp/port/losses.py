"""Keras's losses by name or as a file has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchbp.port.config import Config, UnsupportedError
from torchbp.port.measures import KerasMeasure
from torchbp.port.objects import keras_object
from torchbp.port.saved import keras_snake_case


def loss_of(found: Any, classes_at_1: bool) -> KerasMeasure | None:
    """The loss of one output, None for an output without one.

    Args:
        found: a name, a class with its configuration, or None.
        classes_at_1: as of `KerasMeasure`.

    Raises:
        UnsupportedError: one that has no counterpart here.
    """
    if found is None:
        return None
    given, config = keras_object(found, "the loss")
    name = {"ce": "crossentropy"}.get(given, by_name(given))
    if name not in MEANS and name != "crossentropy":
        raise UnsupportedError(f"the loss {given}")
    config.get("name", None)
    reduction = config.get("reduction", "sum_over_batch_size")
    if reduction not in _REDUCTIONS:
        raise UnsupportedError(f"the loss {given} with reduction={reduction!r}")
    settings = settings_of(name, config, MEANS)
    config.check_all_read()
    return KerasMeasure(
        name, classes_at_1=classes_at_1, reduction=_REDUCTIONS[reduction], **settings
    )


def by_name(given: str) -> str:
    """The name of Keras's function for a name, an abbreviation or a class."""
    return _SHORT.get(given.lower(), keras_snake_case(given))


def settings_of(name: str, config: Config, known: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The arguments of a formula that differ from its defaults.

    Raises:
        UnsupportedError: an argument of another kind, or another axis than the last.
    """
    settings: dict[str, Any] = {}
    for key in known.get(name, ()):
        default = _DEFAULTS[key]
        if key == "k":
            value: Any = config.count(key, default)
        elif isinstance(default, bool):
            value = config.flag(key, default)
        else:
            value = config.number(key, default)
        if value != default:
            settings[key] = value
    config.only("axis", -1)
    config.only("ignore_class", None)
    return settings


MEANS: dict[str, tuple[str, ...]] = {
    "mean_squared_error": (),
    "mean_absolute_error": (),
    "mean_absolute_percentage_error": (),
    "mean_squared_logarithmic_error": (),
    "huber": ("delta",),
    "log_cosh": (),
    "poisson": (),
    "kl_divergence": (),
    "cosine_similarity": (),
    "hinge": (),
    "squared_hinge": (),
    "categorical_hinge": (),
    "binary_crossentropy": ("from_logits", "label_smoothing"),
    "categorical_crossentropy": ("from_logits", "label_smoothing"),
    "sparse_categorical_crossentropy": ("from_logits",),
}
_DEFAULTS: dict[str, Any] = {
    "delta": 1.0,
    "from_logits": False,
    "label_smoothing": 0.0,
    "threshold": 0.5,
    "k": 5,
}
_SHORT = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "logcosh": "log_cosh",
}
_REDUCTIONS = {
    "sum_over_batch_size": "mean",
    "mean": "mean",
    "auto": "mean",  # of tf.keras 2
    "sum": "sum",
}
