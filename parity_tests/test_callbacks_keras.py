"""The callbacks beside Keras's own: the same numbers go in, the same decisions come out."""

import math
import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import nn

from tests.callbacks.loop import LR, make_trainer, run, saved, weight
from torchbp.callbacks import (
    ClipGradients,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
    WeightAveraging,
)
from torchbp.train import Trainer

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

NAN, INF = math.nan, math.inf
SEQUENCES = {
    "falls": [3.0, 2.0, 1.0],
    "rises": [1.0, 2.0, 3.0, 4.0, 5.0],
    "ties": [2.0, 2.0, 2.0, 2.0],
    "ties within min_delta": [1.0, 0.9, 0.81, 0.8, 0.7999, 0.65, 0.65],
    "ties in float32": [0.1, 0.1 - 1e-10, 0.1 - 2e-10, 0.1 + 1e-10, 0.1 - 1e-8, 0.1 - 1e-10],
    "min_delta that rounding decides": [0.3, 0.2, 0.1, 0.1 - 3e-9, 0.0, -0.1],
    "nan first": [NAN, 1.0, 0.5, 2.0],
    "nan later": [1.0, NAN, 0.5, NAN, NAN, NAN, 0.25],
    "inf": [INF, INF, 1.0, INF, -INF, -INF, 0.0],
    "-inf first": [-INF, 1.0, -INF, INF, INF],
    "to and fro": [5.0, 4.0, 4.5, 4.2, 3.9, 4.1, 4.1, 4.1, 3.0, 3.5, 2.9, 2.95],
}
VALUES = st.lists(
    st.one_of(
        st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 1.1, NAN, INF, -INF]),
        st.floats(-2, 2, width=32, allow_subnormal=False),
        st.floats(-3e38, 3e38, allow_subnormal=False),  # beyond float32 Keras fails
    ),
    min_size=1,
    max_size=12,
)
DELTAS = st.sampled_from([0.0, 0.1, 0.2, 1.0, 1e-4])
MODES = st.sampled_from(["min", "max"])
COUNTS = st.integers(0, 3)

sequences = pytest.mark.parametrize("values", SEQUENCES.values(), ids=SEQUENCES)
modes = pytest.mark.parametrize("mode", ["min", "max"])
generated = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def keras():
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    return keras


@pytest.fixture(scope="module")
def model(keras):
    """One weight, and a learning rate."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(), "mse")
    return model


def keras_run(model, values, callback, lr=LR, after_epoch=lambda logs: None):
    """What Keras does with the values: the callback's hooks as fit calls them."""
    model.stop_training = False
    model.optimizer.learning_rate = lr
    callback.set_model(model)
    callback.set_params({"epochs": len(values)})
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        model.set_weights([np.full((1, 1), epoch + 1.0)])
        logs = {"score": value}
        callback.on_epoch_end(epoch, logs)
        after_epoch(logs)
        if model.stop_training:
            break
    callback.on_train_end()
    return epoch + 1


def keras_weight(model):
    return model.get_weights()[0].item()


def check_stopping(keras, model, values, arguments):
    arguments = {"monitor": "score", **arguments}
    epochs = keras_run(model, values, keras.callbacks.EarlyStopping(**arguments))
    trainer = run(values, EarlyStopping(**arguments))
    assert len(trainer.history.epochs) == epochs
    assert (trainer.stop_reason is not None) == model.stop_training
    assert weight(trainer) == keras_weight(model)


@sequences
@modes
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"restore_best_weights": True},
        {"patience": 2, "min_delta": 0.1, "restore_best_weights": True},
        {"patience": 1, "baseline": 0.5, "restore_best_weights": True},
        {"patience": 2, "baseline": 4.4, "min_delta": -0.1, "restore_best_weights": True},
        {"start_from_epoch": 2, "restore_best_weights": True},
        {"start_from_epoch": 99, "restore_best_weights": True},
    ],
    ids=str,
)
def test_early_stopping_stops_and_restores_as_keras(keras, model, values, mode, arguments):
    check_stopping(keras, model, values, {"mode": mode, **arguments})


@generated
@given(
    values=VALUES,
    arguments=st.fixed_dictionaries(
        {
            "mode": MODES,
            "patience": COUNTS,
            "min_delta": DELTAS,
            "start_from_epoch": COUNTS,
            "restore_best_weights": st.booleans(),
            "baseline": st.sampled_from([None, 0.0, 0.3, 1.0, NAN, INF]),
        }
    ),
)
def test_early_stopping_follows_keras_on_generated_numbers(keras, model, values, arguments):
    check_stopping(keras, model, values, arguments)


