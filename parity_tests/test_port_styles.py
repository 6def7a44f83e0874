"""Models in the styles of real ones pass all levels of their certificates."""

import os

import pytest

from torchbp.parity import certify
from torchbp.port import load

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
keras = pytest.importorskip("keras")
from parity_tests.porting import randomize  # noqa: E402
from parity_tests.styles import ELEVEN, STYLES  # noqa: E402

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]
SLOW = {"shared Xception"}


def styles():
    for name in STYLES:
        yield pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])


@pytest.mark.parametrize("name", list(styles()))
def test_style(name):
    keras.utils.set_random_seed(0)
    records = certify(randomize(STYLES[name]()), dtypes=["float64"])
    assert not [record for record in records if not record["ok"]]
    if name in ELEVEN:
        assert {record["level"] for record in records} == set(range(1, 8))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("name", ["masked GRU", "attention", "sequence to sequence", "tagger"])
def test_style_from_a_file(name, suffix, tmp_path):
    keras.utils.set_random_seed(0)
    model = randomize(STYLES[name]())
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    if suffix == "h5" and any(".ops" in type(op).__module__ for op in model.operations):
        load(path)  # Keras cannot load its own operations from this format
        return
    records = certify(path, dtypes=["float64"], levels=[1, 2, 3])
    assert not [record for record in records if not record["ok"]]
