"""Loading and setting up Keras: its backend, its dtype, and what must be switched off."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torchbp.errors import DataError, missing_extra

REFERENCES = ("keras-tensorflow", "keras-torch")


def backend_here() -> str | None:
    """The reference that this process computes, None as long as Keras is not loaded."""
    keras = sys.modules.get("keras")
    return f"keras-{keras.backend.backend()}" if keras else None


def keras_environment(reference: str) -> dict[str, str]:
    """The variables that must be set before Keras is loaded: on the CPU and without oneDNN."""
    return {
        "KERAS_BACKEND": reference.removeprefix("keras-"),
        "KERAS_TORCH_DEVICE": "cpu",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
    }


def start_keras(reference: str) -> None:
    """Load Keras with the backend of a reference, or see that it is loaded with it.

    Raises:
        DataError: Keras is already loaded with another backend.
        MissingExtraError: Keras or its backend is not installed.
    """
    if backend_here() not in (None, reference):
        raise DataError(
            f"parity: expected {reference}, got {backend_here()}, which is already loaded.\n"
            "  To mend it: run this reference in a process of its own."
        )
    os.environ.update(keras_environment(reference))
    try:
        import keras  # noqa: F401
    except ImportError as error:
        raise missing_extra("keras and tensorflow", "parity") from error
    if reference == REFERENCES[0]:
        import tensorflow as tf

        if tf.config.get_visible_devices("GPU"):
            tf.config.set_visible_devices([], "GPU")


@contextmanager
def keras_dtype(dtype: str) -> Iterator[None]:
    """Let Keras build and compute in a dtype, and leave its settings as they were."""
    import keras

    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        with _real_float64():
            yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])
        keras.utils.clear_session(free_memory=False)


@contextmanager
def _real_float64() -> Iterator[None]:
    """Keras's torch backend computes float64 in float32, unless its promotion table is told."""
    from keras.src.backend.common import dtypes

    table = dtypes.BIT64_TO_BIT32_DTYPE
    before = table["float64"]
    table["float64"] = "float64"
    _forget_promotions(dtypes)
    try:
        yield
    finally:
        table["float64"] = before
        _forget_promotions(dtypes)


def _forget_promotions(dtypes: Any) -> None:
    for function in vars(dtypes).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
