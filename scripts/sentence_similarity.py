"""One layer, two inputs: a shared LSTM says whether two sentences mean the same.

Similarity is symmetric, so that one LSTM with one set of weights reads both sentences. The
chapter then lays the two codes side by side before the last layer, and this gives the symmetry
away again: each half has weights of its own, and sim(a, b) is not sim(b, a). Nor can a linear
layer compare what it only adds: on pairs whose single sentences tell nothing about the label, it
is right as often as a coin.

Merged as |a - b| and a * b the codes are compared place by place, and the model is symmetric by
construction. The rest of both models is the same.

    python scripts/sentence_similarity.py
    python scripts/sentence_similarity.py --data quora_duplicate_questions.tsv

Words are fixed random vectors, and the made-up pairs have few words in common whether or not they
mean the same: which words are synonyms is learned. With --data the last fifth is held out.
"""

import sys
from pathlib import Path

import torch
import typer
from torch import Tensor

from torchbp import Trainer, models, optim
from torchbp.data import similarity
from torchbp.losses import ProbBCELoss

LENGTH = 20  # words of a sentence that are read


def accuracy(p: Tensor, same: Tensor) -> Tensor:
    """Part of the pairs that are told right."""
    return ((p > 0.5) == same.bool()).float().mean()


def overlap(pairs: list[similarity.Pair]) -> Tensor:
    """The part of the words that the sentences of each pair have in common."""
    words = [(set(pair.left), set(pair.right)) for pair in pairs]
    return torch.tensor([len(a & b) / max(len(a | b), 1) for a, b in words])


def common_words(train: list[similarity.Pair], test: list[similarity.Pair]) -> float:
    """Right answers by a threshold on the overlap, the best one for the training pairs."""
    known, same = overlap(train), torch.tensor([pair.same for pair in train])
    threshold = max(known.unique().tolist(), key=lambda t: ((known >= t) == same).sum().item())
    right = (overlap(test) >= threshold) == torch.tensor([pair.same for pair in test])
    return right.float().mean().item()


def main(
    epochs: int = 8,
    batch_size: int = 64,
    device: str = "cpu",
    seed: int = 0,
    quick: bool = False,
    data: Path | None = None,
) -> None:
    """Train the chapter's merge and a symmetric one, and swap the sentences."""
    torch.manual_seed(seed)
    made_up = similarity.generate(200 if quick else 10_000, seed=seed)
    pairs = similarity.read(data) if data else similarity.parse(made_up)
    cut = len(pairs) * 4 // 5
    train, test = pairs[:cut], pairs[cut:]
    encode = similarity.Encoder(train, vector_size=128, length=LENGTH)
    inputs, same = encode(test)
    swapped = {"left": inputs["right"], "right": inputs["left"]}
    baseline = max(same.mean().item(), 1 - same.mean().item())

    results, asymmetries = {}, {}
    for name, symmetric in {"side by side": False, "symmetric": True}.items():
        model = models.shared_lstm(input_size=128, hidden_size=32, symmetric=symmetric)
        print(model.summary())
        optimizer = optim.RMSprop(model.parameters(), lr=3e-3, alpha=0.9)
        trainer = Trainer(model, ProbBCELoss(), optimizer, {"accuracy": accuracy}, device=device)
        trainer.fit(*encode(train), epochs=1 if quick else epochs, batch_size=batch_size)
        there, back = (trainer.predict(x, progress=False) for x in (inputs, swapped))
        results[name] = accuracy(there, same).item()
        asymmetries[name] = (there - back).abs().mean().item()

    print(f"\n{len(test)} held-out pairs                    right   mean |sim(a, b) - sim(b, a)|")
    print(f"  baseline, the more frequent label   {baseline:6.1%}")
    print(f"  baseline, words in common           {common_words(train, test):6.1%}")
    for name, right in results.items():
        print(f"  {f'model, codes {name}':<34}  {right:6.1%}   {asymmetries[name]:.6f}")
    if not quick and results["symmetric"] <= max(baseline, common_words(train, test)):
        sys.exit("The symmetric model does not beat its baseline.")


if __name__ == "__main__":
    typer.run(main)
