"""A one-dimensional convnet: are film reviews positive?

The chapter's example for TensorBoard: two convolutions over word vectors, seven words wide, and
the maximum over the review. A convolution sees phrases, so that "not so dull" is not "dull". The
made-up reviews are such that a model that counts words, here a logistic regression on the counts,
is right only six times in ten.

    python scripts/sentiment.py
    python scripts/sentiment.py --data ~/.keras/datasets/imdb.npz --epochs 4

With --data the real 25,000 reviews of IMDB train the model, on their 2,000 most frequent words and
cut to their last 500, as the chapter has it, and 25,000 others test it. The file's arrays are
pickled lists; they are read without running the pickles.
"""

import sys
from pathlib import Path

import torch
import typer
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from torchbp import Trainer, models, optim
from torchbp.data import reviews
from torchbp.losses import ProbBCELoss


def accuracy(p: Tensor, positive: Tensor) -> Tensor:
    """Part of the reviews that are told right."""
    return ((p > 0.5) == positive.bool()).float().mean()


def counts(x: Tensor, vocabulary_size: int) -> Tensor:
    """How often each review (N, T) has each word, (N, vocabulary_size)."""
    return torch.zeros(len(x), vocabulary_size).scatter_add_(1, x, torch.ones(x.shape))


def count_words(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], size: int) -> float:
    """Right answers of a logistic regression on the counts of words."""
    model = LogisticRegression(max_iter=1000)
    model.fit(counts(train[0], size), train[1].flatten())
    return float(model.score(counts(test[0], size), test[1].flatten()))


def main(
    epochs: int = 6,
    batch_size: int = 64,
    device: str = "cpu",
    seed: int = 0,
    quick: bool = False,
    data: Path | None = None,
) -> None:
    """Train the convnet and compare it with counting words."""
    torch.manual_seed(seed)
    if data:
        size, length = 2000, 500
        train, test = (reviews.encode(part, length) for part in reviews.read(data, num_words=size))
    else:
        size, length = reviews.VOCABULARY_SIZE, 100
        made_up = (reviews.generate(200 if quick else n, seed=seed + n) for n in (6000, 2000))
        train, test = (reviews.encode(part, length) for part in made_up)

    model = models.sentiment_convnet(size)
    print(model.summary())
    optimizer = optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9)
    trainer = Trainer(model, ProbBCELoss(), optimizer, {"accuracy": accuracy}, device=device)
    trainer.fit(
        *train, epochs=1 if quick else epochs, batch_size=batch_size, validation_fraction=0.1
    )
    result = trainer.evaluate(*test)["accuracy"]

    frequent = max(test[1].mean().item(), 1 - test[1].mean().item())
    counting = count_words(train, test, size)
    print(f"\n{len(test[0])} held-out reviews told right")
    print(f"  baseline, the more frequent sentiment   {frequent:6.1%}")
    print(f"  baseline, counts of words               {counting:6.1%}")
    print(f"  model, the convnet                      {result:6.1%}")
    if not quick and result <= (frequent if data else counting):
        sys.exit("The model does not beat its baseline.")


if __name__ == "__main__":
    typer.run(main)
