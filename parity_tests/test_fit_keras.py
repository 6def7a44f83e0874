"""fit, evaluate and predict beside Keras's, in float64, to 1e-8: logs, History, weights.

Both sides start from the same weights and see the same batches in the same order, the last of
them short. Keras runs on TensorFlow as it comes, with a compiled training step. There the loss of
one output among several is the mean over batches, in which the short batch counts in full, while
the total loss, the metrics, TensorFlow's eager mode, Keras on torch and torchbp take the mean over
samples. So the losses of single outputs are compared three ways: batch by batch, as Keras's own
mean over batches; directly, with Keras in eager mode; and directly where no batch is short.
Keras's `weighted_metrics` have no counterpart: the metrics of both sides ignore sample weights.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from parity_tests.cases import POSTS
from parity_tests.small_cases import STACK
from torchbp.parity import Sizes
from torchbp.parity.keras_side import KerasSide
from torchbp.parity.optimizers import sgd
from torchbp.parity.torch_side import TorchSide
from torchbp.train import Callback, Trainer
from torchbp.train.class_weight import ClassWeight
from torchbp.train.metrics import RunningMeans
from torchbp.train.objectives import Criterion
from torchbp.train.sources import Arrays

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]

REL = 1e-8  # rounding of float64 over 20 steps stays below 1e-11; a fault shows from 1e-3 on
EPOCHS = 5
BATCH_SIZE = 4
POSTS_SIZES = Sizes(10, 270, {"vocabulary_size": 50, "num_income_groups": 10})  # batches 4 4 2
STACK_SIZES = Sizes(14)  # 4 4 4 2
HEADS = ["age", "income", "gender"]
OPTIMIZER = sgd(lr=1e-2)


def through_float32(constant):
    """How TensorFlow holds a constant such as the momentum."""
    return float(np.float32(constant))


def mean_absolute_error(output, target):
    return F.l1_loss(output, target)


def binary_accuracy(output, target):
    return ((output > 0.5) == (target > 0.5)).double().mean()


def categorical_accuracy(output, target):
    return (output.argmax(1) == target.argmax(1)).double().mean()


METRICS = {
    "age": {"mae": mean_absolute_error},
    "income": {"accuracy": categorical_accuracy},
    "gender": {"accuracy": binary_accuracy},
}


@dataclass(frozen=True)
class Run:
    """What is given to fit, to both sides or to one."""

    case: Any = POSTS
    sizes: Sizes = POSTS_SIZES
    eager: bool = False
    both: dict[str, Any] = field(default_factory=dict)
    keras: dict[str, Any] = field(default_factory=dict)
    torch: dict[str, Any] = field(default_factory=dict)
    batches: Callable[[], Any] | None = None

    @property
    def data(self):
        batch = self.case.batches(self.sizes, 1)[0]
        return next(iter(batch.inputs.values())), batch.targets


def sample_weights(num_samples=10, seed=5):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(0, 3, num_samples) for name in HEADS}


def held_out():
    """Nine other samples: batches of 4, 4 and 1."""
    batch = POSTS.batches(replace(POSTS_SIZES, batch_size=9), 2)[1]
    return batch.inputs["posts"], batch.targets


def batches():
    """Batches of differing sizes; more than the epochs need."""
    for number in range(2 * EPOCHS + 1):
        size = 4 - number % 3
        batch = POSTS.batches(replace(POSTS_SIZES, batch_size=size), number + 1)[number]
        yield batch.inputs["posts"], batch.targets


def in_order(by_name):
    return [by_name[name] for name in HEADS]


def one_or_list(by_name):
    """Keras takes a single target or loss without a list around it."""
    return next(iter(by_name.values())) if len(by_name) == 1 else in_order(by_name)


weights, (val_x, val_y), val_weights = sample_weights(), held_out(), sample_weights(9, seed=6)
RUNS = {
    "short last batch": Run(),
    "last epochs, no short batch": Run(both={"initial_epoch": 3, "batch_size": 5}),
    "eager": Run(eager=True, both={"epochs": 2}),
    "validation fraction": Run(  # 5 samples to train on, 4 1, and 5 to validate on, 4 1
        keras={"validation_split": 0.45}, torch={"validation_fraction": 0.45}
    ),
    "weighted validation data": Run(
        keras={"validation_data": (val_x, in_order(val_y), in_order(val_weights))},
        torch={"validation_data": (val_x, val_y, val_weights)},
    ),
    "sample weights": Run(
        keras={"sample_weight": in_order(weights)}, torch={"sample_weight": weights}
    ),
    "generator": Run(batches=batches, both={"steps_per_epoch": 2}),
    "class weights": Run(  # 9 samples to train on and 5 to validate on, unweighted
        STACK,
        STACK_SIZES,
        both={"class_weight": {0: 0.5, 2: 4.0}},
        keras={"validation_split": 0.3},
        torch={"validation_fraction": 0.3},
    ),
}


class BatchLosses(Callback):
    """The losses of single outputs batch by batch, from the running means."""

    def on_epoch_begin(self, trainer):
        self.num_samples, self.sums, self.batches = 0, {}, {}

    def on_batch_end(self, trainer):
        size = trainer.current.num_samples - self.num_samples
        self.num_samples += size
        for name, mean in trainer.current.read().items():
            before = self.sums.get(name, 0.0)
            self.sums[name] = mean * self.num_samples
            self.batches.setdefault(name, []).append((self.sums[name] - before) / size)

    def on_epoch_end(self, trainer):
        trainer.logs |= {f"batches_{name}": np.mean(own) for name, own in self.batches.items()}


class BothSides:
    """What Keras and the Trainer give for the runs, each computed once."""

    def __init__(self):
        self.side = functools.cache(self._side)
        self.in_keras = functools.cache(self._in_keras)
        self.in_torch = functools.cache(self.fit)

    def _side(self, case_name):
        run = next(run for run in RUNS.values() if run.case.name == case_name)
        side = KerasSide(run.case, run.sizes, "float64")
        return side, side.weights()

    def compiled(self, run):
        side, weights = self.side(run.case.name)
        side.load(weights)
        heads = run.case.heads
        side.model.compile(
            OPTIMIZER.keras(through_float32),
            loss=one_or_list({head.name: head.loss for head in heads}),
            loss_weights=one_or_list({head.name: head.weight for head in heads}),
            metrics=[["mae"], ["accuracy"], ["accuracy"]] if len(heads) > 1 else ["accuracy"],
            run_eagerly=run.eager,
            jit_compile=False,  # the same numbers, and XLA takes seconds for each run
        )
        return side

    def _in_keras(self, name):
        run = RUNS[name]
        side = self.compiled(run)
        settings = {"epochs": EPOCHS, "shuffle": False, "verbose": 0, **run.both, **run.keras}
        if run.batches is None:
            x, targets = run.data
            settings = {"batch_size": BATCH_SIZE, **settings}
            history = side.model.fit(x, one_or_list(targets), **settings)
        else:
            batches = ((x, tuple(targets.values())) for x, targets in run.batches())
            history = side.model.fit(batches, **settings)
        return history, side.weights()

    def trainer(self, run, callbacks=()):
        side = TorchSide(run.case, run.sizes, "float64", "cpu")
        side.load(self.side(run.case.name)[1])
        heads, several = run.case.heads, len(run.case.heads) > 1
        return side, Trainer(
            side.model,
            {head.name: head.criterion for head in heads} if several else heads[0].criterion,
            OPTIMIZER.torch(side.model, through_float32),
            metrics=METRICS if several else {"accuracy": categorical_accuracy},
            loss_weights={head.name: head.weight for head in heads} if several else None,
            callbacks=callbacks,
        )

    def fit(self, name, callbacks=()):
        run = RUNS[name]
        side, trainer = self.trainer(run, callbacks)
        settings = {"epochs": EPOCHS, "shuffle": False, "progress": False, **run.both, **run.torch}
        if run.batches is None:
            x, targets = run.data
            targets = targets if len(targets) > 1 else one_or_list(targets)
            history = trainer.fit(x, targets, **{"batch_size": BATCH_SIZE, **settings})
        else:
            history = trainer.fit(run.batches(), **settings)
        return history, side.weights()


@pytest.fixture(scope="module")
def sides(keras_float64):
    return BothSides()


def is_loss_of_one_output(name):
    return name.removeprefix("val_") in [f"{head}_loss" for head in HEADS]


def means_over_samples(history):
    return {name: own for name, own in history.items() if not is_loss_of_one_output(name)}


def check(ours, theirs):
    """Every mean over samples, the History's form, and the weights that training ends with."""
    (history, weights), (keras_history, keras_weights) = ours, theirs
    assert history.epochs == keras_history.epoch
    assert set(history) == set(keras_history.history)
    assert all(isinstance(value, float) for own in history.values() for value in own)
    for log, wanted in means_over_samples(keras_history.history).items():
        assert history[log] == pytest.approx(wanted, rel=REL), log
    for weight, wanted in keras_weights.items():
        torch.testing.assert_close(weights[weight], wanted, rtol=REL, atol=1e-12)


