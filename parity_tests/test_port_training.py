"""Training that goes on in torch where Keras stopped, and back; in float64, to 1e-8.

Keras runs on TensorFlow. The momentum and the betas are numbers that float32 holds, since
TensorFlow rounds them to it; batches look up no row of a table twice, except where said.
"""

import json

import numpy as np
import pytest
import torch

from parity_tests.porting import close, normal, randomize
from torchbp.errors import DataError
from torchbp.optim import Adam, per_lookup_squares
from torchbp.port import (
    Constraints,
    Regularized,
    UnsupportedError,
    apply_constraints,
    from_keras,
    load,
    load_optimizer_state,
    optimizer_state_to_keras,
    regularization,
    to_keras,
    training_config,
)
from torchbp.port.measures import KerasMeasure
from torchbp.port.ported import arrays_of, ported_layers
from torchbp.train import Callback, Trainer

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]

REL = 1e-8  # of losses and weights over ten steps; a fault shows from 1e-5 on
REGULARIZED = 1e-9
SCHEDULED = 1e-6  # TensorFlow computes schedules in float32: 4e-8
NUM_SAMPLES, BATCH_SIZE = 20, 4  # five steps an epoch


def rounded(number):
    return float(np.float32(number))


class BatchLosses(Callback):
    def __init__(self):
        self.losses = []

    def on_batch_end(self, trainer):
        self.losses.append(trainer.current.total_loss.item())


def keras_fit(keras, model, x, y, epochs=2, **more):
    """The losses of the batches, one after the other."""
    losses = []

    class Kept(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.seen = 0.0 if batch == 0 else self.seen

        def on_train_batch_end(self, batch, logs=None):
            total = logs["loss"] * (batch + 1)  # the mean so far, of batches of one size
            losses.append(total - self.seen)
            self.seen = total

    settings = {"batch_size": BATCH_SIZE, "shuffle": False, "verbose": 0, **more}
    model.fit(x, y, epochs=epochs, callbacks=[Kept()], **settings)
    return losses


def torch_fit(trainer, x, y, epochs=2, **more):
    kept = BatchLosses()
    settings = {"batch_size": BATCH_SIZE, "shuffle": False, "progress": False, **more}
    trainer.fit(x, y, epochs=epochs, callbacks=[kept], **settings)
    return kept.losses


def check_weights(ported, model, bound=REL):
    layers = {layer.name: layer for layer in model._flatten_layers() if layer.weights}
    for layer in ported_layers(ported):
        if layer.num_arrays:
            found = arrays_of(layer, ported.get_submodule(layer.module))
            for ours, theirs in zip(found, layers[layer.path[-1]].get_weights(), strict=True):
                close(ours, theirs, bound, layer.name)


# Models: with every kind of weights that the order of axes could confuse, nested and shared ones


def image_model(keras):
    layers = keras.layers
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(3, 3, activation="tanh")(image)
    x = layers.BatchNormalization()(x)
    x = layers.SeparableConv2D(4, 2, activation="tanh")(x)
    x = layers.Flatten()(x)
    shared = layers.Dense(5, activation="tanh")
    left = shared(layers.Dense(6)(x))
    right = shared(layers.Dense(6)(x))
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4, activation="tanh")])
    frozen = layers.Dense(5, activation="tanh", trainable=False)
    x = layers.add([inner(left), layers.Dense(4)(frozen(right))])
    return randomize(keras.Model(image, layers.Dense(1)(x)))


def branched_model(keras):
    """Whose layers stand in another order than that of their first calls."""
    layers = keras.layers
    x = keras.Input((3,))
    late = layers.Dense(4, activation="tanh")(layers.Dense(4)(layers.Dense(4)(x)))
    early = layers.Dense(4, activation="tanh")(x)
    return randomize(keras.Model(x, layers.Dense(1)(layers.add([early, late]))))


def text_model(keras):
    layers = keras.layers
    stack = [
        keras.Input((3,), dtype="int32"),
        layers.Embedding(60, 4),
        layers.LSTM(3, return_sequences=True),
        layers.GRU(3),
        layers.Dense(1),
    ]
    return randomize(keras.Sequential(stack))


