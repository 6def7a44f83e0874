"""Ported Keras models as source: it computes exactly what the port computes, and is short."""

import copy
import importlib.util
import os

import pytest
import torch

from torchbp.graph.structure import leaves
from torchbp.port import UnsupportedError, from_keras
from torchbp.port.eject import eject
from torchbp.port.eject.files import _examples

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
keras = pytest.importorskip("keras")
from parity_tests.porting import randomize  # noqa: E402  # needs the backend
from parity_tests.styles import STYLES  # noqa: E402

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]


def loaded(folder):
    spec = importlib.util.spec_from_file_location("ejected", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


def run(model, inputs, dtype, training):
    """Outputs, gradients of inputs, and those of parameters, sorted by shape and value."""
    model = copy.deepcopy(model).to(dtype).train(training)
    given = [t.to(dtype).requires_grad_() if t.is_floating_point() else t for t in inputs]
    torch.manual_seed(0)
    outputs = [leaf for leaf in leaves(model(*given)) if isinstance(leaf, torch.Tensor)]
    sum((y * torch.randn_like(y)).sum() for y in outputs if y.requires_grad).backward()
    weights = [p.grad for p in model.parameters() if p.grad is not None]
    weights.sort(key=lambda grad: (tuple(grad.shape), grad.double().sum().item()))
    return outputs, [t.grad for t in given if t.grad is not None], weights


def check(keras_model, folder):
    """Files of a model, whose module equals the port bit by bit."""
    try:
        port = from_keras(keras_model, check=False)
    except UnsupportedError as error:
        pytest.skip(str(error))
    eject(port, folder, name=keras_model.name)
    made = loaded(folder)
    inputs, _ = _examples(port)
    for dtype in (torch.float32, torch.float64):
        for training in (False, True):
            for ours, theirs in zip(
                run(made, inputs, dtype, training), run(port, inputs, dtype, training), strict=True
            ):
                assert len(ours) == len(theirs)
                assert all(map(torch.equal, ours, theirs)), (dtype, training)
    return (folder / "model.py").read_text()


@pytest.mark.parametrize("name", STYLES)
def test_models_of_many_styles(name, tmp_path):
    keras.utils.set_random_seed(0)
    check(randomize(STYLES[name]()), tmp_path)


@pytest.mark.parametrize(("name", "num_lines"), [("MobileNetV2", 150), ("ResNet50V2", 140)])
def test_applications_are_short(name, num_lines, tmp_path):
    make = getattr(keras.applications, name)
    model = randomize(make(weights=None, input_shape=(32, 32, 3), classes=10))
    text = check(model, tmp_path)
    assert len(text.splitlines()) <= num_lines
    assert text.count("class ResidualBlock(nn.Module):") == 1
