"""The table of a model's steps: its text, and its counts against counts of another kind."""

import re

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from torchbp import Input, Model, call, layers

NAMES = ["mlp", "post_attributes", "shared_lstm", "residual", "nested", "nested_deeply", "parts"]
FLOATING_BUFFERS = ("running_mean", "running_var")


def counted(model):
    """Trainable and other weights, by the names in the state dict."""
    parameters = {id(p): p for p in model.parameters()}.values()
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    frozen = sum(p.numel() for p in parameters if not p.requires_grad)
    buffers = {
        value.data_ptr(): value.numel()
        for key, value in model.state_dict().items()
        if key.endswith(FLOATING_BUFFERS)
    }
    return trainable, frozen + sum(buffers.values())


def totals(text):
    lines = re.findall(r"^(Total|Trainable|Non-trainable) params: ([\d,]+)", text, re.MULTILINE)
    return {name: int(number.replace(",", "")) for name, number in lines}


def rows(text):
    """The first cell and the parameters of each row; both are one word or more."""
    body = text.split("===\n")[1].split("\n---")[0].split("\n")
    start = text.split("\n")[2].index("Output shape")
    end = text.split("\n")[2].index("Connected to")
    return [
        (line[:start].rstrip(), re.split(r"  +", line[start:end].strip())[-1])
        for line in body
        if line[:start].strip()
    ]


def number(text):
    digits = text.removesuffix(" + shared").replace(",", "")
    return int(digits) if digits.isdigit() else 0


@pytest.mark.parametrize("name", NAMES)
def test_prints_the_stored_table(build, same_as_stored, name):
    same_as_stored(build(name).summary() + "\n", f"{name}.txt")


@pytest.mark.parametrize("name", ["nested", "nested_deeply"])
def test_prints_the_stored_table_of_expanded_models(build, same_as_stored, name):
    same_as_stored(build(name).summary(expand_nested=True) + "\n", f"{name}_expanded.txt")


@pytest.mark.parametrize("expand_nested", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_totals_are_the_numbers_of_elements(build, name, expand_nested):
    model = build(name)
    trainable, other = counted(model)
    expected = {"Total": trainable + other, "Trainable": trainable, "Non-trainable": other}
    assert totals(model.summary(expand_nested=expand_nested)) == expected


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("mlp", 3_466),
        ("shared_lstm", 20_673),
        ("question_answering", 1_322_100),
        ("post_attributes", 2_626_316),
    ],
)
def test_totals_of_the_chapters_models(build, name, total):
    assert totals(build(name).summary())["Total"] == total


@pytest.mark.parametrize("name", NAMES)
def test_rows_add_up_to_the_total(build, name):
    text = build(name).summary()
    assert sum(number(params) for _, params in rows(text)) == totals(text)["Total"]


def test_rows_of_an_expanded_model_add_up_to_its_own(build):
    table = dict(rows(build("nested").summary(expand_nested=True)))
    inner = sum(number(params) for name, params in table.items() if name.startswith("  "))
    assert number(table["encoder (Model)"]) == inner == 32 * 16 + 16 + 2 * (16 * 4 + 4)


def test_a_layer_that_is_called_again_counts_nothing():
    x = Input((3,))
    layer = layers.Linear(3, 3, name="step")
    table = rows(Model(x, layer(layer(x))).summary())
    assert table[1:] == [("step (Linear)", "12"), ("step_1 (Linear, step again)", "shared")]


def test_weights_that_two_layers_share_count_once():
    x = Input((3,))
    first, second = layers.Linear(3, 3, name="first"), layers.Linear(3, 3, name="second")
    second.weight = first.weight
    text = Model(x, second(first(x))).summary()
    assert rows(text)[1:] == [("first (Linear)", "12"), ("second (Linear)", "3 + shared")]
    assert totals(text)["Total"] == 15