MODELS = {
    "images": (image_model, lambda: (normal(NUM_SAMPLES, 6, 6, 2), normal(NUM_SAMPLES, 1))),
    "branches": (branched_model, lambda: (normal(NUM_SAMPLES, 3), normal(NUM_SAMPLES, 1))),
    "text": (
        text_model,
        lambda: (np.arange(NUM_SAMPLES * 3).reshape(-1, 3) % 60, normal(NUM_SAMPLES, 1)),
    ),
}
OPTIMIZERS = {
    "SGD": lambda o: o.SGD(0.02),
    "momentum": lambda o: o.SGD(0.01, momentum=rounded(0.9)),
    "nesterov": lambda o: o.SGD(0.01, momentum=rounded(0.9), nesterov=True),
    "RMSprop": lambda o: o.RMSprop(1e-3, rho=rounded(0.9)),
    "centered RMSprop with momentum": lambda o: o.RMSprop(
        1e-3, rho=rounded(0.9), momentum=rounded(0.5), centered=True
    ),
    "Adam": lambda o: o.Adam(1e-3, rounded(0.9), rounded(0.999)),
    "AMSGrad": lambda o: o.Adam(1e-3, rounded(0.9), rounded(0.99), amsgrad=True),
    "AdamW": lambda o: o.AdamW(1e-3, rounded(0.0625), rounded(0.9), rounded(0.999)),
}
SCHEDULES = {
    "ExponentialDecay": lambda s: s.ExponentialDecay(0.02, 3, 0.75),
    "staircase": lambda s: s.ExponentialDecay(0.02, 3, 0.75, staircase=True),
    "InverseTimeDecay": lambda s: s.InverseTimeDecay(0.02, 2, 0.5),
    "PiecewiseConstantDecay": lambda s: s.PiecewiseConstantDecay([2, 7], [0.02, 0.01, 0.03]),
    "PolynomialDecay": lambda s: s.PolynomialDecay(0.02, 8, 0.005, power=2.0),
    "cycle": lambda s: s.PolynomialDecay(0.02, 3, 0.005, cycle=True),
    "CosineDecay": lambda s: s.CosineDecay(0.02, 8, alpha=0.125),
    "warmup": lambda s: s.CosineDecay(0.0, 8, warmup_target=0.02, warmup_steps=4),
}


def compiled(keras, model_name="branches", optimizer="Adam", **more):
    make, data = MODELS[model_name]
    model = make(keras)
    if isinstance(optimizer, str):
        optimizer = OPTIMIZERS[optimizer](keras.optimizers)
    model.compile(optimizer, "mse", jit_compile=False, **more)
    return model, *data()


def in_torch(x, ported):
    """The inputs as the port takes them."""
    return np.moveaxis(x, -1, 1) if x.ndim > 3 else x


def source_of(kind, model, tmp_path):
    if kind == "live":
        return model
    path = tmp_path / f"model.{kind}"
    model.save_weights(path) if kind == "weights.h5" else model.save(path)
    return path


@pytest.mark.parametrize(
    ("model_name", "optimizer"),
    [
        *(("images", optimizer) for optimizer in OPTIMIZERS),
        *(("text", optimizer) for optimizer in ("momentum", "RMSprop", "AMSGrad")),
        *(("branches", optimizer) for optimizer in ("nesterov", "AdamW")),
    ],
)
def test_training_goes_on_as_in_keras(keras_float64, tmp_path, model_name, optimizer):
    model, x, y = compiled(keras_float64, model_name, optimizer)
    keras_fit(keras_float64, model, x, y)
    path = source_of("keras", model, tmp_path)
    ported = load(path)
    trainer = Trainer(ported, **training_config(path, ported))
    assert load_optimizer_state(trainer.optimizer, ported, path) == 10
    ours = torch_fit(trainer, in_torch(x, ported), y)
    theirs = keras_fit(keras_float64, model, x, y)
    assert ours == pytest.approx(theirs, rel=REL)
    check_weights(ported, model)


@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [("live", "RMSprop"), ("h5", "momentum"), ("h5", "Adam"), ("weights.h5", "Adam")],
)
def test_the_state_comes_from_all_kinds_of_sources(keras_float64, tmp_path, kind, optimizer):
    model, x, y = compiled(keras_float64, "images", optimizer)
    keras_fit(keras_float64, model, x, y)
    source = source_of(kind, model, tmp_path)
    whole = model if kind == "weights.h5" else source
    ported = from_keras(model)
    trainer = Trainer(ported, **training_config(whole, ported))
    load_optimizer_state(trainer.optimizer, ported, source)
    ours = torch_fit(trainer, in_torch(x, ported), y)
    assert ours == pytest.approx(keras_fit(keras_float64, model, x, y), rel=REL)
    check_weights(ported, model)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "nesterov"])
def test_keras_goes_on_where_torch_stopped(keras_float64, optimizer):
    model, x, y = compiled(keras_float64, "images", optimizer)
    ported = from_keras(model)
    trainer = Trainer(ported, **training_config(model, ported))
    torch_fit(trainer, in_torch(x, ported), y)
    other = keras_float64.models.clone_model(model)
    other.compile(OPTIMIZERS[optimizer](keras_float64.optimizers), "mse", jit_compile=False)
    keras_fit(keras_float64, other, x, y, epochs=1)  # whose state is overwritten
    to_keras(ported, other)
    optimizer_state_to_keras(trainer.optimizer, ported, other, iterations=10)
    assert int(other.optimizer.iterations) == 10
    ours = torch_fit(trainer, in_torch(x, ported), y)
    assert ours == pytest.approx(keras_fit(keras_float64, other, x, y), rel=REL)
    check_weights(ported, other)