@pytest.mark.parametrize("name", RUNS)
def test_fit_gives_keras_numbers(sides, name):
    check(sides.in_torch(name), sides.in_keras(name))


@pytest.mark.parametrize("name", ["last epochs, no short batch", "eager"])
def test_losses_of_single_outputs_are_keras_where_it_takes_the_mean_over_samples(sides, name):
    ours, theirs = sides.in_torch(name)[0], sides.in_keras(name)[0].history
    assert sum(map(is_loss_of_one_output, theirs)) == len(HEADS)
    for log, wanted in theirs.items():
        assert ours[log] == pytest.approx(wanted, rel=REL), log


@pytest.mark.parametrize("name", ["short last batch", "sample weights"])
def test_losses_of_single_outputs_are_keras_batch_by_batch(sides, name):
    theirs = sides.in_keras(name)[0].history
    history, _ = sides.fit(name, [BatchLosses()])
    for log in filter(is_loss_of_one_output, theirs):
        assert history[f"batches_{log}"] == pytest.approx(theirs[log], rel=REL)
        assert history[log] != pytest.approx(theirs[log], rel=1e-3)  # the short batch is in it


def test_evaluate_gives_keras_numbers(sides):
    settings = {"verbose": 0, "return_dict": True}
    theirs = sides.compiled(Run()).model.evaluate(val_x, in_order(val_y), BATCH_SIZE, **settings)
    _, trainer = sides.trainer(Run())
    ours = trainer.evaluate(val_x, val_y, batch_size=BATCH_SIZE, progress=False)
    assert set(ours) == set(theirs)
    wanted = means_over_samples(theirs)
    assert {log: ours[log] for log in wanted} == pytest.approx(wanted, rel=REL)
    slices = [slice(start, start + BATCH_SIZE) for start in range(0, len(val_x), BATCH_SIZE)]
    batches = [
        trainer.evaluate(val_x[rows], {k: y[rows] for k, y in val_y.items()}, progress=False)
        for rows in slices
    ]
    for log in filter(is_loss_of_one_output, theirs):
        of_batches = np.mean([batch[log] for batch in batches])
        assert of_batches == pytest.approx(theirs[log], rel=REL)


