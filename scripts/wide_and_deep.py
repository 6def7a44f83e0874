"""Wide and deep: a linear model on crossed features and a network, trained as one.

A linear model sees that two features belong together only if their conjunction is a feature of
its own; a network finds conjunctions itself, but needs many examples for each. In a wide and deep
model the scores of the two are added before the sigmoid and share the loss, so that each learns
what the other leaves over.

The data are real, the 1,797 handwritten digits that come with scikit-learn, 8 x 8 pixels each,
and the question is whether a digit is odd. The deep part sees the grey values. The wide part sees
which pixels have ink, and for each two neighbours whether both have: 274 zeros and ones. Linear
models of either are the baselines; the same network without its wide part is shown beside it.

    python scripts/wide_and_deep.py
"""

import sys

import torch
import typer
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from torchbp import Trainer, models, optim
from torchbp.losses import ProbBCELoss

NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # rows down, columns to the right


def crossed(images: Tensor) -> Tensor:
    """The pixels with ink of images (N, 8, 8) and their conjunctions, (N, 274) of 0 and 1."""
    ink = images >= 0.5
    parts = [ink.flatten(1)]
    for down, right in NEIGHBOURS:
        both = ink & ink.roll((-down, -right), (1, 2))
        columns = slice(0, 8 - right) if right >= 0 else slice(-right, 8)  # not around the edge
        parts.append(both[:, : 8 - down, columns].flatten(1))
    return torch.cat(parts, dim=1).float()


def accuracy(p: Tensor, odd: Tensor) -> Tensor:
    """Part of the digits that are told right."""
    return ((p > 0.5) == odd.bool()).float().mean()


def linear(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor) -> float:
    """Right answers of a logistic regression."""
    model = LogisticRegression(max_iter=3000).fit(x, y.flatten())
    return float(model.score(x_test, y_test.flatten()))


def main(
    epochs: int = 40,
    batch_size: int = 32,
    device: str = "cpu",
    seed: int = 0,
    quick: bool = False,
) -> None:
    """Train both parts together and compare them with linear models."""
    torch.manual_seed(seed)
    digits = load_digits()
    order = torch.randperm(len(digits.target))
    images = torch.tensor(digits.images).float()[order] / 16
    odd = torch.tensor(digits.target % 2).float().unsqueeze(1)[order]
    cut = len(images) * 3 // 4
    inputs = {"wide": crossed(images), "deep": images.flatten(1)}
    train = {name: x[:cut] for name, x in inputs.items()}
    test = {name: x[cut:] for name, x in inputs.items()}

    logs = {}
    for name, seen in {"deep part alone": 0.0, "wide and deep": 1.0}.items():
        model = models.wide_and_deep(inputs["wide"].shape[1], 64, hidden_sizes=(64, 32))
        print(model.summary())
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        trainer = Trainer(model, ProbBCELoss(), optimizer, {"accuracy": accuracy}, device=device)
        x = train | {"wide": seen * train["wide"]}
        trainer.fit(x, odd[:cut], epochs=1 if quick else epochs, batch_size=batch_size)
        logs[name] = trainer.evaluate(test | {"wide": seen * test["wide"]}, odd[cut:])

    grey, crossings = (linear(train[x], odd[:cut], test[x], odd[cut:]) for x in ("deep", "wide"))
    frequent = max(odd[cut:].mean().item(), 1 - odd[cut:].mean().item())
    print(f"\n{len(odd) - cut} held-out digits                         right    loss")
    print(f"  baseline, the more frequent answer        {frequent:6.1%}")
    print(f"  baseline, linear in the grey values       {grey:6.1%}")
    print(f"  baseline, linear in the crossed features  {crossings:6.1%}")
    for name, result in logs.items():
        print(f"  {f'model, {name}':<40}  {result['accuracy']:6.1%}  {result['loss']:6.3f}")
    if not quick and logs["wide and deep"]["accuracy"] <= max(frequent, grey, crossings):
        sys.exit("The model does not beat its baseline.")


if __name__ == "__main__":
    typer.run(main)
