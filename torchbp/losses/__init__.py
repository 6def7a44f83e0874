"""Losses that torch lacks: cross entropies of probabilities, with a clip instead of a logit.

`ProbCrossEntropyLoss` is for one class out of several, `ProbBCELoss` for independent yes/no
answers. Losses that torch has (`nn.CrossEntropyLoss` and `nn.BCEWithLogitsLoss` on logits,
`nn.MSELoss` ...) are used from torch and have no second name here.
"""

from torchbp.losses.cross_entropy import ProbBCELoss, ProbCrossEntropyLoss

__all__ = ["ProbBCELoss", "ProbCrossEntropyLoss"]
