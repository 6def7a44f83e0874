"""What the figure of a history shows, and that a history survives as plain data."""

import io
import math
import subprocess
import sys

import pytest
import torch

from torchbp.errors import DataError, MissingExtraError
from torchbp.train.history import History
from torchbp.train.plot import best_epoch, lr_changes

NAN, INF = math.nan, math.inf


def history_of(first=0, **logs):
    """A history in which None stands for what an epoch has not logged."""
    history = History()
    for epoch in range(max(map(len, logs.values()))):
        here = {name: own[epoch] for name, own in logs.items() if epoch < len(own)}
        history.append(first + epoch, {n: v for n, v in here.items() if v is not None})
    return history


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def lines(axes, label):
    return [line for line in axes.lines if line.get_label() == label]


def points(axes, label):
    (line,) = lines(axes, label)
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_training_and_validation_share_a_panel_for_each_name():
    history = history_of(
        loss=[3.0, 2.0], accuracy=[0.5, 0.6], val_loss=[4.0, 3.5], val_accuracy=[0.4, 0.5]
    )
    figure = history.plot()
    assert titles(figure) == ["loss", "accuracy"]
    assert points(figure.axes[0], "training") == [(1, 3.0), (2, 2.0)]
    assert points(figure.axes[1], "validation") == [(1, 0.4), (2, 0.5)]


def test_a_name_with_validation_alone_has_a_panel():
    figure = history_of(loss=[1.0], val_mae=[2.0]).plot()
    assert titles(figure) == ["loss", "mae"]
    assert lines(figure.axes[1], "training") == []


def test_numbers_stand_at_the_epochs_that_logged_them():
    history = history_of(first=10, loss=[5.0, 4.0, 3.0, 2.0], val_loss=[6.0, None, None, 3.0])
    assert history.epochs_of("val_loss") == [10, 13]
    assert points(history.plot().axes[0], "validation") == [(11, 6.0), (14, 3.0)]


@pytest.mark.parametrize(
    ("logs", "epoch", "monitor"),
    [
        ({"loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 2.0, 4.0]}, 2, "val_loss"),
        ({"loss": [3.0, 1.0, 2.0]}, 2, "loss"),
        ({"loss": [1.0, 1.0]}, 1, "loss"),
        ({"loss": [NAN, 2.0, -INF]}, 2, "loss"),
        ({"loss": [3.0, 2.0], "val_loss": [NAN, INF]}, 2, "loss"),
        ({"loss": [3.0, 2.0, 1.0], "val_loss": [None, 9.0, None]}, 2, "val_loss"),
    ],
)
def test_the_best_epoch_has_the_lowest_finite_validation_loss(logs, epoch, monitor):
    best = best_epoch(history_of(**logs))
    assert (best.epoch, best.monitor) == (epoch, monitor)


def test_the_best_epoch_is_marked_in_each_panel_with_its_numbers():
    history = history_of(loss=[3.0, 2.0], val_loss=[1.0, 4.0], accuracy=[0.25, 0.5])
    figure = history.plot()
    assert "best val_loss: epoch 1" in legend(figure)
    assert [axes.get_title(loc="right") for axes in figure.axes] == ["3 | 1", "0.25"]
    assert [lines(axes, "best val_loss: epoch 1") != [] for axes in figure.axes] == [True, True]


def test_nothing_is_best_without_a_loss():
    assert best_epoch(history_of(accuracy=[0.5, 0.6])) is None
    assert legend(history_of(accuracy=[0.5, 0.6]).plot()) == ["training"]


def test_changes_of_the_learning_rate_are_marked_between_the_epochs():
    history = history_of(loss=[4.0, 3.0, 2.0, 1.0], lr=[0.1, 0.1, 0.01, 0.001])
    assert lr_changes(history) == [2.5, 3.5]
    figure = history.plot()
    assert titles(figure) == ["loss", "learning rate (lr)"]
    assert [line.get_xdata()[0] for line in lines(figure.axes[0], "lr changes")] == [2.5, 3.5]


def test_a_constant_learning_rate_marks_nothing():
    assert "lr changes" not in legend(history_of(loss=[2.0, 1.0], lr=[0.1, 0.1]).plot())


def test_what_is_not_finite_is_a_gap_with_a_cross():
    axes = history_of(loss=[3.0, NAN, 1.0], val_loss=[3.0, 2.0, INF]).plot().axes[0]
    assert math.isnan(points(axes, "training")[1][1])
    assert [epoch for epoch, _ in points(axes, "training not finite")] == [2]
    assert [epoch for epoch, _ in points(axes, "validation not finite")] == [3]


def test_numbers_over_decades_have_a_logarithmic_axis():
    figure = history_of(loss=[100.0, 1.0], accuracy=[0.5, 0.6], gain=[-100.0, 1.0]).plot()
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear", "linear"]


@pytest.mark.parametrize(
    "logs",
    [
        {"loss": [1.0]},
        {"loss": [NAN, NAN], "val_loss": [INF, None]},
        {"loss": [0.0, 0.0]},
        {f"metric_{i}": [1.0, 2.0] for i in range(7)},
    ],
    ids=["one epoch", "nothing finite", "zeros", "many panels"],
)
def test_unusual_histories_are_drawn(logs):
    file = io.BytesIO()
    history_of(**logs).plot().savefig(file)
    assert file.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "start"), [("run.png", b"\x89PNG"), ("run.SVG", b"<?xml"), ("a/b/run.svg", b"<?xml")]
)
def test_the_suffix_decides_what_is_written(tmp_path, name, start):
    history_of(loss=[2.0, 1.0]).plot(tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_other_suffixes_and_empty_histories_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"\.png or \.svg, got '.*run\.jpg'"):
        history_of(loss=[1.0]).plot(tmp_path / "run.jpg")
    with pytest.raises(DataError, match="plot after fit"):
        History().plot()
    assert list(tmp_path.iterdir()) == []


def test_matplotlib_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"torchbp\[plot\]"):
        history_of(loss=[1.0]).plot()


def test_pyplot_and_the_settings_are_left_alone():
    code = """
import sys
import matplotlib
from torchbp.train.history import History

def settings():  # to ask for the backend would load pyplot
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}

history, before = History(), settings()
history.append(0, {"loss": 1.0})
history.plot().canvas.draw()
assert "matplotlib.pyplot" not in sys.modules
assert settings() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_state_of_a_history_makes_it_anew_to_the_last_bit(tmp_path):
    history = history_of(first=2, loss=[0.1, 1 / 3, INF], val_loss=[NAN, None, 5e-324])
    torch.save(history.state_dict(), tmp_path / "state.pt")
    other = history_of(accuracy=[1.0])
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert repr(dict(other)) == repr(dict(history))  # repr of a float is exact; NaN equals itself
    assert other.epochs == history.epochs
    assert other.epochs_of("val_loss") == [2, 4]


def test_the_state_of_a_history_does_not_change_with_it():
    history = history_of(loss=[1.0])
    state, other = history.state_dict(), History()
    other.load_state_dict(state)
    history.append(1, {"loss": 2.0})
    other.append(1, {"loss": 3.0})
    assert state == {"epochs": [0], "logs": {"loss": [1.0]}, "epochs_of": {"loss": [0]}}
