"""RMSprop: steps measured in the recent size of the gradient."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from torchbp.optim.foreach import ForeachOptimizer, Tensors, decayed_gradients
from torchbp.optim.lookups import add_squares_, take_squares


class RMSprop(ForeachOptimizer, torch.optim.RMSprop):
    """RMSprop; eps can stand inside the root, and the momentum can hold the learning rate.

    v = alpha * v + (1 - alpha) * g**2, then
    - torch: w -= lr * g / (sqrt(v) + eps);
    - with `eps_in_sqrt`: w -= lr * g / sqrt(v + eps). At eps = 1e-7 a parameter whose gradients
      stay below sqrt(eps) = 3e-4 then moves much less than under torch's formula.

    `centered` takes the squared mean gradient off v under the root, `momentum` gathers the
    quotients b = momentum * b + g / (...), and `lr_in_momentum` gathers them times lr.

    Args:
        params: parameters, named parameters or dicts of parameter groups.
        lr: learning rate.
        alpha: share of the second moment that stays at a step, taken exactly as given.
        eps: keeps the denominator from zero.
        weight_decay: coupled as an L2 penalty, unless `decoupled_weight_decay`.
        momentum: factor of the buffer, taken exactly as given.
        centered: divide by the standard deviation of the gradient, not by its size.
        maximize: climb instead of descending.
        eps_in_sqrt: add eps before the root, not after it.
        lr_in_momentum: multiply by lr before the buffer, not after it.
        decoupled_weight_decay: w -= lr * weight_decay * w before the update.

    Raises:
        DtypeError: in `step`, of a sparse or complex gradient.

    Example:
        >>> w = nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = RMSprop([w], lr=0.1, alpha=0.75, eps=0.75, eps_in_sqrt=True)
        >>> w.grad = torch.ones(1)
        >>> optimizer.step()
        >>> w.data  # 1 - 0.1 / sqrt(0.25 + 0.75)
        tensor([0.9000])

    Differences from Keras: RMSprop(params, 1e-3, alpha=0.9, eps=1e-7, eps_in_sqrt=True,
    lr_in_momentum=True, decoupled_weight_decay=True) is its formula with its defaults.
    TensorFlow keeps alpha and momentum of this optimizer exact and rounds only the weight decay
    to float32. Its gradients of embedding tables are sparse: see `per_lookup_squares`. A weight
    at its minimum keeps stepping by lr * g / sqrt(v), which magnifies rounding: compare few steps.

    Source: Hinton 2012, http://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
        eps_in_sqrt: bool = False,
        lr_in_momentum: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params, lr, alpha, eps, weight_decay, momentum, centered, maximize=maximize
        )
        self._add_options(
            eps_in_sqrt=eps_in_sqrt,
            lr_in_momentum=lr_in_momentum,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        grads, rate = decayed_gradients(group, params), float(group["lr"])
        self._advance_steps(params)
        denominators = self._denominators(group, params, grads)
        if group["momentum"] == 0:
            torch._foreach_addcdiv_(params, grads, denominators, value=-rate)
            return
        inner, outer = (rate, 1.0) if group["lr_in_momentum"] else (1.0, rate)
        buffers = self._slots(params, "momentum_buffer")
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_addcdiv_(buffers, grads, denominators, value=inner)
        torch._foreach_add_(params, buffers, alpha=-outer)

    def _denominators(self, group: dict[str, Any], params: list[Tensor], grads: Tensors) -> Tensors:
        moments: Tensors = self._slots(params, "square_avg")
        torch._foreach_mul_(moments, group["alpha"])
        add_squares_(moments, grads, take_squares(group, params), 1 - group["alpha"])
        if group["centered"]:
            means = self._slots(params, "grad_avg")
            torch._foreach_lerp_(means, grads, 1 - group["alpha"])
            moments = torch._foreach_addcmul(moments, means, means, value=-1)
        if group["eps_in_sqrt"]:
            return torch._foreach_sqrt(torch._foreach_add(moments, group["eps"]))
        return torch._foreach_add(torch._foreach_sqrt(moments), group["eps"])
