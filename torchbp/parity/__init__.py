"""Two models in, a verdict on each of seven levels out.

A `Case` pairs a Keras builder with a torch builder and says how their layers correspond. `run`
copies the weights, feeds both the same data and measures: parameter counts, shapes, outputs,
outputs in training mode, gradients, training, and the trip back into Keras and its file.
`load_cases` finds the cases; `certify` makes one of a ported model and measures it. Nothing here
is loaded by `import torchbp`.
"""

from torchbp.parity.case import Batch, Case, Head, Pair, Sizes
from torchbp.parity.keras_setup import REFERENCES
from torchbp.parity.optimizers import OptimizerPair, chapters_optimizers, sgd
from torchbp.parity.ported import certify
from torchbp.parity.suite import DTYPES, load_cases, run

__all__ = [
    "DTYPES",
    "REFERENCES",
    "Batch",
    "Case",
    "Head",
    "OptimizerPair",
    "Pair",
    "Sizes",
    "certify",
    "chapters_optimizers",
    "load_cases",
    "run",
    "sgd",
]
