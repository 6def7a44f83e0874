"""One epoch on the same model and batches in each of the loops that `loop.py` compares."""

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torchbp import Trainer
from torchbp.train import Callback


class Batches:
    """Ready batches of inputs and targets; no list, which `fit` would take for several inputs."""

    def __init__(self, ready: list[tuple[Any, Any]]) -> None:
        self._ready = ready

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return iter(self._ready)

    def __len__(self) -> int:
        return len(self._ready)


class Times(NamedTuple):
    """Seconds of a step: of this process, and of the wall."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Task:
    """What every side trains: the model, ready batches, and a loss or one for each output."""

    model: nn.Module
    batches: Batches
    loss: Any

    def outputs(self, inputs: Any) -> Any:
        return self.model(*inputs) if isinstance(inputs, list) else self.model(inputs)

    def loss_of(self, outputs: Any, targets: Any) -> Tensor:
        if not isinstance(self.loss, dict):
            return self.loss(outputs, targets)
        pairs = zip(self.loss.items(), outputs, strict=True)
        return sum(loss(output, targets[name]) for (name, loss), output in pairs)

    def metric_of(self, outputs: Any, targets: Any) -> Tensor:
        """Accuracy; of three outputs that of the second, the income."""
        if isinstance(self.loss, dict):
            return accuracy(outputs[1], targets["income"])
        return accuracy(outputs, targets)

    @property
    def metrics(self) -> Any:
        named = {"accuracy": accuracy}
        return {"income": named} if isinstance(self.loss, dict) else named

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters())


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(1) == target).float().mean()


class Stopwatch:
    """Notes both clocks at the begin and at the end of an epoch, and counts the steps."""

    def __init__(self) -> None:
        self.steps = 0
        self.times = Times(0.0, 0.0)

    def start(self) -> None:
        self.steps = 0
        self._began = time.process_time(), time.perf_counter()

    def stop(self) -> None:
        cpu, wall = self._began
        steps = max(1, self.steps)
        self.times = Times(
            (time.process_time() - cpu) / steps, (time.perf_counter() - wall) / steps
        )


Epoch = Callable[[], Times]


def trainer(task: Task) -> Epoch:
    watch = Stopwatch()

    class Watch(Callback):
        def on_epoch_begin(self, trainer: Trainer) -> None:
            watch.start()

        def on_epoch_end(self, trainer: Trainer) -> None:
            watch.stop()

    class Count(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            watch.steps += 1

    ours = Trainer(
        task.model, task.loss, task.optimizer(), task.metrics, callbacks=[Watch(), Count()]
    )

    def epoch() -> Times:
        ours.fit(task.batches, epochs=1, progress=False)
        return watch.times

    return epoch


def bare_loop(task: Task) -> Epoch:
    """What a careful user writes by hand: sums stay tensors, read once at the end."""
    watch, optimizer = Stopwatch(), task.optimizer()

    def epoch() -> Times:
        task.model.train()
        watch.start()
        loss_sum = torch.zeros((), dtype=torch.float64)
        metric_sum = torch.zeros((), dtype=torch.float64)
        num_samples = 0
        for inputs, targets in task.batches:
            outputs = task.outputs(inputs)
            loss = task.loss_of(outputs, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                size = len(inputs[0]) if isinstance(inputs, list) else len(inputs)
                loss_sum.add_(loss.detach(), alpha=size)
                metric_sum.add_(task.metric_of(outputs, targets), alpha=size)
            num_samples += size
            watch.steps += 1
        (loss_sum / num_samples).item(), (metric_sum / num_samples).item()
        watch.stop()
        return watch.times

    return epoch


def accelerate(task: Task) -> Epoch:
    """The loop of its documentation, with sums that stay tensors."""
    from accelerate import Accelerator

    watch, accelerator = Stopwatch(), Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(task.model, task.optimizer())
    prepared = Task(model, task.batches, task.loss)

    def epoch() -> Times:
        model.train()
        watch.start()
        loss_sum, metric_sum = torch.zeros(()), torch.zeros(())
        for inputs, targets in prepared.batches:
            outputs = prepared.outputs(inputs)
            loss = prepared.loss_of(outputs, targets)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            with torch.no_grad():
                loss_sum += loss.detach()
                metric_sum += prepared.metric_of(outputs, targets)
            watch.steps += 1
        loss_sum.item(), metric_sum.item()
        watch.stop()
        return watch.times

    return epoch


def lightning(task: Task) -> Epoch:
    import lightning as pl

    watch = Stopwatch()

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.model

        def training_step(self, batch: Any, index: int) -> Tensor:
            inputs, targets = batch
            outputs = task.outputs(inputs)
            loss = task.loss_of(outputs, targets)
            values = {"loss": loss, "accuracy": task.metric_of(outputs, targets)}
            size = len(inputs[0]) if isinstance(inputs, list) else len(inputs)
            self.log_dict(values, on_step=False, on_epoch=True, batch_size=size)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return task.optimizer()

    class Watch(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            watch.start()

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            watch.stop()

    class Count(pl.Callback):
        def on_train_batch_end(self, *what: Any) -> None:
            watch.steps += 1

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    def epoch() -> Times:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runner = pl.Trainer(
                accelerator="cpu",
                devices=1,
                max_epochs=1,
                callbacks=[Watch(), Count()],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            runner.fit(Module(), task.batches)
        return watch.times

    return epoch


def poutyne(task: Task) -> Epoch:
    import poutyne

    watch = Stopwatch()

    class Watch(poutyne.Callback):
        def on_epoch_begin(self, epoch_number: int, logs: Any) -> None:
            watch.start()

        def on_epoch_end(self, epoch_number: int, logs: Any) -> None:
            watch.stop()

    class Count(poutyne.Callback):
        def on_train_batch_end(self, batch_number: int, logs: Any) -> None:
            watch.steps += 1

    model = poutyne.Model(
        task.model, task.optimizer(), task.loss_of, batch_metrics=[task.metric_of]
    )

    def epoch() -> Times:
        model.fit_generator(task.batches, epochs=1, callbacks=[Watch(), Count()], verbose=False)
        return watch.times

    return epoch


def skorch(task: Task) -> Epoch:
    from skorch import NeuralNet
    from skorch.callbacks import Callback as Hook, PassthroughScoring

    watch = Stopwatch()

    class Net(NeuralNet):
        def infer(self, x: Any, **more: Any) -> Any:
            return task.outputs(x)

        def get_loss(self, y_pred: Any, y_true: Any, *args: Any, **more: Any) -> Tensor:
            return task.loss_of(y_pred, y_true)

        def get_iterator(self, dataset: Any, training: bool = False) -> Batches:
            return task.batches

        def initialize_optimizer(self, *args: Any, **more: Any) -> "Net":
            self.optimizer_ = task.optimizer()
            return self

    class Watch(Hook):
        def on_epoch_begin(self, net: Any, **more: Any) -> None:
            watch.start()

        def on_epoch_end(self, net: Any, **more: Any) -> None:
            watch.stop()

    class Score(Hook):
        def on_batch_end(self, net: Any, batch: Any, y_pred: Any, **more: Any) -> None:
            watch.steps += 1
            with torch.no_grad():
                net.history.record_batch("accuracy", task.metric_of(y_pred, batch[1]).item())

    class Rows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(task.batches)

        def __getitem__(self, index: int) -> Any:
            raise AssertionError("the batches are ready")

    callbacks = [Score(), ("mean", PassthroughScoring("accuracy", on_train=True)), Watch()]
    net = Net(task.model, nn.Module, train_split=None, callbacks=callbacks, warm_start=True)
    net.set_params(verbose=0, callbacks__print_log=None)
    net.initialize()

    def epoch() -> Times:
        net.fit_loop(Rows(), epochs=1)
        return watch.times

    return epoch


PEERS = {
    "Lightning": lightning,
    "Poutyne": poutyne,
    "skorch": skorch,
    "Accelerate": accelerate,
}
