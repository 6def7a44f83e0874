"""Keras models as torchbp models: the only place that knows Keras's names.

`load_weights` fills a network from a weight file, `read_weights` reads any Keras file's weights,
without Keras and without running anything in it; `weights` reorders weight arrays, one by one, in
both directions.
"""

from torchbp.port import weights
from torchbp.port.files import LayerWeights, read_weights
from torchbp.port.load import load_weights

__all__ = ["LayerWeights", "load_weights", "read_weights", "weights"]