def check_plateau(keras, model, values, arguments, lr=LR):
    arguments = {"monitor": "score", "factor": 0.5, **arguments}
    theirs, reduced = [], []
    callback = keras.callbacks.ReduceLROnPlateau(**arguments)

    def after_epoch(logs):
        theirs.append(logs["learning_rate"])
        reduced.append(float(model.optimizer.learning_rate))

    keras_run(model, values, callback, lr, after_epoch)
    found = []
    note = LambdaCallback(on_epoch_end=lambda trainer: found.append(lr_of(trainer)))
    trainer = run(values, ReduceLROnPlateau(**arguments), note, lr=lr)
    # Keras keeps the learning rate in float32: one rounding for each reduction
    assert trainer.history["lr"] == pytest.approx(theirs, rel=1e-6)
    assert found == pytest.approx(reduced, rel=1e-6)


def lr_of(trainer):
    return trainer.optimizer.param_groups[0]["lr"]


@sequences
@modes
@pytest.mark.parametrize(
    "arguments",
    [
        {"patience": 0},
        {"patience": 1},
        {"patience": 2, "min_delta": 0.1},
        {"patience": 1, "cooldown": 1},
        {"patience": 0, "cooldown": 2, "min_delta": 0.0},
        {"patience": 0, "min_lr": 0.1},
        {"patience": 0, "factor": 0.1, "min_lr": 0.01},
    ],
    ids=str,
)
def test_learning_rate_is_reduced_when_keras_reduces_it(keras, model, values, mode, arguments):
    check_plateau(keras, model, values, {"mode": mode, **arguments})


@generated
@given(
    values=VALUES,
    lr=st.sampled_from([1.0, 0.1, 0.01]),
    arguments=st.fixed_dictionaries(
        {
            "mode": MODES,
            "patience": COUNTS,
            "min_delta": DELTAS,
            "cooldown": COUNTS,
            "factor": st.sampled_from([0.1, 0.5, 0.9]),
            "min_lr": st.sampled_from([0.0, 0.1, 0.01]),
        }
    ),
)
def test_plateaus_are_keras_s_on_generated_numbers(keras, model, values, lr, arguments):
    check_plateau(keras, model, values, arguments, lr)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda epoch, lr: 0.1 / (epoch + 1),
        lambda epoch, lr: lr * 0.9 if epoch > 1 else lr,
        lambda epoch, lr: float(np.float32(lr) * np.float32(0.5)),
    ],
)
def test_schedules_give_keras_s_learning_rates(keras, model, schedule):
    theirs = []
    callback = keras.callbacks.LearningRateScheduler(schedule)
    keras_run(model, [0.0] * 6, callback, LR, lambda logs: theirs.append(logs["learning_rate"]))
    trainer = run([0.0] * 6, LearningRateScheduler(schedule))
    assert trainer.history["lr"] == pytest.approx(theirs, rel=1e-6)  # theirs is float32


def keras_saved(model, folder):
    """Keras's files in the folder, by the names that ours have."""
    found = {}
    for path in sorted(folder.iterdir()):
        model.load_weights(path)
        found[path.name.replace(".weights.h5", ".pt")] = keras_weight(model)
    return found


def check_saving(keras, model, folder, values, template, arguments):
    ours, theirs = folder / "ours", folder / "theirs"
    ours.mkdir()
    theirs.mkdir()
    arguments = {"monitor": "score", **arguments}
    names = {"initial_best": "initial_value_threshold"}
    callback = keras.callbacks.ModelCheckpoint(
        str(theirs / f"{template}.weights.h5"),
        save_weights_only=True,
        **{names.get(name, name): value for name, value in arguments.items()},
    )
    after_each, found = [], []
    keras_run(model, values, callback, after_epoch=lambda _: after_each.append(contents(theirs)))
    save = ModelCheckpoint(ours / f"{template}.pt", **arguments)
    run(values, save, lambda trainer: found.append(contents(ours)))
    assert [len(files) for files in found] == [len(files) for files in after_each]
    assert saved(ours) == keras_saved(model, theirs)


def contents(folder):
    return sorted(path.name for path in folder.iterdir())


