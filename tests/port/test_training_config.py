"""How a model was compiled, from files that are written here: no Keras."""

import copy
import functools
import json
import zipfile

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from torchbp.callbacks import ClipGradients, LambdaCallback
from torchbp.errors import DataError
from torchbp.optim import SGD, Adam, RMSprop
from torchbp.port import (
    Constraints,
    Regularized,
    UnsupportedError,
    apply_constraints,
    load,
    load_optimizer_state,
    read_weights,
    regularization,
    training_config,
)
from torchbp.port.measures import KerasMeasure
from torchbp.port.schedules import ScheduledRate
from torchbp.train import Trainer

KERNEL, BIAS = np.arange(6, dtype="f4").reshape(3, 2) - 2, np.array([0.5, -1], "f4")


def keras_class(name, module="keras", /, **config):
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


def optimizer(name="SGD", **config):
    found = {"name": name.lower(), "learning_rate": 0.1, **config}
    return keras_class(name, "keras.optimizers", **found)


def model_config(outputs=1, **dense):
    """Layers dense, dense_1 ... of one input."""
    names = [f"dense{f'_{n}' if n else ''}" for n in range(outputs)]
    tensor = {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, 3], "dtype": "float32", "keras_history": ["x", 0, 0]},
    }
    layers = [keras_class("InputLayer", name="x", batch_shape=[None, 3], dtype="float32")]
    layers[0] |= {"name": "x", "inbound_nodes": []}
    for name in names:
        layer = keras_class("Dense", "keras.layers", name=name, units=2, **dense)
        call = {"args": [copy.deepcopy(tensor)], "kwargs": {}}
        layers.append(layer | {"name": name, "inbound_nodes": [call]})
    ends = [[name, 0, 0] for name in names]
    config = {"name": "net", "layers": layers, "input_layers": ["x", 0, 0]}
    config["output_layers"] = ends if outputs > 1 else ends[0]
    return {"class_name": "Functional", "module": "keras", "config": config}


def saved(tmp_path, loss="mse", given=None, outputs=1, state=None, dense=None, **compiled):
    """A `.keras` file of a compiled model."""
    config = model_config(outputs, **(dense or {}))
    config["compile_config"] = {"optimizer": given or optimizer(), "loss": loss, **compiled}
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for number in range(outputs):
            group = file.create_group(f"layers/dense{f'_{number}' if number else ''}/vars")
            group["0"], group["1"] = KERNEL, BIAS
        if state is not None:
            group = file.create_group("optimizer/vars")
            group.attrs["name"] = state[0]
            for number, array in enumerate(state[1:]):
                group[str(number)] = array
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.write(tmp_path / "weights.h5", "model.weights.h5")
    return path


OPTIMIZERS = [
    (optimizer("SGD"), SGD, {"lr": 0.1}),
    (
        optimizer("SGD", momentum=0.5, nesterov=True, weight_decay=0.25),
        SGD,
        {
            "momentum": 0.5,
            "nesterov": True,
            "lr_in_momentum": True,
            "weight_decay": 0.25,
            "decoupled_weight_decay": True,
        },
    ),
    (optimizer("SGD", momentum=0.0, nesterov=True), SGD, {"momentum": 0, "nesterov": False}),
    (
        optimizer("RMSprop", rho=0.75, momentum=0.5, centered=True, epsilon=1e-5),
        RMSprop,
        {
            "alpha": 0.75,
            "eps": 1e-5,
            "momentum": 0.5,
            "centered": True,
            "eps_in_sqrt": True,
            "lr_in_momentum": True,
        },
    ),
    (
        optimizer("Adam", beta_1=0.5, beta_2=0.75, epsilon=1e-7, amsgrad=True),
        Adam,
        {"betas": (0.5, 0.75), "eps": 1e-7, "amsgrad": True, "eps_before_correction": True},
    ),
    (
        optimizer("AdamW", weight_decay=0.004, use_ema=False, ema_momentum=0.99, jit_compile=True),
        Adam,
        {"weight_decay": 0.004, "decoupled_weight_decay": True, "betas": (0.9, 0.999)},
    ),
]


