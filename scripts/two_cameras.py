"""One network, two cameras: a shared base looks through both eyes and sees what is near.

A model is a layer: the same base, with one set of weights, is called on the left and on the right
image, its features are joined, and a small head tells whether the object is near. That shows in
how far the object stands apart in the two images. One eye alone sees hardly any of it, as the
second baseline shows: the same model gets the left image twice.

    python scripts/two_cameras.py
    python scripts/two_cameras.py --weights xception_weights_tf_dim_ordering_tf_kernels_notop.h5

The images are made up. The base is a small convnet that is trained with the head. With --weights
it is Xception with the ImageNet weights that Keras publishes, read from the file (nothing is
downloaded) and left as they are: the images are larger, and only the head is trained.
"""

import sys
from pathlib import Path

import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp import Input, Model, Trainer, layers, models, optim
from torchbp.data import stereo
from torchbp.losses import ProbBCELoss
from torchbp.port import load_weights

Pairs = tuple[dict[str, Tensor], Tensor]


def accuracy(p: Tensor, near: Tensor) -> Tensor:
    """Part of the pairs that are told right."""
    return ((p > 0.5) == near.bool()).float().mean()


def near_or_far(base: nn.Module, side: int) -> Model:
    """The base on both images, and a head on the features of both."""
    left, right = Input((3, side, side), name="left"), Input((3, side, side), name="right")
    both = models.siamese_vision(base, size=side)(left, right)
    x = layers.Flatten(name="features")(both)
    x = F.relu(layers.LazyLinear(32, name="hidden")(x))
    score = layers.Linear(32, 1, name="near_score")(x)
    return Model([left, right], layers.Sigmoid(name="near")(score))


def train_and_test(
    model: Model, train: Pairs, test: Pairs, epochs: int, batch_size: int, device: str
) -> float:
    """Part of the test pairs that the trained model tells right."""
    optimizer = optim.Adam((w for w in model.parameters() if w.requires_grad), lr=1e-3)
    trainer = Trainer(model, ProbBCELoss(), optimizer, {"accuracy": accuracy}, device=device)
    trainer.fit(*train, epochs=epochs, batch_size=batch_size, validation_fraction=0.1)
    return trainer.evaluate(*test)["accuracy"]


def main(
    epochs: int = 12,
    batch_size: int = 32,
    device: str = "cpu",
    seed: int = 0,
    quick: bool = False,
    weights: Path | None = None,
) -> None:
    """Train on both eyes and on one, and compare."""
    side = 96 if weights else 32
    counts = (60, 60) if quick else (400, 200) if weights else (3000, 1000)
    train, test = (stereo.generate(count, side, seed + count) for count in counts)
    right = {}
    for eyes in ("both", "left"):
        torch.manual_seed(seed)
        base = nn.Sequential(
            *(layers.Conv2d(3, 16, 3, stride=2, padding="same"), nn.ReLU()),
            *(layers.SeparableConv2d(16, 16, 3, stride=2, padding="same"), nn.ReLU()),
        )
        if weights:
            base = load_weights(models.Xception(include_top=False), weights).requires_grad_(False)
        model = near_or_far(base, side)
        if eyes == "both":
            print(model.summary())
        else:
            train, test = ((x | {"right": x["left"]}, near) for x, near in (train, test))
        right[eyes] = train_and_test(model, train, test, 1 if quick else epochs, batch_size, device)

    frequent = max(test[1].mean().item(), 1 - test[1].mean().item())
    print(f"\n{len(test[1])} held-out pairs told right")
    print(f"  baseline, the more frequent answer  {frequent:6.1%}")
    print(f"  baseline, the left eye alone        {right['left']:6.1%}")
    print(f"  model, both eyes                    {right['both']:6.1%}")
    if not quick and right["both"] <= max(frequent, right["left"]):
        sys.exit("The model does not beat its baselines.")


if __name__ == "__main__":
    typer.run(main)
