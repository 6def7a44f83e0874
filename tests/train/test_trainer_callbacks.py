"""The hooks: their order, what they see and may change; the progress bar, which is one."""

import functools
import io

import pytest
import torch
from rich.console import Console
from torch import nn

from torchbp.errors import DataError
from torchbp.train import Callback, Trainer
from torchbp.train.progress import ProgressBar

make_sgd = functools.partial(torch.optim.SGD, lr=0.1)
X = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
Y = X.sum(1, keepdim=True)

HOOKS = [name for name in vars(Callback) if name.startswith("on_")]
STEP = ["batch_begin", "gradients", "batch_end", "checkpoint"]
VALIDATION = ["evaluate_begin", "evaluate_batch_begin", "evaluate_batch_end", "evaluate_end"]


class Recorder(Callback):
    def __init__(self, name="", heard=None):
        self.name = name
        self.heard = [] if heard is None else heard


def hear(hook):
    def method(self, trainer):
        self.heard.append(self.name + hook.removeprefix("on_"))

    return method


for hook in HOOKS:
    setattr(Recorder, hook, hear(hook))


def make_trainer(*callbacks, **settings):
    return Trainer(nn.Linear(2, 1), nn.MSELoss(), make_sgd, callbacks=callbacks, **settings)


def fit(trainer, **settings):
    return trainer.fit(X, Y, **{"batch_size": 3, "progress": False, **settings})


def test_hooks_come_in_their_order():
    recorder = Recorder()
    fit(make_trainer(recorder), epochs=2, validation_data=(X[:2], Y[:2]))
    epoch = ["epoch_begin", *STEP, *STEP, *VALIDATION, "epoch_end", "checkpoint"]
    assert recorder.heard == ["train_begin", *epoch, *epoch, "train_end"]


def test_evaluate_and_predict_have_hooks_of_their_own():
    recorder = Recorder()
    trainer = make_trainer(recorder)
    trainer.evaluate(X, Y, batch_size=10, progress=False)
    trainer.predict(X, batch_size=3, progress=False)
    batches = ["predict_batch_begin", "predict_batch_end"] * 2
    assert recorder.heard == [*VALIDATION, "predict_begin", *batches, "predict_end"]


def test_callbacks_are_heard_in_the_order_of_the_list_those_of_fit_last():
    heard = []
    trainer = make_trainer(Recorder("a ", heard), Recorder("b ", heard))
    fit(trainer, callbacks=[Recorder("c ", heard)], batch_size=6)
    hooks = ["train_begin", "epoch_begin", *STEP, "epoch_end", "checkpoint", "train_end"]
    assert heard == [f"{name} {hook}" for hook in hooks for name in "abc"]
    heard.clear()
    trainer.evaluate(X, Y, progress=False)
    assert {name[0] for name in heard} == {"a", "b"}


def test_the_trainer_tells_where_it_is():
    places = []

    class Place(Callback):
        def on_batch_begin(self, trainer):
            current = trainer.current
            places.append((trainer.epoch, trainer.epochs, current.batch, current.num_batches))

    fit(make_trainer(Place()), initial_epoch=1, epochs=3)
    assert places == [(1, 3, 0, 2), (1, 3, 1, 2), (2, 3, 0, 2), (2, 3, 1, 2)]


def test_read_gives_the_means_so_far():
    means = []

    class Read(Callback):
        def on_batch_end(self, trainer):
            means.append(trainer.current.read()["loss"])

    history = fit(make_trainer(Read()), shuffle=False)
    assert len(means) == 2
    assert means[1] == history["loss"][0]
    assert means[0] != means[1]


def test_gradients_may_be_changed_before_the_step():
    class Zero(Callback):
        def on_gradients(self, trainer):
            for parameter in trainer.model.parameters():
                parameter.grad.zero_()

    trainer = make_trainer(Zero())
    before = trainer.model.weight.detach().clone()
    fit(trainer)
    assert torch.equal(trainer.model.weight, before)


def test_what_a_callback_logs_at_the_end_of_an_epoch_enters_the_history():
    class Rate(Callback):
        def on_epoch_end(self, trainer):
            trainer.logs["lr"] = trainer.optimizer.param_groups[0]["lr"]
            trainer.optimizer.param_groups[0]["lr"] /= 2

    assert fit(make_trainer(Rate()), epochs=3)["lr"] == [0.1, 0.05, 0.025]


def test_logs_are_complete_at_the_end_of_an_epoch():
    class Keys(Callback):
        def on_epoch_end(self, trainer):
            self.keys = list(trainer.logs)

    keys = Keys()
    fit(make_trainer(keys), validation_data=(X, Y))
    assert keys.keys == ["loss", "val_loss"]


def test_stopping_before_the_first_epoch_trains_nothing():
    class Stop(Callback):
        def on_train_begin(self, trainer):
            trainer.stop("not today")

    recorder = Recorder()
    assert fit(make_trainer(Stop(), recorder), epochs=3).epochs == []
    assert recorder.heard == ["train_begin", "train_end"]


