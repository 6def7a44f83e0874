"""Random graphs of layers, functions and nested models compute what the same steps do directly.

A program is drawn as plain data and run twice by the same function: on tensors, and on symbolic
tensors, from which a model is built.
"""

import copy
import pickle
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.nn import functional as F

from torchbp import Input, Model, call, layers
from torchbp.graph.structure import leaves

SIZE = 3  # of every row


@dataclass(frozen=True)
class Step:
    """An operation, on which of the values so far, and with which layer or inner program."""

    operation: str
    operands: tuple[int, int]
    choice: int


@dataclass(frozen=True)
class Program:
    """Steps on some inputs, and which of all values are its outputs."""

    num_inputs: int
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    inner: tuple["Program", ...] = ()


class Parts(nn.Module):
    """A foreign module with weights and nested outputs."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, *, others):
        return {"sum": x + self.gain * others[0], "parts": (x - 1, [x * self.gain])}


@dataclass
class World:
    """The layers that all steps share, nested ones too, and the models of the inner programs."""

    symbolic: bool
    linear: list[nn.Module]
    parts: Parts
    constant: torch.Tensor
    models: dict[Program, Model] = field(default_factory=dict)


def make_world():
    torch.manual_seed(0)
    linear = [layers.Linear(SIZE, SIZE, name=name) for name in ("a", "b", None)]
    return World(False, linear, Parts(), torch.linspace(-1, 1, SIZE))


@st.composite
def programs(draw, depth=2):
    num_inputs = draw(st.integers(1, 3))
    operations = st.sampled_from([*OPERATIONS, "model"] if depth else list(OPERATIONS))
    indices, choices = st.integers(0, 1000), st.integers(0, 2)
    step = st.builds(Step, operations, st.tuples(indices, indices), choices)
    inner = draw(st.lists(programs(depth - 1), min_size=1, max_size=2)) if depth else []
    return Program(
        num_inputs,
        tuple(draw(st.lists(step, min_size=1, max_size=8))),
        tuple(draw(st.lists(indices, min_size=1, max_size=3))),
        tuple(inner),
    )


OPERATIONS = {
    "layer": lambda world, x, y, choice: [world.linear[choice](x)],
    "parts": lambda world, x, y, choice: list(leaves(call(world.parts, x, others=[y]))),
    "arithmetic": lambda world, x, y, choice: [x * 0.5 - y / (choice + 2)],
    "function": lambda world, x, y, choice: [F.softmax(x, dim=-1) + torch.sigmoid(y)],
    "method": lambda world, x, y, choice: [x.clamp(min=-0.5).tanh()],
    "join": lambda world, x, y, choice: list(torch.cat([x, y], dim=-1).chunk(2, dim=-1)),
    "stack": lambda world, x, y, choice: [torch.stack([x, y, x], dim=1)[:, choice]],
    "named": lambda world, x, y, choice: [torch.stack([x, y], 1).max(dim=1).values],
    "constant": lambda world, x, y, choice: [torch.where(x > 0, x, world.constant)],
    "sizes": lambda world, x, y, choice: [(x.sum(0) / x.shape[0] + y).reshape(-1, SIZE)],
    "reverse": lambda world, x, y, choice: [1.5 - x[:, [2, 0, 1]]],
}


def run(program: Program, world: World, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """All values of a program, and its outputs."""
    values = list(inputs)
    for step in program.steps:
        x, y = (values[operand % len(values)] for operand in step.operands)
        if step.operation == "model":
            inner = program.inner[step.choice % len(program.inner)]
            values += apply(inner, world, [x, y, x][: inner.num_inputs])
        else:
            values += OPERATIONS[step.operation](world, x, y, step.choice)
    return values, [values[output % len(values)] for output in program.outputs]


def apply(inner: Program, world: World, inputs: list[Any]) -> list[Any]:
    """An inner program directly, or as a model, of which there is one however often it runs."""
    if not world.symbolic:
        return run(inner, world, inputs)[1]
    if inner not in world.models:
        arguments = symbols(inner)
        world.models[inner] = Model(arguments, run(inner, world, arguments)[1])
    outputs = world.models[inner](*inputs)
    return list(outputs)


def symbols(program):
    return [Input((SIZE,)) for _ in range(program.num_inputs)]


def build(program, world):
    """The symbolic inputs, all values and the outputs."""
    world.symbolic = True
    inputs = symbols(program)
    values, outputs = run(program, world, inputs)
    world.symbolic = False
    return inputs, values, outputs


def batch(program, size):
    generator = torch.Generator().manual_seed(size)
    return [torch.randn(size, SIZE, generator=generator) for _ in range(program.num_inputs)]


def assert_computes(model, program, world):
    for size in (1, 4):
        data = batch(program, size)
        with torch.no_grad():
            for output, expected in zip(model(*data), run(program, world, data)[1], strict=True):
                assert torch.equal(output, expected)


examples = settings(max_examples=40, deadline=None, derandomize=True)


@examples
@given(programs())
def test_models_compute_what_their_steps_compute(program):
    world = make_world()
    inputs, _, outputs = build(program, world)
    model = Model(inputs, outputs)
    assert_computes(model, program, world)
    known = {id(weight) for part in (*world.linear, world.parts) for weight in part.parameters()}
    assert {id(weight) for weight in model.parameters()} <= known


@examples
@given(programs())
def test_copies_compute_the_same_with_as_many_weights(program):
    world = make_world()
    inputs, _, outputs = build(program, world)
    model = Model(inputs, outputs)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.to_fx()):
        assert_computes(twin, program, world)
        assert len(list(twin.parameters())) == len(list(model.parameters()))


@examples
@given(programs(), st.integers(0, 30))
def test_two_parts_of_a_graph_compute_the_whole(program, cut):
    world = make_world()
    inputs, values, outputs = build(program, world)
    between = values[: max(len(inputs), cut)]
    distinct = list({id(value): value for value in between}.values())
    front, back = Model(inputs, distinct), Model(dict(named(distinct)), outputs)
    assert_computes(lambda *data: back(front(*data)), program, world)


def named(values):
    return ((f"value_{number}", value) for number, value in enumerate(values))


@examples
@given(programs())
def test_printed_code_computes_the_same(program):
    world = make_world()
    inputs, _, outputs = build(program, world)
    model, namespace = Model(inputs, outputs), {"torch": torch, "F": F}
    exec(model.code, namespace)
    assert_computes(lambda *data: namespace["forward"](model, *data), program, world)


@examples
@given(programs())
def test_gradients_are_those_of_the_steps(program):
    world = make_world()
    inputs, _, outputs = build(program, world)
    model, data = Model(inputs, outputs), batch(program, 4)
    gradients = []
    for results in (model(*data), run(program, world, data)[1]):
        model.zero_grad()
        total = sum(result.sum() for result in results)
        if total.requires_grad:
            total.backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    # the order in which the gradients of a shared weight are added may differ
    torch.testing.assert_close(*gradients)
