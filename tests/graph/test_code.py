"""The generated forward: its text, which is what a person would write, and what runs."""

import inspect
import textwrap
import traceback
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp import Input, Model, call, layers, models


def text(code):
    return textwrap.dedent(code).strip()


def test_layers_and_functions_read_as_written():
    image = Input((3, 8, 8), name="image")
    x = F.max_pool2d(F.relu(layers.Conv2d(3, 4, 3, name="stem")(image)), 2)
    x = layers.Linear(36, 10, name="scores")(torch.flatten(x, start_dim=1))
    assert Model(image, F.log_softmax(x, dim=-1)).code == text("""
        def forward(self, image):
            stem = self.stem(image)
            relu = F.relu(stem)
            max_pool2d = F.max_pool2d(relu, 2)
            flatten = torch.flatten(max_pool2d, start_dim=1)
            scores = self.scores(flatten)
            log_softmax = F.log_softmax(scores, dim=-1)
            return log_softmax
    """)


def test_several_inputs_outputs_and_shared_layers_read_as_written():
    assert models.shared_lstm(symmetric=True).code == text("""
        def forward(self, left, right):
            lstm = self.lstm(left)
            lstm_1 = self.lstm(right)
            sub = lstm - lstm_1
            abs_1 = sub.abs()
            mul = lstm * lstm_1
            both = self.both(abs_1, mul)
            similarity_score = self.similarity_score(both)
            similarity = self.similarity(similarity_score)
            return similarity
    """)


