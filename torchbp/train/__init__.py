"""The Trainer: fit, evaluate and predict for any `nn.Module`.

Here belong the loop, its hooks, and how data of any form reaches a model and its losses. What
training can do without (early stopping, checkpoints ...) is a callback and stands elsewhere.
"""

from torchbp.train.callback import Callback
from torchbp.train.history import History
from torchbp.train.trainer import Trainer

__all__ = ["Callback", "History", "Trainer"]
