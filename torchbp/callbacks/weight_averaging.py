"""Average the weights over training: exponentially (EMA), or equally (SWA)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from torchbp.callbacks.inspection import whole
from torchbp.callbacks.learning_rate import param_groups
from torchbp.callbacks.shards import own_parts, shard_again, sharded_like
from torchbp.errors import DataError
from torchbp.train import Callback, Trainer


class WeightAveraging(Callback):
    """Averages the parameters over training, and leaves the averages in the model at its end.

    Args:
        decay: m in average = m * average + (1 - m) * weights, after each step of the optimizer;
            the first average is the weights after the first step. None averages the weights of
            the ends of the epochs, all equally: stochastic weight averaging.
        start_epoch: the index of the first epoch that enters the averages.
        validate: whether validation is of the averages. They are then also what the callbacks
            after this one in the list find in the model at the end of an epoch: put it before
            `ModelCheckpoint` and `EarlyStopping`. Otherwise it is of the weights themselves, and
            the averages appear when training ends.

    Raises:
        DataError: decay is not between 0 and 1.

    Example:
        >>> x, y = torch.randn(64, 4), torch.randn(64, 1)
        >>> trainer = Trainer(nn.Linear(4, 1), nn.MSELoss(), torch.optim.SGD)
        >>> history = trainer.fit(x, y, callbacks=[WeightAveraging(0.9)], progress=False)

    The averages are a second copy of the parameters, computed by `torch.optim.swa_utils` without
    a wait for the device. Buffers are not averaged: where BatchNorm's statistics matter,
    `torch.optim.swa_utils.update_bn(batches, trainer.model)` computes them anew after `fit`. A
    training without a step from start_epoch on leaves the model as it is.

    Differences from Keras: this is use_ema of its optimizers, and with validate=True its
    SwapEMAWeights(swap_on_epoch=True). The averages replace the weights also when Ctrl-C ends
    the training (an exception leaves the weights, with which a resumed run goes on), and a
    second call of `fit` begins new ones. Equal averages are not in Keras.
    Source: Polyak, Juditsky 1992, https://doi.org/10.1137/0330046 (exponential: as Keras's
    optimizers); Izmailov et al. 2018, https://arxiv.org/abs/1803.05407 (equal).
    """

    def __init__(
        self, decay: float | None = 0.99, start_epoch: int = 0, validate: bool = True
    ) -> None:
        if decay is not None and not 0 <= decay <= 1:
            raise DataError(
                f"WeightAveraging: expected decay between 0 and 1, or None, got {decay!r}.\n"
                "  To mend it: 0.99 averages over about 100 steps, 0.999 over about 1000."
            )
        self.decay = decay
        self.start_epoch = start_epoch
        self.validate = validate
        self._update = _averaging(decay)
        self._weights: list[Tensor] = []  # of the model
        self._aside: list[Tensor] = []  # the averages, or while these are in the model the weights
        self._num_averaged = 0
        self._last_epoch = -1  # whose end an equal average has taken in
        self._are_shown = False
        self._is_for_evaluation = False
        self._optimizer_steps = False

    def on_train_begin(self, trainer: Trainer) -> None:
        """Starts afresh."""
        trained = [parameter for group in param_groups(trainer) for parameter in group["params"]]
        self._weights = [weight.detach() for weight in trained if weight.is_floating_point()]
        self._aside = [weight.clone() for weight in self._weights]
        self._num_averaged, self._last_epoch = 0, -1
        self._are_shown = self._is_for_evaluation = self._optimizer_steps = False

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Goes on training the weights."""
        self._show(trainer, averages=False)

    def on_gradients(self, trainer: Trainer) -> None:
        """Notes that the optimizer steps after this batch."""
        self._optimizer_steps = True

    def on_batch_end(self, trainer: Trainer) -> None:
        """Takes the weights into an exponential average."""
        self._take_in_step(trainer)

    def on_evaluate_begin(self, trainer: Trainer) -> None:
        """Puts the averages into the model, those with the epoch that ends."""
        if trainer.logs:  # in the middle of an epoch there are none
            self._take_in_epoch(trainer)
        self._is_for_evaluation = self.validate and not self._are_shown
        if self._is_for_evaluation:
            self._show(trainer, averages=True)

    def on_evaluate_end(self, trainer: Trainer) -> None:
        """Puts the weights back."""
        if self._is_for_evaluation:
            self._show(trainer, averages=False)
        self._is_for_evaluation = False

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Shows the averages to the callbacks that come after this one."""
        self._take_in_epoch(trainer)
        if self.validate:
            self._show(trainer, averages=True)

    def on_train_end(self, trainer: Trainer) -> None:
        """Leaves the averages in the model, or after an exception the weights."""
        self._show(trainer, averages=trainer.error is None)

    def state_dict(self) -> dict[str, Any]:
        """What is not in the model, whether that is the weights, and how much it averages."""
        return {
            "aside": [whole(tensor).clone() for tensor in self._aside],
            "are_shown": self._are_shown,
            "num_averaged": self._num_averaged,
            "last_epoch": self._last_epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there, the model having the parameters of the same moment."""
        for tensor, saved in zip(self._aside, state["aside"], strict=True):
            tensor.copy_(sharded_like(saved, tensor))
        self._are_shown = state["are_shown"]
        self._num_averaged = state["num_averaged"]
        self._last_epoch = state["last_epoch"]

    def _take_in_step(self, trainer: Trainer) -> None:
        """Takes the weights into an exponential average, once a step."""
        if self.decay is not None and self._optimizer_steps:
            self._take_in(trainer)
        self._optimizer_steps = False

    def _take_in_epoch(self, trainer: Trainer) -> None:
        """Takes the weights into an equal average, once an epoch."""
        self._take_in_step(trainer)  # gathered gradients may make a last step after the last batch
        if self.decay is None and self._last_epoch != trainer.epoch:
            self._last_epoch = trainer.epoch
            self._take_in(trainer)

    @torch.no_grad()
    def _take_in(self, trainer: Trainer) -> None:
        if trainer.epoch < self.start_epoch:
            return
        averages, weights = own_parts(self._aside), own_parts(self._weights)
        if self._num_averaged == 0:
            torch._foreach_copy_(averages, weights)
        else:
            self._update(averages, weights, self._num_averaged)
        self._num_averaged += 1

    @torch.no_grad()
    def _show(self, trainer: Trainer, *, averages: bool) -> None:
        """Exchanges the averages and the weights, if the others are in the model."""
        if averages == self._are_shown or self._num_averaged == 0:
            return
        shard_again(trainer.model)
        aside, weights = own_parts(self._aside), own_parts(self._weights)
        in_model = [weight.clone() for weight in weights]
        torch._foreach_copy_(weights, aside)
        torch._foreach_copy_(aside, in_model)
        self._are_shown = averages


def _averaging(decay: float | None) -> Callable[[list[Tensor], list[Tensor], int], None]:
    """update(averages, weights, number that the averages are of), in place."""
    if decay is None:
        return get_swa_multi_avg_fn()  # type: ignore[no-untyped-call] # torch leaves it so
    return get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
