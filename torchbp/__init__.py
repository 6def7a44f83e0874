"""The best practices that Keras made popular, as native PyTorch, proved equal to Keras.

`Input`, `Model`, `Sequential` and `call` build graphs of layers (`torchbp.layers`, the modules in
`torchbp.blocks`, and torch's own functions), `Trainer` trains any module, `plot_model` draws.
`torchbp.models` has the models of the chapter, `torchbp.losses` and `torchbp.optim` what torch
lacks, `torchbp.callbacks` what training can do without, `torchbp.tune` and `torchbp.ensemble` the
last per cent, `torchbp.parity` the proof.
"""

from torchbp import (
    blocks,
    callbacks,
    data,
    ensemble,
    graph,
    layers,
    losses,
    models,
    optim,
    train,
    tune,
)
from torchbp.graph import Input, Model, Sequential, call, plot_model
from torchbp.train import Trainer

__version__ = "0.1.0"

__all__ = [
    "Input",
    "Model",
    "Sequential",
    "Trainer",
    "blocks",
    "call",
    "callbacks",
    "data",
    "ensemble",
    "graph",
    "layers",
    "losses",
    "models",
    "optim",
    "plot_model",
    "train",
    "tune",
]
