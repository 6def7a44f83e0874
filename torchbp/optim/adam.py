"""Adam: momentum over the recent size of the gradient, both corrected for their start at zero."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from torchbp.optim.foreach import ForeachOptimizer, Tensors, decayed_gradients
from torchbp.optim.lookups import add_squares_, take_squares


class Adam(ForeachOptimizer, torch.optim.Adam):
    """Adam; eps can be added to the second moment before its bias correction.

    m = beta1 * m + (1 - beta1) * g and v = beta2 * v + (1 - beta2) * g**2, c1 and c2 are
    1 - beta1**t and 1 - beta2**t, then
    - torch: w -= lr / c1 * m / (sqrt(v / c2) + eps);
    - with `eps_before_correction`: w -= lr * sqrt(c2) / c1 * m / (sqrt(v) + eps), which is
      torch's formula with eps / sqrt(c2), 32 times eps at the first step when beta2 = 0.999.

    Args:
        params: parameters, named parameters or dicts of parameter groups.
        lr: learning rate.
        betas: shares of the two moments that stay at a step, taken exactly as given.
        eps: keeps the denominator from zero.
        weight_decay: coupled as an L2 penalty, unless `decoupled_weight_decay`.
        amsgrad: divide by the largest second moment so far.
        maximize: climb instead of descending.
        decoupled_weight_decay: w -= lr * weight_decay * w before the update, as in AdamW.
        eps_before_correction: add eps to the uncorrected root.

    Raises:
        DtypeError: in `step`, of a sparse or complex gradient.

    Example:
        >>> w = nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = Adam([w], lr=0.1, betas=(0.0, 0.75), eps=0.5, eps_before_correction=True)
        >>> w.grad = torch.ones(1)
        >>> optimizer.step()
        >>> w.data  # 1 - 0.1 * sqrt(0.25) / (sqrt(0.25) + 0.5)
        tensor([0.9500])

    Differences from Keras: Adam(params, eps=1e-7, eps_before_correction=True,
    decoupled_weight_decay=True) is its Adam and AdamW. TensorFlow rounds the betas to float32
    in the bias corrections, even when the weights are float64, and keeps them exact in the
    moments. To the last bits the two agree when both are given betas that float32 holds, such as
    `float(numpy.float32(0.999))`. Its gradients of embedding tables are sparse: see
    `per_lookup_squares`.

    Source: Kingma and Ba 2014, https://arxiv.org/abs/1412.6980 (eps before the correction is its
    "epsilon hat", section 2); Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        eps_before_correction: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )
        self._add_options(eps_before_correction=eps_before_correction)

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        grads = decayed_gradients(group, params)
        counts = [step.item() for step in self._advance_steps(params)]
        roots = [(1 - group["betas"][1] ** t) ** 0.5 for t in counts]
        rates = [-float(group["lr"]) / (1 - group["betas"][0] ** t) for t in counts]
        first, denominators = self._moments(group, params, grads)
        if group["eps_before_correction"]:
            rates = [rate * root for rate, root in zip(rates, roots, strict=True)]
        else:
            torch._foreach_div_(denominators, roots)
        torch._foreach_add_(denominators, group["eps"])
        torch._foreach_addcdiv_(params, first, denominators, rates)

    def _moments(
        self, group: dict[str, Any], params: list[Tensor], grads: Tensors
    ) -> tuple[Tensors, Tensors]:
        """The first moments and the roots of the second, none of them corrected."""
        beta1, beta2 = group["betas"]
        first, second = self._slots(params, "exp_avg"), self._slots(params, "exp_avg_sq")
        torch._foreach_lerp_(first, grads, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        add_squares_(second, grads, take_squares(group, params), 1 - beta2)
        if group["amsgrad"]:
            largest = self._slots(params, "max_exp_avg_sq")
            torch._foreach_maximum_(largest, second)
            second = largest
        return first, torch._foreach_sqrt(second)
