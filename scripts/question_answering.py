"""Two inputs: a story and a question about it give one answer.

The chapter reads each with its own LSTM, lays the two codes side by side and chooses the answer
with one linear layer and a softmax. In such a layer the scores from the story and the scores from
the question are added: the question can favour answers, but it cannot say whose place to look
for. On stories in which persons walk from room to room (bAbI's task 1) the model learns no more
than to name the room that was mentioned last.

A graph lets the question in earlier. In the second model its code is added to every word of the
story, so that the story's LSTM knows from the beginning whom to follow.

    python scripts/question_answering.py
    python scripts/question_answering.py --data qa1_single-supporting-fact_train.txt

With --data the last fifth of the file's questions is held out.
"""

import sys
from collections import Counter
from pathlib import Path

import torch
import typer

from torchbp import Input, Model, Trainer, layers, models, optim
from torchbp.data import babi
from torchbp.losses import ProbCrossEntropyLoss


def question_first(encode: babi.Encoder) -> Model:
    """The story is read with the question in mind."""
    text = Input((None,), dtype=torch.int64, name="text")
    question = Input((None,), dtype=torch.int64, name="question")
    asked = layers.Embedding(len(encode.question), 64, name="question_words")(question)
    asked = layers.LSTM(64, 64, batch_first=True, last_output=True, name="question_lstm")(asked)
    told = layers.Embedding(len(encode.text), 64, name="text_words")(text)  # (N, T, 64)
    told = told + asked.unsqueeze(1)  # the question stands beside every word
    told = layers.LSTM(64, 32, batch_first=True, last_output=True, name="text_lstm")(told)
    scores = layers.Linear(32, len(encode.answers), name="answer_scores")(told)
    return Model([text, question], layers.Softmax(dim=-1, name="answer")(scores))


def accuracy(p: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Part of the questions whose most probable answer is right."""
    return (p.argmax(1) == answer).float().mean()


def main(
    epochs: int = 8,
    batch_size: int = 64,
    device: str = "cpu",
    seed: int = 0,
    quick: bool = False,
    data: Path | None = None,
) -> None:
    """Train both models on the same questions and compare them on held-out ones."""
    torch.manual_seed(seed)
    stories = babi.generate(60 if quick else 2500, seed=seed)
    questions = babi.read(data) if data else babi.parse(stories)
    cut = len(questions) * 4 // 5
    train, test = questions[:cut], questions[cut:]
    encode = babi.Encoder(train)
    frequent = Counter(question.answer for question in train).most_common(1)[0][0]
    guessed = sum(question.answer == frequent for question in test) / len(test)
    recent = sum(question.facts[-1][-1] == question.answer for question in test) / len(test)

    results = {}
    for name, model in {
        "side by side": models.question_answering(
            len(encode.text), len(encode.question), len(encode.answers)
        ),
        "question first": question_first(encode),
    }.items():
        print(model.summary())
        optimizer = optim.RMSprop(model.parameters(), lr=3e-3, alpha=0.9)
        loss = ProbCrossEntropyLoss()
        trainer = Trainer(model, loss, optimizer, {"accuracy": accuracy}, device=device)
        trainer.fit(*encode(train), epochs=1 if quick else epochs, batch_size=batch_size)
        results[name] = trainer.evaluate(*encode(test))["accuracy"]

    print(f"\nright answers to {len(test)} held-out questions")
    print(f"  baseline, the most frequent answer   {guessed:6.1%}")
    print(f"  baseline, the place mentioned last   {recent:6.1%}")
    print(f"  model, codes side by side            {results['side by side']:6.1%}")
    print(f"  model, question first                {results['question first']:6.1%}")
    beaten = results["side by side"] > guessed and results["question first"] > max(guessed, recent)
    if not quick and not beaten:
        sys.exit("A model does not beat its baseline.")


if __name__ == "__main__":
    typer.run(main)
