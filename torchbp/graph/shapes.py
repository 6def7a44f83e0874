"""What a call will give, found by running it twice on tensors that have shapes but no data."""

from __future__ import annotations

import re
import threading
from typing import Any, NoReturn

from torch import Tensor

from torchbp.errors import DtypeError, GraphError, ShapeError, TorchbpError
from torchbp.graph.runs import copied, copied_state, is_foreign, own_tensors_error, run_twice
from torchbp.graph.structure import map_leaves
from torchbp.graph.symbolic import (
    BATCH_SIZES,
    OTHER_SIZES,
    Call,
    Symbolic,
    needs_data_error,
    shape_text,
)

PATH_LENGTH = 8  # how many tensors a message shows of the way to the one that does not fit

# A run exchanges the weights of the module for copies without data and puts them back: two
# threads that build with the same layer must not do that at the same time.
BUILDING = threading.RLock()


def infer_outputs(call: Call) -> tuple[Any, Any]:
    """The outputs of a call for the two stand-in sizes, as tensors without data.

    No random number is drawn and no weight, buffer or attribute is changed: a module runs with
    copies of its weights on the meta device. What looks at data runs on the CPU, the first time
    on zeros and the second time on ones, so that sizes that depend on data differ.

    Raises:
        ShapeError: the callee cannot take the shapes.
        DtypeError: the callee cannot take the element types.
        GraphError: the call would change its input, or cannot be part of a graph.
    """
    with BUILDING:
        state = copied_state(call, "meta")
        try:
            return run_twice("meta", call, (state, state))
        except Exception as error:
            if not _looks_at_data(call, error):
                _raise_explained(call, error)
        try:
            states = copied_state(call, "cpu", 0), copied_state(call, "cpu", 1)
            first, second = run_twice("cpu", call, states)
        except Exception as error:
            _raise_explained(call, error)
        return map_leaves(_without_data, first), map_leaves(_without_data, second)


def _without_data(leaf: Any) -> Any:
    return copied(leaf, "meta") if isinstance(leaf, Tensor) else leaf


def _looks_at_data(call: Call, error: Exception) -> bool:
    """Whether a module or function failed only since its tensors were on the meta device."""
    if not isinstance(error, RuntimeError | TypeError) or "meta" not in str(error).lower():
        return False
    return call.kind == "module" or (is_foreign(call) and not _DEVICES_DIFFER.search(str(error)))


def _raise_explained(call: Call, error: Exception) -> NoReturn:
    """Raise the error for one that came from inside the callee."""
    if isinstance(error, TorchbpError) or not isinstance(error, _TORCHS_ERRORS):
        error.add_note(f"in {call.label()}; {_path_text(call)}")
        raise error
    raise _explained(call, error) from error


def _explained(call: Call, error: Exception) -> TorchbpError:
    text = str(error)
    if is_foreign(call) and _DEVICES_DIFFER.search(text):
        return own_tensors_error(call)
    if call.kind != "module" and "meta" in text.lower():
        return needs_data_error(f"{call.label()}(...)")
    came = ", ".join(_described(value) for value in call.symbolic_arguments())
    callee = str(call.target) if call.kind == "module" else call.label()
    remedy = "create the layer for the sizes that come, or connect another tensor"
    reason = text.splitlines()[0] if text else type(error).__name__
    return _kind(error)(
        f"{call.label()}: expected input that {_shortened(callee)} can take, got {came}: "
        f"{reason}\n"
        f"  The shapes that led here: {_path_text(call)}. Where a size is unknown (None), "
        f"{BATCH_SIZES[0]} stands for the batch and {OTHER_SIZES[0]} for any other.\n"
        f"  To mend it: {remedy if call.kind == 'module' else 'connect tensors that fit'}."
    )


def _kind(error: Exception) -> type[TorchbpError]:
    if isinstance(error, TypeError | NotImplementedError):
        return GraphError
    return DtypeError if re.search(r"dtype|scalar type|data type", str(error)) else ShapeError


def _described(value: Symbolic) -> str:
    dtype = getattr(value, "dtype", None)
    return f"{shape_text(value)} {dtype}" if dtype else shape_text(value)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:117] + "..."


def _path_text(call: Call) -> str:
    """The way from an input to the call: `posts (None, None) -> embedding (None, None, 8) -> x`."""
    steps = [call.label()]
    arguments = call.symbolic_arguments()
    while arguments and len(steps) < PATH_LENGTH:
        value = arguments[0]
        steps.append(f"{value.call.label(short=True)} {shape_text(value)}")
        arguments = value.call.symbolic_arguments()
    return ("... -> " if arguments else "") + " -> ".join(reversed(steps))


_DEVICES_DIFFER = re.compile(r"same device|expected device|but got .* is on")
_TORCHS_ERRORS = (RuntimeError, ValueError, IndexError, TypeError)