def test_a_layer_outside_and_inside_of_a_nested_model_counts_once():
    x, y = Input((3,), name="x"), Input((3,), name="y")
    layer = layers.Linear(3, 3, name="both")
    inner = Model(y, layers.Linear(3, 1, name="last")(layer(y)), name="inner")
    text = Model(x, inner(layer(x))).summary(expand_nested=True)
    table = dict(rows(text))
    assert table["inner (Model)"] == "4 + shared"
    assert table["  both (Linear)"] == "shared"
    assert table["  last (Linear)"] == "4"
    assert totals(text)["Total"] == 16


def test_a_layer_without_weights_is_never_called_shared():
    x = Input((3,))
    relu = layers.ReLU()
    assert [params for _, params in rows(Model(x, relu(relu(x))).summary())] == ["0", "0", "0"]


def test_moving_averages_count_as_non_trainable_and_the_counter_of_batches_does_not():
    x = Input((5,))
    model = Model(x, layers.BatchNorm1d(5)(x))
    assert totals(model.summary()) == {"Total": 20, "Trainable": 10, "Non-trainable": 10}
    assert model.summary().endswith("Non-trainable params: 10 (10 in buffers)")


def test_buffers_outside_of_the_state_dict_count_nothing():
    x = Input((None, 4))
    lstm = layers.LSTM(4, 3, batch_first=True, single_bias=True, last_output=True)
    assert totals(Model(x, lstm(x)).summary())["Total"] == 4 * 3 * (4 + 3 + 1)


def test_frozen_parameters_are_non_trainable():
    x = Input((3,))
    layer = layers.Linear(3, 2)
    layer.weight.requires_grad_(False)
    text = Model(x, layer(x)).summary()
    assert totals(text) == {"Total": 8, "Trainable": 2, "Non-trainable": 6}
    assert "buffers" not in text


def test_counts_modules_of_torch_with_all_that_is_in_them():
    x = Input((None, 8))
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    text = Model(x, call(block, x, name="block")).summary()
    expected = sum(parameter.numel() for parameter in block.parameters())
    assert dict(rows(text))["block (TransformerEncoderLayer)"] == f"{expected:,}"


def test_large_counts_are_written_in_full():
    x = Input((10**6,))
    text = Model(x, layers.Linear(10**6, 10**6, device="meta")(x)).summary()
    assert "1,000,001,000,000" in text.split("\n")[-5]


def test_says_what_the_model_is():
    x = Input((3,))
    assert Model(x, x * 2).summary().startswith("Model\n---")
    assert Model(x, x * 2, name="twice").summary().startswith("twice (Model)\n---")


def test_an_index_reads_as_in_python():
    x = Input((5, 6))
    table = rows(Model(x, x[:, 1:-1, ..., None][::2]).summary())
    assert [name for name, _ in table[1:]] == [
        "getitem ([:, 1:-1, ..., None])",
        "getitem_1 ([::2])",
    ]


LONG_NAMES = st.builds(str.__add__, st.sampled_from("xμ层"), st.text("aμ层7_", max_size=130))


@settings(deadline=None, max_examples=60)
@given(
    names=st.lists(LONG_NAMES, min_size=1, max_size=5, unique=True),
    dims=st.integers(1, 40),
    depth=st.integers(0, 4),
)
def test_is_never_wider_than_100_columns(names, dims, depth):
    inputs = [Input((1,) * dims, name=name) for name in names]
    value = torch.stack(inputs) if len(inputs) > 1 else inputs[0] * 2
    model = Model(inputs, value, name="m" * 130)
    for _ in range(depth):
        model = Model(inputs, model(*inputs))
    text = model.summary(expand_nested=True)
    wide = [len(line) + line.count("层") for line in text.split("\n")]  # it takes two columns
    assert max(wide) <= 100
    assert all(line == line.rstrip() for line in text.split("\n"))


def test_building_the_table_changes_nothing(build):
    model = build("residual")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    model.summary(expand_nested=True)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
