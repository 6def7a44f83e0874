"""Keras models as torchbp models: the only place that knows Keras's names.

`read_architecture` tells the layers of a model file and how they are called, and `read_weights`
the weights of any Keras file, without Keras and without running anything in it; `load_weights`
fills a network from a weight file; `weights` reorders weight arrays, one by one, in both
directions.
"""

from torchbp.port import weights
from torchbp.port.architecture import Architecture, LayerSpec, Source, read_architecture
from torchbp.port.files import LayerWeights, read_weights
from torchbp.port.load import load_weights

__all__ = [
    "Architecture",
    "LayerSpec",
    "LayerWeights",
    "Source",
    "load_weights",
    "read_architecture",
    "read_weights",
    "weights",
]
