"""The training loop, and nothing else."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from torchbp.errors import DataError
from torchbp.train.batches import Arrays, Batch, Source, check_positive, source_of, unpack
from torchbp.train.callback import Callback, checked_callbacks
from torchbp.train.feed import Feed, check_rereadable, split_validation
from torchbp.train.history import History
from torchbp.train.module import call_model, device_of, float_dtype_of, in_mode, make_optimizer
from torchbp.train.objectives import Objective
from torchbp.train.passes import MeasuredPass, Pass
from torchbp.train.progress import ProgressBar
from torchbp.train.tensors import concatenate, count_samples, fetch, finish_fetching

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
        callbacks: hear of all that this trainer does, in this order.

    Attributes:
        history: the History of the last call of `fit`, complete up to where it got.
        epoch: the index of the epoch that goes on.
        epochs: the index at which training ends.
        logs: the numbers of the epoch, once they are known.
        current: the `Pass` over the data that goes on.
        stop_reason: why training was stopped, None if it was not.

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
        callbacks: Iterable[Callback] = (),
    ) -> None:
        self.model = model if device is None else model.to(device)
        self.optimizer = make_optimizer(optimizer, self.model)
        self.callbacks = checked_callbacks(callbacks)
        self.history = History()
        self.epoch = 0
        self.epochs = 0
        self.logs: dict[str, float] = {}
        self.current = Pass(num_batches=0)
        self.stop_reason: str | None = None
        self._objective = Objective(loss, loss_weights)
        self._metrics = metrics
        self._listeners: tuple[Callback, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where the model is, and where its batches go."""
        return device_of(self.model)

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
        callbacks: Iterable[Callback] = (),
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
            batch_size: samples in a batch of arrays and datasets; the last may have fewer.
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
        feed = Feed(source, self.device, steps_per_epoch, class_weight)
        validation = None if held_out is None else Feed(held_out, self.device)
        self._prepare_to_train(validation, epochs)
        with self._listening(callbacks, progress), in_mode(self.model, training=True):
            try:
                self._notify("on_train_begin")
                for epoch in range(initial_epoch, epochs):
                    if self.stop_reason is None and feed.is_spent():
                        self.stop("the data ended")
                    if self.stop_reason is not None:
                        break
                    self._train_epoch(epoch, feed, validation)
            finally:
                self._notify("on_train_end")
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
            return self._evaluate(Feed(source, self.device))

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
        feed = Feed(self._source(inputs, None, None, batch_size), self.device)
        parts = []
        with (
            self._listening((), progress),
            in_mode(self.model, training=False),
            self._passing(Pass(feed.num_batches)) as current,
        ):
            self._notify("on_predict_begin")
            for current.batch, batch in enumerate(feed):
                with torch.no_grad():
                    parts.append(fetch(call_model(self.model, batch.inputs)))
                current.num_samples += count_samples(parts[-1])
                self._notify("on_predict_batch_end")
            self._notify("on_predict_end")
        finish_fetching(self.device)
        return concatenate(parts)

    def stop(self, reason: str) -> None:
        """Ends training after the step that is at work and the validation of its epoch.

        Args:
            reason: kept as `trainer.stop_reason`.
        """
        self.stop_reason = reason

    def _train_epoch(self, epoch: int, feed: Feed, validation: Feed | None) -> None:
        self.epoch, self.logs = epoch, {}
        with self._passing(self._measured(feed)) as current:
            self._notify("on_epoch_begin")
            for current.batch, batch in enumerate(feed):
                self._notify("on_batch_begin")
                self._train_step(current, batch)
                self._notify("on_batch_end")
                if self.stop_reason is not None:
                    break
            self.logs = current.read()
            if validation is not None:
                results = self._evaluate(validation)
                self.logs |= {f"val_{name}": value for name, value in results.items()}
            self._notify("on_epoch_end")
        self.history.append(epoch, self.logs)

    def _train_step(self, current: MeasuredPass, batch: Batch) -> None:
        assert self.optimizer is not None
        loss = current.loss(call_model(self.model, batch.inputs), batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it so
        self._notify("on_gradients")
        self.optimizer.step()
        current.record()

    def _evaluate(self, feed: Feed) -> dict[str, float]:
        with in_mode(self.model, training=False), self._passing(self._measured(feed)) as current:
            self._notify("on_evaluate_begin")
            for current.batch, batch in enumerate(feed):
                with torch.no_grad():
                    current.loss(call_model(self.model, batch.inputs), batch)
                current.record()
                self._notify("on_evaluate_batch_end")
            self._notify("on_evaluate_end")
            return current.read()

    def _prepare_to_train(self, validation: Feed | None, epochs: int) -> None:
        """Checks what can be checked before the first epoch, and forgets the last training."""
        if self.optimizer is None:
            raise DataError(
                "optimizer: expected one to train with, got None.\n"
                "  To mend it: pass it as in Trainer(model, loss, torch.optim.Adam)."
            )
        if validation is not None and isinstance(validation.source, Arrays):
            with in_mode(self.model, training=False), torch.no_grad():
                batch = next(iter(validation))
                self._measured(validation).loss(call_model(self.model, batch.inputs), batch)
        self.history, self.logs, self.stop_reason = History(), {}, None
        self.epochs = epochs

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
        return self._source(*parts, batch_size)

    def _measured(self, feed: Feed) -> MeasuredPass:
        return MeasuredPass(self.model, self._objective, self._metrics, feed.num_batches)

    @contextmanager
    def _passing(self, entered: AnyPass) -> Iterator[AnyPass]:
        """Makes a pass the current one, until it ends."""
        outer, self.current = self.current, entered
        try:
            yield entered
        finally:
            self.current = outer

    @contextmanager
    def _listening(self, callbacks: Iterable[Callback], progress: bool) -> Iterator[None]:
        """Who hears what happens; a call from within a callback adds nobody."""
        if self._listeners:
            yield
            return
        with ExitStack() as stack:
            bar = [stack.enter_context(ProgressBar())] if progress else []
            self._listeners = (*self.callbacks, *checked_callbacks(callbacks), *bar)
            try:
                yield
            finally:
                self._listeners = ()

    def _notify(self, hook: str) -> None:
        for callback in self._listeners:
            getattr(callback, hook)(self)
