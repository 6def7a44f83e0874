"""torch's functions, functions of the user, and constants in a graph."""

import collections
import copy
import functools
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp import Input, Model, call, layers
from torchbp.errors import GraphError

X = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
Y = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(2))

FUNCTIONS = {
    "list": lambda x, y: torch.cat([x, y], dim=-1),
    "list in a keyword": lambda x, y: torch.stack(tensors=(y, x), dim=1),
    "nested list": lambda x, y: torch.block_diag(x[0], y[0]),
    "keywords": lambda x, y: torch.where(condition=x > 0, input=x, other=y),
    "constant first": lambda x, y: torch.add(torch.ones(8), x + y, alpha=2),
    "einsum": lambda x, y: torch.einsum("btc,bsc->bts", x, y),
    "attention": lambda x, y: F.scaled_dot_product_attention(x, y, value=x, is_causal=True),
    "functional": lambda x, y: F.leaky_relu(F.softmax(x, dim=-1) - F.normalize(y), 0.1),
    "pooling": lambda x, y: F.max_pool1d(x, 2) + F.avg_pool1d(y, kernel_size=2),
    "pooling with indices": lambda x, y: F.max_pool1d(x, 2, return_indices=True),
    "linalg": lambda x, y: torch.linalg.norm(x, dim=-1) + torch.fft.rfft(y).abs().sum(-1),
    "special": lambda x, y: torch.special.expit(x) * torch.erf(y),
    "pad": lambda x, y: F.pad(x, (1, 2), value=float("-inf")),
    "interpolate": lambda x, y: F.interpolate(x, scale_factor=2.0, mode="nearest"),
    "meshgrid": lambda x, y: torch.meshgrid(x[0, 0], y[0, 0], indexing="ij"),
    "like": lambda x, y: torch.ones_like(x) + torch.full_like(y, 2.0, dtype=torch.float64),
    "numbers": lambda x, y: torch.clamp(x, min=-0.5, max=float("inf")) ** -1,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_torchs_functions_take_symbolic_tensors_anywhere(name, assert_same):
    model = assert_same(FUNCTIONS[name], X, Y)
    for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(same(X, Y), model(X, Y), equal_nan=True)


def test_factories_take_symbolic_sizes_and_devices(assert_same):
    def shifted(x):
        positions = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        zeros = torch.zeros((x.shape[0], x.size(1), 1), device=x.device)
        return x + positions[:, None] + zeros + torch.full((x.size(2),), 3.0)

    assert_same(shifted, X, unknown=True)


def test_symbolic_sizes_of_factories_stand_in_a_tuple():
    x = Input((None,))
    with pytest.raises(TypeError, match="positional"):
        torch.zeros(x.shape[0], 3)


def test_dicts_of_symbolic_tensors_are_arguments_and_results(assert_same):
    def mixed(parts, *, scale):
        return {"sum": parts["a"] + parts["b"][0], "product": (parts["a"] * scale["by"],)}

    def function(x, y):
        return call(mixed, {"a": x, "b": [y]}, scale={"by": y})

    assert_same(function, X, Y)


def test_named_tuples_are_arguments_and_results(assert_same):
    pair = collections.namedtuple("pair", "left right")

    def swapped(both):
        return pair(both.right, both.left)

    def function(x, y):
        result = call(swapped, pair(x, y))
        return [result.left, result.right * 2]

    model = assert_same(function, X, Y)
    assert "swapped_1_left, swapped_1_right = swapped(pair(x, x_1))" in model.code


@pytest.mark.parametrize(
    "function",
    [lambda x: x * 2, functools.partial(torch.sum, dim=1), torch.relu],
    ids=["lambda", "partial", "builtin"],
)
def test_any_callable_is_a_step(function, assert_same):
    assert_same(lambda x: call(function, x), X)


def test_two_functions_of_one_name_are_kept_apart(assert_same):
    def scale(x):
        return 2 * x

    first = scale

    def scale(x):
        return 3 * x

    assert_same(lambda x: call(scale, call(first, x)) - call(first, x), X)


def test_function_steps_have_the_name_given():
    x = Input((3,))
    model = Model(x, call(torch.relu, x, name="positive"))
    assert model.output_names == ("positive",)


def test_call_on_tensors_is_the_plain_call():
    layer = nn.Linear(8, 2)
    torch.testing.assert_close(call(layer, X), layer(X), rtol=0, atol=0)
    assert call(max, 3, 4) == 4


def test_arguments_are_those_at_the_time_of_the_call():
    x = Input((3,))
    parts, options = [x, x], {"dim": 1}
    joined = torch.cat(parts, **options)
    parts.append(x)
    options["dim"] = 0
    assert Model(x, joined)(torch.ones(1, 3)).shape == (1, 6)


def test_constants_are_buffers_that_move_and_are_not_saved():
    weights, x = torch.tensor([1.0, 2.0, 3.0]), Input((3,))
    model = Model(x, x * weights + weights)
    assert [name for name, _ in model.named_buffers()] == ["constant"]
    assert model.constant is weights
    assert not model.state_dict()
    assert model.double().constant.dtype == torch.float64
    assert model(torch.ones(1, 3, dtype=torch.float64)).tolist() == [[2, 4, 6]]
    assert model.to("meta").constant.is_meta


def test_different_constants_have_different_names():
    x = Input((3,))
    model = Model(x, torch.where(torch.tensor(True), x * torch.ones(3), torch.zeros(3)))
    assert set(dict(model.named_buffers())) == {"constant", "constant_1", "constant_2"}


def test_weight_among_the_arguments_is_refused():
    embedding = layers.Embedding(5, 3)
    with pytest.raises(GraphError, match="linear: got a tensor that requires grad"):
        F.linear(Input((3,)), embedding.weight)
    with pytest.raises(GraphError, match="requires grad"):
        Input((3,)) @ nn.Parameter(torch.ones(3, 2))


def test_weights_hidden_in_a_function_are_refused():
    layer, gain = nn.Linear(3, 2), nn.Parameter(torch.tensor(2.0))
    norm, lstm = nn.BatchNorm1d(3), nn.LSTM(3, 2)
    for function in (
        lambda x: layer(x),
        layer.forward,
        lambda x: x * gain,
        lambda x: norm(x),
        lambda x: lstm(x)[0],
        lambda x: x + torch.ones(3, device="cpu"),
    ):
        with pytest.raises(GraphError, match="expected a function of its arguments alone"):
            call(function, Input((3,)))


def test_function_may_look_at_data(assert_same):
    def signed(x):
        return x if x.sum() > 0 else -x

    assert_same(lambda x: call(signed, x), X)
    assert_same(lambda x: call(signed, x), -X)


def test_sizes_that_data_decide_are_unknown():
    x = Input((3,))
    chosen = call(lambda x: x[x > 0], x)
    assert chosen.shape == (None,)
    assert Model(x, chosen)(torch.tensor([[1.0, -1.0, 2.0]])).tolist() == [1, 2]
