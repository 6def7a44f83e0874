"""Three outputs: age, income group and gender of a person from what the person posted.

One stack of one-dimensional convolutions reads the posts; three small heads read its code. Each
head has its own loss, and as gradients come from one number, the losses are added up, with
weights, because their sizes differ: the squared error of the age is several units, the cross
entropy of the gender a tenth. The chapter's weights are 0.25, 1 and 10. Losses, weights and
targets are matched to the outputs by name.

Age is counted in decades: the squared error of years would be a hundred times as large, and the
other two heads would wait until it is done with.

    python scripts/posts.py
    python scripts/posts.py --data posts.jsonl

A file has a person a line: {"posts": ["text", ...], "age": 31, "income": 4, "gender": 0}. With
--data the last fifth is held out.
"""

import sys
from pathlib import Path

import torch
import typer
from torch import Tensor, nn

from torchbp import Trainer, layers, models, optim
from torchbp.data import posts
from torchbp.losses import ProbBCELoss, ProbCrossEntropyLoss

LENGTH = 270  # words of a person that are read, the latest ones; the convolutions need 269
LOSS_WEIGHTS = {"age": 0.25, "income": 1.0, "gender": 10.0}


def years_off(age: Tensor, target: Tensor) -> Tensor:
    """The mean error in years, of ages in decades."""
    return 10 * (age - target).abs().mean()


def right_group(p: Tensor, income: Tensor) -> Tensor:
    """Part of the persons whose most probable income group is theirs."""
    return (p.argmax(1) == income).float().mean()


def right(p: Tensor, gender: Tensor) -> Tensor:
    """Part of the persons whose gender is told right."""
    return ((p > 0.5) == gender.bool()).float().mean()


def main(
    epochs: int = 4,
    batch_size: int = 16,
    device: str = "cpu",
    seed: int = 0,
    quick: bool = False,
    data: Path | None = None,
) -> None:
    """Train the three heads together and compare each with guessing."""
    torch.manual_seed(seed)
    made_up = posts.generate(100 if quick else 1600, seed=seed)
    persons = posts.read(data) if data else posts.parse(made_up)
    cut = len(persons) * 4 // 5
    encode = posts.Encoder(persons[:cut], length=LENGTH, max_size=5000)
    (x, y), (x_test, y_test) = encode(persons[:cut]), encode(persons[cut:])
    for targets in (y, y_test):
        targets["age"] /= 10

    model = models.post_attributes(len(encode.vocabulary), posts.NUM_INCOME_GROUPS)
    layers.init.he_(model)  # with torch's smaller weights, seven layers are slow to start
    nn.init.normal_(model.embedding.weight)
    print(model.summary())
    trainer = Trainer(
        model,
        loss={"age": nn.MSELoss(), "income": ProbCrossEntropyLoss(), "gender": ProbBCELoss()},
        loss_weights=LOSS_WEIGHTS,
        optimizer=optim.Adam(model.parameters(), lr=3e-4),
        metrics={"age": [years_off], "income": [right_group], "gender": [right]},
        device=device,
    )
    trainer.fit(x, y, epochs=1 if quick else epochs, batch_size=batch_size)
    logs = trainer.evaluate(x_test, y_test)

    frequent = {name: y[name].mode(0).values for name in ("income", "gender")}
    by_guessing = {name: (y_test[name] == frequent[name]).float().mean() for name in frequent}
    age, guessed_age = logs["age_years_off"], years_off(y["age"].mean(), y_test["age"])
    print(f"\n{len(x_test)} held-out persons        model   baseline")
    print(f"  age, mean error in years  {age:6.1f}     {guessed_age:6.1f}  the mean age")
    results = {"income": logs["income_right_group"], "gender": logs["gender_right"]}
    for name, result in results.items():
        baseline = f"{by_guessing[name]:6.1%}  the most frequent"
        print(f"  {name} right              {result:6.1%}     {baseline}")
    beaten = age < guessed_age and all(results[name] > by_guessing[name] for name in results)
    if not quick and not beaten:
        sys.exit("A head does not beat its baseline.")


if __name__ == "__main__":
    typer.run(main)
