from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp import Input, Model, layers
from torchbp.parity import Batch, Case, Head, Pair, Sizes
from torchbp.parity.diverge import first_shape, partings
from torchbp.parity.optimizers import chapters_optimizers
from torchbp.parity.torch_side import TorchSide, UnpairedError


def data(rng, sizes):
    inputs = {"x": rng.normal(size=(sizes.batch_size, 3))}
    return Batch(inputs, {"y": rng.normal(size=(sizes.batch_size, 1))})


def functional():
    x = Input((3,), name="x")
    hidden = F.relu(layers.Linear(3, 4, name="hidden")(x))
    return Model(x, layers.Linear(4, 1, name="y")(hidden))


class ByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.relu, self.y = nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)

    def forward(self, x):
        return {"y": self.y(self.relu(self.hidden(x)))}


CASE = Case(
    name="two-layers",
    keras_model=None,
    torch_model=functional,
    data=data,
    pairs=(Pair("dense", "hidden", "linear", value="relu"), Pair("out", "y", "linear")),
    heads=(Head("y", "mse", nn.MSELoss()),),
    full=Sizes(batch_size=5),
    small=Sizes(batch_size=5),
)
INPUTS = CASE.batches(CASE.full, 1)[0].inputs


def side(torch_model=functional, **changes):
    return TorchSide(replace(CASE, torch_model=torch_model, **changes), CASE.full, "float64", "cpu")


@pytest.fixture(params=[functional, ByHand])
def halves(request):
    """A side around a functional model, and one around a hand-written one."""
    return side(request.param)


def test_batches_are_the_same_each_time():
    first, again = (CASE.batches(CASE.full, 2) for _ in range(2))
    np.testing.assert_array_equal(first[1].inputs["x"], again[1].inputs["x"])
    assert not np.array_equal(first[0].inputs["x"], first[1].inputs["x"])


def test_counts(halves):
    assert [halves.counts(pair) for pair in CASE.pairs] == [(16, 0), (5, 0)]
    assert halves.total_counts() == (21, 0)
    assert halves.unpaired() == {}


def test_frozen_weights_and_statistics_are_not_trainable():
    model = nn.Sequential(nn.Linear(3, 4).requires_grad_(False), nn.BatchNorm1d(4))
    assert side(lambda: model).total_counts() == (8, 16 + 8)


def test_zeros_that_stand_for_a_second_bias_are_not_counted():
    lstm = layers.LSTM(4, 5, single_bias=True)
    assert side(lambda: nn.Sequential(lstm)).total_counts() == (200, 0)


def test_weights_that_no_pair_holds_are_found():
    model = functional()
    model.extra = nn.Linear(2, 2, bias=False)
    assert side(lambda: model).unpaired() == {"extra": (4, 0)}


def test_symbolic_shapes_are_a_functional_models():
    assert side().symbolic_outputs() == {"y": (None, 1)}
    assert side(ByHand).symbolic_outputs() is None


def test_values_are_those_of_modules_and_nodes(halves):
    values, error = halves.values(INPUTS)
    assert error is None
    assert torch.equal(values["relu"][0], F.relu(values["hidden"][0]))
    assert torch.equal(values["y"][0], halves.predict(INPUTS)["y"])


def test_values_before_an_error_are_kept():
    model = ByHand()
    model.relu = nn.Flatten(0)
    values, error = side(lambda: model).values(INPUTS)
    assert isinstance(error, RuntimeError)
    assert list(values) == ["hidden", "relu"]


def test_weights_go_in_and_out(halves):
    weights = {name: torch.full_like(w, 0.5) for name, w in halves.weights().items()}
    halves.load(weights)
    assert list(weights) == ["hidden.weight", "hidden.bias", "y.weight", "y.bias"]
    assert all(torch.equal(halves.weights()[name], weight) for name, weight in weights.items())


def test_a_weight_that_keras_has_not_starts_at_zero():
    lstm = nn.LSTM(3, 2)
    case = {"pairs": (Pair("lstm", "0", "lstm"),)}
    loaded = side(lambda: nn.Sequential(lstm), **case)
    weights = loaded.weights()
    del weights["0.bias_hh_l0"]
    loaded.load(weights)
    assert not lstm.bias_hh_l0.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden.weight": torch.zeros(4, 2)}, r"weight of shape \(4, 2\)[\s\S]*got \(4, 3\)"),
        ({"hidden.gamma": torch.zeros(4)}, "expected a gamma of shape .* got none"),
    ],
)
def test_weights_without_a_place_are_refused(change, message):
    with pytest.raises(UnpairedError, match=message) as raised:
        side().load(side().weights() | change)
    assert raised.value.layer == "dense"


