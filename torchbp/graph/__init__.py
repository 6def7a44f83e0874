"""The functional API: graphs of layers that become ordinary modules.

`Input` makes a symbolic tensor, layers and torch's functions called on it make more, and
`Model(inputs, outputs)` turns what lies between into a module. Knows torch, and no particular
layer.
"""

from torchbp.graph.layer import Layer
from torchbp.graph.lower import Node, Ref, TensorInfo
from torchbp.graph.model import Model
from torchbp.graph.plot import plot_model
from torchbp.graph.record import call
from torchbp.graph.sequential import Sequential
from torchbp.graph.symbolic import Input, SymbolicTensor

__all__ = [
    "Input",
    "Layer",
    "Model",
    "Node",
    "Ref",
    "Sequential",
    "SymbolicTensor",
    "TensorInfo",
    "call",
    "plot_model",
]
