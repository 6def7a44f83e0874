"""A model as files that need no porter: source, weights, and a test of both."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.errors import DataError, missing_extra
from torchbp.graph import Model
from torchbp.graph.lower import Node, TensorInfo
from torchbp.graph.structure import leaves
from torchbp.port.eject.source import Source, camel_case, source_of
from torchbp.port.eject.testing import test_source
from torchbp.train.files import write_atomically

BATCH_SIZE = 3
UNKNOWN_SIZES = (12, 64, 128)  # what stands for one: the first that the model can take
FORMAT = {"format": "pt"}


def eject(model: Model, folder: str | Path, *, name: str | None = None) -> None:
    """Write a model as a module of torch that a person could have written.

    In the folder then are `model.py`, the module, with a function `load`; `model.safetensors`, its
    weights; `test_model.py`, a test for pytest that it computes what the model computes, on
    `test_data.safetensors`. The source needs torch and safetensors, and torchbp only for layers
    that torch does not have: a comment says which and why. What is repeated in the graph is a
    class of its own, so that the entries of the state dict may be called otherwise than the
    model's.

    Before anything is written, the module is run beside the model.

    Args:
        model: a ported model, or another.
        folder: where to write; it is made if it is not there, and files in it are replaced.
        name: of the class; by default the model's, in camel case, or `Network`.

    Raises:
        DataError: the model has a module or a function that no source can be written for, or that
            makes another model than it is; the error names it.
        MissingExtraError: safetensors is not installed.

    Example:
        eject(port.load("model.keras"), "my_model")
    """
    save = _safetensors()
    class_name = camel_case(name or model.name or "Network")
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    source = source_of(model, class_name, dtype)
    state = state_of(model, source)
    inputs, outputs = _examples(model)
    _check(model, source, state, inputs, outputs)
    data = {f"input_{i}": tensor for i, tensor in enumerate(inputs)}
    data |= {f"output_{i}": tensor for i, tensor in enumerate(outputs)}
    trains = any(p.requires_grad for p in model.parameters()) and any(
        tensor.is_floating_point() for tensor in outputs
    )
    count = sum(p.numel() for p in model.parameters())
    files = {
        "model.safetensors": save(state),
        "test_data.safetensors": save(data),
        "model.py": source.text.encode(),
        "test_model.py": test_source(class_name, count, dtype, trains).encode(),
    }
    for file_name, content in files.items():
        write_atomically(Path(folder) / file_name, _writes(content))


def state_of(model: Model, source: Source) -> dict[str, Tensor]:
    """The weights of a model by the names that they have in the source."""
    tensors: dict[str, Tensor] = {}
    tensors.update(model.named_parameters(remove_duplicate=False))
    tensors.update(model.named_buffers(remove_duplicate=False))
    return {
        key: tensors[was].detach().cpu().contiguous().clone() for key, was in source.keys.items()
    }


def executed(source: Source) -> types.ModuleType:
    """The source as a module."""
    module = types.ModuleType(f"ejected_{source.class_name}")
    module.__file__ = str(Path("model.py"))
    exec(compile(source.text, "<ejected model.py>", "exec"), vars(module))
    return module


def _safetensors() -> Callable[[dict[str, Tensor]], bytes]:
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise missing_extra("safetensors", "port") from error
    return lambda tensors: save(tensors, metadata=FORMAT)


def _writes(content: bytes) -> Callable[[Any], object]:
    return lambda file: file.write(content)


def _check(
    model: Model,
    source: Source,
    state: Mapping[str, Tensor],
    inputs: list[Tensor],
    outputs: list[Tensor],
) -> None:
    """The source makes a module of the same parameters that computes the same.

    Raises:
        DataError: it does not.
    """
    module: nn.Module = getattr(executed(source), source.class_name)()
    floating = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    module = module.to(floating) if floating is not None else module
    module.load_state_dict(state)
    count = sum(p.numel() for p in module.parameters())
    expected = sum(p.numel() for p in model.parameters())
    if count != expected:
        raise _differs(f"{count} parameters, not {expected}")
    found = _tensors(_run(module, inputs))
    for number, (a, b) in enumerate(zip(found, outputs, strict=True)):
        if (
            a.shape != b.shape
            or a.dtype != b.dtype
            or not torch.equal(a.nan_to_num(), b.nan_to_num())
        ):
            raise _differs(f"another output {number}")


def _differs(what: str) -> DataError:
    return DataError(
        f"eject: expected source that makes the same model, got {what}.\n"
        "  To mend it: report it, with the model; torch.save keeps the model as it is."
    )


def _examples(model: Model) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs that the model can take, and what it gives for them, in evaluation.

    Raises:
        DataError: it can take none of those that were tried.
    """
    nodes = [node for node in model.nodes if node.kind == "input"]
    error: Exception | None = None
    for normal in (True, False):
        for size in UNKNOWN_SIZES:
            inputs = _drawn(nodes, size, normal)
            try:
                return inputs, _tensors(_run(model, inputs))
            except Exception as found:  # too small, or no indices
                error = error or found
    raise DataError(
        f"eject: expected a model that takes random numbers, got one that cannot: {error}.\n"
        "  To mend it: give it inputs whose sizes and dtypes are those that it can take."
    ) from error


def _drawn(nodes: list[Node], unknown_size: int, normal: bool) -> list[Tensor]:
    """Normal numbers, or zeros and ones; these for whole numbers, too."""
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for node in nodes:
        info = node.output
        assert isinstance(info, TensorInfo)
        rest = (unknown_size if n is None else n for n in info.shape[1:])
        shape = (BATCH_SIZE, *rest)
        if info.dtype.is_floating_point and normal:
            drawn.append(torch.randn(shape, generator=generator, dtype=info.dtype))
        else:
            drawn.append(torch.randint(0, 2, shape, generator=generator).to(info.dtype))
    return drawn


def _run(module: nn.Module, inputs: list[Tensor]) -> Any:
    was_training = module.training
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), None)
    given = [t.to(dtype) if t.is_floating_point() and dtype else t for t in inputs]
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            return module.eval()(*(tensor.to(device) for tensor in given))
    finally:
        module.train(was_training)


def _tensors(outputs: Any) -> list[Tensor]:
    return [leaf.cpu().contiguous().clone() for leaf in leaves(outputs) if isinstance(leaf, Tensor)]
