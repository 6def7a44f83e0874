"""Whole models of the chapter, as functions that return a `torchbp.Model`.

Each is a few lines of the functional API: reading matter as much as a model to train. Parts of
models are in `torchbp.blocks`.
"""

from torchbp.models.tabular import mlp, wide_and_deep
from torchbp.models.text import post_attributes, question_answering, sentiment_convnet, shared_lstm

__all__ = [
    "mlp",
    "post_attributes",
    "question_answering",
    "sentiment_convnet",
    "shared_lstm",
    "wide_and_deep",
]
