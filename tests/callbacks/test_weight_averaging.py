import functools

import pytest
import torch
from torch import nn

from tests.callbacks.loop import torch_round_trip
from torchbp.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint, WeightAveraging
from torchbp.errors import DataError
from torchbp.train import Trainer

X = torch.tensor([[1.0], [2.0], [-1.0], [0.5]], dtype=torch.float64)
DATA = (X, 3 * X)


def make_trainer(*callbacks, **settings):
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    sgd = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.5)
    return Trainer(model, nn.MSELoss(), sgd, callbacks=callbacks, **settings)


def fit(trainer, **settings):
    arguments = {"batch_size": 1, "epochs": 3, "progress": False, "shuffle": False}
    return trainer.fit(*DATA, **{**arguments, **settings})


def weight(trainer):
    return trainer.model.weight.item()


def weights_of(hook, **settings):
    """The weight at each time of a hook, of a training without averages."""
    found = []
    fit(make_trainer(LambdaCallback(**{hook: lambda t: found.append(weight(t))})), **settings)
    return found


def exponential(weights, decay):
    return functools.reduce(lambda average, w: decay * average + (1 - decay) * w, weights)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 1.0])
def test_the_final_weights_are_an_exponential_average_of_those_after_each_step(decay):
    trainer = make_trainer(WeightAveraging(decay))
    fit(trainer)
    expected = exponential(weights_of("on_batch_end"), decay)
    assert weight(trainer) == pytest.approx(expected, rel=1e-12)  # float64


def test_equal_averages_are_of_the_ends_of_epochs():
    trainer = make_trainer(WeightAveraging(None, start_epoch=2))
    fit(trainer, epochs=5)
    expected = sum(weights_of("on_epoch_end", epochs=5)[2:]) / 3
    assert weight(trainer) == pytest.approx(expected, rel=1e-12)


def test_exponential_averages_begin_with_an_epoch():
    trainer = make_trainer(WeightAveraging(0.5, start_epoch=1))
    fit(trainer)
    assert weight(trainer) == pytest.approx(exponential(weights_of("on_batch_end")[4:], 0.5))


@pytest.mark.parametrize("decay", [0.5, None])
def test_training_goes_on_with_the_weights_themselves(decay):
    found = []
    note = LambdaCallback(on_batch_end=lambda t: found.append(weight(t)))
    fit(make_trainer(WeightAveraging(decay), note), validation_data=DATA)
    assert found == weights_of("on_batch_end")


@pytest.mark.parametrize("decay", [0.5, None])
@pytest.mark.parametrize("validate", [True, False])
def test_validation_and_later_callbacks_see_averages_or_weights(decay, validate):
    seen = []
    see = functools.partial(lambda when, t: seen.append((when, weight(t))))
    note = LambdaCallback(
        on_evaluate_batch_end=functools.partial(see, "validation"),
        on_epoch_end=functools.partial(see, "end"),
    )
    averaging = WeightAveraging(decay, validate=validate)
    fit(make_trainer(averaging, note), batch_size=4, validation_data=DATA)
    weights = weights_of("on_epoch_end", batch_size=4)
    expected = []
    for epoch, own in enumerate(weights):
        until = weights[: epoch + 1]
        average = sum(until) / len(until) if decay is None else exponential(until, decay)
        shown = average if validate else own
        expected += [("validation", shown), ("end", shown)]
    assert [when for when, _ in seen] == [when for when, _ in expected]
    assert [w for _, w in seen] == pytest.approx([w for _, w in expected], rel=1e-12)


def test_a_checkpoint_after_it_saves_the_averages(tmp_path):
    trainer = make_trainer(WeightAveraging(0.5), ModelCheckpoint(tmp_path / "last"))
    fit(trainer)
    assert torch.load(tmp_path / "last", weights_only=True)["weight"].item() == weight(trainer)


def test_early_stopping_after_it_restores_the_best_averages(tmp_path):
    stopping = EarlyStopping("loss", mode="max", patience=9, restore_best_weights=True)
    trainer = make_trainer(WeightAveraging(0.5), stopping)
    fit(trainer)
    expected = exponential(weights_of("on_batch_end", epochs=1), 0.5)
    assert weight(trainer) == pytest.approx(expected, rel=1e-12)


