"""Stochastic gradient descent with momentum."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from torchbp.optim.foreach import ForeachOptimizer, Tensors, decayed_gradients


class SGD(ForeachOptimizer, torch.optim.SGD):
    """Gradient descent with momentum; the momentum can hold the learning rate in it.

    With `lr_in_momentum` the buffer is b = momentum * b + lr * g and the step w -= b (nesterov:
    w -= momentum * b + lr * g). torch's buffer is b = momentum * b + g and its step w -= lr * b.
    The two are the same while lr is constant and part as soon as a schedule changes it: what
    torch has gathered is rescaled by the new lr, here it keeps the lr of its time.

    Args:
        params: parameters, named parameters or dicts of parameter groups.
        lr: learning rate.
        momentum: factor of the buffer, taken exactly as given.
        dampening: part of the gradient that does not enter the buffer after the first step.
        weight_decay: coupled as an L2 penalty, unless `decoupled_weight_decay`.
        nesterov: look ahead by one buffer.
        maximize: climb instead of descending.
        lr_in_momentum: multiply by lr before the buffer, not after it.
        decoupled_weight_decay: w -= lr * weight_decay * w before the update.

    Raises:
        DtypeError: in `step`, of a sparse or complex gradient.

    Example:
        >>> w = nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = SGD([w], lr=0.1, momentum=0.5, lr_in_momentum=True)
        >>> for lr in (0.1, 0.0):
        ...     optimizer.param_groups[0]["lr"] = lr
        ...     w.grad = torch.ones(1)
        ...     optimizer.step()
        >>> w.data  # 1 - 0.1 - 0.5 * 0.1
        tensor([0.8500])

    Differences from Keras: SGD(lr_in_momentum=True, decoupled_weight_decay=True) is its formula,
    with a buffer of the opposite sign. TensorFlow rounds momentum and weight decay to float32
    even when the weights are float64: pass `float(numpy.float32(0.9))` to follow it to the last
    bits.

    Source: Sutskever et al. 2013, http://www.cs.toronto.edu/~hinton/absps/momentum.pdf
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        lr_in_momentum: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov, maximize=maximize)
        self._add_options(
            lr_in_momentum=lr_in_momentum, decoupled_weight_decay=decoupled_weight_decay
        )

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        steps, rate = decayed_gradients(group, params), float(group["lr"])
        if group["momentum"] != 0:
            if group["lr_in_momentum"]:
                steps, rate = torch._foreach_mul(steps, rate), 1.0
            buffers = self._advance_momentum(group, params, steps)
            steps = (
                torch._foreach_add(steps, buffers, alpha=group["momentum"])
                if group["nesterov"]
                else buffers
            )
        torch._foreach_add_(params, steps, alpha=-rate)

    def _advance_momentum(
        self, group: dict[str, Any], params: list[Tensor], steps: Tensors
    ) -> list[Tensor]:
        fresh = [i for i, p in enumerate(params) if self.state[p].get("momentum_buffer") is None]
        buffers = self._slots(params, "momentum_buffer")
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, steps, alpha=1 - group["dampening"])
        for i in fresh:
            buffers[i].copy_(steps[i])  # the first step is never dampened
        return buffers