def test_a_changed_learning_rate_and_steps_go_both_ways(keras_float64):
    model, x, y = compiled(keras_float64)
    keras_fit(keras_float64, model, x, y)
    model.optimizer.learning_rate = 0.25
    ported = from_keras(model)
    optimizer = training_config(model, ported)["optimizer"](ported.parameters())
    load_optimizer_state(optimizer, ported, model)
    assert optimizer.param_groups[0]["lr"] == 0.25
    optimizer.param_groups[0]["lr"] = 0.5
    model.optimizer.iterations.assign(0)
    optimizer_state_to_keras(optimizer, ported, model)
    assert float(model.optimizer.learning_rate) == 0.5
    assert int(model.optimizer.iterations) == 10


def test_repeated_look_ups_go_on_as_on_tensorflow(keras_float64):
    model, _, y = compiled(keras_float64, "text", "Adam")
    x = np.random.default_rng(0).integers(0, 5, (NUM_SAMPLES, 3))
    keras_fit(keras_float64, model, x, y)
    ported = from_keras(model)
    trainer = Trainer(ported, **training_config(model, ported))
    load_optimizer_state(trainer.optimizer, ported, model)
    with per_lookup_squares(ported):
        ours = torch_fit(trainer, x, y)
    assert ours == pytest.approx(keras_fit(keras_float64, model, x, y), rel=REL)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_go_on_with_the_steps(keras_float64, tmp_path, schedule):
    rate = SCHEDULES[schedule](keras_float64.optimizers.schedules)
    sgd = keras_float64.optimizers.SGD(rate, momentum=rounded(0.5))
    model, x, y = compiled(keras_float64, "branches", sgd)
    ported = from_keras(model)
    trainer = Trainer(ported, **training_config(model, ported))
    ours = torch_fit(trainer, x, y, epochs=1)
    assert ours == pytest.approx(keras_fit(keras_float64, model, x, y, epochs=1), rel=SCHEDULED)
    path = source_of("keras", model, tmp_path)  # and anew from a file
    ported = load(path)
    trainer = Trainer(ported, **training_config(path, ported))
    load_optimizer_state(trainer.optimizer, ported, path)
    ours = torch_fit(trainer, x, y, epochs=2)
    assert ours == pytest.approx(keras_fit(keras_float64, model, x, y, epochs=2), rel=SCHEDULED)
    check_weights(ported, model, SCHEDULED)


