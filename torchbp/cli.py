"""The command `torchbp`: parity, tune, summary, plot."""

import importlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from torchbp.errors import DataError, TorchbpError
from torchbp.graph import Model

app = typer.Typer(
    help="Best practices for PyTorch, proved equal to Keras.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class Dtype(StrEnum):
    """Element types that parity is measured in."""

    float64 = "float64"
    float32 = "float32"


class Reference(StrEnum):
    """Keras backends that parity is measured against."""

    tensorflow = "keras-tensorflow"
    torch = "keras-torch"


TARGET = typer.Argument(
    help="Where the model comes from: MODULE:NAME of a model, or of a function that returns one, "
    "such as torchbp.models:post_attributes.",
)


@app.command()
def parity(
    only: Annotated[list[str] | None, typer.Option(help="Cases to run; may be repeated.")] = None,
    dtype: Annotated[
        list[Dtype] | None, typer.Option(help="Dtypes to compare in; both by default.")
    ] = None,
    reference: Annotated[
        list[Reference] | None, typer.Option(help="Backends to compare with; both by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where torch computes: cpu, cuda.")] = "cpu",
    cases: Annotated[Path, typer.Option(help="File that defines CASES.")] = Path(
        "parity_tests/cases.py"
    ),
    json: Annotated[Path | None, typer.Option(help="Write the records here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to look at here.")] = None,
) -> None:
    """Compare torch models with their Keras originals on seven levels.

    Exits with status 1 if a figure is out of its tolerance.
    """
    from torchbp.parity.command import parity as run_parity

    status = run_parity(
        cases,
        only=only or (),
        device=device,
        dtypes=[item.value for item in dtype or Dtype],
        references=[item.value for item in reference or Reference],
        json=json,
        html=html,
    )
    raise typer.Exit(status)


@app.command()
def tune(
    trials: Annotated[int, typer.Option(help="Trials of the whole study, earlier ones too.")] = 40,
    epochs: Annotated[int, typer.Option(help="Epochs of each training.")] = 12,
    storage: Annotated[
        str, typer.Option(help="SQLite file, .journal file or URL; a search in it goes on.")
    ] = "tune.db",
    html: Annotated[Path, typer.Option(help="Write a page to look at here.")] = Path("tune.html"),
    seed: Annotated[int, typer.Option(help="Of the search and its data.")] = 0,
    folds: Annotated[
        int | None, typer.Option(help="Choose by so many folds, not by one validation set.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with FashionMNIST, instead of the digits.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where torch computes: cpu, cuda.")] = "cpu",
) -> None:
    """Search for a network for handwritten digits, and open the test set once.

    Started several times with one storage it searches in parallel.
    """
    from torchbp.tune.command import tune as run_tune

    run_tune(trials, epochs, storage, html, seed, folds=folds, data=data, device=device)


@app.command()
def summary(
    target: Annotated[str, TARGET],
    expand_nested: Annotated[bool, typer.Option(help="Show the layers of nested models.")] = False,
) -> None:
    """Print a model's layers, shapes and parameters."""
    print(_load_model(target).summary(expand_nested=expand_nested))


@app.command()
def plot(
    target: Annotated[str, TARGET],
    path: Annotated[Path, typer.Argument(help="File to write: .svg, .png or .dot.")],
    expand_nested: Annotated[bool, typer.Option(help="Show the layers of nested models.")] = False,
    left_to_right: Annotated[bool, typer.Option(help="Draw from left to right.")] = False,
) -> None:
    """Draw a model's graph."""
    from torchbp.graph import plot_model

    plot_model(
        _load_model(target),
        path,
        expand_nested=expand_nested,
        rankdir="LR" if left_to_right else "TB",
    )
    print(path)


def main() -> None:
    """Run the command; an error of torchbp is its message and status 2."""
    try:
        app()
    except TorchbpError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error


def _load_model(target: str) -> Model:
    module_name, _, name = target.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise DataError(
            f"torchbp: expected MODULE:NAME of a model, got {target!r}: {error}.\n"
            "  To mend it: write torchbp.models:mlp, for example."
        ) from error
    finally:
        sys.path.pop(0)
    model = found if isinstance(found, Model) else found() if callable(found) else None
    if not isinstance(model, Model):
        raise DataError(
            f"torchbp: expected a torchbp.Model at {target!r}, got {type(found).__name__}.\n"
            "  To mend it: name a model, or a function without arguments that returns one."
        )
    return model


if __name__ == "__main__":
    main()