def test_an_evaluation_within_an_epoch_leaves_the_weights():
    def evaluate(trainer):
        trainer.evaluate(*DATA, progress=False)

    found = []
    callbacks = [
        WeightAveraging(None),
        LambdaCallback(on_batch_end=evaluate, on_epoch_end=evaluate),
        LambdaCallback(on_batch_end=lambda t: found.append(weight(t))),
    ]
    trainer = make_trainer(*callbacks)
    fit(trainer)
    assert found == weights_of("on_batch_end")
    assert weight(trainer) == pytest.approx(sum(weights_of("on_epoch_end")) / 3, rel=1e-12)


def test_the_averages_stay_after_training_whatever_is_evaluated():
    trainer = make_trainer(WeightAveraging(0.5))
    fit(trainer)
    before = weight(trainer)
    trainer.evaluate(*DATA, progress=False)
    assert weight(trainer) == before


@pytest.mark.parametrize("hook", ["on_batch_begin", "on_evaluate_batch_end", "on_epoch_end"])
def test_the_averages_replace_the_weights_when_training_breaks_off(hook):
    def break_off(trainer):
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    trainer = make_trainer(WeightAveraging(0.5), LambdaCallback(**{hook: break_off}))
    fit(trainer, validation_data=DATA)
    weights = weights_of("on_batch_end", epochs=1 if hook == "on_batch_begin" else 2)
    assert weight(trainer) == pytest.approx(exponential(weights, 0.5), rel=1e-12)


@pytest.mark.parametrize("hook", ["on_batch_begin", "on_evaluate_batch_end", "on_epoch_end"])
def test_an_exception_leaves_the_weights_for_a_checkpoint(hook):
    def fail(trainer):
        if trainer.epoch == 1:
            raise ValueError("no more")

    trainer = make_trainer(WeightAveraging(0.5), LambdaCallback(**{hook: fail}))
    with pytest.raises(ValueError, match="no more"):
        fit(trainer, validation_data=DATA)
    epochs = 1 if hook == "on_batch_begin" else 2
    assert weight(trainer) == weights_of("on_batch_end", epochs=epochs)[-1]


def test_a_training_that_does_not_get_to_the_epoch_keeps_its_weights():
    trainer = make_trainer(WeightAveraging(0.5, start_epoch=9))
    fit(trainer)
    assert weight(trainer) == weights_of("on_epoch_end")[-1]


@pytest.mark.parametrize("knows_its_length", [True, False])
def test_only_steps_of_the_optimizer_enter_where_gradients_are_gathered(knows_its_length):
    found = []
    x, y = DATA

    def train(*callbacks):
        trainer = make_trainer(*callbacks, grad_accumulation=3)
        batches = zip(x[:, None], y[:, None], strict=True)  # an iterator, whose length is not known
        trainer.fit(
            *DATA if knows_its_length else (batches,), batch_size=1, shuffle=False, progress=False
        )
        return weight(trainer)

    train(LambdaCallback(on_batch_end=lambda t: found.append(weight(t))))
    last = train()
    assert train(WeightAveraging(0.5)) == pytest.approx((found[2] + last) / 2, rel=1e-12)


def test_a_second_training_begins_new_averages():
    trainer = make_trainer(WeightAveraging(1.0))
    fit(trainer)
    after_first = weight(trainer)
    fit(trainer)
    assert weight(trainer) != after_first


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("decay", [0.5, None])
@pytest.mark.parametrize("cut", [1, 3, 4, 5, 8, 10, 15])
def test_a_resumed_run_ends_with_the_same_averages(decay, validate, cut):
    """Four steps an epoch: every fifth checkpoint is at the end of one, with averages shown."""
    states = []
    save = LambdaCallback(on_checkpoint=lambda t: states.append(torch_round_trip(t.state_dict())))
    expected = make_trainer(WeightAveraging(decay, validate=validate), save)
    history = fit(expected, validation_data=DATA)
    trainer = make_trainer(WeightAveraging(decay, validate=validate), LambdaCallback())
    trainer.load_state_dict(states[cut - 1])
    assert dict(fit(trainer, validation_data=DATA)) == dict(history)
    assert weight(trainer) == weight(expected)


def test_buffers_are_those_of_the_model():
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1)).double()
    trainer = Trainer(model, nn.MSELoss(), torch.optim.Adam, callbacks=[WeightAveraging(0.5)])
    trainer.fit(*DATA, epochs=3, validation_data=DATA, progress=False)
    assert model[0].num_batches_tracked == 3


@pytest.mark.parametrize("decay", [-0.1, 1.5])
def test_a_decay_beyond_0_and_1_is_an_error(decay):
    with pytest.raises(DataError, match=f"decay between 0 and 1, or None, got {decay}"):
        WeightAveraging(decay)