def test_an_exception_ends_training_with_train_end():
    class Fail(Callback):
        def on_epoch_end(self, trainer):
            raise RuntimeError("broken")

    recorder = Recorder()
    trainer = make_trainer(recorder, Fail())
    with pytest.raises(RuntimeError, match="broken"):
        fit(trainer)
    assert recorder.heard[-2:] == ["epoch_end", "train_end"]
    recorder.heard.clear()
    trainer.evaluate(X, Y, progress=False)  # works, and its hooks are heard once
    assert recorder.heard == VALIDATION


def test_a_callback_may_evaluate_and_predict_within_training():
    results = []

    class Test(Callback):
        def on_epoch_end(self, trainer):
            results.append((trainer.epoch, trainer.evaluate(X, Y)["loss"]))
            trainer.predict(X[:2])
            assert trainer.current.num_samples == 6  # of the training, as before

    recorder = Recorder()
    history = fit(make_trainer(Test()), callbacks=[recorder], validation_data=(X, Y), epochs=2)
    assert [epoch for epoch, _ in results] == [0, 1]
    assert [loss for _, loss in results] == pytest.approx(history["val_loss"], rel=1e-6)
    assert recorder.heard.count("evaluate_end") == 4


def test_train_end_is_heard_by_all_even_if_one_fails_there():
    class Fail(Callback):
        def on_train_end(self, trainer):
            raise RuntimeError("broken")

    recorder = Recorder()
    with pytest.raises(RuntimeError, match="broken"):
        fit(make_trainer(Fail(), recorder))
    assert recorder.heard[-1] == "train_end"


def test_an_exception_in_a_callback_names_it_and_is_kept():
    class Fail(Callback):
        def on_batch_end(self, trainer):
            if trainer.epoch == 1:
                raise RuntimeError("broken")

    trainer = make_trainer(Fail())
    with pytest.raises(RuntimeError) as caught:
        fit(trainer, epochs=2)
    assert caught.value.__notes__ == ["in the callback Fail, on_batch_end, epoch 2, batch 1"]
    assert trainer.error is caught.value
    assert trainer.history.epochs == [0]


def test_a_method_that_is_no_hook_is_refused_with_the_hook_that_was_meant():
    with pytest.raises(
        DataError, match=r"Wrong: expected .*got on_epoch_ended\.\n.*on_epoch_end\."
    ):
        type("Wrong", (Callback,), {"on_epoch_ended": lambda self, trainer: None})


def test_a_plain_function_hears_the_end_of_each_epoch():
    epochs = []
    trainer = make_trainer(lambda trainer: epochs.append((trainer.epoch, trainer.logs["loss"])))
    history = fit(trainer, epochs=2)
    assert epochs == list(zip([0, 1], history["loss"], strict=True))


def test_the_pass_holds_the_batch_at_work():
    class Look(Callback):
        def on_gradients(self, trainer):
            current = trainer.current
            with torch.no_grad():
                again = nn.functional.mse_loss(current.outputs["output"], current.targets["output"])
            assert current.total_loss.item() == again.item()
            assert torch.equal(trainer.model(current.inputs), current.outputs["output"])

    fit(make_trainer(Look()), epochs=2)


def test_a_step_that_is_skipped_leaves_the_weights():
    class Skip(Callback):
        def on_gradients(self, trainer):
            if trainer.global_step == 1:
                trainer.skip_step()

    steps = []

    class Count(Callback):
        def on_batch_end(self, trainer):
            steps.append((trainer.global_step, trainer.model.weight.sum().item()))

    fit(make_trainer(Skip(), Count()), epochs=2)
    assert [step for step, _ in steps] == [1, 2, 3, 4]
    assert steps[0][1] == steps[1][1] != steps[2][1]


def test_stop_without_the_rest_of_the_epoch_leaves_it_out():
    class Leave(Callback):
        def on_batch_end(self, trainer):
            if trainer.epoch == 1:
                trainer.stop("enough", finish_epoch=False)

    recorder = Recorder()
    trainer = make_trainer(Leave(), recorder)
    history = fit(trainer, epochs=4, validation_data=(X, Y))
    assert history.epochs == [0]
    assert recorder.heard[-5:] == ["epoch_begin", *STEP, "train_end"][-5:]


def test_callbacks_see_the_validation_data():
    class Sample(Callback):
        def on_epoch_end(self, trainer):
            self.sample = next(iter(trainer.validation)).inputs[:1]

    sample = Sample()
    fit(make_trainer(sample), validation_data=(X[2:4], Y[2:4]))
    assert torch.equal(sample.sample, X[2:3])


def test_the_first_layer_that_gives_nan_is_named():
    class Spoil(Callback):
        def on_epoch_begin(self, trainer):
            nn.init.constant_(trainer.model[1].bias, torch.nan)

    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    trainer = Trainer(model, nn.MSELoss(), make_sgd, callbacks=[Spoil()])
    with pytest.warns(UserWarning, match=r"the loss is nan in epoch 1; '[01]' \(Linear\): its"):
        fit(trainer, epochs=2)