@pytest.mark.parametrize(("given", "kind", "options"), OPTIMIZERS)
def test_optimizers_have_keras_formula(tmp_path, given, kind, options):
    made = training_config(saved(tmp_path, given=given))["optimizer"]([nn.Parameter(torch.ones(1))])
    assert type(made) is kind
    assert {name: made.defaults[name] for name in options} == options


REFUSED_OPTIMIZERS = {
    "Lion": optimizer("Lion"),
    "of your own": optimizer() | {"registered_name": "my>SGD", "module": None},
    "your.module": optimizer() | {"module": "your.module"} and optimizer("your.module>SGD"),
    "use_ema=True": optimizer(use_ema=True),
    "gradient_accumulation_steps=2": optimizer(gradient_accumulation_steps=2),
    "decay=0.5": optimizer(decay=0.5),
    "the argument new=1": optimizer(new=1),
    "learning_rate='fast'": optimizer(learning_rate="fast"),
    "the learning rate CosineDecayRestarts": optimizer(
        learning_rate=keras_class("CosineDecayRestarts", initial_learning_rate=1.0)
    ),
    "the learning rate my>Rate": optimizer(
        learning_rate=keras_class("ExponentialDecay") | {"registered_name": "my>Rate"}
    ),
    "the optimizer": {"class_name": "SGD", "config": None},
}


@pytest.mark.parametrize("reason", REFUSED_OPTIMIZERS)
def test_other_optimizers_are_refused(tmp_path, reason):
    with pytest.raises(UnsupportedError, match=reason):
        training_config(saved(tmp_path, given=REFUSED_OPTIMIZERS[reason]))


@pytest.mark.parametrize(
    ("limits", "kind"),
    [
        ({"clipnorm": 0.5}, "ClipGradients"),
        ({"clipvalue": 0.5}, "ClipGradients"),
        ({"global_clipnorm": 0.5}, "ClipGlobalNorm"),
        ({"clipnorm": 0.0, "clipvalue": None}, None),
    ],
)
def test_clipping_is_a_callback(tmp_path, limits, kind):
    found = training_config(saved(tmp_path, given=optimizer(**limits)))
    kinds = [type(callback).__name__ for callback in found.get("callbacks", [])]
    assert kinds == ([] if kind is None else [kind])


def test_clipnorm_is_of_each_parameter(tmp_path):
    found = training_config(saved(tmp_path, given=optimizer(clipnorm=0.5)))
    [clip] = found["callbacks"]
    assert isinstance(clip, ClipGradients)
    assert (clip.max_norm, clip.max_norm_each, clip.max_value) == (None, 0.5, None)


def test_a_schedule_is_a_callback_that_goes_on_after_a_resumed_run(tmp_path):
    rate = keras_class(
        "PiecewiseConstantDecay", boundaries=[1, 3], values=[1.0, 0.5, 0.25], name="steps"
    )
    path = saved(tmp_path, given=optimizer(learning_rate=rate))
    found = training_config(path)
    [callback] = found["callbacks"]
    assert isinstance(callback, ScheduledRate)
    assert [callback.schedule(step) for step in range(5)] == [1.0, 1.0, 0.5, 0.5, 0.25]
    trainer = Trainer(load(path), **found)
    trainer.fit(torch.ones(4, 3), torch.ones(4, 2), batch_size=2, progress=False)
    assert callback.state_dict() == {"step": 2}
    other = Trainer(load(path), **training_config(path))
    other.load_state_dict(trainer.state_dict())
    other.fit(torch.ones(4, 3), torch.ones(4, 2), batch_size=2, epochs=2, progress=False)
    assert other.optimizer.param_groups[0]["lr"] == 0.5


LOSSES = [
    ("mse", "mean_squared_error", {}),
    ("MeanSquaredError", "mean_squared_error", {}),
    ("logcosh", "log_cosh", {}),
    ("KLD", "kl_divergence", {}),
    ("kullback_leibler_divergence", "kl_divergence", {}),
    ("ce", "crossentropy", {}),
    (
        {"module": "builtins", "class_name": "function", "config": "mae", "registered_name": None},
        "mean_absolute_error",
        {},
    ),
    (
        {
            "class_name": "BinaryCrossentropy",  # of tf.keras 2
            "config": {
                "reduction": "auto",
                "name": "bce",
                "from_logits": True,
                "label_smoothing": 0,
                "axis": -1,
            },
        },
        "binary_crossentropy",
        {"from_logits": True},
    ),
    (
        keras_class("Huber", "keras.losses", delta=2.0, reduction="sum_over_batch_size", name="h"),
        "huber",
        {"delta": 2.0},
    ),
]


