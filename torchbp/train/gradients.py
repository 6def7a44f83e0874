"""The gradients of one step, gathered over one or several batches and processes."""

from torch import Tensor
from torch.optim import Optimizer

from torchbp.train.batches import Share
from torchbp.train.engine import Engine
from torchbp.train.processes import num_processes


class Gradients:
    """Gathers the gradients of a step: those of the mean loss over all of its samples.

    Whether its samples come in one batch or several, in one process or several, in equal shares
    or not: the step is the same.

    Args:
        engine: does the backward passes.
        optimizer: takes the steps.
        accumulation: batches that make a step; the last step of an epoch may have fewer.
    """

    def __init__(self, engine: Engine, optimizer: Optimizer, accumulation: int) -> None:
        self._engine = engine
        self._optimizer = optimizer
        self._accumulation = accumulation
        self._num_processes = num_processes()
        self._num_batches = 0
        self._num_samples = 0
        self._expected = 0  # samples of a step, if all batches are like its first

    @property
    def are_pending(self) -> bool:
        """Whether there are gradients that no step has used."""
        return self._num_batches > 0

    def makes_step(self, batch: int, num_batches: int | None) -> bool:
        """Whether the batch of this index is the last one of its step."""
        if self._accumulation == 1:
            return True
        return self._num_batches + 1 == self._accumulation or batch + 1 == num_batches

    def add(self, loss: Tensor, share: Share, is_last: bool) -> None:
        """The backward pass of a batch."""
        if self._num_batches == 0:
            self._optimizer.zero_grad()
            self._expected = share.total * self._accumulation
        self._num_batches += 1
        self._num_samples += share.total
        weight = share.own * self._num_processes / self._expected
        self._engine.backward(loss if weight == 1 else loss * weight, is_last)

    def finish(self) -> None:
        """Makes them the gradients of the mean over the samples that there were."""
        self._engine.unscale(self._optimizer)
        if self._num_samples != self._expected:
            factor = self._expected / self._num_samples
            for group in self._optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(factor)

    def step(self, skip: bool) -> None:
        """Uses them."""
        self._engine.step(self._optimizer, skip)
        self._num_batches = self._num_samples = 0
