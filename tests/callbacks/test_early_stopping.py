"""EarlyStopping, and the Monitor that it shares with others."""

import math

import pytest
import torch
import torchmetrics
from torch import nn

from tests.callbacks.loop import fit, make_trainer, resumed, run, weight
from torchbp.callbacks import EarlyStopping
from torchbp.callbacks.monitor import Monitor
from torchbp.errors import DataError
from torchbp.train import Trainer

NAN = math.nan
DOWN_AND_UP = [5.0, 4.0, 4.5, 3.0, 3.5, 3.2, 3.1, 2.0]


@pytest.mark.parametrize(
    ("values", "settings", "num_epochs"),
    [
        (DOWN_AND_UP, {}, 3),
        (DOWN_AND_UP, {"patience": 1}, 3),
        (DOWN_AND_UP, {"patience": 2}, 6),
        (DOWN_AND_UP, {"patience": 3}, 7),
        (DOWN_AND_UP, {"patience": 4}, 8),
        (DOWN_AND_UP, {"mode": "max"}, 2),
        (DOWN_AND_UP, {"min_delta": 1.0}, 2),  # 4.0 is better by 1.0, not by more
        (DOWN_AND_UP, {"start_from_epoch": 3}, 5),
        (DOWN_AND_UP, {"baseline": 3.5, "patience": 4}, 8),  # 3.0 begins the count anew
        (DOWN_AND_UP, {"baseline": 2.9, "patience": 4}, 5),  # 3.0 does not
        ([9.0, 8.0, 7.0], {"baseline": 1.0, "patience": 1}, 3),  # it improves all the time
        ([1.0, 1.0 - 1e-9, 1.0 - 2e-9], {}, 2),  # equal in float32
        ([1.0, 1.0, 1.0], {"mode": "max"}, 2),
        ([NAN, 1.0, 0.5], {}, 2),
        ([1.0, NAN, 0.5], {"patience": 2}, 3),
    ],
)
def test_stops_after_patience_epochs_without_an_improvement(values, settings, num_epochs):
    trainer = run(values, EarlyStopping("score", **{"mode": "min", **settings}))
    assert len(trainer.history.epochs) == num_epochs


def test_says_why_it_stopped():
    trainer = run([1.0, 2.0, 3.0, 4.0], EarlyStopping("score", mode="min", patience=2))
    assert trainer.stop_reason == (
        "EarlyStopping: score has not improved for 2 epochs, the best was epoch 1"
    )


def test_leaves_the_last_weights_unless_it_is_to_restore_the_best():
    assert weight(run([2.0, 1.0, 3.0], EarlyStopping("score", mode="min"))) == 3


@pytest.mark.parametrize("patience", [0, 9])
def test_restores_the_best_weights_also_when_nothing_stops(patience):
    stopping = EarlyStopping("score", mode="min", patience=patience, restore_best_weights=True)
    assert weight(run([2.0, 1.0, 3.0], stopping)) == 2


def test_restores_buffers_with_the_weights():
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))
    stopping = EarlyStopping("loss", mode="max", patience=9, restore_best_weights=True)
    trainer = Trainer(model, nn.MSELoss(), lambda p: torch.optim.SGD(p, lr=0.01))
    x = torch.tensor([[1.0], [3.0]])
    trainer.fit(x, x, epochs=4, callbacks=[stopping], progress=False)
    assert model[0].num_batches_tracked == 1


def test_restores_the_best_weights_when_training_breaks_off():
    def break_off(trainer):
        if trainer.epoch == 2:
            raise KeyboardInterrupt

    stopping = EarlyStopping("score", mode="min", patience=9, restore_best_weights=True)
    assert weight(run([1.0, 2.0, 3.0], stopping, break_off)) == 1


def test_an_exception_leaves_the_weights_for_a_checkpoint():
    def fail(trainer):
        if trainer.epoch == 2:
            raise ValueError("no more")

    stopping = EarlyStopping("score", mode="min", patience=9, restore_best_weights=True)
    trainer = make_trainer([1.0, 2.0, 3.0], stopping, fail)
    with pytest.raises(ValueError, match="no more"):
        fit(trainer, epochs=3)
    assert weight(trainer) == 3


