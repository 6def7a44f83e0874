"""Whole models of the chapter, and the image networks that it builds on.

Small models are functions that return a `torchbp.Model`: a few lines of the functional API, reading
matter as much as models to train. `Xception`, `InceptionV3` and `ResNet50` are modules, made of the
parts in `torchbp.blocks`; in a graph they are layers.
"""

from torchbp.models.image import (
    inception_convnet,
    residual_convnet,
    separable_convnet,
    siamese_vision,
)
from torchbp.models.inception_v3 import InceptionV3
from torchbp.models.resnet import ResNet50
from torchbp.models.tabular import mlp, wide_and_deep
from torchbp.models.text import post_attributes, question_answering, sentiment_convnet, shared_lstm
from torchbp.models.xception import Xception

__all__ = [
    "InceptionV3",
    "ResNet50",
    "Xception",
    "inception_convnet",
    "mlp",
    "post_attributes",
    "question_answering",
    "residual_convnet",
    "sentiment_convnet",
    "separable_convnet",
    "shared_lstm",
    "siamese_vision",
    "wide_and_deep",
]
