"""Keep gradients small before the optimizer uses them."""

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from torchbp.callbacks.inspection import whole
from torchbp.callbacks.learning_rate import param_groups
from torchbp.callbacks.shards import own_parts
from torchbp.errors import DataError
from torchbp.train import Callback, Trainer


class ClipGradients(Callback):
    """Clips the gradients before each step, in one of three ways.

    Args:
        max_norm: scales all gradients together, so that the norm of all of their elements is at
            most this.
        max_norm_each: scales the gradient of each parameter by itself, so that its norm is at
            most this.
        max_value: clips each element to [-max_value, max_value].

    Raises:
        DataError: not exactly one of the three, or one that is not positive.

    Example:
        >>> x, y = torch.ones(4, 2), torch.ones(4, 1)
        >>> trainer = Trainer(nn.Linear(2, 1), nn.MSELoss(), torch.optim.Adam)
        >>> _ = trainer.fit(x, y, callbacks=[ClipGradients(max_norm=0.1)], progress=False)
        >>> grads = [parameter.grad for parameter in trainer.model.parameters()]
        >>> round(torch.nn.utils.get_total_norm(grads).item(), 4)
        0.1

    Nothing waits for the device. Callbacks before this one in the list see the gradients as they
    were, those after it as they are used.

    Differences from Keras: its optimizers clip, by clipnorm (max_norm_each), clipvalue
    (max_value) or global_clipnorm (max_norm). The last one is `torch.nn.utils.clip_grad_norm_`
    here, which divides by the norm + 1e-6, so that clipped gradients are 1e-6 / norm smaller.
    Source: Pascanu, Mikolov, Bengio 2013, https://arxiv.org/abs/1211.5063
    """

    def __init__(
        self,
        max_norm: float | None = None,
        max_norm_each: float | None = None,
        max_value: float | None = None,
    ) -> None:
        _check_limits(max_norm=max_norm, max_norm_each=max_norm_each, max_value=max_value)
        self.max_norm = max_norm
        self.max_norm_each = max_norm_each
        self.max_value = max_value

    def on_gradients(self, trainer: Trainer) -> None:
        """Clips them."""
        parameters = [
            parameter
            for group in param_groups(trainer)
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if self.max_norm is not None:
            clip_grad_norm_(parameters, self.max_norm)
        elif self.max_norm_each is not None:
            _clip_each([parameter.grad for parameter in parameters], self.max_norm_each)
        elif self.max_value is not None:
            clip_grad_value_(parameters, self.max_value)


@torch.no_grad()
def _clip_each(grads: list[Tensor], max_norm: float) -> None:
    """Multiplies each by max_norm / max(its norm, max_norm)."""
    norms = [whole(norm) for norm in torch._foreach_norm(grads)]
    torch._foreach_clamp_min_(norms, max_norm)
    parts = own_parts(grads)
    torch._foreach_mul_(parts, max_norm)
    torch._foreach_div_(parts, norms)


def _check_limits(**limits: float | None) -> None:
    given = {name: limit for name, limit in limits.items() if limit is not None}
    if len(given) != 1 or not all(limit > 0 for limit in given.values()):
        got = ", ".join(f"{name}={limit!r}" for name, limit in given.items()) or "none"
        raise DataError(
            f"ClipGradients: expected one positive limit, of {', '.join(limits)}, got {got}.\n"
            "  To mend it: max_norm=1.0 is the usual one; list several callbacks for several."
        )
