"""What users write with the functional API must type-check; mypy reads this and runs nothing."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from torchbp import Input, Model, Sequential, call
from torchbp.graph import Layer, Node, SymbolicTensor


class Scale(Layer):
    def __init__(self, factor: float, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Linear(Layer, nn.Linear):
    pass


def operators(x: SymbolicTensor) -> SymbolicTensor:
    y = -x * 2.0 + 1 / (x**2 + 1) - (x > 0) & ~(x == 1)
    first: SymbolicTensor = (2.0 - y @ y.transpose(1, 2))[:, 0, ..., None]
    return first.mean(dim=1)


def build() -> Model:
    x = Input((None, 8), dtype=torch.float32, name="x")
    y = operators(x)
    z = torch.cat([F.relu(call(nn.Linear(8, 4), x)), x], dim=-1)
    length = x.shape[1]
    z = z.reshape(x.shape[0], x.size(1) * 12) if length is None else z
    named = Sequential(Linear(12, 3), Scale(0.5), name="head")(z)
    return Model({"x": x}, {"first": [named, y]}, name="model")


def use(model: Model) -> tuple[str, str, fx.GraphModule]:
    output: Any = model(torch.zeros(2, 3, 8))
    nodes: tuple[Node, ...] = model.nodes
    names: tuple[str, ...] = model.input_names + model.output_names
    weights: dict[str, Tensor] = model.state_dict()
    print(output, nodes, names, weights)  # noqa: T201 - so that all of them are used
    return model.code, model.summary(), model.to_fx()