@pytest.mark.parametrize(("given", "name", "settings"), LOSSES)
def test_losses_by_name_and_by_object(tmp_path, given, name, settings):
    loss = training_config(saved(tmp_path, given))["loss"]
    assert (loss.name, loss.settings, loss.reduction) == (name, settings, "mean")


REFUSED_LOSSES = {
    "the loss my_loss": "my_loss",
    "of your own": keras_class("MeanSquaredError") | {"registered_name": "my>MeanSquaredError"},
    "the loss my>loss, of your own": {
        "module": "builtins",
        "class_name": "function",
        "config": "mse",
        "registered_name": "my>loss",
    },
    "reduction='none'": keras_class("MeanSquaredError", reduction="none"),
    "reduction='mean_with_sample_weight'": keras_class(
        "MeanSquaredError", reduction="mean_with_sample_weight"
    ),
    "the loss Dice": keras_class("Dice", "keras.losses"),
    "ignore_class=0": keras_class("SparseCategoricalCrossentropy", ignore_class=0),
    "axis=1": keras_class("CategoricalCrossentropy", axis=1),
    "label_smoothing='much'": keras_class("CategoricalCrossentropy", label_smoothing="much"),
    "the argument new=1": keras_class("MeanSquaredError", new=1),
    "without a loss": None,
    "2 losses for 1 outputs": ["mse", "mae"],
    r"losses for \['other'\]": {"other": "mse"},
    "no object of Keras's": 5 and [5],
}


@pytest.mark.parametrize("reason", REFUSED_LOSSES)
def test_other_losses_are_refused(tmp_path, reason):
    with pytest.raises(UnsupportedError, match=reason):
        training_config(saved(tmp_path, REFUSED_LOSSES[reason]))


REFUSED_METRICS = {
    "the metric F1Score": ["F1Score"],
    "the metric crossentropy": ["crossentropy"],
    "curve='PR'": [keras_class("AUC", curve="PR")],
    "class_id=1": [keras_class("Precision", class_id=1)],
    "metrics of one name": ["mse", "mse"],
    "cosine_similarity, of which there are two": [
        {"module": "builtins", "class_name": "function", "config": "cosine_similarity"}
    ],
}


@pytest.mark.parametrize("reason", REFUSED_METRICS)
def test_other_metrics_are_refused_but_can_be_left_out(tmp_path, reason):
    path = saved(tmp_path, metrics=REFUSED_METRICS[reason])
    with pytest.raises(UnsupportedError, match=reason):
        training_config(path)
    assert "metrics" not in training_config(path, metrics=False)


def test_weighted_metrics_are_refused(tmp_path):
    assert training_config(saved(tmp_path, weighted_metrics=[]))
    with pytest.raises(UnsupportedError, match="weighted_metrics"):
        training_config(saved(tmp_path, weighted_metrics=["mse"]))


def test_losses_weights_and_metrics_of_several_outputs(tmp_path):
    path = saved(
        tmp_path,
        {"dense_1": "mae", "dense": "mse"},
        outputs=2,
        loss_weights=[2, 0.5],
        metrics={"dense_1": ["mse", "cosine_similarity"]},
    )
    found = training_config(path)
    assert [loss.name for loss in found["loss"]] == ["mean_squared_error", "mean_absolute_error"]
    assert found["loss_weights"] == [2.0, 0.5]
    assert [list(own) for own in found["metrics"]] == [[], ["mse", "cosine_similarity"]]
    assert found["metrics"][1]["cosine_similarity"].name == "positive_cosine_similarity"
    logs = Trainer(load(path), **found).evaluate(
        torch.ones(4, 3), [torch.ones(4, 2)] * 2, progress=False
    )
    assert {"loss", "dense_loss", "dense_1_mse"} <= set(logs)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"loss_weights": [1.0]}, "1 loss_weights for 2 outputs"),
        ({"loss_weights": {"dense": 1.0}}, r"loss_weights for \['dense'\]"),
        ({"loss_weights": ["much", 1]}, "loss_weights="),
        ({"metrics": ["mse"]}, "1 metrics for 2 outputs"),
        ({"metrics": {"other": "mse"}}, r"metrics for \['other'\]"),
    ],
)
def test_what_does_not_fit_the_outputs_is_refused(tmp_path, more, reason):
    with pytest.raises(UnsupportedError, match=reason):
        training_config(saved(tmp_path, ["mse", "mae"], outputs=2, **more))


