"""Optimizers with the update formulas that torch lacks, as options beside torch's own.

`SGD`, `RMSprop` and `Adam` are torch's classes: the same names, defaults and state, and with
their extra options off the same numbers. The options change where lr and eps enter the formula,
and decouple the weight decay. `per_lookup_squares` gives embedding tables the second moment that
sparse gradients have. Learning-rate schedules and everything else come from `torch.optim`.
"""

from torchbp.optim.adam import Adam
from torchbp.optim.lookups import per_lookup_squares
from torchbp.optim.rmsprop import RMSprop
from torchbp.optim.sgd import SGD

__all__ = ["SGD", "Adam", "RMSprop", "per_lookup_squares"]
