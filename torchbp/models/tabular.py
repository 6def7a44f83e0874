"""Models of plain feature vectors."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from torchbp import layers
from torchbp.graph import Input, Model, SymbolicTensor


def mlp(num_features: int = 64, num_classes: int = 10) -> Model:
    """Two hidden layers of 32 and a softmax: the first functional model of the chapter.

    Args:
        num_features: size of the input.
        num_classes: number of classes to choose from.

    Shape:
        features (N, num_features) -> classes (N, num_classes), probabilities.

    Example:
        >>> from torchbp.models import mlp
        >>> sum(parameter.numel() for parameter in mlp().parameters())
        3466
    """
    features = Input((num_features,), name="features")
    x = F.relu(layers.Linear(num_features, 32, name="hidden_1")(features))
    x = F.relu(layers.Linear(32, 32, name="hidden_2")(x))
    scores = layers.Linear(32, num_classes, name="class_scores")(x)
    return Model(features, layers.Softmax(dim=-1, name="classes")(scores))


def wide_and_deep(
    num_wide_features: int = 100,
    num_deep_features: int = 20,
    hidden_sizes: Sequence[int] = (64, 32),
) -> Model:
    """A wide linear model and a deep one, added before the sigmoid and trained together.

    The wide part remembers single features and their crossings, the deep part generalises over
    the dense ones.

    Args:
        num_wide_features: size of the wide input, features and crossings as zeros and ones.
        num_deep_features: size of the deep input.
        hidden_sizes: sizes of the deep part's hidden layers.

    Shape:
        wide (N, num_wide_features), deep (N, num_deep_features) -> probability (N, 1).

    Example:
        >>> from torchbp.models import wide_and_deep
        >>> wide_and_deep(hidden_sizes=(8,)).output_names
        ('probability',)

    Source: Cheng et al. 2016, https://arxiv.org/abs/1606.07792
    """
    wide = Input((num_wide_features,), name="wide")
    deep = Input((num_deep_features,), name="deep")
    x: Tensor | SymbolicTensor = deep
    sizes = [num_deep_features, *hidden_sizes]
    for i, hidden_size in enumerate(hidden_sizes, start=1):
        x = F.relu(layers.Linear(sizes[i - 1], hidden_size, name=f"hidden_{i}")(x))
    deep_score = layers.Linear(sizes[-1], 1, name="deep_score")(x)
    wide_score = layers.Linear(num_wide_features, 1, bias=False, name="wide_score")(wide)
    score = layers.Add(name="score")(wide_score, deep_score)
    return Model([wide, deep], layers.Sigmoid(name="probability")(score))
