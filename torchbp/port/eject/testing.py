"""The test that is written beside an ejected model."""

import torch

# relative to the largest value: other machines and versions of torch round otherwise
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


def test_source(class_name: str, num_parameters: int, dtype: torch.dtype, trains: bool) -> str:
    """The source of the test.

    Args:
        class_name: of the model.
        num_parameters: that it has.
        dtype: of its weights.
        trains: whether it has something to train, and an output to train it by.
    """
    tolerance = TOLERANCE.get(dtype, 1e-2)
    text = _TEST.format(class_name=class_name, count=num_parameters, tolerance=tolerance)
    return text + (_TRAINING if trains else "")


_TEST = '''"""The model computes what the one computed that it was made of."""

from pathlib import Path

import torch
from model import {class_name}, load
from safetensors.torch import load_file
from torch import Tensor

DATA = load_file(Path(__file__).with_name("test_data.safetensors"))
INPUTS = [DATA[key] for key in sorted(DATA, key=len) if key.startswith("input_")]
OUTPUTS = [DATA[key] for key in sorted(DATA, key=len) if key.startswith("output_")]
NUM_PARAMETERS = {count:_}
TOLERANCE = {tolerance!r}  # of the largest value: machines round in other ways


def tensors(outputs: object) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    items = outputs.values() if isinstance(outputs, dict) else outputs
    return [tensor for item in items for tensor in tensors(item)]


def test_outputs_are_those_of_the_original() -> None:
    with torch.no_grad():
        outputs = tensors(load().eval()(*INPUTS))
    assert len(outputs) == len(OUTPUTS)
    for output, expected in zip(outputs, OUTPUTS, strict=True):
        assert output.shape == expected.shape
        assert output.dtype == expected.dtype
        largest = expected.double().abs().max()
        assert (output.double() - expected.double()).abs().max() <= TOLERANCE * largest


def test_number_of_parameters() -> None:
    assert sum(p.numel() for p in {class_name}().parameters()) == NUM_PARAMETERS
'''

_TRAINING = """

def test_a_step_of_training_changes_the_parameters() -> None:
    torch.manual_seed(0)
    model = load().train()
    before = [p.detach().clone() for p in model.parameters()]
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-3)
    outputs = [output for output in tensors(model(*INPUTS)) if output.is_floating_point()]
    sum((output - torch.rand_like(output)).square().mean() for output in outputs).backward()
    optimizer.step()
    changed = [not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True)]
    assert any(changed)
    assert all(p.isfinite().all() for p in model.parameters())
"""
