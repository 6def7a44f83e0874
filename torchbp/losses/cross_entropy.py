"""Cross entropies whose input is a probability, kept away from log(0) by a clip."""

from typing import Literal

import torch
from torch import Tensor, nn

from torchbp.errors import DataError, DtypeError

Reduction = Literal["mean", "sum", "none"]


class ProbCrossEntropyLoss(nn.Module):
    """Cross entropy of class probabilities, renormalised and clipped.

    The input is divided by its sum over the classes, clipped to [eps, 1 - eps], and the loss of
    a position is -sum(target * log(input)). For logits `nn.CrossEntropyLoss` is the right loss:
    it loses nothing to the clip.

    Args:
        eps: distance from 0 and from 1 that the clip keeps.
        label_smoothing: part of the target that is spread evenly over the classes.
        reduction: "mean" over all positions, "sum", or "none" for the loss of each position.

    Shape:
        input (N, C, ...) probabilities; target (N, ...) int64 class indices, or (N, C, ...)
        probabilities -> scalar, or (N, ...) without reduction. Half precision gives float32.

    Raises:
        DataError: input and target do not fit, or the input has no classes to choose from.
        DtypeError: class indices that are not integers.

    Example:
        >>> p = torch.tensor([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]])
        >>> ProbCrossEntropyLoss(reduction="none")(p, torch.tensor([0, 2]))
        tensor([ 0.3567, 16.1181])

    Differences from Keras: the classes are dimension 1, not the last one. This is
    CategoricalCrossentropy(from_logits=False) where the clip is in force. TensorFlow leaves the
    clip out when the prediction comes straight from a softmax (an activation argument, an
    Activation or Softmax layer) and computes from its logits: a saturated wrong answer then
    costs its logit, 60 for example, instead of 16.1, and keeps its gradient. The torch
    expression of that shortcut is `nn.CrossEntropyLoss` on the logits.
    SparseCategoricalCrossentropy on TensorFlow clips before it renormalises; class indices here
    mean what their one-hot rows mean, so that a clipped row may differ by C * eps.
    """

    def __init__(
        self, eps: float = 1e-7, label_smoothing: float = 0.0, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.eps = eps
        self.label_smoothing = label_smoothing
        self.reduction = _known(reduction, type(self).__name__)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of `input` (probabilities) for `target` (indices or probabilities)."""
        _check_classes(input, target)
        p = _at_least_float32(input)
        log_p = (p / p.sum(1, keepdim=True)).clamp(self.eps, 1 - self.eps).log()  # (N, C, ...)
        if target.shape == input.shape:
            losses = -(target.to(log_p.dtype) * log_p).sum(1)
        else:
            losses = -log_p.gather(1, target.long().unsqueeze(1)).squeeze(1)
        if self.label_smoothing:
            losses = losses.lerp(-log_p.mean(1), self.label_smoothing)
        return _reduce(losses, self.reduction)

    def extra_repr(self) -> str:
        """What printing the loss shows of it."""
        return _settings(self)


class ProbBCELoss(nn.Module):
    """Binary cross entropy of probabilities, clipped.

    The input is clipped to [eps, 1 - eps]; the loss of an element is
    -(target * log(input) + (1 - target) * log(1 - input)). For logits
    `nn.BCEWithLogitsLoss` is the right loss: it loses nothing to the clip.

    Args:
        eps: distance from 0 and from 1 that the clip keeps.
        label_smoothing: s pulls the targets 0 and 1 to s/2 and 1 - s/2.
        reduction: "mean" over all elements, "sum", or "none" for the loss of each element. The
            mean of the unreduced loss over all dimensions but the first is that of a sample.

    Shape:
        input (N, ...) probabilities; target of the same shape, any dtype -> scalar, or (N, ...)
        without reduction. Half precision gives float32.

    Raises:
        DataError: input and target differ in shape.

    Example:
        >>> p = torch.tensor([[0.9], [0.0]])
        >>> ProbBCELoss(reduction="none")(p, torch.tensor([[1.0], [1.0]]))
        tensor([[ 0.1054],
                [16.1181]])

    Differences from Keras: without a reduction every element keeps its loss, as in
    `nn.BCELoss`, where Keras has averaged the last axis; the mean is the same. `nn.BCELoss`
    itself stops the logarithm at -100 instead of clipping. TensorFlow leaves the clip out when
    the prediction comes straight from a sigmoid and computes from its logits; the torch
    expression of that shortcut is `nn.BCEWithLogitsLoss` on the logits.
    """

    def __init__(
        self, eps: float = 1e-7, label_smoothing: float = 0.0, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.eps = eps
        self.label_smoothing = label_smoothing
        self.reduction = _known(reduction, type(self).__name__)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of `input` (probabilities) for `target` (0, 1, or between)."""
        _check_same_shape(input, target)
        p = _at_least_float32(input).clamp(self.eps, 1 - self.eps)
        target = target.to(p.dtype)
        if self.label_smoothing:
            target = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = -(target * p.log() + (1 - target) * (1 - p).log())
        return _reduce(losses, self.reduction)

    def extra_repr(self) -> str:
        """What printing the loss shows of it."""
        return _settings(self)


def _at_least_float32(input: Tensor) -> Tensor:
    """Half precision cannot hold 1 - eps: it would round to 1, whose complement has no log."""
    return input.float() if input.dtype in (torch.float16, torch.bfloat16) else input


def _reduce(losses: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "mean":
        return losses.mean()
    return losses.sum() if reduction == "sum" else losses


def _settings(loss: ProbCrossEntropyLoss | ProbBCELoss) -> str:
    return f"eps={loss.eps}, label_smoothing={loss.label_smoothing}, reduction={loss.reduction!r}"


def _known(reduction: Reduction, who: str) -> Reduction:
    if reduction not in ("mean", "sum", "none"):
        raise DataError(
            f"{who}: expected reduction 'mean', 'sum' or 'none', got {reduction!r}.\n"
            "  To mend it: name one of the three."
        )
    return reduction


def _check_classes(input: Tensor, target: Tensor) -> None:
    shape = tuple(input.shape)
    if input.ndim < 2 or shape[1] < 2:
        raise DataError(
            f"ProbCrossEntropyLoss: expected input (N, C, ...) with C >= 2 classes, got {shape}.\n"
            "  To mend it: use ProbBCELoss for a single probability."
        )
    positions = shape[:1] + shape[2:]
    if tuple(target.shape) not in (shape, positions):
        raise DataError(
            f"ProbCrossEntropyLoss: expected target {positions} of class indices or {shape} of "
            f"probabilities for input {shape}, got {tuple(target.shape)}.\n"
            "  To mend it: squeeze or reshape the target; nothing is broadcast."
        )
    if target.shape != input.shape and (target.is_floating_point() or target.is_complex()):
        raise DtypeError(
            f"ProbCrossEntropyLoss: expected class indices as integers, got {target.dtype} of "
            f"shape {tuple(target.shape)}.\n"
            "  To mend it: pass target.long(), or probabilities in the shape of the input."
        )


def _check_same_shape(input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise DataError(
            f"ProbBCELoss: expected target {tuple(input.shape)} like the input, "
            f"got {tuple(target.shape)}.\n"
            "  To mend it: squeeze or unsqueeze one of them; nothing is broadcast."
        )