def test_training_of_legacy_files(tmp_path):
    path = tmp_path / "model.h5"
    training = {
        "loss": "mse",
        "metrics": [["mae"]],
        "optimizer_config": {"class_name": "Adam", "config": {"learning_rate": 0.1, "decay": 0.0}},
    }
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model_config())
        file.attrs["training_config"] = json.dumps(training)
    found = training_config(path)
    assert found["optimizer"].func is Adam
    assert list(found["metrics"]) == ["mae"]


@pytest.mark.parametrize("text", ["{", "[1]", "null", '{"a": ' * 2000])
def test_damaged_training_of_legacy_files_is_refused(tmp_path, text):
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model_config())
        file.attrs["training_config"] = text
    with pytest.raises(DataError, match=r"JSON|model that was compiled"):
        training_config(path)


# Measures


def test_a_measure_refuses_what_keras_would_broadcast():
    with pytest.raises(DataError, match=r"expected targets \(4, 2\), got \(4, 1\)"):
        KerasMeasure("mean_squared_error")(torch.ones(4, 2), torch.ones(4, 1))
    with pytest.raises(DataError, match=r"expected targets \(4,\), got \(4, 2\)"):
        KerasMeasure("sparse_categorical_accuracy")(torch.ones(4, 2), torch.ones(4, 2))


def test_a_measure_shows_what_it_is():
    measure = KerasMeasure("huber", delta=2.0)
    assert repr(measure) == "KerasMeasure('huber', delta=2.0, reduction='mean')"


def test_sample_weights_weigh_a_measure(tmp_path):
    path = saved(tmp_path)
    trainer = Trainer(load(path), **training_config(path))
    x, y, weights = torch.eye(3), torch.zeros(3, 2), torch.tensor([1.0, 0.0, 2.0])
    found = trainer.evaluate(x, y, sample_weight=weights, progress=False)["loss"]
    values = (torch.from_numpy(KERNEL + BIAS) ** 2).mean(1)
    assert found == pytest.approx(((values * weights).sum() / 3).item())


# Regularizers and constraints


def rule(name, **config):
    return keras_class(name, "keras.regularizers", **config)


def with_rules(tmp_path, outputs=1, **dense):
    return saved(tmp_path, outputs=outputs, dense=dense)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"kernel_regularizer": rule("L2", l2=0.5)}, 0.5 * (KERNEL**2).sum()),
        ({"kernel_regularizer": rule("L1", l1=0.5)}, 0.5 * abs(KERNEL).sum()),
        ({"bias_regularizer": rule("L1L2", l1=2.0, l2=1.0)}, 2 * 1.5 + 1.25),
        ({"kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.5}}}, 0.5 * 19),
    ],
)
def test_regularization_of_a_file(tmp_path, arguments, expected):
    model = load(with_rules(tmp_path, **arguments))
    assert regularization(model).item() == pytest.approx(expected)
    assert regularization(copy.deepcopy(model)).item() == pytest.approx(expected)
    model.requires_grad_(False)
    assert regularization(model).item() == 0


