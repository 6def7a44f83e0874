"""Keras for the tests of single layers."""

import os

import pytest

from torchbp.parity.keras_setup import REFERENCES, backend_here, keras_dtype


@pytest.fixture(scope="module")
def keras_float64():
    """Keras on TensorFlow, computing in float64."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    assert backend_here() == REFERENCES[0]
    with keras_dtype("float64"):
        yield keras