@sequences
@modes
@pytest.mark.parametrize(
    ("template", "arguments"),
    [
        ("{epoch:02d}-{score:.3f}", {"save_best_only": True}),
        ("last", {"save_best_only": True, "initial_best": 0.5}),
        ("{epoch}", {}),
    ],
)
def test_files_and_their_contents_are_keras_s(
    keras, model, tmp_path, values, mode, template, arguments
):
    check_saving(keras, model, tmp_path, values, template, {"mode": mode, **arguments})


@settings(generated, max_examples=25)
@given(
    values=VALUES,
    arguments=st.fixed_dictionaries(
        {"mode": MODES, "initial_best": st.sampled_from([None, 0.1, NAN, INF, -INF])}
    ),
)
def test_best_files_are_keras_s_on_generated_numbers(
    keras, model, tmp_path_factory, values, arguments
):
    folder = tmp_path_factory.mktemp("best")
    check_saving(keras, model, folder, values, "{epoch}", {"save_best_only": True, **arguments})


@pytest.mark.parametrize("save_best_only", [False, True])
@pytest.mark.parametrize("every", [1, 2, 3, 5, 7])
def test_files_of_batches_are_keras_s(keras, model, tmp_path, every, save_best_only):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    theirs.mkdir()
    arguments = {"monitor": "loss", "mode": "min", "save_best_only": save_best_only}
    heard = []  # what Keras would have heard at the ends of batches

    def hear(trainer):
        logs = trainer.current.read()
        heard.append((trainer.epoch, trainer.current.batch, logs, weight(trainer)))

    name = "{epoch}-{batch}-{loss:.2f}"
    save = ModelCheckpoint(ours / f"{name}.pt", every=every, **arguments)
    trainer = Trainer(
        nn.Linear(1, 1, bias=False), nn.MSELoss(), lambda p: torch.optim.SGD(p, lr=0.02)
    )
    x = torch.tensor([[1.0], [0.5], [2.0], [-3.0]])
    trainer.fit(
        x, x + 1, epochs=4, batch_size=1, callbacks=[hear_batches(hear), save], progress=False
    )

    callback = keras.callbacks.ModelCheckpoint(
        str(theirs / f"{name}.weights.h5"), save_weights_only=True, save_freq=every, **arguments
    )
    callback.set_model(model)
    callback.on_epoch_end(0, {})  # learns its mode; before that it fails at its second save
    for epoch, batch, logs, value in heard:
        if batch == 0:
            callback.on_epoch_begin(epoch)
        model.set_weights([np.full((1, 1), value)])
        callback.on_train_batch_end(batch, logs)
    assert saved(ours) == keras_saved(model, theirs)
    assert len(contents(ours)) > 0


def hear_batches(function):
    return LambdaCallback(on_batch_end=function)


@pytest.mark.parametrize(
    "epochs",
    [
        [{"loss": 0.5, "score": 1.0}, {"loss": 0.25, "score": 1e-9}],
        [{"loss": 0.1, "val_loss": NAN}, {"loss": INF, "val_loss": -0.0}],
        [{"loss": 1.0, "lr": 0.1}, {"loss": 1.0, "val_loss": 2.0, "lr": 0.1}, {"loss": 1 / 3}],
    ],
)
@pytest.mark.parametrize("append", [False, True])
def test_csv_files_are_keras_s_byte_for_byte(keras, model, tmp_path, epochs, append):
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"

    def replay(trainer):
        trainer.logs = dict(epochs[trainer.epoch])

    logger, keras_logger = CSVLogger(ours, append), keras.callbacks.CSVLogger(theirs, append=append)
    for _ in range(2):  # the second training replaces or appends
        run([0.0] * len(epochs), replay, logger)
        keras_logger.on_train_begin()
        for epoch, logs in enumerate(epochs):
            keras_logger.on_epoch_end(epoch, logs)
        keras_logger.on_train_end()
        assert ours.read_bytes() == theirs.read_bytes()


X = np.linspace(-1, 1, 8, dtype="float32").reshape(8, 1)


def spoiled(row, value):
    y = 2 * X
    y[row] = value
    return y


def keras_net(keras, optimizer, **settings):
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    net.set_weights([np.full((1, 1), 0.5), np.zeros(1)])
    net.compile(optimizer, "mse", run_eagerly=True, **settings)
    return net


def torch_net():
    net = nn.Linear(1, 1)
    nn.init.constant_(net.weight, 0.5)
    nn.init.zeros_(net.bias)
    return net


