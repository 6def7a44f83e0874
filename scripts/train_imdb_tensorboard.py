"""The chapter's drone: a convnet on film reviews, watched, steered, stopped and inspected.

The one-dimensional convnet of scripts/sentiment.py, trained with every instrument on board. The
run ends when the validation loss stops falling, divides its learning rate before that, keeps its
best weights, and goes on where it was if it is killed and started again.

    python scripts/train_imdb_tensorboard.py
    python scripts/train_imdb_tensorboard.py --data ~/.keras/datasets/imdb.npz \
        --words ~/.keras/datasets/imdb_word_index.json

TensorBoard shows the curves of training and validation in one chart; histograms of weights,
gradients and activations; the graph of the layers; the words as points, which --words names for
the real reviews; filters and feature maps; precision and recall; the hyperparameters beside what
they led to; and where the time goes.
"""

import json
import tempfile
from pathlib import Path

import torch
import typer
from torch import Tensor

from torchbp import Trainer, callbacks, models, optim
from torchbp.data import reviews
from torchbp.losses import ProbBCELoss

SPECIAL = ("(padding)", "(start)", "(left out)", "(unused)")


def accuracy(p: Tensor, positive: Tensor) -> Tensor:
    """Part of the reviews that are told right."""
    return ((p > 0.5) == positive.bool()).float().mean()


def labels(size: int, words: Path | None, is_made_up: bool) -> list[str]:
    """The word of each index; its rank where the words are not known."""
    ranked = list(reviews.WORDS) if is_made_up else [f"word {rank}" for rank in range(1, size)]
    if words:
        ranks = json.loads(words.read_text(encoding="utf-8"))
        ranked = sorted(ranks, key=ranks.__getitem__)
    return [*SPECIAL, *ranked][:size]


def main(
    epochs: int = 20,
    batch_size: int = 128,
    lr: float = 1e-3,
    device: str = "cpu",
    seed: int = 0,
    quick: bool = False,
    folder: Path | None = None,
    data: Path | None = None,
    words: Path | None = None,
) -> None:
    """Train the convnet under observation."""
    torch.manual_seed(seed)
    folder = folder or Path(tempfile.mkdtemp() if quick else "runs/imdb")
    if data:
        size, length = 2000, 500
        train, test = (reviews.encode(part, length) for part in reviews.read(data, num_words=size))
    else:
        size, length = reviews.VOCABULARY_SIZE, 100
        made_up = (reviews.generate(200 if quick else n, seed=seed + n) for n in (6000, 2000))
        train, test = (reviews.encode(part, length) for part in made_up)

    model = models.sentiment_convnet(size)
    optimizer = optim.RMSprop(model.parameters(), lr=lr, alpha=0.9)
    board = callbacks.TensorBoard(
        folder,
        batches_every=10,
        embeddings={"embed": labels(size, words, is_made_up=not data)},
        hyperparameters={"lr": lr, "batch_size": batch_size, "seed": seed},
    )
    watched = [
        callbacks.EarlyStopping("val_loss", patience=4, restore_best_weights=True),
        callbacks.ReduceLROnPlateau("val_loss", factor=0.3, patience=2),
        callbacks.ModelCheckpoint(folder / "best.pt", "val_loss", save_best_only=True),
        callbacks.RecordActivations(folder / "activations"),
        callbacks.Profiler(folder / "profile", wait=1, warmup=1, active=3),
        board,
        callbacks.BackupAndRestore(folder / "backup"),
    ]
    print(f"Watch it with: tensorboard --logdir {folder}\n")
    trainer = Trainer(
        model, ProbBCELoss(), optimizer, {"accuracy": accuracy}, device=device, callbacks=watched
    )
    history = trainer.fit(
        *train, epochs=2 if quick else epochs, batch_size=batch_size, validation_fraction=0.2
    )
    history.plot(folder / "history.png")
    print(f"\n{trainer.stop_reason or 'All epochs are done'}. The curves: {folder}/history.png")
    result = trainer.evaluate(*test)
    print(f"{len(test[0])} held-out reviews told right: {result['accuracy']:.1%}")


if __name__ == "__main__":
    typer.run(main)