@pytest.mark.parametrize("limit", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_gradients_are_clipped_as_in_keras(keras_float64, limit):
    sgd = keras_float64.optimizers.SGD(0.1, **{limit: 0.0625})
    model, x, y = compiled(keras_float64, "branches", sgd)
    ported = from_keras(model)
    trainer = Trainer(ported, **training_config(model, ported))
    ours = torch_fit(trainer, x, y)
    assert ours == pytest.approx(keras_fit(keras_float64, model, x, y), rel=REL)
    check_weights(ported, model)


# Losses and metrics

RNG = np.random.default_rng(1)
PROBABILITIES = RNG.dirichlet(np.ones(4), 20)
ONE_HOT = np.eye(4)[RNG.integers(0, 4, 20)]
LABELS = RNG.integers(0, 4, 20)
SIGNS = RNG.integers(0, 2, (20, 4))
LOSSES = {
    "mse": (lambda k: "mse", "linear", normal(20, 4)),
    "mean_absolute_error": (lambda k: "mean_absolute_error", "linear", normal(20, 4)),
    "MAPE": (lambda k: k.losses.MeanAbsolutePercentageError(), "linear", normal(20, 4)),
    "msle": (lambda k: "msle", "linear", normal(20, 4)),
    "Huber": (lambda k: k.losses.Huber(), "linear", normal(20, 4)),
    "huber": (lambda k: k.losses.huber, "linear", normal(20, 4)),
    "poisson": (lambda k: "poisson", "softplus", normal(20, 4) ** 2),
    "kld": (lambda k: "kl_divergence", "softmax", PROBABILITIES),
    "KLDivergence": (lambda k: k.losses.KLDivergence(), "softmax", ONE_HOT),
    "cosine": (lambda k: k.losses.CosineSimilarity(), "linear", normal(20, 4)),
    "hinge": (lambda k: "hinge", "tanh", SIGNS),
    "hinge of signs": (lambda k: "hinge", "tanh", 2 * SIGNS - 1),
    "squared_hinge": (lambda k: "squared_hinge", "tanh", SIGNS),
    "categorical_hinge": (lambda k: "categorical_hinge", "tanh", ONE_HOT),
    "bce": (lambda k: "binary_crossentropy", "sigmoid", SIGNS),
    "BCE": (lambda k: k.losses.BinaryCrossentropy(label_smoothing=0.125), "sigmoid", SIGNS),
    "BCE of logits": (
        lambda k: k.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.125),
        "linear",
        SIGNS,
    ),
    "CCE": (lambda k: "categorical_crossentropy", "softmax", ONE_HOT),
    "smooth CCE": (
        lambda k: k.losses.CategoricalCrossentropy(label_smoothing=0.125),
        "softmax",
        PROBABILITIES,
    ),
    "CCE of logits": (
        lambda k: k.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.125),
        "linear",
        ONE_HOT,
    ),
    "sparse": (lambda k: "sparse_categorical_crossentropy", "softmax", LABELS),
    "sparse (N, 1)": (lambda k: "sparse_categorical_crossentropy", "softmax", LABELS[:, None]),
    "sparse of logits": (
        lambda k: k.losses.SparseCategoricalCrossentropy(from_logits=True),
        "linear",
        LABELS,
    ),
    "by shape, indices": (lambda k: "crossentropy", "softmax", LABELS),
    "by shape, one-hot": (lambda k: "crossentropy", "softmax", ONE_HOT),
    "sum": (lambda k: k.losses.MeanSquaredError(reduction="sum"), "linear", normal(20, 4)),
}
METRICS = {
    "regression": (
        "linear",
        normal(20, 4),
        lambda k: [
            *("mse", "mae", "mape", "msle", "cosine_similarity"),
            *(k.metrics.LogCoshError(), k.metrics.CosineSimilarity(name="cos")),
            k.metrics.RootMeanSquaredError(name="rmse"),
        ],
    ),
    "binary": (
        "sigmoid",
        SIGNS,
        lambda k: [
            *("binary_accuracy", "BinaryAccuracy", "AUC", "Precision"),
            *(k.metrics.BinaryAccuracy(name="strict", threshold=0.75), k.metrics.AUC()),
            *(k.metrics.Recall(thresholds=0.25), k.metrics.Precision(), "binary_crossentropy"),
            k.metrics.AUC(num_thresholds=50, name="auc_50"),
        ],
    ),
    "classes": (
        "softmax",
        ONE_HOT,
        lambda k: [
            *("accuracy", "categorical_accuracy", "kl_divergence", "categorical_hinge"),
            k.losses.categorical_crossentropy,
        ],
    ),
    "indices": (
        "softmax",
        LABELS,
        lambda k: [
            *("acc", "sparse_categorical_accuracy", "sparse_categorical_crossentropy"),
        ],
    ),
}


def one_layer(keras, activation, units=4):
    stack = [keras.Input((3,)), keras.layers.Dense(units, activation=activation, name="scores")]
    return randomize(keras.Sequential(stack))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_losses_are_keras(keras_float64, tmp_path, name, kind):
    loss, activation, y = LOSSES[name]
    model = one_layer(keras_float64, activation)
    model.compile(keras_float64.optimizers.SGD(0.01), loss(keras_float64), jit_compile=False)
    x, path = normal(20, 3), source_of(kind, model, tmp_path)
    ported = load(path)
    ours = torch_fit(Trainer(ported, **training_config(path)), x, y)
    theirs = keras_fit(keras_float64, model, x, y)
    assert ours == pytest.approx(theirs, rel=REL)
    check_weights(ported, model)


def test_log_cosh_is_keras_but_for_the_rounding_of_log_2(keras_float64):
    model = one_layer(keras_float64, "linear")
    model.compile("sgd", keras_float64.losses.LogCosh(), jit_compile=False)
    x, y = normal(20, 3), normal(20, 4)
    ours = torch_fit(Trainer(from_keras(model), **training_config(model)), x, y)
    assert ours == pytest.approx(keras_fit(keras_float64, model, x, y), rel=1e-7)


