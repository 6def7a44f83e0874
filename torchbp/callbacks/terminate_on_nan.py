"""Stop when the loss is not a finite number, before the weights are spoiled."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from torchbp.errors import DataError
from torchbp.train import Callback, Trainer
from torchbp.train.nonfinite import first_nonfinite_layer, is_finite
from torchbp.train.processes import gather, sum_over_processes


class TerminateOnNaN(Callback):
    """Stops training when the loss is NaN or infinite, and says which layer is the first to be.

    The loss is looked at after the backward pass and before the step, which is then left out:
    the weights are those that gave the loss. To find the layer the batch is run again with
    `first_nonfinite_layer`; what it finds is in `trainer.stop_reason`.

    It waits for the device at each step it looks at, and for the other processes if there are
    any, which then stop together.

    Args:
        every: look only at every n-th step, at the sum of the losses since the last look. Steps
            in between are taken unseen, and may spoil the weights.

    Raises:
        DataError: every is not a positive int.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> trainer = Trainer(model, nn.MSELoss(), torch.optim.Adam)
        >>> _ = nn.init.constant_(model[1].weight, torch.inf)
        >>> x, y = torch.ones(4, 2), torch.zeros(4, 1)
        >>> _ = trainer.fit(x, y, epochs=5, callbacks=[TerminateOnNaN()], progress=False)
        >>> print(trainer.stop_reason.partition("; ")[2])
        '1' (Linear): its weight is not finite

    Differences from Keras: training stops at the same batch, but Keras's callback hears of it
    after the step, which has filled the weights with NaN; here they are as before it. There is
    no raise_error. A gradient that is not finite where the loss is still spoils the weights, and
    is noticed at the next batch's loss, as in Keras.
    Source: keras.callbacks.TerminateOnNaN, Keras 3.15.
    """

    def __init__(self, every: int = 1) -> None:
        if not isinstance(every, int) or every < 1:
            raise DataError(
                f"TerminateOnNaN: expected every to be a positive int, got {every!r}.\n"
                "  To mend it: every=1 looks at each step."
            )
        self.every = every
        self._num_steps = 0  # since the last look
        self._sum = torch.zeros(())  # of the losses since then

    def on_train_begin(self, trainer: Trainer) -> None:
        """Starts afresh."""
        self._num_steps, self._sum = 0, torch.zeros(())

    def on_gradients(self, trainer: Trainer) -> None:
        """Looks at the loss, if it is time, and leaves out the step of one that is not finite."""
        self._num_steps += 1
        if self._num_steps < self.every:
            return
        losses = sum_over_processes(self._sum + _loss_of(trainer))
        self._num_steps, self._sum = 0, torch.zeros(())
        if not is_finite(losses):
            trainer.skip_step()
            trainer.stop(_reason(trainer))

    def on_batch_end(self, trainer: Trainer) -> None:
        """Keeps the loss for the next look; of batches without a step of their own, too."""
        self._sum = self._sum + _loss_of(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The steps and the sum of the losses since the last look."""
        return {"num_steps": self._num_steps, "sum": self._sum}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._num_steps, self._sum = state["num_steps"], state["sum"]


def _loss_of(trainer: Trainer) -> Tensor:
    return trainer.current.total_loss.detach()


def _reason(trainer: Trainer) -> str:
    place = f"epoch {trainer.epoch + 1}, batch {trainer.current.batch + 1}"
    causes = [cause for cause in gather(_cause(trainer)) if cause is not None]
    return f"TerminateOnNaN: the loss of {place} is not finite; {(*causes, _NO_LAYER)[0]}"


def _cause(trainer: Trainer) -> str | None:
    with trainer.autocast():
        layer = first_nonfinite_layer(trainer.model, trainer.current.inputs)
    if layer is None and not is_finite(trainer.current.targets):
        return "the batch itself: its targets are not finite"
    return layer


_NO_LAYER = "run again, all layers give finite outputs, so that the loss is at fault"
