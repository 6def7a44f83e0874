"""Keras models as torchbp models: the only place that knows Keras's names.

`load` makes a model of a Keras file and `from_keras` of a live Keras model; `converter` tells them
how to port a layer class of your own. Training goes on with `training_config`, how the model was
compiled, `load_optimizer_state`, `regularization` and `apply_constraints`. Below these,
`read_architecture` tells the layers of a model file and how they are called, and `read_weights` the
weights of any Keras file, without Keras and without running anything in it; `load_weights` fills a
network from a weight file; `weights` reorders weight arrays, one by one, in both directions.
"""

from torchbp.port import weights
from torchbp.port.architecture import Architecture, LayerSpec, Source, read_architecture
from torchbp.port.check import PortError
from torchbp.port.config import UnsupportedError
from torchbp.port.files import LayerWeights
from torchbp.port.isolated import read_weights
from torchbp.port.load import load_weights
from torchbp.port.model import from_keras, load
from torchbp.port.optimizer_state import load_optimizer_state, optimizer_state_to_keras
from torchbp.port.ported import to_keras
from torchbp.port.registry import Layer, Weights, converter
from torchbp.port.regularization import (
    Constraints,
    Regularized,
    apply_constraints,
    regularization,
)
from torchbp.port.training import training_config
from torchbp.port.values import Value

__all__ = [
    "Architecture",
    "Constraints",
    "Layer",
    "LayerSpec",
    "LayerWeights",
    "PortError",
    "Regularized",
    "Source",
    "UnsupportedError",
    "Value",
    "Weights",
    "apply_constraints",
    "converter",
    "from_keras",
    "load",
    "load_optimizer_state",
    "load_weights",
    "optimizer_state_to_keras",
    "read_architecture",
    "read_weights",
    "regularization",
    "to_keras",
    "training_config",
    "weights",
]