def test_evaluate_weighs_samples_as_keras_does(sides):
    settings = {"verbose": 0, "return_dict": True, "sample_weight": in_order(val_weights)}
    theirs = sides.compiled(Run()).model.evaluate(val_x, in_order(val_y), 9, **settings)
    ours = sides.trainer(Run())[1].evaluate(
        val_x, val_y, batch_size=9, sample_weight=val_weights, progress=False
    )
    assert ours == pytest.approx(theirs, rel=REL)  # one batch: the losses of the outputs as well


def test_predict_gives_keras_numbers(sides):
    theirs = sides.compiled(Run()).model.predict(val_x, BATCH_SIZE, verbose=0)
    ours = sides.trainer(Run())[1].predict(val_x, BATCH_SIZE, progress=False)
    for output, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(output, torch.tensor(wanted), rtol=REL, atol=1e-12)


# Faults put into the Trainer: each must be found out


def short_batch_counts_in_full(monkeypatch):
    add = RunningMeans.add
    monkeypatch.setattr(RunningMeans, "add", lambda self, n, values: add(self, 1, values))


def validation_is_the_head(monkeypatch):
    split = Arrays.split
    monkeypatch.setattr(Arrays, "split", lambda self, f: split(self, f)[::-1])


def cut_is_rounded_up(monkeypatch):
    split = Arrays.split
    monkeypatch.setattr(Arrays, "split", lambda self, f: split(self, f - 1 / self.num_samples))


def other_classes_weigh_nothing(monkeypatch):
    weigh = ClassWeight.__call__

    def faulty(self, targets):
        named = weigh(self, targets)
        return torch.where(named == 1, 0.0, named)

    monkeypatch.setattr(ClassWeight, "__call__", faulty)


def weights_are_divided_by_their_sum(monkeypatch):
    value = Criterion.__call__

    def faulty(self, output, target, weights=None):
        of_batch = value(self, output, target, weights)
        return of_batch if weights is None else of_batch / weights.mean()

    monkeypatch.setattr(Criterion, "__call__", faulty)


def losses_are_not_weighted(monkeypatch):
    monkeypatch.setattr(
        "torchbp.train.passes.weighted_sum", lambda terms, losses: sum(losses.values())
    )


def epochs_start_at_zero(monkeypatch):
    fit = Trainer.fit

    def faulty(self, *args, epochs, initial_epoch=0, **more):
        return fit(self, *args, epochs=epochs - initial_epoch, **more)

    monkeypatch.setattr(Trainer, "fit", faulty)


def validation_trains(monkeypatch):
    evaluate = Trainer._evaluate

    def faulty(self, feed):
        results = evaluate(self, feed)
        with torch.no_grad():
            next(self.model.parameters()).mul_(1 + 1e-6)
        return results

    monkeypatch.setattr(Trainer, "_evaluate", faulty)


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (short_batch_counts_in_full, "short last batch"),
        (short_batch_counts_in_full, "generator"),
        (validation_is_the_head, "validation fraction"),
        (cut_is_rounded_up, "validation fraction"),
        (other_classes_weigh_nothing, "class weights"),
        (weights_are_divided_by_their_sum, "sample weights"),
        (weights_are_divided_by_their_sum, "weighted validation data"),
        (weights_are_divided_by_their_sum, "class weights"),
        (losses_are_not_weighted, "short last batch"),
        (epochs_start_at_zero, "last epochs, no short batch"),
        (validation_trains, "validation fraction"),
    ],
)
def test_a_fault_in_the_trainer_is_found_out(sides, monkeypatch, plant, name):
    theirs = sides.in_keras(name)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check(sides.fit(name), theirs)
