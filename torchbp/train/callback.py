"""The hooks of the loop, and who hears them."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torchbp.errors import DataError

if TYPE_CHECKING:
    from torchbp.train.trainer import Trainer

Hook = Callable[["Trainer"], None]


class Callback:
    """Something that hears what the Trainer does, and may act on it: override the hooks you need.

    Every hook receives the trainer, and finds there

    - `trainer.model`, `trainer.optimizer`, `trainer.history`, `trainer.device`;
    - `trainer.epoch` (its index), `trainer.epochs` (the index at which training ends),
      `trainer.global_step` (training batches done in all epochs);
    - `trainer.current`, the pass over the data that goes on: `.batch` (index of the batch),
      `.num_batches` (None if unknown), `.inputs`, `.outputs`, `.targets` and `.total_loss` of the
      batch at work, `.read()` (the means so far, for which it waits for the device: not for every
      step; of several processes, all must call it) and `.peek()` (those of this process);
    - `trainer.logs`, complete in `on_epoch_end`: what is added there enters the history;
    - `trainer.validation`, the batches to validate on, or None;
    - `trainer.is_main`, true in one of several processes: in the one that writes files;
    - `trainer.stop(reason)`, which ends training after the step and its epoch's validation, and
      `trainer.skip_step()`, in `on_gradients`, which leaves the weights as they are.

    Callbacks run in the order of the list: the Trainer's, then those of `fit`, and the progress
    bar last. In an epoch the order of hooks is on_epoch_begin, then for each batch
    on_batch_begin, on_gradients, on_batch_end, on_checkpoint, then on_evaluate_begin,
    on_evaluate_batch_begin and on_evaluate_batch_end for each batch and on_evaluate_end if there
    is validation data, then on_epoch_end, and on_checkpoint once more. `on_train_end` runs also
    when an exception or a KeyboardInterrupt ends the training, and for each callback even if it
    fails in another. An exception in a hook says in which callback it arose.

    A callback with a state, such as a best value so far, gives it in `state_dict`, so that a run
    that is resumed goes on as if nothing had happened: after `on_train_begin`, which starts
    afresh, `load_state_dict` restores it. When a run is resumed within an epoch, its
    `on_epoch_begin` is not heard a second time.

    Raises:
        DataError: a subclass has a method on_..., which is no hook.

    Example:
        >>> class StopWhenGood(Callback):
        ...     def on_epoch_end(self, trainer):
        ...         if trainer.logs["loss"] < 0.1:
        ...             trainer.stop("the loss is below 0.1")

    A plain function among the callbacks hears `on_epoch_end`.

    Differences from Keras: hooks receive the trainer instead of an index and logs;
    on_batch_begin, on_batch_end and on_evaluate_... are its on_train_batch_begin,
    on_train_batch_end and on_test_...; on_gradients and on_checkpoint are new.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_hook_names(cls.__name__, [name for name in vars(cls) if name.startswith("on_")])

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: numbers, strings, tensors, and lists and dicts of these."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""

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

    def on_checkpoint(self, trainer: "Trainer") -> None:
        """After a step or an epoch, when all other hooks have run and the history is complete.

        Here `trainer.state_dict()` is whole: a run resumed from it goes on bit for bit.
        """

    def on_evaluate_begin(self, trainer: "Trainer") -> None:
        """Before an evaluation or validation."""

    def on_evaluate_batch_begin(self, trainer: "Trainer") -> None:
        """Before a batch of an evaluation."""

    def on_evaluate_batch_end(self, trainer: "Trainer") -> None:
        """After a batch of an evaluation."""

    def on_evaluate_end(self, trainer: "Trainer") -> None:
        """After an evaluation; `trainer.current.read()` has its results."""

    def on_predict_begin(self, trainer: "Trainer") -> None:
        """Before the first batch of a prediction."""

    def on_predict_batch_begin(self, trainer: "Trainer") -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, trainer: "Trainer") -> None:
        """After a batch of a prediction."""

    def on_predict_end(self, trainer: "Trainer") -> None:
        """After the last batch of a prediction."""


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


def check_hook_names(who: str, names: Iterable[str]) -> None:
    """Refuses names that are not those of hooks.

    Raises:
        DataError: a name that is none; the message lists the hooks.
    """
    for name in names:
        if name not in HOOKS:
            nearest = difflib.get_close_matches(name, HOOKS, n=1)
            raise DataError(
                f"{who}: expected methods that are hooks, {', '.join(HOOKS)}, got {name}.\n"
                f"  To mend it: {f'call it {nearest[0]}' if nearest else 'give it another name'}."
            )


class EpochEndFunction(Callback):
    """A function(trainer) that hears the end of each epoch."""

    def __init__(self, function: Hook) -> None:
        self.function = function

    def on_epoch_end(self, trainer: "Trainer") -> None:
        """Calls the function."""
        self.function(trainer)


class Listeners:
    """The callbacks of a run, and for each hook those that hear it.

    Args:
        callbacks: in their order.
    """

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self.callbacks = tuple(callbacks)
        self._hearing = {
            hook: [getattr(callback, hook) for callback in self.callbacks if _hears(callback, hook)]
            for hook in HOOKS
        }

    def notify(self, hook: str, trainer: "Trainer") -> None:
        """Calls a hook of all that hear it."""
        for method in self._hearing[hook]:
            try:
                method(trainer)
            except Exception as error:
                error.add_note(_place(method, hook, trainer))
                raise

    def notify_all(self, hook: str, trainer: "Trainer") -> None:
        """As `notify`, but a callback that fails keeps no other from hearing the hook."""
        failure: BaseException | None = None
        for method in self._hearing[hook]:
            try:
                method(trainer)
            except BaseException as error:
                error.add_note(_place(method, hook, trainer))
                failure = failure or error
        if failure is not None:
            raise failure


def checked_callbacks(callbacks: Iterable[Callback | Hook]) -> tuple[Callback, ...]:
    """The callbacks as a tuple, functions as callbacks that hear the end of an epoch.

    Raises:
        DataError: something among them that is neither.
    """
    return tuple(_as_callback(callback) for callback in callbacks)


def _as_callback(callback: Any) -> Callback:
    if isinstance(callback, Callback):
        return callback
    if callable(callback) and not isinstance(callback, type):
        return EpochEndFunction(callback)
    raise DataError(
        f"callbacks: expected instances of Callback or functions of the trainer, got "
        f"{callback!r}.\n"
        "  To mend it: make an instance of a subclass of torchbp.train.Callback."
    )


def _hears(callback: Callback, hook: str) -> bool:
    return hook in vars(callback) or getattr(type(callback), hook) is not getattr(Callback, hook)


def _place(method: Any, hook: str, trainer: "Trainer") -> str:
    owner = getattr(method, "__self__", None)
    name = type(owner).__name__ if isinstance(owner, Callback) else repr(method)
    place = f"epoch {trainer.epoch + 1}, batch {trainer.current.batch + 1}"
    return f"in the callback {name}, {hook}, {place}"