def norms(array, axis):
    return np.sqrt((array**2).sum(axis))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"kernel_constraint": rule("NonNeg")}, np.maximum(KERNEL, 0)),
        ({"kernel_constraint": rule("MaxNorm", max_value=1.0, axis=0)}, KERNEL / norms(KERNEL, 0)),
        ({"kernel_constraint": rule("MaxNorm", max_value=9.0, axis=0)}, KERNEL),
        (
            {"kernel_constraint": rule("UnitNorm", axis=[1])},
            KERNEL / norms(KERNEL, 1)[:, None],
        ),
    ],
)
def test_constraints_of_a_file(tmp_path, arguments, expected):
    model = load(with_rules(tmp_path, **arguments))
    apply_constraints(model)
    np.testing.assert_allclose(model.dense.weight.detach().T, expected, rtol=1e-6)
    np.testing.assert_array_equal(model.dense.bias.detach(), BIAS)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"kernel_regularizer": rule("OrthogonalRegularizer", factor=0.1)}, "Orthogonal"),
        ({"kernel_regularizer": rule("L2", l2=0.1) | {"registered_name": "my>L2"}}, "of your own"),
        ({"kernel_regularizer": rule("L2", l2="much")}, "l2='much'"),
        ({"kernel_regularizer": rule("L2", l2=0.1, new=1)}, "the argument new=1"),
        ({"kernel_regularizer": "l2"}, "kernel_regularizer l2"),
        ({"other_regularizer": rule("L2", l2=0.1)}, "other_regularizer"),
        ({"kernel_constraint": rule("RadialConstraint")}, "RadialConstraint"),
        ({"kernel_constraint": rule("MaxNorm", max_value=1.0, axis="all")}, "axis='all'"),
        ({"activity_regularizer": rule("L2", l2=0.1)}, "activity_regularizer"),
        ({"nested": [{"config": {"kernel_regularizer": rule("L2", l2=0.1)}}]}, "nested"),
    ],
)
def test_other_rules_are_refused_when_the_model_is_ported(tmp_path, arguments, reason):
    with pytest.raises(UnsupportedError, match=reason):
        load(with_rules(tmp_path, **arguments))


def test_a_regularizer_of_a_bias_that_is_not_there_is_nothing(tmp_path):
    arguments = {"use_bias": False, "bias_regularizer": rule("L2", l2=0.1)}
    path = with_rules(tmp_path, **arguments)
    with h5py.File(tmp_path / "weights.h5", "a") as file:
        del file["layers/dense/vars/1"]
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.write(tmp_path / "weights.h5", "model.weights.h5")
    assert regularization(load(path)).item() == 0


def test_rules_need_the_model_that_has_them(tmp_path):
    path = with_rules(
        tmp_path, kernel_regularizer=rule("L2", l2=0.5), kernel_constraint=rule("NonNeg")
    )
    with pytest.raises(UnsupportedError, match="without the model that has them"):
        training_config(path)
    model = load(path)
    found = training_config(path, model)
    assert isinstance(found["loss"], Regularized)
    assert [type(callback) for callback in found["callbacks"]] == [Constraints]
    trainer = Trainer(model, **found)
    trainer.fit(torch.ones(4, 3), torch.ones(4, 2), progress=False)
    assert (model.dense.weight >= 0).all()
    assert len(list(found["loss"].parameters())) == 0


def test_sample_weights_are_refused_beside_regularization(tmp_path):
    path = with_rules(tmp_path, kernel_regularizer=rule("L2", l2=0.5))
    model = load(path)
    trainer = Trainer(model, **training_config(path, model))
    with pytest.raises(DataError, match="expected a loss that gives the value of each sample"):
        trainer.evaluate(torch.ones(2, 3), torch.ones(2, 2), sample_weight=torch.ones(2))


def test_constraints_follow_each_step(tmp_path):
    model = load(with_rules(tmp_path, kernel_constraint=rule("NonNeg")))
    lows = []
    hears = LambdaCallback(on_batch_end=lambda t: lows.append(model.dense.weight.min().item()))
    trainer = Trainer(
        model,
        nn.MSELoss(),
        functools.partial(torch.optim.SGD, lr=0.1),
        callbacks=[Constraints(model), hears],
        grad_accumulation=2,
    )
    x, y = torch.ones(3, 3), torch.full((3, 2), -9.0)  # which pull the weights down
    trainer.fit(x, y, batch_size=1, progress=False)
    assert lows == [-2, 0, 0]


def test_regularization_of_a_model_that_was_not_ported_is_refused():
    for function in (regularization, apply_constraints):
        with pytest.raises(DataError, match="model that torchbp"):
            function(nn.Linear(1, 1))


# The state of the optimizer

STEPS, RATE = np.int64(7), np.float32(0.25)
MOMENTA = [KERNEL * 10, BIAS * 10]
SQUARES = [KERNEL**2, BIAS**2]
INTERLEAVED = [MOMENTA[0], SQUARES[0], MOMENTA[1], SQUARES[1]]


def restored(tmp_path, given, *state):
    path = saved(tmp_path, given=given, state=state)
    model = load(path)
    made = training_config(path)["optimizer"](model.parameters())
    return load_optimizer_state(made, model, path), made, model.dense


