"""torchvision, also where its compiled operators cannot be loaded.

PyPI's torchvision is built for CUDA. Next to a torch without CUDA its library of operators does
not load, torchvision goes on without, and then stumbles: it describes two of them to torch's
compiler, `nms` and `qnms`, which were never declared. Whatever imports torchvision where it is
installed, torchmetrics for one, stumbles with it. Once they are declared the import succeeds,
and models, transforms and data sets work; they need no compiled operator. `torchvision.ops.nms`
and the detection models then say themselves that the operators are missing.
"""

import importlib
import sys
from types import ModuleType

import torch

from ..errors import missing_extra

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"  # of nms and of qnms
_declared: list[torch.library.Library] = []  # a declaration lasts as long as its library


def import_torchvision() -> ModuleType:
    """The module torchvision, with its compiled operators or, where they do not load, without.

    Nothing is declared where torchvision can be imported as it is. After this call `import
    torchvision` works anywhere in the program.

    Returns:
        torchvision, with `datasets`, `models`, `transforms` (`v2` too) and the others loaded.

    Raises:
        MissingExtraError: torchvision is not installed.

    Example:
        torchvision = import_torchvision()
        base = torchvision.models.resnet18(weights=None)
    """
    try:
        return _import()
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    _forget_half_imported()
    _declare_operators()
    return _import()


def _import() -> ModuleType:
    try:
        torchvision = importlib.import_module("torchvision")
        importlib.import_module("torchvision.transforms.v2")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise missing_extra("torchvision", "vision") from None
    return torchvision


def _forget_half_imported() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}{SCHEMA}")  # type: ignore[no-untyped-call]
    _declared.append(library)
