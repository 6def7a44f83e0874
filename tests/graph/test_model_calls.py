"""How models are called, what they return, and what they share."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp import Input, Model, Sequential, call, layers
from torchbp.errors import DataError, DtypeError, GraphError, ShapeError

TEXT = torch.tensor([[1, 2, 3], [4, 0, 2]])
AGE = torch.tensor([[0.5], [2.0]])


def two_inputs(outputs="one"):
    text = Input((None,), dtype=torch.int64, name="text")
    age = Input((1,), name="age")
    embedded = layers.Embedding(5, 4, name="words")(text).mean(1)
    both = torch.cat([embedded, age], dim=-1)
    score = layers.Linear(5, 1, name="score")(both)
    structure = {
        "one": score,
        "list": [score, both],
        "tuple": (score, both),
        "dict": {"score": score, "features": both},
        "nested": {"scores": [score, (both, text)]},
    }
    return Model([text, age], structure[outputs])


def test_arguments_come_in_order_by_name_as_a_list_or_as_a_dict():
    model = two_inputs()
    expected = model(TEXT, AGE)
    assert model.input_names == ("text", "age")
    for output in (
        model(text=TEXT, age=AGE),
        model(age=AGE, text=TEXT),
        model(TEXT, age=AGE),
        model([TEXT, AGE]),
        model((TEXT, AGE)),
        model({"age": AGE, "text": TEXT}),
    ):
        assert torch.equal(output, expected)


def test_one_input_comes_in_the_same_ways():
    x = Input((3,), name="features")
    model = Model(x, layers.Linear(3, 2)(x))
    data = torch.randn(4, 3)
    for output in (model([data]), model((data,)), model({"features": data}), model(features=data)):
        assert torch.equal(output, model(data))


def test_outputs_come_back_in_the_structure_given():
    assert isinstance(two_inputs("list")(TEXT, AGE), list)
    assert isinstance(two_inputs("tuple")(TEXT, AGE), tuple)
    assert list(two_inputs("dict")(TEXT, AGE)) == ["score", "features"]
    nested = two_inputs("nested")(TEXT, AGE)
    assert torch.equal(nested["scores"][1][1], TEXT)


def test_outputs_are_named_by_dict_keys_or_by_layers():
    assert two_inputs().output_names == ("score",)
    assert two_inputs("tuple").output_names == ("score", "cat")
    assert two_inputs("dict").output_names == ("score", "features")


def test_inputs_may_be_a_dict_of_argument_names():
    a, b = Input((3,)), Input((3,), name="b")
    model = Model({"left": a, "right": b}, a - b)
    assert model.input_names == ("left", "right")
    assert model(right=torch.zeros(1, 3), left=torch.ones(1, 3)).sum() == 3


def test_nameless_inputs_are_numbered_around_the_given_names():
    inputs = [Input((1,)), Input((1,), name="x"), Input((1,))]
    assert Model(inputs, sum(inputs)).input_names == ("x_1", "x", "x_2")


def test_inputs_may_have_names_of_builtins_and_of_modules_attributes():
    inputs = [Input((3,), name=name) for name in ("input", "type", "sum", "half", "train")]
    model = Model(inputs, layers.Linear(15, 2, name="max")(torch.cat(inputs, 1)))
    assert model.input_names == ("input", "type", "sum", "half", "train")
    assert [node.name for node in model.to_fx().graph.nodes][-2:] == ["max", "output"]
    data = [torch.randn(2, 3) for _ in inputs]
    assert torch.equal(model.to_fx()(*data), model(*data))


def test_inputs_may_be_outputs():
    a, b = Input((3,)), Input((3,))
    first, second = torch.zeros(1, 3), torch.ones(1, 3)
    swapped = Model([a, b], (b, a))(first, second)
    assert swapped[0] is second
    assert swapped[1] is first


def test_unused_inputs_are_arguments():
    a, b = Input((3,), name="a"), Input((3,), name="b")
    assert torch.equal(
        Model([a, b], a * 2)(torch.ones(1, 3), b=torch.zeros(1, 3)).sum(), torch.tensor(6.0)
    )


def test_every_cut_of_a_graph_is_a_model():
    x = Input((8,))
    hidden = F.relu(layers.Linear(8, 4, name="first")(x))
    output = layers.Linear(4, 2, name="second")(hidden)
    whole, front, back = Model(x, output), Model(x, hidden), Model(hidden, output)
    data = torch.randn(3, 8)
    assert torch.equal(back(front(data)), whole(data))
    assert [name for name, _ in back.named_children()] == ["second"]
    assert back.input_names == ("relu",)


def test_cut_may_go_through_one_part_of_an_output():
    x = Input((6, 4))
    sequence, (state, _) = call(nn.LSTM(4, 3, batch_first=True), x)
    after = Model([state, x], state[0] + x.mean(1)[:, :3])
    assert "self.lstm" not in after.code
    assert after(torch.zeros(1, 2, 3), torch.ones(2, 6, 4)).tolist() == [[1, 1, 1]] * 2
    assert Model(x, sequence)(torch.zeros(2, 6, 4)).shape == (2, 6, 3)


def test_layers_keep_their_names_behind_a_cut_at_what_they_return():
    shared, plain = layers.Linear(3, 3, name="shared"), layers.Linear(3, 3)
    x = Input((3,))
    first, second = shared(x), plain(x)
    model = Model([first, second], shared(first) + plain(second))
    assert [name for name, _ in model.named_children()] == ["shared", "linear"]
    assert model.input_names == ("shared_1", "linear_1")
    named = Model({"a": first, "b": second}, shared(first) + plain(second))
    assert torch.equal(named(*[torch.ones(1, 3)] * 2), model(*[torch.ones(1, 3)] * 2))


def test_graph_is_cut_before_what_inputs_depend_on():
    x = Input((3,))
    a = layers.Linear(3, 3, name="a")(x)
    b = layers.Linear(3, 3, name="b")(a)
    model = Model([a, b], a + b)
    assert not list(model.children())


def test_models_share_layers():
    x = Input((8,))
    hidden = layers.Linear(8, 4, name="hidden")(x)
    one = Model(x, layers.Linear(4, 1, name="one")(hidden))
    two = Model(x, [layers.Linear(4, 2, name="two")(hidden), hidden])
    assert one.hidden is two.hidden
    with torch.no_grad():
        one.hidden.weight.zero_()
        one.hidden.bias.fill_(7.0)
    assert torch.equal(two(torch.randn(1, 8))[1], torch.full((1, 4), 7.0))


def test_layer_called_several_times_is_registered_once():
    shared = layers.Linear(3, 3, name="shared")
    a, b = Input((3,)), Input((3,))
    model = Model([a, b], shared(shared(a)) + shared(b))
    assert [name for name, _ in model.named_parameters()] == ["shared.weight", "shared.bias"]
    assert model.shared is shared
    model(torch.randn(2, 3), torch.randn(2, 3)).sum().backward()
    assert shared.weight.grad is not None


def test_model_keeps_the_parameters_of_its_layers():
    layer = layers.Linear(3, 2)
    weight = layer.weight
    x = Input((3,))
    assert dict(Model(x, layer(x)).named_parameters())["linear.weight"] is weight


def test_model_is_a_layer():
    x = Input((3,))
    inner = Model(x, layers.Linear(3, 3)(x), name="inner")
    a, b = Input((3,)), Input((3,))
    outer = Model([a, b], inner(a) * inner(b))
    data = torch.randn(2, 3), torch.randn(2, 3)
    assert outer.inner is inner
    assert torch.equal(outer(*data), inner(data[0]) * inner(data[1]))
    assert list(outer.state_dict()) == ["inner.linear.weight", "inner.linear.bias"]


def test_model_as_a_layer_takes_arguments_in_every_way():
    inner = two_inputs("dict")
    text, age = Input((None,), dtype=torch.int64), Input((1,))
    expected = inner(TEXT, AGE)["score"]
    for output in (
        inner(text, age),
        inner(age=age, text=text),
        inner([text, age]),
        inner({"text": text, "age": age}),
    ):
        assert torch.equal(Model([text, age], output["score"])(TEXT, AGE), expected)


def test_models_nest_three_deep():
    model = layers.Linear(3, 3)
    for depth in range(3):
        x = Input((3,))
        model = Model(x, model(x) + depth, name=f"level_{depth}")
    data = torch.randn(2, 3)
    torch.testing.assert_close(model(data), model.level_1.level_0.linear(data) + 3)


def test_one_layer_in_two_nested_models_is_one_layer():
    shared = layers.Linear(3, 3)
    x = Input((3,))
    first, second = (Model(x, shared(x), name=name) for name in ("first", "second"))
    model = Model(x, first(x) + second(x) + shared(x))
    assert len(list(model.parameters())) == 2
    data = torch.randn(2, 3)
    torch.testing.assert_close(model(data), 3 * shared(data))


def test_sequential_is_a_layer_and_becomes_a_model():
    stack = Sequential(layers.Linear(3, 4), nn.ReLU(), layers.Linear(4, 2, name="scores"))
    x, data = Input((3,)), torch.randn(5, 3)
    assert torch.equal(Model(x, stack(x))(data), stack(data))
    model = stack.to_model(x)
    assert torch.equal(model(data), stack(data))
    assert [name for name, _ in model.named_children()] == ["linear", "relu", "scores"]


def test_foreign_modules_with_structures_come_in_by_call():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, batch, *, factors):
            out = self.linear(batch["x"]) * factors[0]
            return {"logits": out, "parts": [out.sum(-1), batch["x"]]}

    pair, x, y = Pair(), Input((3,)), Input((1,))
    result = call(pair, {"x": x}, factors=[y], name="pair")
    model = Model([x, y], [result["logits"], result["parts"][1]])
    data = torch.randn(2, 3), torch.randn(2, 1)
    assert torch.equal(model(*data)[0], pair.linear(data[0]) * data[1])
    assert list(model.state_dict()) == ["pair.linear.weight", "pair.linear.bias"]


NOT_ALL = [
    ((TEXT,), {}, "expected 2 inputs .*'text', 'age'.*, got 1 positional"),
    ((TEXT, AGE, AGE), {}, "got 3 positional"),
    ((), {}, "got none"),
    ((), {"text": TEXT, "years": AGE}, r"got by name \['text', 'years'\]"),
    ((TEXT,), {"text": TEXT}, r"got 1 positional and by name \['text'\]"),
    (({"text": TEXT},), {}, r"got by name \['text'\]"),
    (([TEXT, AGE, AGE],), {}, "got 3 positional"),
    ((TEXT, AGE), {"age": AGE}, "got 2 positional and by name"),
]


@pytest.mark.parametrize(("args", "kwargs", "message"), NOT_ALL)
def test_wrong_number_or_names_of_arguments_is_refused(args, kwargs, message):
    with pytest.raises(DataError, match=message):
        two_inputs()(*args, **kwargs)


def test_wrong_shapes_of_arguments_are_refused():
    model = two_inputs()
    expected = r"Model: expected input 'age' of shape \(None, 1\) and torch.float32, got \(2, 3\)"
    with pytest.raises(ShapeError, match=expected):
        model(TEXT, torch.zeros(2, 3))
    with pytest.raises(ShapeError, match=r"got \(2,\)"):
        model(TEXT, torch.zeros(2))


def test_wrong_dtypes_of_arguments_are_refused():
    model = two_inputs()
    with pytest.raises(DtypeError, match=r"'text'.*torch.int64.*torch.float32[^$]*pass integers"):
        model(TEXT.float(), AGE)
    with pytest.raises(DtypeError, match="pass floating-point numbers"):
        model(TEXT, AGE.long())
    assert model.double()(TEXT.int(), AGE.double()).dtype == torch.float64


@pytest.mark.parametrize("wrong", [3.0, "text", None, [[1, 2]]])
def test_arguments_that_are_no_tensors_are_refused(wrong):
    with pytest.raises(DataError, match=f"'text', got {type(wrong).__name__}"):
        two_inputs()(wrong, AGE)
    with pytest.raises(DataError, match=f"'age', got {type(wrong).__name__}"):
        two_inputs()(TEXT, age=wrong)


def test_named_models_are_named_in_errors():
    x = Input((3,))
    with pytest.raises(ShapeError, match=r"^encoder \(Model\): expected input 'x'"):
        Model(x, x * 2, name="encoder")(torch.zeros(1, 2))


def test_nested_model_checks_shapes_while_building():
    x = Input((3,))
    inner = Model(x, x * 2, name="inner")
    with pytest.raises(
        ShapeError, match=r"inner \(Model\): expected input 'x' of shape \(None, 3\)"
    ):
        inner(Input((4,)))


@pytest.mark.parametrize("wrong", [3, None, torch.ones(2), nn.ReLU(), [], {}, [None]])
def test_inputs_and_outputs_are_symbolic_tensors(wrong):
    x = Input((3,))
    for inputs, outputs in ((wrong, x), (x, wrong)):
        with pytest.raises(GraphError, match=r"expected symbolic tensors as (inputs|outputs), got"):
            Model(inputs, outputs)


def test_sizes_are_no_inputs_or_outputs():
    x = Input((None,))
    for inputs, outputs in ((x.shape[1], x), (x, x.shape[1])):
        with pytest.raises(GraphError, match="got SymbolicSize"):
            Model(inputs, outputs)


def test_one_tensor_is_one_input():
    x = Input((3,), name="x")
    for inputs in ([x, x], {"a": x, "b": x}):
        with pytest.raises(GraphError, match=r"named 'x'|'a' and 'b' are the same"):
            Model(inputs, x * 2)
