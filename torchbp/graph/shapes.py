"""What a call will give, found by running it twice on tensors that have shapes but no data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from torchbp.errors import DtypeError, GraphError, ShapeError, TorchbpError
from torchbp.graph.structure import leaves, map_leaves
from torchbp.graph.symbolic import BATCH_SIZES, OTHER_SIZES, Call, Symbolic, shape_text

PATH_LENGTH = 8  # how many tensors a message shows of the way to the one that does not fit


def infer_outputs(call: Call) -> tuple[Any, Any]:
    """The outputs of a call for the two stand-in sizes, as tensors on the meta device.

    No random number is drawn and no weight or buffer is touched: a module runs with meta copies.

    Raises:
        ShapeError: the callee cannot take the shapes.
        DtypeError: the callee cannot take the element types.
        GraphError: the call would change its input, or needs data.
    """
    first, second = (_run(call, run) for run in (0, 1))
    return first, second


def to_meta(tensor: Tensor) -> Tensor:
    """A tensor without data of the same shape and dtype."""
    return tensor.detach().to("meta")


def _run(call: Call, run: int) -> Any:
    def sample(leaf: Any) -> Any:
        if isinstance(leaf, Symbolic):
            return leaf.samples[run]
        return to_meta(leaf) if isinstance(leaf, Tensor) else leaf

    args, kwargs = map_leaves(sample, call.args), map_leaves(sample, call.kwargs)
    tensors = [leaf for leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    versions = [tensor._version for tensor in tensors]
    try:
        with torch.no_grad(), torch.device("meta"), _RecurrentShapes():
            output = _execute(call, args, kwargs)
    except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
        raise _explained(call, error) from error
    if any(tensor._version != old for tensor, old in zip(tensors, versions, strict=True)):
        raise GraphError(
            f"{call.label()} changes its input in place; in a graph that would be a cycle: the "
            "tensor would be made from itself.\n"
            "  To mend it: use the form that returns a new tensor (inplace=False)."
        )
    return output


def _execute(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if call.kind == "method":
        return getattr(args[0], call.target)(*args[1:], **kwargs)
    if call.kind == "function":
        return call.target(*args, **kwargs)
    module: nn.Module = call.target
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    with _flat_weights_kept(module):
        return functional_call(
            module, {name: to_meta(tensor) for name, tensor in state.items()}, args, kwargs
        )


@contextmanager
def _flat_weights_kept(module: nn.Module) -> Iterator[None]:
    """Give recurrent modules back the list of weights that functional_call leaves exchanged."""
    recurrent = [part for part in module.modules() if isinstance(part, nn.RNNBase)]
    kept = [part._flat_weights for part in recurrent]
    kept = [list(weights) for weights in kept]
    try:
        yield
    finally:
        for part, weights in zip(recurrent, kept, strict=True):
            part._flat_weights = weights


class _RecurrentShapes(TorchFunctionMode):
    """Answers for the recurrent kernels, which have no meta form and would loop over time."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function in _RECURRENT and not isinstance(args[2], Tensor | tuple):
            sequence, state = args[0], args[1]  # the other overload, of packed data, has 3 tensors
            hidden = state[0] if isinstance(state, tuple) else state
            directions = 2 if args[7] else 1
            output = sequence.new_empty(*sequence.shape[:-1], directions * hidden.shape[-1])
            return (output, *state) if isinstance(state, tuple) else (output, state)
        return function(*args, **(kwargs or {}))


_RECURRENT = {torch._VF.lstm, torch._VF.gru, torch._VF.rnn_tanh, torch._VF.rnn_relu}


def _explained(call: Call, error: Exception) -> Exception:
    """The error to raise for one that came from inside the callee."""
    if isinstance(error, TorchbpError):
        error.add_note(f"in {call.label()}; {_path_text(call)}")
        return error
    if isinstance(error, TypeError | NotImplementedError):
        kind: type[TorchbpError] = GraphError
    else:
        kind = DtypeError if re.search(r"dtype|scalar type|data type", str(error)) else ShapeError
    came = ", ".join(_described(value) for value in call.symbolic_arguments())
    callee = str(call.target) if call.kind == "module" else call.label()
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return kind(
        f"{call.label()}: expected input that {_shortened(callee)} can take, got {came}: "
        f"{reason}\n"
        f"  The shapes that led here: {_path_text(call)}. Where a size is unknown (None), "
        f"{BATCH_SIZES[0]} stands for the batch and {OTHER_SIZES[0]} for any other.\n"
        "  To mend it: create the layer for the sizes that come, or connect another tensor."
    )


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
