"""Each test has a Python of its own: an import cannot be taken back, nor a declared operator."""

import subprocess
import sys
from importlib.util import find_spec
from textwrap import dedent

import pytest

needs_torchvision = pytest.mark.skipif(
    find_spec("torchvision") is None, reason="torchvision is not installed"
)

WITHOUT_OPERATORS = """
    import torch
    def fails(path):
        raise OSError("built for CUDA")
    torch.ops.load_library = fails  # as beside a torch without CUDA
"""

WITH_OPERATORS = """
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def run(*programs):
    """The standard output; a warning is an error."""
    program = "\n".join(map(dedent, programs))
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.split()


@needs_torchvision
@pytest.mark.parametrize("prepare", ["import torch", WITHOUT_OPERATORS], ids=["here", "without"])
def test_models_transforms_and_datasets_work(prepare):
    program = """
        from torchbp.data import import_torchvision
        torchvision = import_torchvision()
        from torchvision import datasets
        from torchvision.transforms import v2
        images = v2.RandomCrop(32)(torch.zeros(2, 3, 40, 40))
        print(*torchvision.models.resnet18(weights=None)(images).shape)
        print(len(datasets.FakeData(size=3)))
    """
    assert run(prepare, program) == ["2", "1000", "3"]


@needs_torchvision
def test_a_second_call_gives_the_same_module_and_so_does_import():
    program = """
        from torchbp.data import import_torchvision
        first = import_torchvision()
        import torchvision
        print(import_torchvision() is first is torchvision)
    """
    assert run(WITHOUT_OPERATORS, program) == ["True"]


@needs_torchvision
def test_it_mends_an_import_that_has_failed_before():
    program = """
        try:
            import torchvision
        except RuntimeError as error:
            print("nms" in str(error))
        from torchbp.data import import_torchvision
        from sys import modules
        before = modules["torchvision.extension"]
        print(import_torchvision().extension is modules["torchvision.extension"] is not before)
    """
    assert run(WITHOUT_OPERATORS, program) == ["True", "True"]


@needs_torchvision
def test_operators_that_are_there_are_not_declared_again():
    program = """
        from torchbp.data import import_torchvision, torchvision
        import_torchvision()
        print(len(torchvision._declared))
    """
    assert run(WITHOUT_OPERATORS, WITH_OPERATORS, program) == ["0"]
    assert run(WITHOUT_OPERATORS, program) == ["1"]


@needs_torchvision
def test_missing_operators_are_told_where_they_are_needed():
    program = """
        from torchbp.data import import_torchvision
        try:
            import_torchvision().ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        except RuntimeError as error:
            print("load custom C++ ops" in str(error))
    """
    assert run(WITHOUT_OPERATORS, program) == ["True"]


@needs_torchvision
def test_another_failure_of_the_import_comes_through():
    program = """
        import torch
        def fails(path):
            raise RuntimeError("damaged")
        torch.ops.load_library = fails
        from torchbp.data import import_torchvision
        try:
            import_torchvision()
        except RuntimeError as error:
            print(error)
    """
    assert run(program) == ["damaged"]


def test_without_torchvision_the_extra_is_named():
    program = """
        import sys
        sys.modules["torchvision"] = None
        from torchbp.data import import_torchvision
        from torchbp.errors import MissingExtraError
        try:
            import_torchvision()
        except MissingExtraError as error:
            print("torchbp[vision]" in str(error))
    """
    assert run(program) == ["True"]
