"""Lazy modules get their weights when a graph shows them the shapes of their input."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from torchbp.errors import GraphError
from torchbp.graph.runs import copied_state, run_twice
from torchbp.graph.shapes import BUILDING
from torchbp.graph.symbolic import Call, shape_text


def initialize_lazy(record: Call) -> None:
    """Let the lazy parts of a module create their weights, for the shapes that they meet.

    Raises:
        GraphError: a weight would have a size that is unknown.
    """
    with BUILDING:
        parts = _lazy_parts(record.target)
        if parts:
            for name, (args, kwargs) in _inputs_met(record, parts).items():
                parts[name]._infer_parameters(parts[name], args, kwargs)


def _lazy_parts(module: nn.Module) -> dict[str, Any]:
    parts: dict[str, Any] = dict(module.named_modules())
    return {
        name: part
        for name, part in parts.items()
        if isinstance(part, LazyModuleMixin) and part.has_uninitialized_params()  # type: ignore[misc]
    }


def _inputs_met(record: Call, parts: dict[str, Any]) -> dict[str, Any]:
    """The arguments that each lazy part gets, without data, if its weights fit all sizes."""
    inputs: dict[str, Any] = {}

    def note(name: str, part: nn.Module, args: Any, kwargs: Any) -> None:
        inputs.setdefault(name, (args, kwargs))

    hooks = [
        part.register_forward_pre_hook(partial(note, name), prepend=True, with_kwargs=True)
        for name, part in parts.items()
    ]
    first, second = copied_state(record, "meta"), copied_state(record, "meta")
    try:
        run_twice("meta", record, (first, second))
    except Exception:
        return {}  # the run for the shapes, which comes next, meets the error and explains it
    finally:
        for hook in hooks:
            hook.remove()
    for name, weight in first.items():
        if not is_lazy(weight) and weight.shape != second[name].shape:
            raise _unknown_size(record, name)
    return inputs


def _unknown_size(record: Call, weight: str) -> GraphError:
    came = ", ".join(shape_text(value) for value in record.symbolic_arguments())
    return GraphError(
        f"{record.label()}: expected an input that tells the shape of {weight}, got {came}: it "
        "would depend on a size that is unknown.\n"
        "  To mend it: give the size when the layer is created, or to Input."
    )