@pytest.mark.parametrize("target", [SIGNS[:, 0], SIGNS[:, :1], SIGNS[:, 0] > 0])
@pytest.mark.parametrize("loss", ["binary_crossentropy", "mse", "crossentropy"])
def test_targets_of_one_number_may_lack_its_axis(keras_float64, target, loss):
    model = one_layer(keras_float64, "sigmoid", 1)
    model.compile("sgd", loss, metrics=["accuracy"], jit_compile=False)
    x, trainer = normal(20, 3), Trainer(from_keras(model), **training_config(model))
    settings = {"verbose": 0, "return_dict": True}
    theirs = model.evaluate(x, target.astype("float64"), 4, **settings)
    assert trainer.evaluate(x, target, batch_size=4, progress=False) == pytest.approx(theirs)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_metrics_are_keras(keras_float64, tmp_path, name, kind):
    activation, y, metrics = METRICS[name]
    model = one_layer(keras_float64, activation)
    model.compile("sgd", "mse" if y.ndim > 1 else LOSSES["sparse"][0](None))
    model.compile("sgd", model.loss, metrics=metrics(keras_float64), jit_compile=False)
    x, path = normal(20, 3), source_of(kind, model, tmp_path)
    settings = {"verbose": 0, "return_dict": True}
    theirs = model.evaluate(x, y, 4, **settings)  # builds the metrics
    trainer = Trainer(load(path), **training_config(path))
    ours = trainer.evaluate(x, y, batch_size=4, progress=False)
    assert set(ours) == set(theirs)
    for log, value in theirs.items():  # torchmetrics gathers in float32
        in_float32 = log.startswith(("AUC", "auc", "Precision", "precision", "recall", "rmse"))
        rel = 1e-6 if in_float32 else 1e-7 if log == "logcosh" else REL
        assert ours[log] == pytest.approx(value, rel=rel), log


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_is_keras(keras_float64, k):
    scores = np.round(normal(50, 6), 1).astype("float32")  # with ties; TensorFlow has no float64
    labels = RNG.integers(0, 6, 50)
    metrics = keras_float64.metrics
    for name, y in (("", np.eye(6)[labels]), ("sparse_", labels)):
        function = getattr(metrics, f"{name}top_k_categorical_accuracy")
        expected = np.asarray(function(y.astype("float32"), scores, k=k)).mean()
        measure = KerasMeasure(f"{name}top_k_categorical_accuracy", k=k)
        found = measure(torch.from_numpy(scores), torch.from_numpy(y)).item()
        assert found == pytest.approx(expected, rel=1e-6)


IMAGES_OF_CLASSES = {
    "one-hot": np.eye(3)[RNG.integers(0, 3, (8, 5, 5))],
    "indices": RNG.integers(0, 3, (8, 5, 5)),
    "indices with an axis": RNG.integers(0, 3, (8, 5, 5, 1)),
}


@pytest.mark.parametrize("channels", ["first", "last"])
@pytest.mark.parametrize("name", IMAGES_OF_CLASSES)
def test_classes_of_images_are_keras(keras_float64, channels, name):
    y = IMAGES_OF_CLASSES[name]
    layers = keras_float64.layers
    conv = layers.Conv2D(3, 2, padding="same", activation="softmax")
    model = randomize(keras_float64.Sequential([keras_float64.Input((5, 5, 2)), conv]))
    loss = f"{'' if y.shape[-1] == 3 else 'sparse_'}categorical_crossentropy"
    model.compile("sgd", loss, metrics=["accuracy"], jit_compile=False)
    x = normal(8, 5, 5, 2)
    theirs = model.evaluate(x, y, 4, verbose=0, return_dict=True)
    given = training_config(model, channels=channels)
    trainer = Trainer(from_keras(model, channels), **given)
    if channels == "first":
        x, y = np.moveaxis(x, -1, 1), np.moveaxis(y, -1, 1) if y.ndim > 3 else y
    assert trainer.evaluate(x, y, batch_size=4, progress=False) == pytest.approx(theirs, rel=REL)


@pytest.mark.parametrize("y", [np.eye(3)[RNG.integers(0, 3, (8, 5))], RNG.integers(0, 3, (8, 5))])
def test_classes_of_sequences_are_last(keras_float64, y):
    dense = keras_float64.layers.Dense(3, activation="softmax")
    model = randomize(keras_float64.Sequential([keras_float64.Input((5, 2)), dense]))
    model.compile("sgd", "crossentropy", metrics=["acc"], jit_compile=False)
    x = normal(8, 5, 2)
    theirs = model.evaluate(x, y, 4, verbose=0, return_dict=True)
    trainer = Trainer(from_keras(model), **training_config(model))
    assert trainer.evaluate(x, y, batch_size=4, progress=False) == pytest.approx(theirs, rel=REL)


SEVERAL = {
    "list": (list, ["mse", "mae"], [1.0, 0.5], [["mae"], ["mse"]]),
    "dict for list": (
        list,
        {"b": "mae", "a": "mse"},
        {"b": 0.5, "a": 2.0},
        {"b": "mse"},
    ),
    "one for both": (list, "mse", None, [["mae"], []]),
    "none for one": (list, ["mse", None], None, None),
    "dict": (dict, {"zoo": "mae", "ape": "mse"}, {"zoo": 0.5, "ape": 2.0}, {"ape": ["mae"]}),
    "list for dict": (dict, ["mse", "mae"], [2.0, 0.5], None),
    "part of a dict": (dict, {"ape": "mse"}, None, None),
}


