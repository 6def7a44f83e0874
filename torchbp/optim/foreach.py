"""A step that updates the parameters of a group together, not one by one."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchbp.errors import DtypeError

Tensors = list[Tensor] | tuple[Tensor, ...]
"""What torch._foreach functions take and give."""


class ForeachOptimizer(Optimizer):
    """An optimizer that updates whole lists of tensors of one device and dtype.

    A mixin in front of a `torch.optim` class, whose constructor, groups and state it keeps.
    A subclass writes `_update`, and calls `_add_options` with what torch's class has not.
    """

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient.

        Args:
            closure: evaluates the model again and returns the loss.

        Returns:
            What the closure returned, None without one.

        Raises:
            DtypeError: a gradient is sparse, or a parameter complex.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for params in _batches(group["params"]):
                self._update(group, params)
        return loss

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update `params`, which have gradients and share device and dtype."""
        raise NotImplementedError

    def _add_options(self, **options: Any) -> None:
        """Give every group these options, as `defaults` does for torch's own."""
        self.defaults.update(options)
        self._fill_groups()

    def _fill_groups(self) -> None:
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._fill_groups()  # a state saved by torch's class has none of the options

    def _slots(self, params: Iterable[Tensor], name: str) -> list[Tensor]:
        """The state tensors called `name`; zeros where there are none yet."""
        slots = []
        for param in params:
            state = self.state[param]
            if state.get(name) is None:
                state[name] = torch.zeros_like(param, memory_format=torch.preserve_format)
            slots.append(state[name])
        return slots

    def _advance_steps(self, params: Iterable[Tensor]) -> list[Tensor]:
        """Count one step more for each parameter: scalar tensors on the CPU, as torch keeps them.

        The CPU spares a wait for the device where the count enters a formula.
        """
        steps = []
        for param in params:
            state = self.state[param]
            if "step" not in state:
                state["step"] = torch.zeros((), dtype=torch.float32, device="cpu")
            steps.append(state["step"])
        torch._foreach_add_(steps, 1)
        return steps


def decayed_gradients(group: dict[str, Any], params: list[Tensor]) -> Tensors:
    """The gradients to follow, after the group's weight decay.

    Decoupled decay shrinks the weights here and now and leaves the gradients alone; torch's
    coupled decay is added to the gradients, as the derivative of an L2 penalty.
    """
    grads: Tensors = [param.grad for param in params if param.grad is not None]
    if group["maximize"]:
        grads = torch._foreach_neg(grads)
    if decays_by_gradient(group):
        return torch._foreach_add(grads, params, alpha=group["weight_decay"])
    if group["weight_decay"] != 0:
        torch._foreach_mul_(params, 1 - float(group["lr"]) * group["weight_decay"])
    return grads


def decays_by_gradient(group: dict[str, Any]) -> bool:
    """Whether the group's weight decay is coupled: part of the gradient, as torch has it."""
    return group["weight_decay"] != 0 and not group["decoupled_weight_decay"]


def _batches(params: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    """The parameters that have gradients, in lists of one device and dtype."""
    batches: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
    for param in params:
        if param.grad is not None:
            _check_dense_and_real(param.grad)
            batches[param.device, param.dtype].append(param)
    return batches.values()


def _check_dense_and_real(grad: Tensor) -> None:
    if grad.is_sparse or grad.is_complex():
        raise DtypeError(
            f"optimizer: expected dense real gradients, got {grad.layout} {grad.dtype} of shape "
            f"{tuple(grad.shape)}.\n"
            "  To mend it: create the embedding with sparse=False, or take the optimizer of this "
            "name from torch.optim."
        )
