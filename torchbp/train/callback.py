"""The hooks of the loop."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torchbp.errors import DataError

if TYPE_CHECKING:
    from torchbp.train.trainer import Trainer


class Callback:
    """Something that hears what the Trainer does, and may act on it: override the hooks you need.

    Every hook receives the trainer, and finds there

    - `trainer.model`, `trainer.optimizer`, `trainer.history`;
    - `trainer.epoch` (its index), `trainer.epochs` (the index at which training ends);
    - `trainer.current`, the pass over the data that goes on: `.batch` (index of the batch),
      `.num_batches` (None if unknown), `.read()` (the means so far, for which it waits for the
      device: not for every step);
    - `trainer.logs`, complete in `on_epoch_end`: what is added there enters the history;
    - `trainer.stop(reason)`, which ends training after the step and its epoch's validation.

    Callbacks run in the order of the list: the Trainer's, then those of `fit`, and the progress
    bar last. In an epoch the order of hooks is on_epoch_begin, then for each step on_batch_begin,
    on_gradients, on_batch_end, then on_evaluate_begin, on_evaluate_batch_end for each batch and
    on_evaluate_end if there is validation data, then on_epoch_end. `on_train_end` runs also when
    an exception or a KeyboardInterrupt ends the training.

    Example:
        >>> class StopWhenGood(Callback):
        ...     def on_epoch_end(self, trainer):
        ...         if trainer.logs["loss"] < 0.1:
        ...             trainer.stop("the loss is below 0.1")
    """

    def on_train_begin(self, trainer: "Trainer") -> None:
        """Before the first epoch."""

    def on_train_end(self, trainer: "Trainer") -> None:
        """After the last epoch, or what ended the training before it."""

    def on_epoch_begin(self, trainer: "Trainer") -> None:
        """Before the first step of an epoch."""

    def on_epoch_end(self, trainer: "Trainer") -> None:
        """After the steps and the validation of an epoch."""

    def on_batch_begin(self, trainer: "Trainer") -> None:
        """Before a training step."""

    def on_gradients(self, trainer: "Trainer") -> None:
        """After the backward pass, before the optimizer's step."""

    def on_batch_end(self, trainer: "Trainer") -> None:
        """After a training step."""

    def on_evaluate_begin(self, trainer: "Trainer") -> None:
        """Before an evaluation or validation."""

    def on_evaluate_batch_end(self, trainer: "Trainer") -> None:
        """After a batch of an evaluation."""

    def on_evaluate_end(self, trainer: "Trainer") -> None:
        """After an evaluation; `trainer.current.read()` has its results."""

    def on_predict_begin(self, trainer: "Trainer") -> None:
        """Before the first batch of a prediction."""

    def on_predict_batch_end(self, trainer: "Trainer") -> None:
        """After a batch of a prediction."""

    def on_predict_end(self, trainer: "Trainer") -> None:
        """After the last batch of a prediction."""


def checked_callbacks(callbacks: Iterable[Callback]) -> tuple[Callback, ...]:
    """The callbacks as a tuple.

    Raises:
        DataError: something among them that is no instance of Callback.
    """
    checked = tuple(callbacks)
    for callback in checked:
        if not isinstance(callback, Callback):
            raise DataError(
                f"callbacks: expected instances of Callback, got {callback!r}.\n"
                "  To mend it: make an instance of a subclass of torchbp.train.Callback."
            )
    return checked