def two_heads(keras, kind, **more):
    x = keras.Input((3,))
    a = keras.layers.Dense(2, name="a", **more)(x)
    b = keras.layers.Dense(2, name="b")(a)
    return randomize(keras.Model(x, [a, b] if kind is list else {"zoo": b, "ape": a}))


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("file", ["keras", "h5"])
def test_several_outputs_get_their_losses(keras_float64, tmp_path, name, file):
    kind, loss, weights, metrics = SEVERAL[name]
    model = two_heads(keras_float64, kind)
    model.compile(
        "sgd", loss, loss_weights=weights, metrics=metrics, run_eagerly=True, jit_compile=False
    )
    path = source_of(file, model, tmp_path)
    x, (a, b) = normal(20, 3), (normal(20, 2), normal(20, 2, seed=1))
    y = [a, b] if kind is list else {"zoo": b, "ape": a}
    theirs = model.evaluate(x, y, 4, verbose=0, return_dict=True)
    trainer = Trainer(load(path), **training_config(path))
    ours = trainer.evaluate(x, y, batch_size=4, progress=False)
    assert {log: ours[log] for log in ours if log in theirs} == pytest.approx(theirs, rel=REL)


# Regularizers and constraints, with factors that float32 holds

L1 = {"class_name": "L1", "config": {"l1": 1 / 64}}
L2 = {"class_name": "L2", "config": {"l2": 1 / 64}}


def regularized(keras, **more):
    """Every kind of array, a shared layer, a frozen one, one in a nested model."""
    r, layers = keras.regularizers, keras.layers
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(3, 3, kernel_regularizer=r.L2(1 / 32), bias_regularizer=r.L1(1 / 64))(image)
    x = layers.BatchNormalization(gamma_regularizer=r.L1L2(1 / 64, 1 / 32), beta_regularizer=L2)(x)
    x = layers.SeparableConv2D(4, 2, depthwise_regularizer=L1, pointwise_regularizer=L2)(x)
    x = layers.DepthwiseConv2D(2, depthwise_regularizer=L2, bias_regularizer=r.L2(0.25))(x)
    x = layers.Flatten()(x)
    shared = layers.Dense(5, activation="tanh", kernel_regularizer=L2, use_bias=False)
    x = layers.add([shared(layers.Dense(6)(x)), shared(layers.Dense(6)(x))])
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4, kernel_regularizer=L1)])
    frozen = layers.Dense(5, trainable=False, kernel_regularizer=L2, kernel_constraint="unit_norm")
    return randomize(keras.Model(image, layers.Dense(1, **more)(inner(frozen(x)))))


def regularized_text(keras, bidirectional=False):
    layers = keras.layers
    c = keras.constraints
    lstm = layers.LSTM(
        3,
        kernel_regularizer=L2,
        recurrent_regularizer=L1,
        bias_regularizer=L2,
        recurrent_constraint=c.MaxNorm(0.5, axis=0),
        kernel_constraint=c.UnitNorm(axis=1),
        bias_constraint=c.NonNeg(),
    )
    table = layers.Embedding(
        60, 4, embeddings_regularizer=L2, embeddings_constraint=c.MinMaxNorm(0.5, 0.75, 0.5, 1)
    )
    last = layers.Bidirectional(lstm) if bidirectional else lstm
    stack = [keras.Input((3,), dtype="int32"), table, last, layers.Dense(1)]
    return randomize(keras.Sequential(stack))


@pytest.mark.parametrize("make", [regularized, regularized_text])
def test_regularization_is_the_sum_of_keras_losses(keras_float64, make):
    model = make(keras_float64)
    ported = from_keras(model)
    theirs = float(sum(model.losses))
    assert regularization(ported).item() == pytest.approx(theirs, rel=REGULARIZED)
    with torch.no_grad():
        assert regularization(ported).item() == pytest.approx(theirs, rel=REGULARIZED)
    assert theirs > 0.1


def test_wrappers_have_the_regularizers_of_their_layers(keras_float64):
    layers = keras_float64.layers
    model = regularized_text(keras_float64, bidirectional=True)
    ported = from_keras(model)
    theirs = float(sum(model.losses))
    assert regularization(ported).item() == pytest.approx(theirs, rel=REGULARIZED)
    cells = [layers.LSTMCell(3, kernel_regularizer="l2"), layers.LSTMCell(3)]
    stack = keras_float64.Sequential([keras_float64.Input((4, 2)), layers.RNN(cells)])
    with pytest.raises(UnsupportedError, match="kernel_regularizer of a layer in"):
        from_keras(stack)  # which of the cells has it


def test_regularization_is_of_what_is_trained_now(keras_float64):
    model = regularized_text(keras_float64)
    ported = from_keras(model)
    model.layers[0].trainable = False
    ported.get_submodule(ported_layers(ported)[0].module).requires_grad_(False)
    theirs = float(sum(model.losses))
    assert regularization(ported).item() == pytest.approx(theirs, rel=REGULARIZED)


