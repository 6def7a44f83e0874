"""Keras models as torchbp models: the only place that knows Keras's names.

`weights` reorders weight arrays, one by one, in both directions.
"""

from torchbp.port import weights

__all__ = ["weights"]
