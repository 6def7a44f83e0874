"""What comes out of a recorded call: the outputs of its two shape runs as symbolic values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torchbp.errors import GraphError
from torchbp.graph.structure import tuple_like
from torchbp.graph.symbolic import Call, Symbolic, SymbolicSize, SymbolicTensor

PLAIN_TYPES = (
    int, float, bool, complex, str, type(None), type(Ellipsis), range, torch.dtype, torch.device,
    torch.layout, torch.memory_format,
)  # fmt: skip


def symbolic_results(
    record: Call, first: Any, second: Any, path: tuple[int | str, ...] = ()
) -> Any:
    """The two runs' outputs as one structure with symbolic values for what data decide."""
    if type(first) is not type(second) or _form(first) != _form(second):
        raise GraphError(
            f"{record.label()}: expected the same number of outputs and of dimensions whatever "
            f"the sizes, got {_form(first)} and {_form(second)} for two sizes of what is unknown.\n"
            "  To mend it: take apart a dimension whose size is known."
        )
    if isinstance(first, Tensor):
        return SymbolicTensor(record, path, (first, second))
    if isinstance(first, dict):
        return {
            key: symbolic_results(record, first[key], second[key], (*path, key)) for key in first
        }
    if isinstance(first, tuple | list):
        pairs = enumerate(zip(first, second, strict=True))
        items = [symbolic_results(record, *pair, (*path, i)) for i, pair in pairs]
        return items if isinstance(first, list) else tuple_like(first, items)
    if isinstance(first, torch.device):
        return Symbolic(record, path, (first, second))
    if isinstance(first, int | float) and (first != second or _counts(record)):
        return SymbolicSize(record, path, (first, second))
    if isinstance(first, PLAIN_TYPES) and first == second:
        return first
    raise GraphError(
        f"{record.label()}: expected tensors and numbers, in tuples, lists and dicts, as what it "
        f"returns, got {type(first).__name__}.\n"
        "  To mend it: connect a module or function that returns its tensors in one of these."
    )


def _form(output: Any) -> str:
    """What of an output may not depend on sizes: how many values or dimensions there are."""
    if isinstance(output, Tensor):
        return f"{output.ndim} dimensions"
    if isinstance(output, dict):
        return f"the keys {list(output)}"
    return f"{len(output)} outputs" if isinstance(output, tuple | list) else type(output).__name__


def _counts(record: Call) -> bool:
    """Whether the call computes with unknown sizes: equal results are then a coincidence."""
    return any(isinstance(value, SymbolicSize) for value in record.symbolic_arguments())