def test_a_model_without_regularizers_has_zero(keras_float64):
    ported = from_keras(one_layer(keras_float64, "linear"))
    before = {name: p.clone() for name, p in ported.named_parameters()}
    assert regularization(ported).item() == 0
    apply_constraints(ported)
    assert all(torch.equal(p, before[name]) for name, p in ported.named_parameters())


def constrained_images(keras):
    c, layers = keras.constraints, keras.layers
    stack = [
        keras.Input((6, 6, 2)),
        layers.Conv2D(
            3, 3, kernel_regularizer=L2, kernel_constraint=c.MaxNorm(0.5, axis=[0, 1, 2])
        ),
        layers.BatchNormalization(gamma_constraint=c.NonNeg(), beta_constraint=c.UnitNorm()),
        layers.Flatten(),
        layers.Dense(
            1,
            kernel_regularizer=keras.regularizers.L1L2(1 / 64, 1 / 32),
            kernel_constraint=c.MinMaxNorm(0.25, 0.5, rate=0.75),
        ),
    ]
    return randomize(keras.Sequential(stack))


@pytest.mark.parametrize("make", [constrained_images, regularized_text])
@pytest.mark.parametrize("kind", ["live", "keras", "h5"])
def test_ten_steps_with_regularizers_and_constraints(keras_float64, tmp_path, make, kind):
    model = make(keras_float64)
    model.compile(OPTIMIZERS["momentum"](keras_float64.optimizers), "mse", jit_compile=False)
    _, y = MODELS["images"][1]()
    x = (MODELS["images"] if make is constrained_images else MODELS["text"])[1]()[0]
    source = source_of(kind, model, tmp_path)
    ported = from_keras(source) if kind == "live" else load(source)
    trainer = Trainer(ported, **training_config(source, ported))
    ours = torch_fit(trainer, in_torch(x, ported), y)
    theirs = keras_fit(keras_float64, model, x, y)
    assert ours == pytest.approx(theirs, rel=REGULARIZED)
    check_weights(ported, model)
    log = trainer.evaluate(in_torch(x, ported), y, progress=False)["loss"]
    assert log == pytest.approx(model.evaluate(x, y, verbose=0), rel=REGULARIZED)


def test_both_are_in_a_loop_of_ones_own(keras_float64):
    model = constrained_images(keras_float64)
    model.compile(keras_float64.optimizers.SGD(0.01), "mse", jit_compile=False)
    x, y = MODELS["images"][1]()
    ported = from_keras(model)
    losses, optimizer = [], torch.optim.SGD(ported.parameters(), 0.01)
    images, targets = (torch.from_numpy(a) for a in (in_torch(x, ported), y))
    for start in range(0, NUM_SAMPLES, BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        loss = torch.nn.functional.mse_loss(ported(images[rows]), targets[rows])
        loss = loss + regularization(ported)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        apply_constraints(ported)
        losses.append(loss.item())
    theirs = keras_fit(keras_float64, model, x, y, epochs=1)
    assert losses == pytest.approx(theirs, rel=REGULARIZED)
    check_weights(ported, model)


@pytest.mark.parametrize("kind", [list, dict])
def test_of_several_outputs_one_loss_has_the_regularization(keras_float64, kind):
    model = two_heads(keras_float64, kind, kernel_regularizer=L2)
    weights = [0.5, 2.0] if kind is list else {"zoo": 2.0, "ape": 0.5}
    model.compile(keras_float64.optimizers.SGD(0.01), "mse", jit_compile=False)
    loss = ["mse", "mae"] if kind is list else {"zoo": "mae", "ape": "mse"}
    model.compile(keras_float64.optimizers.SGD(0.01), loss, loss_weights=weights, jit_compile=False)
    x, (a, b) = normal(20, 3), (normal(20, 2), normal(20, 2, seed=1))
    y = [a, b] if kind is list else {"zoo": b, "ape": a}
    ported = from_keras(model)
    trainer = Trainer(ported, **training_config(model, ported))
    ours = torch_fit(trainer, x, y)
    assert ours == pytest.approx(keras_fit(keras_float64, model, x, y), rel=REGULARIZED)
    check_weights(ported, model)


def test_a_loop_of_the_trainers_parts(keras_float64):
    """As the docstrings have it."""
    model = constrained_images(keras_float64)
    model.compile(keras_float64.optimizers.SGD(0.01), "mse", jit_compile=False)
    x, y = MODELS["images"][1]()
    ported = from_keras(model)
    loss = Regularized(torch.nn.MSELoss(), ported)
    sgd = torch.optim.SGD(ported.parameters(), 0.01)
    trainer = Trainer(ported, loss, sgd, callbacks=[Constraints(ported)])
    ours = torch_fit(trainer, in_torch(x, ported), y)
    assert ours == pytest.approx(keras_fit(keras_float64, model, x, y), rel=REGULARIZED)
    check_weights(ported, model)


# What is refused


def test_own_functions_are_refused_although_they_bear_keras_names(keras_float64):
    def mse(y_true, y_pred):
        return keras_float64.ops.mean((y_true - y_pred) ** 4)

    model = one_layer(keras_float64, "linear")
    for more in ({"loss": mse}, {"loss": "mse", "metrics": [mse]}):
        model.compile("sgd", **more)
        with pytest.raises(UnsupportedError, match="of your own"):
            training_config(model)


def test_what_keras_does_not_save_is_refused_where_it_can_be_seen(keras_float64):
    model, k = one_layer(keras_float64, "linear"), keras_float64
    model.compile("sgd", k.losses.Huber(delta=0.5))
    with pytest.raises(UnsupportedError, match="Huber with"):
        training_config(model)
    model.compile("sgd", "mse", metrics=[k.metrics.CosineSimilarity(axis=0)])
    with pytest.raises(UnsupportedError, match="CosineSimilarity with"):
        training_config(model)


def test_a_model_that_is_not_compiled_has_no_training(keras_float64, tmp_path):
    model = one_layer(keras_float64, "linear")
    for kind in ("live", "keras", "h5"):
        with pytest.raises(DataError, match="model that was compiled"):
            training_config(source_of(kind, model, tmp_path))


def test_masked_outputs_are_refused(keras_float64):
    layers = keras_float64.layers
    stack = [keras_float64.Input((3,)), layers.Embedding(9, 2, mask_zero=True), layers.Dense(1)]
    model = keras_float64.Sequential(stack)
    model.compile("sgd", "mse")
    for ported in (None, from_keras(model)):
        with pytest.raises(UnsupportedError, match="an output with a mask"):
            training_config(model, ported)


def test_a_mask_that_ends_within_the_model_is_not(keras_float64):
    layers = keras_float64.layers
    table = layers.Embedding(9, 2, mask_zero=True)
    stack = [keras_float64.Input((3,)), table, layers.GlobalAveragePooling1D(), layers.Dense(1)]
    model = keras_float64.Sequential(stack)
    model.compile("sgd", "mse")
    assert training_config(model)["loss"].name == "mean_squared_error"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"kernel_regularizer": "orthogonal_regularizer"}, "OrthogonalRegularizer"),
        ({"activity_regularizer": "l2"}, "activity_regularizer"),
    ],
)
def test_layers_with_other_regularizers_are_refused(keras_float64, arguments, reason):
    stack = [keras_float64.Input((3,)), keras_float64.layers.Dense(2, **arguments)]
    with pytest.raises(UnsupportedError, match=reason):
        from_keras(keras_float64.Sequential(stack))