def test_a_module_that_is_not_there_is_refused():
    wrong = side(pairs=(Pair("dense", "missing", "linear"),))
    with pytest.raises(UnpairedError, match=r"expected a module 'missing'.*got \['hidden', 'y'\]"):
        wrong.load({})


def test_gradients_are_zero_where_none_arrive():
    model = ByHand()
    model.hidden.requires_grad_(False)
    _, gradients = side(lambda: model).gradients(CASE.batches(CASE.full, 1)[0])
    assert not gradients["hidden.weight"].any()
    assert gradients["y.weight"].any()


def test_training_keeps_losses_and_the_weights_asked_for(halves):
    sgd = chapters_optimizers()[0]
    batches = CASE.batches(CASE.full, 3)
    before = halves.weights()
    losses, kept = halves.train(sgd, batches, (1, 3), float, per_lookup=False)
    assert (len(losses), list(kept)) == (3, [1, 3])
    assert not torch.equal(kept[1]["y.bias"], before["y.bias"])
    assert torch.equal(kept[3]["y.bias"], halves.weights()["y.bias"])


def test_losses_are_weighted():
    heads = (replace(CASE.heads[0], weight=10.0),)
    once, tenfold = side(), side(heads=heads)
    tenfold.load(once.weights())
    batch = CASE.batches(CASE.full, 1)[0]
    assert tenfold.gradients(batch)[0] == pytest.approx(10 * once.gradients(batch)[0].item())


def test_dropout_is_off_in_training_mode():
    dropped = side(lambda: nn.Sequential(nn.Dropout(0.9)))
    assert torch.equal(dropped.predict(INPUTS, training=True)["y"], torch.from_numpy(INPUTS["x"]))


# Where two sides part


def values(**changes):
    made = {"relu": [torch.ones(2, 4)], "y": [torch.zeros(2, 1)], "hidden": [-torch.ones(2, 4)]}
    return made | changes


THEIRS = {"dense": [torch.ones(2, 4)], "out": [torch.zeros(2, 1)]}


def test_sides_with_the_same_values_do_not_part():
    assert not list(partings(CASE, THEIRS, values(), 0.0))


@pytest.mark.parametrize(
    ("changes", "layer", "cause"),
    [
        ({"relu": [torch.full((2, 4), 1.1)]}, "dense", ""),
        ({"y": [torch.full((2, 1), torch.nan)]}, "out", ""),
        ({"y": [torch.zeros(2, 2)]}, "out", "expected shape (2, 1), got (2, 2)"),
        ({"y": [torch.zeros(2, 1)] * 2}, "out", "called 1 times in Keras, 2 times in torch"),
    ],
)
def test_the_first_layer_with_other_values_is_named(changes, layer, cause):
    parting, _ = next(partings(CASE, THEIRS, values(**changes), 0.0))
    assert (parting.layer, parting.cause) == (layer, cause)


def test_values_come_before_shapes_in_later_layers():
    ours = values(relu=[torch.zeros(2, 4)], y=[torch.zeros(2, 2)])
    assert next(partings(CASE, THEIRS, ours, 0.0))[0].layer == "dense"
    assert first_shape(CASE, THEIRS, ours).layer == "out"


def test_a_module_that_is_never_called_is_named():
    ours = values()
    del ours["y"]
    assert "never calls 'y'" in first_shape(CASE, THEIRS, ours).cause


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "softmax"])
def test_a_forgotten_activation_is_recognised(name):
    scores = torch.tensor([[-1.0, 2.0], [0.5, -3.0]])
    activated = scores.softmax(-1) if name == "softmax" else getattr(torch, name)(scores)
    theirs = {"dense": [activated], "out": [torch.zeros(2, 1)]}
    ours = values(hidden=[scores])
    del ours["relu"]
    [(parting, lacks)] = partings(CASE, theirs, ours, 1e-6)
    assert (parting.layer, lacks) == ("dense", name)


def test_values_are_compared_in_keras_order():
    pairs = (Pair("conv", "conv", axes=(0, 2, 1)),)
    case = replace(CASE, pairs=pairs)
    signal = torch.arange(6.0).view(1, 2, 3)
    theirs = {"conv": [signal.transpose(1, 2)]}
    assert not list(partings(case, theirs, {"conv": [signal]}, 0.0))