@pytest.mark.parametrize("callback", [Callback, "print"])
def test_refuses_what_is_no_instance_of_a_callback(callback):
    with pytest.raises(DataError, match="callbacks: expected instances of Callback or functions"):
        make_trainer(callback)
    with pytest.raises(DataError, match="callbacks: expected instances of Callback or functions"):
        fit(make_trainer(), callbacks=[callback])


def test_prints_a_line_for_each_epoch_where_there_is_no_terminal(capsys):
    trainer = make_trainer(metrics={"mae": nn.functional.l1_loss})
    history = trainer.fit(X, Y, epochs=2, validation_data=(X, Y))
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"epoch 1/2  loss {history['loss'][0]:.4g}  mae ")
    assert f"val_mae {history['val_mae'][1]:.4g}" in second
    assert "samples/s" in second


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_evaluate_and_predict_print_nothing_where_there_is_no_terminal(method, capsys):
    getattr(make_trainer(), method)(*((X, Y) if method == "evaluate" else (X,)))
    assert capsys.readouterr().out == ""


def test_progress_can_be_turned_off(capsys):
    fit(make_trainer(), progress=False)
    assert capsys.readouterr().out == ""


class Clock:
    """Each look at it takes a tenth of a second."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 0.1
        return self.now


def drawn_on_a_terminal(monkeypatch, method="fit", **settings):
    monkeypatch.setattr("torchbp.train.progress.monotonic", Clock())
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=120)
    monkeypatch.setattr("torchbp.train.trainer.ProgressBar", lambda: ProgressBar(console))
    getattr(make_trainer(), method)(
        X, *([Y] if method != "predict" else []), batch_size=1, **settings
    )
    return output.getvalue()


def test_draws_a_bar_with_loss_and_rate_on_a_terminal(monkeypatch):
    drawn = drawn_on_a_terminal(monkeypatch, epochs=2, validation_data=(X, Y))
    for part in ("epoch 1/2", "epoch 2/2", "3/6", "loss ", "samples/s", "evaluate", "val_loss"):
        assert part in drawn


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_draws_a_bar_for_evaluate_and_predict(monkeypatch, method):
    drawn = drawn_on_a_terminal(monkeypatch, method)
    assert method in drawn
    assert "samples/s" in drawn


def test_the_terminal_is_left_in_order_after_an_exception(monkeypatch):
    class Fail(Callback):
        def on_batch_end(self, trainer):
            raise RuntimeError("broken")

    output = io.StringIO()
    console = Console(file=output, force_terminal=True)
    monkeypatch.setattr("torchbp.train.trainer.ProgressBar", lambda: ProgressBar(console))
    with pytest.raises(RuntimeError, match="broken"):
        fit(make_trainer(Fail()), progress=True)
    hide, show = "\x1b[?25l", "\x1b[?25h"  # the cursor
    assert output.getvalue().count(hide) == output.getvalue().count(show) == 1


class SlowPass:
    """A pass whose numbers take some seconds to read."""

    num_batches, num_samples, batch = None, 0, 0

    def __init__(self, clock, seconds):
        self.clock, self.seconds, self.reads = clock, seconds, 0

    def peek(self):
        self.reads += 1
        self.clock[0] += self.seconds
        return {}


@pytest.mark.parametrize(
    ("seconds", "num_reads"),
    [(0.0, 100 / 0.25), (1.0, 100 / 20)],
    ids=["each quarter of a second", "a twentieth of the time"],
)
def test_the_bar_reads_the_means_seldom(monkeypatch, seconds, num_reads):
    clock = [0.0]
    monkeypatch.setattr("torchbp.train.progress.monotonic", lambda: clock[0])
    trainer = make_trainer()
    trainer.current = SlowPass(clock, seconds)
    with ProgressBar(Console(file=io.StringIO(), force_terminal=True)) as bar:
        bar.on_epoch_begin(trainer)
        for _ in range(100_000):  # a thousand steps a second
            clock[0] += 0.001
            bar.on_batch_end(trainer)
    assert trainer.current.reads == pytest.approx(num_reads, rel=0.05)


def test_what_callbacks_log_enters_the_history_as_floats():
    class Log(Callback):
        def on_epoch_end(self, trainer):
            trainer.logs["count"] = trainer.epoch
            trainer.logs["tensor"] = torch.tensor(0.5)

    history = fit(make_trainer(Log()), epochs=2)
    assert (repr(history["count"]), repr(history["tensor"])) == ("[0.0, 1.0]", "[0.5, 0.5]")


def test_a_log_that_is_no_number_is_refused():
    trainer = make_trainer(lambda trainer: trainer.logs.update(note="good"))
    with pytest.raises(DataError, match=r"logs\['note'\]: expected a number, got str"):
        fit(trainer)
