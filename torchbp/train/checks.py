"""What the Trainer refuses in the first batch, before a step is done.

The checks follow the functions of torch that a loss calls, so that they are the same for a
module, a function, a partial and a lambda: `LossWatch` looks on while the loss of the first
batch is computed. They look at shapes and types, and once at the values.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from torchbp.errors import DataError, DtypeError
from torchbp.losses import ProbBCELoss, ProbCrossEntropyLoss

Check = Callable[[str, str, Tensor, Tensor | None], None]

_PROBABILITY_NODES = ("SigmoidBackward0", "SoftmaxBackward0", "HardsigmoidBackward0")
_RESHAPING_NODES = ("Squeeze", "Unsqueeze", "View", "ReshapeAlias", "Transpose", "Permute", "TB")
_ARITHMETIC = {
    *("add", "sub", "mul", "div", "truediv", "true_divide", "pow"),
    *("radd", "rsub", "rmul", "rdiv", "rtruediv", "rpow"),
    *("eq", "ne", "lt", "le", "gt", "ge", "isclose", "maximum", "minimum"),
    *("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss", "kl_div"),
    *("soft_margin_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"),
}


def check_counts(who: str, output: Any, target: Any, weights: Any) -> None:
    """Refuses a batch whose parts have not the same number of samples.

    Raises:
        DataError: an output or a target that is no tensor, or counts that differ.
    """
    if not isinstance(output, Tensor) or output.ndim == 0:
        got = "a scalar" if isinstance(output, Tensor) else type(output).__name__
        raise DataError(
            f"{who}: expected a tensor (N, ...), got {got}.\n"
            "  To mend it: give this output the loss None, or let the model return a tensor."
        )
    if not isinstance(target, Tensor):
        raise DataError(
            f"{who}: expected targets as a tensor, got {type(target).__name__}.\n"
            "  To mend it: pass targets, or data that gives (inputs, targets)."
        )
    if target.ndim == 0 or len(target) != len(output):
        raise DataError(
            f"{who}: expected targets of {len(output)} samples as the output "
            f"{tuple(output.shape)} has, got {tuple(target.shape)}.\n"
            "  To mend it: give one target for each sample, in dimension 0."
        )
    if weights is not None and tuple(weights.shape) != (len(output),):
        raise DataError(
            f"{who}: expected sample weights ({len(output)},), one for each sample, got "
            f"{tuple(weights.shape)}.\n"
            "  To mend it: squeeze them, or give as many as there are samples."
        )


def check_loss(who: str, loss: Any) -> None:
    """Refuses a loss that is not one number, or does not depend on the model."""
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise DataError(
            f"{who}: expected the loss to be a scalar tensor, got {got}.\n"
            "  To mend it: take its mean."
        )


class BroadcastWatch(TorchFunctionMode):
    """While a metric is computed, refuses to broadcast the output and the target with each other.

    Args:
        who: what an error calls the output and its metric.
        output: what the model gave.
        target: what the data gave.

    Raises:
        DataError: arithmetic or a comparison of the two in different shapes.
    """

    def __init__(self, who: str, output: Tensor, target: Any) -> None:
        super().__init__()
        self.who = who
        self._outputs = [output]
        self._targets = [target]

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        operands = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        output = _first_in(operands, self._outputs)
        target = _first_in(operands, self._targets)
        self.check(getattr(function, "__name__", "").strip("_"), output, target)
        result = function(*args, **kwargs)
        if isinstance(result, Tensor):
            self._follow(result, output, target)
        return result

    def check(self, function: str, output: Tensor | None, target: Tensor | None) -> None:
        """Looks at one call, and at which of its operands is the output and which the target."""
        if output is not None and target is not None and function in _ARITHMETIC:
            _require_same_shape(self.who, function, output, target)

    def _follow(self, result: Tensor, output: Tensor | None, target: Tensor | None) -> None:
        """target.float() still is the target; output.squeeze(1) is an answer to this check."""
        if output is not None and target is None and result.shape == output.shape:
            self._outputs.append(result)
        if target is not None and output is None and result.shape == target.shape:
            self._targets.append(result)


class LossWatch(BroadcastWatch):
    """While a loss is computed, checks what it does with the output and the target.

    Args:
        who: what an error calls the output and its loss.
        loss: the loss.
        output: what the model gave.
        target: what the data gave.

    Raises:
        DataError: shapes that would be broadcast, probabilities for a loss that takes logits, or
            the reverse.
        DtypeError: targets of a type that the loss cannot take.
    """

    def __init__(self, who: str, loss: Any, output: Tensor, target: Any) -> None:
        super().__init__(who, output, target)
        if isinstance(loss, ProbBCELoss | ProbCrossEntropyLoss):
            _require_probabilities(who, type(loss).__name__, output, None)

    def check(self, function: str, output: Tensor | None, target: Tensor | None) -> None:
        """Looks at one call, and at which of its operands is the output and which the target."""
        super().check(function, output, target)
        if output is not None:
            for check in _CHECKS.get(function, ()):
                check(self.who, function, output, target)


def _first_in(operands: list[Tensor], known: list[Any]) -> Tensor | None:
    return next((x for x in operands if any(x is one for one in known)), None)


def _require_same_shape(who: str, function: str, output: Tensor, target: Tensor) -> None:
    if output.shape == target.shape:
        return
    wanted = ["-1", *map(str, output.shape[1:])]
    if output.numel() == target.numel():
        mend = f"reshape the targets, as in targets.reshape({', '.join(wanted)})"
    else:
        mend = "make the output and its targets the same shape; expand one of them if it is meant"
    raise DataError(
        f"{who}: expected targets {tuple(output.shape)} like the output, got "
        f"{tuple(target.shape)}, which {function} would broadcast.\n"
        f"  To mend it: {mend}."
    )


def _require_float_target(who: str, function: str, output: Tensor, target: Tensor | None) -> None:
    if target is None or target.dtype == output.dtype:
        return
    is_too_wide = target.dtype == torch.float64 and function != "binary_cross_entropy_with_logits"
    if is_too_wide or not target.is_floating_point():
        raise DtypeError(
            f"{who}: expected targets of {output.dtype} like the output for {function}, got "
            f"{target.dtype}.\n"
            "  To mend it: pass targets.float()."
        )


def _require_classes(who: str, function: str, output: Tensor, target: Tensor | None) -> None:
    if target is None:
        return
    shape = tuple(output.shape)
    indices = shape[:1] + shape[2:]
    if tuple(target.shape) == indices and target.dtype not in (torch.int64, torch.uint8):
        raise DtypeError(
            f"{who}: expected class indices {indices} as int64 for {function}, got "
            f"{target.dtype}.\n"
            "  To mend it: pass targets.long(); for a number per sample use nn.MSELoss, for yes "
            "or no nn.BCEWithLogitsLoss."
        )
    if tuple(target.shape) == shape and not target.is_floating_point():
        raise DtypeError(
            f"{who}: expected probabilities of the classes as floats for targets {shape}, got "
            f"{target.dtype}.\n"
            "  To mend it: pass targets.float(), or class indices."
        )
    if tuple(target.shape) not in (indices, shape):
        raise DataError(
            f"{who}: expected targets {indices} of class indices or {shape} of probabilities for "
            f"the output {shape}, got {tuple(target.shape)}.\n"
            "  To mend it: squeeze or reshape the targets; the classes are dimension 1 of the "
            "output, which output.transpose(1, 2) makes of (N, T, C)."
        )


def _refuse_probabilities(who: str, function: str, output: Tensor, target: Tensor | None) -> None:
    """By what made the output, and for classes also by rows that sum to 1."""
    if not (_is_made_by_squashing(output) or (function == "cross_entropy" and _sums_to_1(output))):
        return
    ours = "ProbCrossEntropyLoss" if function == "cross_entropy" else "ProbBCELoss"
    raise DataError(
        f"{who}: expected logits for {function}, got probabilities.\n"
        f"  To mend it: leave the softmax or sigmoid at the end of the model out, or use "
        f"torchbp.losses.{ours}."
    )


def _require_probabilities(who: str, function: str, output: Tensor, target: Tensor | None) -> None:
    low, high = torch.stack([output.detach().min(), output.detach().max()]).tolist()
    if low < -1e-6 or high > 1 + 1e-6:
        raise DataError(
            f"{who}: expected probabilities, from 0 to 1, for {function}, got values from "
            f"{low:.4g} to {high:.4g}.\n"
            "  To mend it: end the model in a sigmoid or softmax, or use a loss that takes "
            "logits, nn.BCEWithLogitsLoss or nn.CrossEntropyLoss."
        )


def _is_made_by_squashing(output: Tensor) -> bool:
    """Whether a sigmoid or softmax made the output, as autograd tells where it is on."""
    node = output.grad_fn
    while node is not None and node.name().startswith(_RESHAPING_NODES):
        node = node.next_functions[0][0]
    return node is not None and node.name() in _PROBABILITY_NODES


def _sums_to_1(output: Tensor) -> bool:
    """Whether every row sums to 1 exactly enough that logits do not by chance."""
    if output.ndim < 2 or output.shape[1] < 2 or output.numel() < 2 * output.shape[1]:
        return False
    if output.dtype not in (torch.float32, torch.float64):
        return False
    rows = output.detach()
    return bool(((rows.sum(1) - 1).abs() < 1e-5).all() & (rows >= 0).all())


_CHECKS: dict[str, tuple[Check, ...]] = {
    "cross_entropy": (_require_classes, _refuse_probabilities),
    "nll_loss": (_require_classes,),
    "huber_loss": (_require_float_target,),
    "binary_cross_entropy": (_require_float_target, _require_probabilities),
    "binary_cross_entropy_with_logits": (_require_float_target, _refuse_probabilities),
}