@pytest.mark.parametrize(
    ("y", "lr"),
    [
        (spoiled(0, NAN), 0.1),
        (spoiled(5, NAN), 0.1),
        (spoiled(7, INF), 0.1),
        (2 * X, 0.1),
        (2 * X, 1e4),  # the loss grows by about 1e8 in a step, and overflows
    ],
    ids=["nan at once", "nan later", "inf", "never", "diverges"],
)
def test_training_stops_at_the_batch_at_which_keras_stops(keras, y, lr):
    """Keras hears of it after the step that has spoiled its weights; ours stay finite."""
    net = keras_net(keras, keras.optimizers.SGD(lr))
    stop = keras.callbacks.TerminateOnNaN()
    net.fit(X, y, batch_size=1, epochs=2, shuffle=False, verbose=0, callbacks=[stop])
    trainer = Trainer(torch_net(), nn.MSELoss(), lambda p: torch.optim.SGD(p, lr=lr))
    x, target = torch.from_numpy(X), torch.from_numpy(y)
    settings = {"batch_size": 1, "epochs": 2, "shuffle": False, "progress": False}
    trainer.fit(x, target, callbacks=[TerminateOnNaN()], **settings)
    assert trainer.global_step == int(net.optimizer.iterations)
    assert (trainer.stop_reason is not None) == net.stop_training
    assert all(p.isfinite().all() for p in trainer.model.parameters())
    assert np.isfinite(net.get_weights()[0]).all() == (not net.stop_training or lr == 1e4)


def compare_training(keras, optimizer, callbacks, keras_callbacks=()):
    """Three epochs of the same training, ours and Keras's: weights and histories."""
    net = keras_net(keras, optimizer)
    arguments = {"batch_size": 3, "epochs": 3, "shuffle": False}
    validation = (X[:4], 3 * X[:4])
    theirs = net.fit(
        X,
        2 * X,
        validation_data=validation,
        callbacks=list(keras_callbacks),
        verbose=0,
        **arguments,
    )
    trainer = Trainer(torch_net(), nn.MSELoss(), lambda p: torch.optim.SGD(p, lr=0.3))
    history = trainer.fit(
        X, 2 * X, validation_data=validation, callbacks=callbacks, progress=False, **arguments
    )
    kernel, bias = net.get_weights()
    # float32, nine steps
    assert trainer.model.weight.detach().numpy().ravel() == pytest.approx(kernel.ravel(), rel=1e-5)
    assert trainer.model.bias.detach().numpy() == pytest.approx(bias, rel=1e-5)
    assert history["val_loss"] == pytest.approx(theirs.history["val_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("keras_arguments", "clip"),
    [
        ({"clipnorm": 0.05}, {"max_norm_each": 0.05}),
        ({"clipvalue": 0.02}, {"max_value": 0.02}),
        ({"global_clipnorm": 0.05}, {"max_norm": 0.05}),
        ({"clipnorm": 100.0}, {"max_norm_each": 100.0}),
    ],
    ids=str,
)
def test_clipped_training_is_keras_s(keras, keras_arguments, clip):
    optimizer = keras.optimizers.SGD(0.3, **keras_arguments)
    compare_training(keras, optimizer, [ClipGradients(**clip)])


def test_averaged_weights_are_keras_s(keras):
    optimizer = keras.optimizers.SGD(0.3, use_ema=True, ema_momentum=0.8)
    compare_training(keras, optimizer, [WeightAveraging(0.8, validate=False)])


def test_validation_of_averages_is_keras_s(keras):
    optimizer = keras.optimizers.SGD(0.3, use_ema=True, ema_momentum=0.8)
    compare_training(keras, optimizer, [WeightAveraging(0.8)], [keras.callbacks.SwapEMAWeights()])


@pytest.mark.parametrize("monitor", ["loss", "val_loss", "accuracy", "val_accuracy", "precision"])
def test_directions_that_a_name_tells_are_keras_s(keras, monitor):
    net = keras_net(keras, "sgd", metrics=["accuracy", keras.metrics.Precision(name="precision")])
    net.train_on_batch(X, np.round(X > 0))
    callback = keras.callbacks.EarlyStopping(monitor, patience=99)
    callback.set_model(net)
    callback.on_train_begin()
    callback.on_epoch_end(0, {monitor: 1.0})
    callback.on_epoch_end(1, {monitor: 2.0})
    ours = EarlyStopping(monitor)
    ours.on_train_begin(make_trainer([]))
    assert ours.monitor.is_better(2.0, 1.0) == (callback.best == 2.0)