def test_the_state_of_another_optimizer_or_model_is_refused(keras_float64, tmp_path):
    model, x, y = compiled(keras_float64, "branches", "Adam")
    keras_fit(keras_float64, model, x, y, epochs=1)
    ported = from_keras(model)
    sgd, _, _ = compiled(keras_float64, "branches", "momentum")
    momentum = training_config(sgd, from_keras(sgd))["optimizer"](ported.parameters())
    for kind in ("live", "keras", "h5", "weights.h5"):
        source = source_of(kind, model, tmp_path)
        with pytest.raises(DataError, match="the state of SGD, got that of Adam"):
            load_optimizer_state(momentum, ported, source)
    other = from_keras(one_layer(keras_float64, "linear"))
    adam = training_config(model, ported)["optimizer"](other.parameters())
    with pytest.raises(DataError, match="4 arrays of 2 weights"):
        load_optimizer_state(adam, other, model)
    with pytest.raises(UnsupportedError, match="Keras's formula"):
        load_optimizer_state(Adam(ported.parameters()), ported, model)
    with pytest.raises(UnsupportedError, match="got torch"):
        load_optimizer_state(torch.optim.Adam(ported.parameters()), ported, model)
    adam = training_config(model, ported)["optimizer"](list(ported.parameters())[:2])
    with pytest.raises(DataError, match="all parameters that Keras trains"):
        load_optimizer_state(adam, ported, model)


def test_a_file_without_steps_gives_a_fresh_start(keras_float64, tmp_path):
    model, x, y = compiled(keras_float64)
    path = source_of("keras", model, tmp_path)
    ported = load(path)
    trainer = Trainer(ported, **training_config(path, ported))
    assert load_optimizer_state(trainer.optimizer, ported, path) == 0
    ours = torch_fit(trainer, x, y)
    assert ours == pytest.approx(keras_fit(keras_float64, model, x, y), rel=REL)


def test_the_configuration_reads_as_one_would_write_it(keras_float64):
    model, _, _ = compiled(keras_float64)
    found = training_config(model)
    assert set(found) == {"loss", "optimizer"}
    assert "'mean_squared_error'" in repr(found["loss"])
    assert found["optimizer"].keywords["eps"] == 1e-7
    json.dumps(found["optimizer"].keywords)
