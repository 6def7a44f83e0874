"""The loop: the numbers of a hand-written one, the epochs, the modes, the ways out."""

import functools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from torchbp.errors import DataError
from torchbp.train import Callback, History, Trainer

make_sgd = functools.partial(torch.optim.SGD, lr=0.1)


def make_data(num_samples=10, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(num_samples, 3, generator=generator, dtype=dtype)
    return x, x.sum(1, keepdim=True) + 0.1 * torch.randn(
        num_samples, 1, generator=generator, dtype=dtype
    )


def make_model():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def make_trainer(model=None, **settings):
    return Trainer(model or make_model(), nn.MSELoss(), make_sgd, **settings)


def bare_loop(model, optimizer, loss_function, x, y, orders, batch_size):
    """The losses of each batch with its size, epoch by epoch."""
    epochs = []
    for order in orders:
        losses = []
        for indices in order.split(batch_size):
            loss = loss_function(model(x[indices]), y[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append((len(indices), loss.item()))
        epochs.append(losses)
    return epochs


def mean_over_samples(losses):
    return sum(n * loss for n, loss in losses) / sum(n for n, _ in losses)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("make_optimizer", [make_sgd, functools.partial(torch.optim.Adam, lr=0.01)])
def test_is_the_bare_loop_to_the_last_bit(shuffle, make_optimizer):
    (x, y), ours, bare = make_data(), make_model(), make_model()
    trainer = Trainer(ours, nn.MSELoss(), make_optimizer)
    torch.manual_seed(5)
    history = trainer.fit(x, y, epochs=3, batch_size=4, shuffle=shuffle, progress=False)
    torch.manual_seed(5)
    orders = [torch.randperm(10) if shuffle else torch.arange(10) for _ in range(3)]
    losses = bare_loop(bare, make_optimizer(bare.parameters()), F.mse_loss, x, y, orders, 4)
    for got, wanted in zip(ours.parameters(), bare.parameters(), strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)
    # the sums are taken in another order: float64 rounding
    assert history["loss"] == pytest.approx([mean_over_samples(e) for e in losses], rel=1e-14)


def test_every_step_sees_the_weights_of_the_step_before():
    class Recorder(Callback):
        def __init__(self):
            self.weights = []

        def on_batch_end(self, trainer):
            self.weights.append(trainer.model.weight.detach().clone())

    recorder, model = Recorder(), nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(model.weight)
    x = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    trainer = make_trainer(model, callbacks=[recorder])
    trainer.fit(x, torch.zeros_like(x), batch_size=1, shuffle=False, progress=False)
    w, wanted = 1.0, []
    for value in (1.0, 2.0, 3.0):  # d (w x)^2 / dw = 2 w x^2, lr = 0.1
        w -= 0.1 * 2 * w * value**2
        wanted.append(w)
    assert torch.cat(recorder.weights).flatten().tolist() == pytest.approx(wanted, rel=1e-14)


def test_a_smaller_last_batch_counts_by_its_samples():
    x = torch.tensor([[1.0], [1.0], [4.0]])
    trainer = Trainer(nn.Identity(), nn.MSELoss())
    result = trainer.evaluate(x, torch.zeros(3, 1), batch_size=2, progress=False)
    assert result == {"loss": (1 + 1 + 16) / 3}  # not the mean over batches, (1 + 16) / 2


def test_evaluate_is_the_mean_over_all_samples_whatever_the_batch_size():
    x, y = make_data()
    model = make_model()
    wanted = F.mse_loss(model(x), y).item()
    for batch_size in (1, 3, 10, 100):
        trainer = make_trainer(model)
        result = trainer.evaluate(x, y, batch_size=batch_size, progress=False)
        assert result["loss"] == pytest.approx(wanted, rel=1e-14)


def test_sums_do_not_lose_small_losses_beside_a_large_one():
    x = torch.full((1001, 1), 1e-3)
    x[0] = 1e3
    trainer = Trainer(nn.Identity(), nn.L1Loss())
    result = trainer.evaluate(x, torch.zeros_like(x), batch_size=1, progress=False)
    # a float32 sum near 1000 rounds each 1e-3 to a multiple of 6e-5
    assert result["loss"] == pytest.approx((1e3 + 1000 * x[1].item()) / 1001, rel=1e-12)


@pytest.mark.parametrize(
    ("num_samples", "fraction"), [(10, 0.2), (10, 0.25), (7, 0.5), (10, 0.3), (100, 0.29)]
)
def test_a_fraction_validates_on_the_unshuffled_tail(num_samples, fraction):
    cut = math.floor(num_samples * (1 - fraction))
    x = torch.arange(num_samples, dtype=torch.float64).unsqueeze(1)
    seen = []

    class Spy(nn.Linear):
        def forward(self, input):
            if self.training:
                seen.extend(input.flatten().tolist())
            return super().forward(input)

    model = Spy(1, 1).double()
    trainer = Trainer(model, nn.MSELoss(), functools.partial(torch.optim.SGD, lr=1e-6))
    history = trainer.fit(x, x, validation_fraction=fraction, batch_size=3, progress=False)
    assert sorted(seen) == list(range(cut))
    wanted = F.mse_loss(model(x[cut:]), x[cut:]).item()
    assert history["val_loss"] == [pytest.approx(wanted, rel=1e-14)]


@pytest.mark.parametrize("fraction", [0.95, 1.0, -0.5])
def test_refuses_a_fraction_that_leaves_nothing_on_a_side(fraction):
    with pytest.raises(DataError, match="samples on both sides"):
        make_trainer().fit(*make_data(), validation_fraction=fraction)


def test_refuses_a_fraction_of_what_is_not_in_memory():
    loader = DataLoader(TensorDataset(*make_data()), 4)
    with pytest.raises(DataError, match=r"arrays to cut it from.*batches made elsewhere"):
        make_trainer().fit(loader, validation_fraction=0.5)


def test_refuses_a_fraction_beside_validation_data():
    with pytest.raises(DataError, match="got validation_data too"):
        make_trainer().fit(*make_data(), validation_fraction=0.5, validation_data=make_data())


def test_validation_data_is_evaluated_with_the_weights_at_the_end_of_the_epoch():
    model, held_out = make_model(), make_data(5)
    history = make_trainer(model).fit(
        *make_data(), validation_data=held_out, batch_size=4, progress=False
    )
    assert list(history) == ["loss", "val_loss"]
    wanted = F.mse_loss(model(held_out[0]), held_out[1]).item()
    assert history["val_loss"] == [pytest.approx(wanted, rel=1e-14)]


def test_epochs_is_the_index_at_which_training_ends():
    trainer = make_trainer()
    history = trainer.fit(*make_data(), initial_epoch=3, epochs=5, progress=False)
    assert history.epochs == [3, 4]
    assert len(history["loss"]) == 2
    assert trainer.history is history


def test_nothing_is_trained_when_the_initial_epoch_is_the_last():
    history = make_trainer().fit(*make_data(), initial_epoch=5, epochs=5, progress=False)
    assert history.epochs == []
    assert dict(history) == {}


def test_each_fit_has_a_history_of_its_own():
    trainer = make_trainer()
    first = trainer.fit(*make_data(), epochs=2, progress=False)
    second = trainer.fit(*make_data(), epochs=3, initial_epoch=2, progress=False)
    assert (first.epochs, second.epochs) == ([0, 1], [2])


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("epochs", 1.5), ("batch_size", 0)])
def test_refuses_counts_that_are_not_positive(name, value):
    with pytest.raises(DataError, match=f"{name}: expected a positive int, got {value}"):
        make_trainer().fit(*make_data(), **{name: value})


def test_the_same_seed_gives_the_same_weights():
    def train(seed):
        model = make_model()
        torch.manual_seed(seed)
        make_trainer(model).fit(*make_data(), epochs=2, batch_size=3, progress=False)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(train(1), train(1))
    assert not torch.equal(train(1), train(2))


def test_a_generator_draws_the_permutations_and_leaves_the_default_one_alone():
    def train(seed):
        model = make_model()
        before = torch.get_rng_state()
        make_trainer(model).fit(
            *make_data(),
            batch_size=3,
            generator=torch.Generator().manual_seed(seed),
            progress=False,
        )
        assert torch.equal(torch.get_rng_state(), before)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(train(3), train(3))
    assert not torch.equal(train(3), train(4))


class Modes(nn.Module):
    """Notes in which mode, and whether with gradients, it was called."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1).double()
        self.frozen = nn.Dropout()
        self.calls = []

    def forward(self, x):
        self.calls.append((self.training, torch.is_grad_enabled()))
        return self.linear(x)


def test_trains_in_training_mode_and_validates_without_gradients():
    model = Modes().eval()
    make_trainer(model).fit(*make_data(4), validation_data=make_data(2), epochs=2, progress=False)
    check, *calls = model.calls
    assert check == (False, False)  # the validation data is tried before the first epoch
    assert calls == [(True, True), (False, False)] * 2


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize("training", [True, False])
def test_each_part_has_its_own_mode_again(method, training):
    model = Modes().train(training)
    model.frozen.eval()
    x, y = make_data()
    trainer = make_trainer(model)
    if method == "predict":
        trainer.predict(x, progress=False)
    else:
        getattr(trainer, method)(x, y, progress=False)
    assert (model.training, model.linear.training) == (training, training)
    assert model.frozen.training is False


def test_the_mode_is_restored_after_an_exception():
    class Fails(Modes):
        def forward(self, x):
            raise RuntimeError("broken")

    model = Fails().eval()
    with pytest.raises(RuntimeError, match="broken"):
        make_trainer(model).fit(*make_data(), progress=False)
    assert not model.training
    assert not model.linear.training


def test_predict_joins_the_batches_in_order_without_gradients():
    x, _ = make_data()
    model = make_model()
    predicted = make_trainer(model).predict(x, batch_size=3, progress=False)
    assert not predicted.requires_grad
    torch.testing.assert_close(predicted, model(x).detach(), rtol=1e-14, atol=0)


def test_steps_per_epoch_goes_on_where_the_last_epoch_stopped_and_then_starts_anew():
    seen = []

    class Spy(nn.Linear):
        def forward(self, input):
            seen.append(input.flatten().tolist())
            return super().forward(input)

    x = torch.arange(10.0).unsqueeze(1)
    trainer = Trainer(Spy(1, 1), nn.MSELoss(), functools.partial(torch.optim.SGD, lr=1e-6))
    trainer.fit(x, x, epochs=3, steps_per_epoch=2, batch_size=4, shuffle=False, progress=False)
    a, b, c = [0, 1, 2, 3], [4, 5, 6, 7], [8, 9]
    assert seen == [a, b, c, a, b, c]


def test_stop_ends_after_the_step_and_the_validation_of_its_epoch():
    class Stop(Callback):
        def on_batch_end(self, trainer):
            if (trainer.epoch, trainer.current.batch) == (1, 0):
                trainer.stop("enough")

    class Count(Callback):
        steps = 0

        def on_batch_end(self, trainer):
            self.steps += 1

    trainer, count = make_trainer(callbacks=[Stop()]), Count()
    history = trainer.fit(
        *make_data(), epochs=5, batch_size=5, validation_data=make_data(2),
        callbacks=[count], progress=False,
    )  # fmt: skip
    assert count.steps == 2 + 1
    assert history.epochs == [0, 1]
    assert len(history["val_loss"]) == 2
    assert trainer.stop_reason == "enough"
    assert trainer.fit(*make_data(), epochs=1, progress=False).epochs == [0]


def test_an_interrupt_ends_training_and_keeps_what_was_logged():
    class Interrupt(Callback):
        ended = False

        def on_batch_begin(self, trainer):
            if trainer.epoch == 2:
                raise KeyboardInterrupt

        def on_train_end(self, trainer):
            self.ended = True

    interrupt = Interrupt()
    trainer = make_trainer(callbacks=[interrupt])
    history = trainer.fit(*make_data(), epochs=5, progress=False)
    assert interrupt.ended
    assert history.epochs == [0, 1]
    assert trainer.stop_reason == "KeyboardInterrupt"


def test_the_history_is_a_read_only_dict_that_names_what_it_has():
    history = History()
    history.append(4, {"loss": 2.0})
    history.append(5, {"loss": 1.0, "val_loss": 3.0})
    assert dict(history) == {"loss": [2.0, 1.0], "val_loss": [3.0]}
    assert "accuracy" not in history
    assert repr(history) == "History(2 epochs, the last: loss 1, val_loss 3)"
    with pytest.raises(KeyError, match="'los' was not logged; the history has loss, val_loss"):
        history["los"]


def test_refuses_to_train_without_an_optimizer_or_a_loss():
    with pytest.raises(DataError, match=r"optimizer: expected one to train with, got None"):
        Trainer(make_model(), nn.MSELoss()).fit(*make_data())
    with pytest.raises(DataError, match=r"loss: expected a loss for at least one output"):
        Trainer(make_model(), optimizer=make_sgd).fit(*make_data(), progress=False)


def test_refuses_an_optimizer_of_another_model():
    optimizer = torch.optim.SGD(make_model().parameters(), lr=0.1)
    with pytest.raises(DataError, match=r"one of the model's parameters.*got SGD with none"):
        Trainer(make_model(), nn.MSELoss(), optimizer)


def test_takes_an_optimizer_a_class_and_a_function():
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert Trainer(model, optimizer=optimizer).optimizer is optimizer
    assert isinstance(Trainer(model, optimizer=torch.optim.Adam).optimizer, torch.optim.Adam)
    made = Trainer(model, optimizer=lambda p: torch.optim.RMSprop(p, lr=0.5)).optimizer
    assert made.param_groups[0]["lr"] == 0.5
    assert made.param_groups[0]["params"] == list(model.parameters())