def test_momenta_change_their_sign(tmp_path):
    steps, made, dense = restored(tmp_path, optimizer(momentum=0.5), "sgd", STEPS, RATE, *MOMENTA)
    assert steps == 7
    assert made.param_groups[0]["lr"] == 0.25
    np.testing.assert_array_equal(made.state[dense.weight]["momentum_buffer"], -MOMENTA[0].T)
    np.testing.assert_array_equal(made.state[dense.bias]["momentum_buffer"], -MOMENTA[1])


def test_adam_has_its_slots_interleaved_and_the_largest_squares_after_them(tmp_path):
    given = optimizer("Adam", amsgrad=True)
    largest = [2 * array for array in SQUARES]
    _, made, dense = restored(tmp_path, given, "adam_3", STEPS, RATE, *INTERLEAVED, *largest)
    state = made.state[dense.weight]
    assert state["step"] == 7
    np.testing.assert_array_equal(state["exp_avg"], MOMENTA[0].T)
    np.testing.assert_array_equal(state["exp_avg_sq"], SQUARES[0].T)
    np.testing.assert_array_equal(state["max_exp_avg_sq"], 2 * SQUARES[0].T)
    np.testing.assert_array_equal(made.state[dense.bias]["exp_avg_sq"], SQUARES[1])


def test_rmsprop_has_one_block_a_slot(tmp_path):
    given = optimizer("RMSprop", momentum=0.5, centered=True)
    means = [array + 1 for array in SQUARES]
    arrays = (*SQUARES, *MOMENTA, *means)
    _, made, dense = restored(tmp_path, given, "rmsprop", STEPS, RATE, *arrays)
    state = made.state[dense.weight]
    np.testing.assert_array_equal(state["square_avg"], SQUARES[0].T)
    np.testing.assert_array_equal(state["momentum_buffer"], MOMENTA[0].T)
    np.testing.assert_array_equal(state["grad_avg"], means[0].T)


REFUSED_STATES = {
    "an optimizer, got one without": None,
    "that of Adamax": ("adamax", STEPS, RATE, *MOMENTA),
    "got 5 variables": ("sgd", STEPS, RATE, *MOMENTA, BIAS),
    "got 1 variables": ("sgd", STEPS),
    r"dense of shape \(3, 2\)": ("sgd", STEPS, RATE, KERNEL.T, BIAS),
}


@pytest.mark.parametrize("reason", REFUSED_STATES)
def test_other_states_are_refused(tmp_path, reason):
    state = REFUSED_STATES[reason]
    path = saved(tmp_path, given=optimizer(momentum=0.5), state=state)
    model = load(path)
    made = training_config(path)["optimizer"](model.parameters())
    with pytest.raises(DataError, match=reason):
        load_optimizer_state(made, model, path)
    assert not made.state


def test_the_state_of_tf_keras_2_is_refused(tmp_path):
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("optimizer_weights")
        names = ["Adam/iter:0", "Adam/dense/kernel/m:0"]
        group.attrs["weight_names"] = [name.encode() for name in names]
        for name in names:
            group[name] = KERNEL
    model = load(saved(tmp_path))
    with pytest.raises(UnsupportedError, match=r"tf\.keras 2"):
        load_optimizer_state(Adam(model.parameters(), eps_before_correction=True), model, path)


def test_a_state_behind_a_link_is_refused(tmp_path):
    path = tmp_path / "links.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_group("layers/dense/vars")["0"] = KERNEL
        file["optimizer/vars/0"] = h5py.SoftLink("/layers/dense/vars/0")
    model = load(saved(tmp_path))
    with pytest.raises(DataError, match="only what lies in the file"):
        load_optimizer_state(SGD(model.parameters()), model, path)
    assert read_weights  # the weights of the same file are another matter


def test_groups_with_different_options_are_refused(tmp_path):
    path = saved(tmp_path, state=("sgd", STEPS, RATE))
    model = load(path)
    groups = [{"params": [model.dense.weight], "momentum": 0.5}, {"params": [model.dense.bias]}]
    with pytest.raises(UnsupportedError, match="one momentum for all parameters"):
        load_optimizer_state(SGD(groups, lr_in_momentum=True), model, path)
