"""The training loop, and nothing else."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from torchbp.errors import DataError
from torchbp.train.batches import Batch, check_positive, unpack
from torchbp.train.callback import Callback, Hook, Listeners, checked_callbacks
from torchbp.train.engine import Engine, Parallel, Precision
from torchbp.train.feed import Feed, check_rereadable, split_validation
from torchbp.train.gradients import Gradients
from torchbp.train.history import History
from torchbp.train.module import float_dtype_of, in_mode, make_optimizer
from torchbp.train.nonfinite import first_nonfinite_layer
from torchbp.train.objectives import Objective
from torchbp.train.passes import MeasuredPass, Pass
from torchbp.train.processes import gather, rank
from torchbp.train.progress import ProgressBar
from torchbp.train.run import Run
from torchbp.train.sources import Arrays, Source, source_of
from torchbp.train.state import (
    check_plain,
    load_model_and_optimizer_state,
    model_and_optimizer_state,
)
from torchbp.train.tensors import concatenate, count_samples, fetch, finish_fetching, map_tensors

AnyPass = TypeVar("AnyPass", bound=Pass)


class Trainer:
    """Trains, evaluates and runs any `nn.Module`.

    Args:
        model: the module, also one that DDP or torch.compile has wrapped. Batches reach it as
            `model(x)`, `model(*inputs)` for a list or tuple of inputs, or `model(**inputs)` for a
            dict. Its outputs are a tensor, or a list, tuple or dict of tensors; a list has names
            if the model has `output_names`, a tuple of str.
        loss: loss(output, target) -> scalar, a module or a function. For several outputs a list
            or a dict by their names; None for an output without a loss.
        optimizer: an optimizer, or a function that makes one of parameters, such as its class.
        metrics: a metric, a list of metrics, or a dict of name -> metric; for several outputs a
            list or a dict, by their names, of these. A metric is a function(output, target) ->
            scalar tensor, or an object of torchmetrics.
        loss_weights: factors of the losses, a list or a dict by the outputs' names.
        device: where the model is moved; None leaves it where it is. Batches follow it.
        callbacks: hear of all that this trainer does, in this order. A function(trainer) hears
            the end of each epoch.
        precision: "fp32" computes in the model's own type; "bf16" and "fp16" where
            torch.autocast finds it safe, with the losses in float32, and fp16 with a gradient
            scaler.
        compile: whether torch.compile compiles the model.
        grad_accumulation: batches whose gradients make one step, as one batch of all their
            samples would; the last step of an epoch may have fewer.
        channels_last: whether image kernels and images (N, C, H, W) get this memory format.
        parallel: of several processes, "ddp" gives each a whole model, "fsdp" a shard of it.

    Attributes:
        history: the History of the last call of `fit`, complete up to where it got.
        epoch: the index of the epoch that goes on.
        epochs: the index at which training ends.
        logs: the numbers of the epoch, once they are known.
        current: the `Pass` over the data that goes on.
        global_step: training batches done in all epochs.
        validation: the batches to validate on, a `Feed`, or None.
        stop_reason: why training was stopped, None if it was not.
        error: the exception that ended training, None if there was none.

    Raises:
        DataError: an optimizer that does not train the model, or arguments that are not what
            they should be.

    Example:
        >>> x, y = torch.randn(256, 4), torch.randn(256, 1)
        >>> trainer = Trainer(nn.Linear(4, 1), nn.MSELoss(), torch.optim.Adam)
        >>> history = trainer.fit(x, y, epochs=3, validation_fraction=0.25, progress=False)
        >>> sorted(history), history.epochs
        (['loss', 'val_loss'], [0, 1, 2])
        >>> trainer.predict(x, progress=False).shape
        torch.Size([256, 1])

    Several outputs are matched by name whenever names are given, never by order. The first batch
    of a pass is checked before its step: what would be broadcast in silence, probabilities for a
    loss that takes logits and the reverse, and targets of a wrong type are refused. Nothing in
    the loop waits for the device once a step: losses and metrics are summed there, and read at
    the end of an epoch and, for the bar, a few times a second. Objects of torchmetrics may wait
    in their own `update`; validate_args=False takes the most frequent reason away.

    Started by torchrun, the same script trains in several processes. Arrays and datasets, the
    same in all of them, are dealt out: each process has a batch of `batch_size` in a step, no
    sample comes twice and none is left out, and gradients and logs are those of all samples.
    A DataLoader or an iterable is each process's own. A callback writes files if
    `trainer.is_main`. BatchNorm normalises by the samples of its process, unless
    nn.SyncBatchNorm.convert_sync_batchnorm(model) was called before.

    Differences from Keras: each of the logs is a mean over samples. TensorFlow logs the loss of
    one output among several as the mean over batches, in which a smaller last batch counts as
    much as the others. Numpy floats take the type of the model's parameters; tensors, and
    integers, keep theirs. Parts of the model that are in evaluation mode are trained in training
    mode like all others; a callback's `on_train_begin` can keep a frozen part as it was.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Any = None,
        optimizer: Optimizer | Callable[..., Optimizer] | None = None,
        metrics: Any = None,
        loss_weights: Any = None,
        device: str | torch.device | None = None,
        callbacks: Iterable[Callback | Hook] = (),
        *,
        precision: Precision = "fp32",
        compile: bool = False,
        grad_accumulation: int = 1,
        channels_last: bool = False,
        parallel: Parallel = "ddp",
    ) -> None:
        check_positive("grad_accumulation", grad_accumulation)
        self._engine = Engine(model, device, precision, compile, channels_last, parallel)
        self.model = self._engine.model
        self.optimizer = make_optimizer(optimizer, self.model)
        self.metrics = metrics
        self.callbacks = checked_callbacks(callbacks)
        self.history = History()
        self.epoch = 0
        self.epochs = 0
        self.global_step = 0
        self.logs: dict[str, float] = {}
        self.current = Pass(num_batches=0)
        self.validation: Feed | None = None
        self.stop_reason: str | None = None
        self.error: BaseException | None = None
        self._objective = Objective(loss, loss_weights)
        self._grad_accumulation = grad_accumulation
        self._channels_last = channels_last
        self._listeners = Listeners()
        self._is_listening = False
        self._run: Run | None = None
        self._leaves_at_once = False
        self._skips_step = False
        self._resumed: Mapping[str, Any] | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is, and where its batches go."""
        return self._engine.device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files: the only one, or the first of several."""
        return rank() == 0

    @property
    def is_within_epoch(self) -> bool:
        """Whether an epoch has had steps and has not ended."""
        return self._run is not None and self._run.batch > 0

    @property
    def is_between_steps(self) -> bool:
        """Whether the weights are those of a whole step: false if one was broken off."""
        return self._run is not None and not self._run.is_stepping

    def fit(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: Any = None,
        validation_fraction: float = 0.0,
        shuffle: bool = True,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        callbacks: Iterable[Callback | Hook] = (),
        progress: bool = True,
        generator: torch.Generator | None = None,
    ) -> History:
        """Trains the model, in training mode; each part has its own mode again afterwards.

        Args:
            inputs: arrays or tensors that share dimension 0, the sample: one, a list or tuple of
                several, or a dict by the names of the model's inputs; or a Dataset, a DataLoader
                or an iterable that gives (inputs, targets) or (inputs, targets, sample_weight).
            targets: for arrays, in the same forms, by the names of the model's outputs.
            epochs: the index at which training ends.
            batch_size: samples in a batch of arrays and datasets, in each process; the last may
                have fewer.
            validation_data: (inputs, targets) or (inputs, targets, sample_weight) of arrays, or a
                Dataset or DataLoader, evaluated after each epoch.
            validation_fraction: part f of the arrays to validate on instead: the first
                floor(N * (1 - f)) samples are trained on, the tail is kept from training. The
                cut is made before shuffling.
            shuffle: whether arrays and datasets are permuted anew in each epoch. A DataLoader
                and an iterable have their own order.
            sample_weight: (N,), or such by the names of the outputs. The loss is then
                sum(value * weight) / number of values, not / sum of the weights.
            class_weight: class -> weight of the samples whose target it is, for one output. A
                class that is not named has 1. Validation is not weighted by it.
            initial_epoch: the index of the first epoch, for training that goes on.
            steps_per_epoch: steps in an epoch, which generators need for several epochs. The
                next epoch goes on in the data where the last one stopped; arrays, datasets and
                loaders start anew when they end.
            callbacks: hear of this training, after the Trainer's own.
            progress: whether to show a bar, and a line for each epoch.
            generator: a CPU generator that draws the permutations; torch's default one if None.

        Returns:
            The logs of the epochs: `loss`, the mean over the samples of what was trained on, each
            batch before its step; `<metric>`; of several outputs `<output>_loss`, without its
            loss weight, and `<output>_<metric>`; all of them with `val_` for the validation.

        Raises:
            DataError: data, targets, weights, losses and outputs that do not fit each other.
            DtypeError: targets of a type that the loss cannot take.

        A KeyboardInterrupt ends training, and the history so far is returned. After
        `load_state_dict`, training goes on where that state was.

        Differences from Keras: steps_per_epoch always is the number of steps; in Keras the epoch
        in which arrays run out is shorter.
        """
        for name, count in {"epochs": epochs, "steps_per_epoch": steps_per_epoch}.items():
            check_positive(name, count)
        source, held_out = split_validation(
            self._source(inputs, targets, sample_weight, batch_size, shuffle, generator),
            self._validation_source(validation_data, batch_size),
            validation_fraction,
        )
        if steps_per_epoch is None:
            check_rereadable(source, "inputs", epochs - initial_epoch)
        check_rereadable(held_out, "validation_data", epochs - initial_epoch)
        feed = self._dealt(source, steps_per_epoch, class_weight)
        self.validation = None if held_out is None else self._dealt(held_out)
        self._prepare_to_train(epochs)
        with self._listening(callbacks, progress), in_mode(self.model, training=True):
            run = self._begin_run(feed, initial_epoch)
            try:
                self._notify("on_train_begin")
                self._train(run)
            except KeyboardInterrupt:
                self.stop("KeyboardInterrupt")
            except BaseException as error:
                self.error = error
                raise
            finally:
                self._listeners.notify_all("on_train_end", self)
        return self.history

    def evaluate(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        batch_size: int = 32,
        sample_weight: Any = None,
        progress: bool = True,
    ) -> dict[str, float]:
        """The loss and the metrics, in evaluation mode and without gradients.

        Args:
            inputs: as in `fit`; a generator is read to its end (itertools.islice cuts it).
            targets: for arrays, as in `fit`.
            batch_size: samples in a batch of arrays and datasets.
            sample_weight: for arrays, as in `fit`.
            progress: whether to show a bar.

        Returns:
            The numbers by the names that `fit` gives them, without `val_`.

        Raises:
            DataError: data, targets, weights, losses and outputs that do not fit each other.
            DtypeError: targets of a type that the loss cannot take.
        """
        source = self._source(inputs, targets, sample_weight, batch_size)
        with self._listening((), progress):
            return self._evaluate(self._dealt(source))

    def predict(self, inputs: Any, batch_size: int = 32, *, progress: bool = True) -> Any:
        """The model's outputs for all inputs, in evaluation mode and without gradients.

        Args:
            inputs: as in `fit`; targets that a Dataset, DataLoader or iterable gives are left
                aside.
            batch_size: samples in a batch of arrays and datasets.
            progress: whether to show a bar.

        Returns:
            A tensor, list, tuple or dict as the model returns it, on the CPU, the batches joined
            along dimension 0.

        Raises:
            DataError: no samples, or data in a form that is not known.
        """
        feed = self._dealt(self._source(inputs, None, None, batch_size))
        parts = []
        with (
            self._listening((), progress),
            in_mode(self.model, training=False),
            self._passing(Pass(feed.num_batches)) as current,
        ):
            self._notify("on_predict_begin")
            for current.batch, batch in enumerate(feed):
                self._notify("on_predict_batch_begin")
                with torch.no_grad():
                    outputs = self._engine.evaluate(batch.inputs)
                parts.append(fetch(_own_part(outputs, batch)))
                current.num_samples += count_samples(parts[-1])
                self._notify("on_predict_batch_end")
            self._notify("on_predict_end")
        finish_fetching(self.device)
        return concatenate([part for step in zip(*gather(parts), strict=True) for part in step])

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which `model` computes in the trainer's precision, for callbacks."""
        return self._engine.autocast()

    def stop(self, reason: str, *, finish_epoch: bool = True) -> None:
        """Ends training after the step that is at work.

        Args:
            reason: kept as `trainer.stop_reason`.
            finish_epoch: whether the epoch still has its validation, its `on_epoch_end` and its
                place in the history.
        """
        self.stop_reason = reason
        self._leaves_at_once = self._leaves_at_once or not finish_epoch

    def skip_step(self) -> None:
        """Leaves out the optimizer's step that is about to come; for `on_gradients`."""
        self._skips_step = True

    def state_dict(self) -> dict[str, Any]:
        """All that a training run needs to go on: plain values and tensors.

        The model, the optimizer, the gradient scaler, the callbacks, the history, the random
        states, and how far the run has come in the data and in its means. Taken in a callback's
        `on_checkpoint` it is whole, and a run that is resumed from it goes on bit for bit as
        this one. At other times it is that of the last complete step, without what callbacks and
        random generators have done since. Of several processes, all must call it.

        Raises:
            DataError: no training has begun, or a callback gives something else than plain
                values.
        """
        if self._run is None or self.optimizer is None:
            raise DataError(
                "state_dict: expected a training run, got a Trainer that has not trained.\n"
                "  To mend it: call it after `fit`, or in a callback."
            )
        of_model, of_optimizer = model_and_optimizer_state(self.model, self.optimizer)
        state = {
            "format": 1,
            "global_step": self.global_step,
            "stop_reason": self.stop_reason,
            **self._run.state_dict(),
        }
        check_plain(state, "state_dict()")
        scaler = self._engine.scaler
        return state | {
            "model": of_model,
            "optimizer": of_optimizer,
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the model and the optimizer; the next `fit`, or this one, goes on from there.

        In `on_train_begin` this training goes on from `state`, otherwise the next one does. It
        needs the same data and callbacks, and may have another number of processes.

        Args:
            state: what `state_dict` gave.

        Raises:
            DataError: a state of another model or optimizer, or of another kind of file.
        """
        if not isinstance(state, Mapping) or state.get("format") != 1:
            raise DataError(
                "load_state_dict: expected what Trainer.state_dict gave, of format 1, got "
                f"{type(state).__name__} of {list(state)[:8] if state else 'nothing'}.\n"
                "  To mend it: weights alone go to model.load_state_dict."
            )
        self._require_optimizer()
        assert self.optimizer is not None
        load_model_and_optimizer_state(
            self.model, self.optimizer, state["model"], state["optimizer"]
        )
        if self._engine.scaler is not None and state["scaler"] is not None:
            self._engine.scaler.load_state_dict(state["scaler"])
        self.global_step = state["global_step"]
        self._resumed = state

    def _begin_run(self, feed: Feed, epoch: int) -> Run:
        assert self.optimizer is not None
        gradients = Gradients(self._engine, self.optimizer, self._grad_accumulation)
        self._run = Run(feed, gradients, self._listeners.callbacks, epoch)
        self.history = self._run.history
        return self._run

    def _train(self, run: Run) -> None:
        state, self._resumed = self._resumed, None
        if state is not None:
            run.load_state_dict(state)
            self.stop_reason = state["stop_reason"]
        while run.epoch < self.epochs:
            if self.stop_reason is None and run.batch == 0 and run.feed.is_spent():
                self.stop("the data ended")
            if self.stop_reason is not None:
                break
            self._train_epoch(run, state if run.batch else None)

    def _train_epoch(self, run: Run, state: Mapping[str, Any] | None) -> None:
        """One epoch, from its beginning or, with a state, from where that was."""
        self.epoch, self.logs = run.epoch, {}
        with self._passing(self._measured(run.feed)) as current:
            run.epoch_pass = current
            if state is None:
                self._notify("on_epoch_begin")
            else:
                current.load_states([own["pass"] for own in state["processes"]], self.device)
            for current.batch, batch in enumerate(run.feed.epoch(run.batch), run.batch):
                self._notify("on_batch_begin")
                self._train_step(run, current, batch)
                self._notify("on_batch_end")
                if not run.gradients.are_pending:
                    self._notify("on_checkpoint")
                if self.stop_reason is not None:
                    break
            if run.gradients.are_pending:  # the number of batches was not known
                self._step(run)
            if self._leaves_at_once:
                return
            self.logs = current.read()
            self._warn_if_not_finite(current)
            if self.validation is not None:
                results = self._evaluate(self.validation)
                self.logs |= {f"val_{name}": value for name, value in results.items()}
            self._notify("on_epoch_end")
        run.end_epoch(self.logs)
        self._notify("on_checkpoint")

    def _train_step(self, run: Run, current: MeasuredPass, batch: Batch) -> None:
        gradients, num_batches = run.gradients, run.feed.num_batches
        loss = current.loss(self._engine.train(batch.inputs), batch)
        makes_step = gradients.makes_step(current.batch, num_batches)
        gradients.add(loss, current.share, makes_step or num_batches is None)
        if makes_step:
            self._step(run)
        current.record()
        self.global_step += 1

    def _step(self, run: Run) -> None:
        run.gradients.finish()
        self._skips_step = False
        self._notify("on_gradients")
        run.is_stepping = True
        run.gradients.step(self._skips_step)
        run.settle(self.current.batch)

    def _evaluate(self, feed: Feed) -> dict[str, float]:
        with in_mode(self.model, training=False), self._passing(self._measured(feed)) as current:
            self._notify("on_evaluate_begin")
            for current.batch, batch in enumerate(feed):
                self._notify("on_evaluate_batch_begin")
                with torch.no_grad():
                    current.loss(self._engine.evaluate(batch.inputs), batch)
                current.record()
                self._notify("on_evaluate_batch_end")
            self._notify("on_evaluate_end")
            return current.read()

    def _prepare_to_train(self, epochs: int) -> None:
        """Checks what can be checked before the first epoch, and forgets the last training."""
        self._require_optimizer()
        if self.validation is not None and isinstance(self.validation.source, Arrays):
            with in_mode(self.model, training=False), torch.no_grad():
                batch = next(iter(self.validation))
                self._measured(self.validation).loss(self._engine.evaluate(batch.inputs), batch)
        self.logs, self.epochs = {}, epochs
        self.stop_reason = self.error = None
        self._leaves_at_once = False
        if self._resumed is None:
            self.global_step = 0

    def _require_optimizer(self) -> None:
        if self.optimizer is None:
            raise DataError(
                "optimizer: expected one to train with, got None.\n"
                "  To mend it: pass it as in Trainer(model, loss, torch.optim.Adam)."
            )

    def _warn_if_not_finite(self, current: MeasuredPass) -> None:
        """Says once where a loss that is no number comes from."""
        is_new = all(map(math.isfinite, self.history.get("loss", ())))
        if math.isfinite(self.logs["loss"]) or not is_new or self.stop_reason is not None:
            return
        with self.autocast():
            layer = first_nonfinite_layer(self.model, current.inputs)
        warnings.warn(
            f"the loss is {self.logs['loss']} in epoch {self.epoch + 1}; "
            f"{layer or 'all layers give finite numbers, so that the loss is at fault'}."
            "\n  To mend it: lower the learning rate or clip the gradients; TerminateOnNaN stops "
            "before the weights are spoiled.",
            stacklevel=4,
        )

    def _dealt(
        self,
        source: Source,
        steps_per_epoch: int | None = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> Feed:
        return Feed(source, self.device, steps_per_epoch, class_weight, self._channels_last)

    def _source(
        self,
        inputs: Any,
        targets: Any,
        weights: Any,
        batch_size: int,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
    ) -> Source:
        dtype = float_dtype_of(self.model)
        return source_of(inputs, targets, weights, batch_size, dtype, shuffle, generator)

    def _validation_source(self, data: Any, batch_size: int) -> Source | None:
        if data is None:
            return None
        parts = unpack(data) if isinstance(data, list | tuple) else Batch(data)
        return self._source(*parts[:3], batch_size)

    def _measured(self, feed: Feed) -> MeasuredPass:
        return MeasuredPass(self.model, self._objective, self.metrics, feed.num_batches)

    @contextmanager
    def _passing(self, entered: AnyPass) -> Iterator[AnyPass]:
        """Makes a pass the current one, until it ends."""
        outer, self.current = self.current, entered
        try:
            yield entered
        finally:
            self.current = outer

    @contextmanager
    def _listening(self, callbacks: Iterable[Callback | Hook], progress: bool) -> Iterator[None]:
        """Who hears what happens; a call from within a callback adds nobody."""
        if self._is_listening:
            yield
            return
        with ExitStack() as stack:
            bar = [stack.enter_context(ProgressBar())] if progress and self.is_main else []
            self._listeners = Listeners((*self.callbacks, *checked_callbacks(callbacks), *bar))
            self._is_listening = True
            try:
                yield
            finally:
                self._is_listening = False

    def _notify(self, hook: str) -> None:
        self._listeners.notify(hook, self)


def _own_part(outputs: Any, batch: Batch) -> Any:
    """The outputs of the samples that are this process's own."""
    if batch.share is None:
        return outputs
    own = batch.share.own
    return map_tensors(lambda tensor: tensor[:own], outputs)
