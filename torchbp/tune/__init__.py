"""Hyperparameter search with Optuna, which keeps the test set closed until the end.

Here belong what a search may vary, how a trial is trained, pruned and recorded, and the guard
against over-fitting the validation set. Samplers, pruners and storages are Optuna's own.
"""

from torchbp.tune.costs import latency, num_parameters
from torchbp.tune.guard import Report
from torchbp.tune.plan import Plan
from torchbp.tune.pruning import Pruning
from torchbp.tune.space import Choice, Float, Int, Space
from torchbp.tune.split import Split
from torchbp.tune.study import Study

__all__ = [
    "Choice",
    "Float",
    "Int",
    "Plan",
    "Pruning",
    "Report",
    "Space",
    "Split",
    "Study",
    "latency",
    "num_parameters",
]