def test_starts_afresh_in_each_training():
    stopping = EarlyStopping("score", mode="min", restore_best_weights=True)
    run([0.0, 1.0], stopping)
    trainer = run([5.0, 4.0, 3.0], stopping)
    assert (len(trainer.history.epochs), weight(trainer)) == (3, 3)


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5])
def test_a_resumed_run_stops_and_restores_as_if_nothing_had_happened(cut):
    def make():
        settings = {"mode": "min", "patience": 2, "restore_best_weights": True, "baseline": 3.5}
        return [EarlyStopping("score", **settings)]

    expected = run(DOWN_AND_UP, *make())
    trainer = resumed(DOWN_AND_UP, make, cut)
    assert dict(trainer.history) == dict(expected.history)
    assert trainer.stop_reason == expected.stop_reason
    assert weight(trainer) == weight(expected)


def test_a_number_that_the_logs_lack_is_an_error_that_lists_them():
    with pytest.raises(DataError, match="'val_loss' in the logs, which have loss, score"):
        run([1.0], EarlyStopping())


def test_an_unknown_mode_is_an_error():
    with pytest.raises(DataError, match="mode 'min', 'max' or None, got 'auto'"):
        EarlyStopping(mode="auto")


def test_a_direction_that_nothing_tells_is_asked_for_before_training():
    with pytest.raises(DataError, match=r"'score' is to fall or to grow.*\n.*mode='min'"):
        run([1.0], EarlyStopping("score"))


METRICS = {
    "one": torchmetrics.classification.BinaryF1Score(),
    "list": [torchmetrics.classification.BinaryF1Score(), torchmetrics.MeanAbsoluteError()],
    "dict": {"f": torchmetrics.classification.BinaryF1Score(), "e": torch.nn.functional.l1_loss},
    "of outputs": {"a": [torchmetrics.classification.BinaryF1Score()], "b": {"e": nn.L1Loss()}},
    "of outputs, one each": {"a": torchmetrics.MeanAbsoluteError()},
}


@pytest.mark.parametrize(
    ("name", "metrics", "is_max"),
    [
        ("loss", None, False),
        ("val_answer_loss", None, False),
        ("accuracy", None, True),
        ("val_answer_acc", None, True),
        ("val_auroc", None, True),
        ("val_f1", None, True),
        ("precision", None, True),
        ("val_recall", None, True),
        ("val_binary_f1_score", METRICS["one"], True),
        ("binary_f1_score", METRICS["list"], True),
        ("val_mean_absolute_error", METRICS["list"], False),
        ("val_f", METRICS["dict"], True),
        ("val_a_binary_f1_score", METRICS["of outputs"], True),
        ("a_mean_absolute_error", METRICS["of outputs, one each"], False),
    ],
)
def test_names_and_metrics_tell_the_direction(name, metrics, is_max):
    monitor = Monitor("EarlyStopping", name, mode=None)
    trainer = make_trainer([])
    trainer.metrics = metrics
    monitor.decide(trainer)
    assert monitor.is_better(2.0, 1.0) == is_max


@pytest.mark.parametrize("name", ["e", "val_e", "score", "val_b_e", "face"])
def test_metrics_of_other_names_do_not_tell(name):
    trainer = make_trainer([])
    trainer.metrics = {**METRICS["dict"], "ce": torchmetrics.MeanAbsoluteError()}
    with pytest.raises(DataError, match="to fall or to grow"):
        Monitor("EarlyStopping", name, mode=None).decide(trainer)


def test_numbers_beyond_float32_are_infinite():
    monitor = Monitor("EarlyStopping", "score", mode="min")
    assert not monitor.is_better(1e39, 1e40)
    assert monitor.is_better(3e38, 1e39)


def test_watches_validation():
    stopping = EarlyStopping(patience=1)
    trainer = make_trainer([0.0] * 5, stopping)
    x = torch.ones(1, 1)
    fit(trainer, epochs=5, validation_data=(x, x))
    assert len(trainer.history["val_loss"]) == 2
