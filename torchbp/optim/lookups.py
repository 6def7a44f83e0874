"""Second moments of embedding tables, square by square of each look-up.

A table that is looked up twice at a row gets the sum of two gradients there. A dense gradient
knows only that sum and its square; a sparse one still holds both, and squares each before adding.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.errors import DataError
from torchbp.optim.foreach import Tensors, decays_by_gradient

_ATTRIBUTE = "lookup_squares"


def per_lookup_squares(model: nn.Module) -> ExitStack:
    """Let `RMSprop` and `Adam` square the gradient of each look-up of an embedding by itself.

    While the handle is open, the backward pass leaves on each `nn.Embedding` weight of the model
    the sum over its look-ups of the squared gradient, `weight.lookup_squares`, and the next step
    of an optimizer of this package takes it for the second moment in place of grad**2. Several
    calls of a table, tables shared by several modules and several backward passes before a step
    add up; a new pass after `zero_grad()` starts again.

    The squares are those of the look-ups alone: clipping or unscaling `weight.grad` does not
    reach them, gradients averaged over processes do not either, and a weight that also takes
    part otherwise (a tied output layer) is not served. With a coupled weight decay the gradient
    is dense and the squares are not used.

    Args:
        model: any module; an `nn.Embedding` by itself will do.

    Returns:
        The open handle: `close()` it, or use it in a `with` statement, to leave the model as it
        was.

    Raises:
        DataError: a handle is already open on one of the tables.

    Example:
        >>> table = nn.Embedding(4, 1)
        >>> with per_lookup_squares(table):
        ...     table(torch.tensor([1, 1, 3])).sum().backward()
        ...     table.weight.grad.T, table.weight.lookup_squares.T
        (tensor([[0., 2., 0., 1.]]), tensor([[0., 2., 0., 1.]]))

    Differences from Keras: on TensorFlow the gradient of an Embedding is an IndexedSlices, whose
    squares are these, in Adam and RMSprop alike; on its torch backend it is dense, as without
    the handle. SGD uses no squares and is the same on all.
    """
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    _check_nobody_keeps(tables)
    handle = ExitStack()
    for table in tables:
        setattr(table.weight, _ATTRIBUTE, None)
        handle.callback(vars(table.weight).pop, _ATTRIBUTE, None)
        handle.enter_context(table.register_forward_hook(_watch, with_kwargs=True))
    return handle


def take_squares(group: dict[str, Any], params: Sequence[Tensor]) -> list[Tensor | None]:
    """What the look-ups left on each parameter for this step, and take it away."""
    taken = [vars(param).get(_ATTRIBUTE) for param in params]
    for param, squares in zip(params, taken, strict=True):
        if squares is not None:
            setattr(param, _ATTRIBUTE, None)
    return [None] * len(taken) if decays_by_gradient(group) else taken


def add_squares_(
    moments: Tensors, grads: Tensors, squares: Sequence[Tensor | None], weight: float
) -> None:
    """Add weight * grad**2 to the moments, or weight * squares where a parameter has them."""
    dense = [i for i, kept in enumerate(squares) if kept is None]
    if len(dense) < len(squares):
        for moment, kept in zip(moments, squares, strict=True):
            if kept is not None:
                moment.add_(kept, alpha=weight)
        moments, grads = [moments[i] for i in dense], [grads[i] for i in dense]
    if dense:
        torch._foreach_addcmul_(moments, grads, grads, value=weight)


def _watch(table: nn.Embedding, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    """After a forward call: square the gradient of what was looked up, when it comes."""
    if not isinstance(output, Tensor) or not output.requires_grad:
        return
    weight, padding_idx = table.weight, table.padding_idx
    if weight.grad is None:
        setattr(weight, _ATTRIBUTE, None)  # left by a pass whose gradients were thrown away
    ids = args[0] if args else kwargs["input"]

    def keep(grad: Tensor) -> None:
        if not hasattr(weight, _ATTRIBUTE):
            return  # the handle was closed between forward and backward
        kept = getattr(weight, _ATTRIBUTE)
        squares = torch.zeros_like(weight) if kept is None else kept
        rows = grad.detach().reshape(-1, weight.shape[1]).to(weight.dtype)
        squares.index_add_(0, ids.reshape(-1), rows.square())
        if padding_idx is not None:
            squares[padding_idx] = 0
        setattr(weight, _ATTRIBUTE, squares)

    output.register_hook(keep)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _check_nobody_keeps(tables: Sequence[nn.Embedding]) -> None:
    if any(hasattr(table.weight, _ATTRIBUTE) for table in tables):
        raise DataError(
            "per_lookup_squares: expected tables that nobody watches, got one with an open handle."
            "\n  To mend it: close the first handle, or use the two one after the other."
        )
