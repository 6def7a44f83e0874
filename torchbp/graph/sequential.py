"""A stack of layers, as torch's, that can be called in a graph."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

from torchbp.graph.layer import Layer
from torchbp.graph.model import Model
from torchbp.graph.record import call
from torchbp.graph.symbolic import SymbolicTensor


class Sequential(Layer, nn.Sequential):
    """`nn.Sequential` that can be called on symbolic tensors and become a functional model.

    Args:
        *args: modules in the order of computation, or one OrderedDict of them by name. They
            need not be torchbp's.
        name: as every layer's.

    Example:
        >>> from torchbp import Input, Sequential, layers
        >>> stack = Sequential(layers.Linear(64, 32), layers.ReLU(), layers.Linear(32, 10))
        >>> stack(Input((64,)))
        SymbolicTensor(shape=(None, 10), dtype=torch.float32)
        >>> stack.to_model(Input((64,))).output_names
        ('linear_1',)

    Differences from Keras: a stack has no input of its own; `to_model` gives it one, and with
    it the table, the plot and the checks of a model.
    """

    def __init__(self, *args: nn.Module | OrderedDict[str, nn.Module], name: str | None = None):
        super().__init__(*args, name=name)

    def to_model(self, x: SymbolicTensor) -> Model:
        """A functional model of the same layers, which it shares.

        Args:
            x: the input, as `Input` makes it.

        Returns:
            A model in which each layer has its own name, the name that it has here, or that of
            its class where it is only numbered here.
        """
        value: Any = x
        for key, module in self.named_children():
            given = getattr(module, "name", None) or (key if key.isidentifier() else None)
            value = call(module, value, name=given)
        return Model(x, value)