def test_indices_and_sizes_stand_where_they_are_used():
    x = Input((None, 8), name="x")
    y = x[:, : x.shape[1] // 2, ::2].reshape(x.size(0), -1)
    positions = torch.arange(x.size(1), device=x.device)
    assert Model(x, (y, x[..., -1] * positions, x[:, None])).code == text("""
        def forward(self, x):
            getitem = x[:, :x.size(1) // 2, ::2]
            reshape = getitem.reshape(x.size(0), -1)
            getitem_1 = x[..., -1]
            arange = torch.arange(x.size(1), device=x.device)
            mul = getitem_1 * arange
            getitem_2 = x[:, None]
            return reshape, mul, getitem_2
    """)


def test_size_that_is_used_twice_has_a_name():
    x = Input((None,), name="x")
    length = x.shape[1]
    assert Model(x, x[:, : length // 2] / length).code == text("""
        def forward(self, x):
            size = x.size(1)
            getitem = x[:, :size // 2]
            truediv = getitem / size
            return truediv
    """)


def test_only_used_part_of_an_output_has_the_layers_name():
    x = Input((None, 4), name="x")
    output, _ = call(nn.LSTM(4, 3, batch_first=True), x)
    _, (_, cell) = call(nn.LSTM(3, 2, batch_first=True), output, name="last")
    assert Model(x, cell[0]).code == text("""
        def forward(self, x):
            lstm, _ = self.lstm(x)
            _, (_, last) = self.last(lstm)
            getitem = last[0]
            return getitem
    """)


def test_used_parts_of_an_output_are_unpacked():
    x = Input((4, 4), name="x")
    output, (hidden, _) = call(nn.LSTM(4, 4, batch_first=True), x)
    low, high = torch.chunk(x, 2, dim=-1)
    longest = x.max(dim=1)
    parts = [output, hidden, low, high, longest.values, longest.indices]
    assert Model(x, {"parts": parts, "first": x[:, :1]}).code == text("""
        def forward(self, x):
            lstm_0, (lstm_1_0, _) = self.lstm(x)
            chunk_0, chunk_1 = torch.chunk(x, 2, dim=-1)
            max_1_values, max_1_indices = x.max(dim=1)
            getitem = x[:, :1]
            return {'parts': [lstm_0, lstm_1_0, chunk_0, chunk_1, max_1_values, max_1_indices], \
'first': getitem}
    """)


def test_parts_by_key_and_of_long_outputs_are_indexed():
    x = Input((20, 3), name="x")
    rows = x.unbind(1)
    logits = call(lambda x: {"logits": [x * 2]}, rows[19], name="head")["logits"][0]
    assert Model(x, logits + rows[0]).code == text("""
        def forward(self, x):
            unbind = x.unbind(1)
            head = function(unbind[19])
            add = head['logits'][0] + unbind[0]
            return add
    """)


def test_one_part_is_unpacked_alone():
    x = Input((1, 3), name="x")
    (row,) = x.unbind(1)
    assert "unbind, = x.unbind(1)" in Model(x, row * 2).code
    assert Model(x, row * 2)(torch.ones(4, 1, 3)).shape == (4, 3)


def test_constants_are_attributes():
    x = Input((3,), name="x")
    assert Model(x, (x - torch.ones(3)).clamp(-torch.inf, 1e-3)).code == text("""
        def forward(self, x):
            sub = x - self.constant
            clamp = sub.clamp(-torch.inf, 0.001)
            return clamp
    """)


def test_functions_of_the_user_keep_their_names():
    def gate(x, *, by):
        return x * by

    x = Input((3,), name="x")
    assert Model(x, call(gate, call(gate, x, by=2), by=3)).code == text("""
        def forward(self, x):
            gate_1 = gate(x, by=2)
            gate_2 = gate(gate_1, by=3)
            return gate_2
    """)


def test_torchs_values_are_written_as_torchs():
    x = Input((3,), name="x")
    y = x.to(torch.float64).new_zeros((2,), device=torch.device("cpu"), layout=torch.strided)
    assert "new_zeros((2,), device=torch.device('cpu'), layout=torch.strided)" in Model(x, y).code
    z = x.clone(memory_format=torch.contiguous_format).permute(*range(1, -1, -1))
    assert "x.clone(memory_format=torch.contiguous_format)" in Model(x, z).code


def test_names_of_parts_do_not_meet_other_names():
    x = Input((2, 3), name="split_0")
    first, second = x.split(1, dim=1)
    layer = layers.Linear(3, 3, name="split_1")
    model = Model(x, [layer(first), second])
    assert "split_0_1, split_1_1 = split_0.split(1, dim=1)" in model.code
    assert model(torch.ones(1, 2, 3))[1].tolist() == [[[1, 1, 1]]]


def test_printed_code_computes_what_the_model_computes():
    model = models.post_attributes(vocabulary_size=50)
    namespace = {"torch": torch, "F": F}
    exec(model.code, namespace)
    posts = torch.randint(0, 50, (2, 300))
    for printed, real in zip(namespace["forward"](model, posts), model(posts), strict=True):
        assert torch.equal(printed, real)


def test_signature_names_the_inputs():
    assert list(inspect.signature(models.shared_lstm().forward).parameters) == ["left", "right"]


def test_errors_in_the_forward_show_its_lines():
    class Fails(nn.Module):
        def forward(self, x):
            if not x.is_meta:
                raise ArithmeticError("as it must")
            return x

    x = Input((3,))
    model = Model(x, call(Fails(), x) * 2)
    with pytest.raises(ArithmeticError) as raised:
        model(torch.ones(1, 3))
    assert "fails = self.fails(x)" in "".join(traceback.format_exception(raised.value))


def test_values_are_freed_after_their_last_use():
    freed = {}

    def watch(x, name):
        y = x + 1
        if not y.is_meta:
            weakref.finalize(y, freed.setdefault, name, None)
        return y

    def check(x):
        assert x.is_meta or list(freed) == ["first", "unused"]
        return x

    x = Input((3,))
    first = call(watch, x, "first")
    second, _ = call(lambda x: (watch(x, "second"), watch(x, "unused")), first)
    output = Model(x, call(check, second))(torch.ones(1, 3))
    assert output.tolist() == [[3, 3, 3]]
    assert list(freed) == ["first", "unused"]
