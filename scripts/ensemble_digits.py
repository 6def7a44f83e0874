"""Ensembles: six kinds of models pooled, beside one kind trained five times.

The images are real, the 1,797 handwritten digits that come with scikit-learn. A convnet, a
separable convnet, an MLP, a random forest, gradient boosting and a wide and deep model are trained
on some of them. Their predictions are pooled in every way that torchbp has; weights are learned on
validation images, and the way itself is chosen there. Only then is the test opened.

Beside it stand five MLPs from five seeds, which the chapter says is largely not worth doing, and
three ways to get more out of one architecture: snapshots of one run, the mean of the weights of its
epochs (SWA), and a soup of five that went on from the same weights.

    python scripts/ensemble_digits.py

It writes ensembling.json and ensembling.md to docs/results and pictures to docs/ensembling, or all
of it to --out.
"""

import shlex
import sys
import tempfile
import warnings
from pathlib import Path

import torch
import typer
from ensemble_parts import comparison, digits, members, report
from rich.console import Console
from rich.progress import track

from torchbp.ensemble import Ensemble, Member, out_of_fold, soup


def main(
    epochs: int = 20,
    seed: int = 0,
    folds: int = 5,
    train: int = 600,
    quick: bool = False,
    out: Path | None = None,
) -> None:
    """Train all members, pool them, and write the figures down."""
    if quick:
        epochs, folds, train = 1, 2, 200
    torch.set_num_threads(1)  # nets as small as these have no use for a second one
    data = digits.read(train, seed)
    x, y = data.x_train, data.y_train
    makers = members.makers(epochs, seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        six = {name: make(x, y) for name, make in track(makers.items(), "six kinds", len(makers))}
        unseen = out_of_fold(makers, x, y, folds=folds, seed=seed)
        figures, chosen = comparison.compare(six, data, unseen, seed)

        alike = members.seeds_of_one(epochs, seed)
        five = {name: make(x, y) for name, make in track(alike.items(), "five seeds", len(alike))}
        others = {
            "five MLPs, uniform mean": Ensemble(five),
            "five snapshots, uniform mean": Ensemble(members.snapshots(epochs, seed, x, y)),
            "mean of weights (SWA)": Ensemble({"SWA": members.averaged(epochs, seed, x, y)}),
            "soup of five": Ensemble(
                {"soup": Member(soup(members.fine_tuned(epochs, seed, x, y)), members.flat)}
            ),
        }
        validation = data.x_val, data.y_val
        diversity = {
            "the six kinds": chosen.diversity(validation=validation),
            "five MLPs": others["five MLPs, uniform mean"].diversity(validation=validation),
        }
        compared = comparison.single_ways(chosen, others, data, seed)
    figures = {
        "command": shlex.join(["python", "scripts/ensemble_digits.py", *sys.argv[1:]]),
        "images": {"train": len(x), "validation": len(data.x_val), "test": len(data.x_test)},
        "seed": seed,
        "rows": comparison.all_rows(compared, figures["ways"]),
        "chosen": figures["chosen"],
        "diversity": {name: own.as_dict() for name, own in diversity.items()},
        "warning": comparison.warning_of_look_alikes(caught),
        **report.machine_and_versions(),
    }
    console = Console(width=120)
    for own in diversity.values():
        console.print(own.table())
    console.print(report.table(figures))
    for finding in report.findings(figures):
        console.print(f"- {finding}", markup=False)
    folder = out or (Path(tempfile.mkdtemp()) if quick else Path("docs/results"))
    pictures = Path("docs/ensembling") if folder == Path("docs/results") else folder
    report.write(figures, folder, pictures)
    for name, own in diversity.items():
        own.heat_map(pictures / f"diversity-{name.replace(' ', '-')}.svg")
    print(f"written to {folder}")


if __name__ == "__main__":
    typer.run(main)
