"""The members: three kinds of nets, two of trees, and a wide and deep model."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from torch import Tensor, nn
from torch.nn import functional as F
from wide_and_deep import crossed

from torchbp import Input, Model, Trainer, layers, models, optim
from torchbp.callbacks import WeightAveraging
from torchbp.ensemble import Member, Snapshots
from torchbp.losses import ProbCrossEntropyLoss

LR = 3e-3


def convnet(conv: Any = layers.Conv2d) -> Model:
    """Three convolutions and a softmax."""
    image = Input((1, 8, 8), name="image")
    x = F.relu(layers.Conv2d(1, 16, 3, padding=1, name="conv_1")(image))
    x = F.relu(conv(16, 32, 3, padding=1, name="conv_2")(x))
    x = layers.MaxPool2d(2, name="pool")(x)
    x = F.relu(conv(32, 32, 3, padding=1, name="conv_3")(x))
    scores = layers.Linear(32 * 16, 10, name="scores")(layers.Flatten(name="flat")(x))
    return Model(image, layers.Softmax(dim=1, name="digit")(scores))


def wide_and_deep() -> Model:
    """A linear model of crossed pixels and a deep one of grey values, trained as one."""
    wide, deep = Input((274,), name="wide"), Input((64,), name="deep")
    x = F.relu(layers.Linear(64, 64, name="hidden_1")(deep))
    x = F.relu(layers.Linear(64, 32, name="hidden_2")(x))
    deep_scores = layers.Linear(32, 10, name="deep_scores")(x)
    wide_scores = layers.Linear(274, 10, bias=False, name="wide_scores")(wide)
    scores = layers.Add(name="scores")(wide_scores, deep_scores)
    return Model([wide, deep], layers.Softmax(dim=1, name="digit")(scores))


def flat(images: Tensor) -> Tensor:
    """Images as vectors of 64 grey values."""
    return images.flatten(1)


def wide_and_deep_inputs(images: Tensor) -> dict[str, Tensor]:
    """What each part of the wide and deep model sees."""
    return {"wide": crossed(images.squeeze(1)), "deep": images.flatten(1)}


def trained(
    make: Callable[[], nn.Module],
    inputs: Callable[[Tensor], Any] | None,
    epochs: int,
    seed: int,
    x: Tensor,
    y: Tensor,
    callbacks: Any = (),
) -> Member:
    """A net that has been trained from a seed on."""
    torch.manual_seed(seed)
    model = make()
    trainer = Trainer(model, ProbCrossEntropyLoss(), optim.Adam(model.parameters(), lr=LR))
    seen = x if inputs is None else inputs(x)
    trainer.fit(seen, y, epochs=epochs, callbacks=callbacks, progress=False)
    return Member(model, inputs)


def fitted(make: Callable[..., Any], seed: int, x: Tensor, y: Tensor) -> Member:
    """An estimator of scikit-learn that has been fitted."""
    return Member(make(random_state=seed).fit(flat(x).numpy(), y.numpy()), flat)


def makers(epochs: int, seed: int) -> dict[str, Callable[[Tensor, Tensor], Member]]:
    """How each member is trained, from images and digits."""
    separable = partial(convnet, layers.SeparableConv2d)
    boosting = partial(HistGradientBoostingClassifier, max_iter=60, early_stopping=False)
    return {
        "convnet": partial(trained, convnet, None, epochs, seed),
        "separable convnet": partial(trained, separable, None, epochs, seed),
        "MLP": partial(trained, models.mlp, flat, epochs, seed),
        "random forest": partial(fitted, partial(RandomForestClassifier, 200), seed),
        "gradient boosting": partial(fitted, boosting, seed),
        "wide and deep": partial(trained, wide_and_deep, wide_and_deep_inputs, epochs, seed),
    }


def seeds_of_one(epochs: int, seed: int) -> dict[str, Callable[[Tensor, Tensor], Member]]:
    """Five MLPs that differ in their first weights and the order of their batches."""
    return {f"MLP {i}": partial(trained, models.mlp, flat, epochs, seed + i) for i in range(1, 6)}


def snapshots(epochs: int, seed: int, x: Tensor, y: Tensor) -> dict[str, Member]:
    """Five MLPs of one run with a cosine learning rate, five times as long."""
    kept = Snapshots(cycle=epochs)
    trained(models.mlp, flat, 5 * epochs, seed, x, y, [kept])
    return {f"snapshot {i}": Member(model, flat) for i, model in enumerate(kept.models, 1)}


def averaged(epochs: int, seed: int, x: Tensor, y: Tensor) -> Member:
    """An MLP with the mean of the weights of the second half of its epochs (SWA)."""
    swa = WeightAveraging(decay=None, start_epoch=epochs // 2)
    return trained(models.mlp, flat, epochs, seed, x, y, [swa])


def fine_tuned(epochs: int, seed: int, x: Tensor, y: Tensor) -> list[Model]:
    """Five MLPs that went on from the same weights: what a soup is made of."""
    start = trained(models.mlp, flat, epochs, seed, x, y).net.state_dict()

    def from_start() -> Model:
        model = models.mlp()
        model.load_state_dict(start)
        return model

    return [trained(from_start, flat, max(1, epochs // 2), seed + i, x, y).net for i in range(1, 6)]
