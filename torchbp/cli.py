"""The command `torchbp`: parity, port, verify, tune, summary, plot."""

import importlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import nn

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


class Channels(StrEnum):
    """Where images have their channels at a port's inputs and outputs."""

    first = "first"
    last = "last"


SOURCE = typer.Argument(help="A .keras file, or a whole-model .h5 file.")
CHANNELS = typer.Option(help="Where images have their channels at the inputs and outputs.")
TARGET = typer.Argument(
    help="Where the model comes from: MODULE:NAME of a model, or of a function that returns one, "
    "such as torchbp.models:post_attributes; or a .keras or .h5 file of Keras.",
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
def port(
    source: Annotated[Path, SOURCE],
    out: Annotated[Path, typer.Option(help="Folder to write; made if there is none.")],
    channels: Annotated[Channels, CHANNELS] = Channels.first,
    certify: Annotated[
        bool, typer.Option(help="Compare with Keras, where it is installed, and write that down.")
    ] = True,
) -> None:
    """Turn a Keras model into PyTorch source and weights, with a test and a certificate.

    Exits with status 1 if the port does not equal the model.
    """
    from torchbp.parity.port_command import port as run_port

    raise typer.Exit(run_port(source, out, channels.value, certify))


@app.command()
def verify(
    source: Annotated[Path, SOURCE],
    other: Annotated[
        str | None,
        typer.Argument(
            help="What is to equal it: a folder that torchbp port wrote, a .safetensors file, or "
            "MODULE:NAME, with channels last; the port itself by default."
        ),
    ] = None,
    outputs: Annotated[
        Path | None, typer.Option(help="Compare with these, without Keras; see --store.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Write inputs and Keras's outputs here, an .npz file.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the certificate here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write it as a page here.")] = None,
) -> None:
    """Compare a port with its Keras model on seven levels.

    Exits with status 1 if a figure is out of its tolerance; the first layer at which the two part
    is named.
    """
    from torchbp.parity.verify import verify as run_verify

    status = run_verify(
        source, other, outputs=outputs, store=store, json=json, html=html, find=_find_module
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
    if Path(target).suffix in (".keras", ".h5"):
        from torchbp.port import load

        return load(target)
    model = _find(target)
    if not isinstance(model, Model):
        raise DataError(
            f"torchbp: expected a torchbp.Model at {target!r}, got {type(model).__name__}.\n"
            "  To mend it: name a model, or a function without arguments that returns one."
        )
    return model


def _find_module(target: str) -> nn.Module:
    module = _find(target)
    if not isinstance(module, nn.Module):
        raise DataError(
            f"torchbp: expected an nn.Module at {target!r}, got {type(module).__name__}.\n"
            "  To mend it: name a module, or a function without arguments that returns one."
        )
    return module


def _find(target: str) -> Any:
    """What MODULE:NAME stands for; if that is no module but can be called, what it returns."""
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
    is_maker = callable(found) and not isinstance(found, nn.Module)
    return found() if is_maker else found


if __name__ == "__main__":
    main()
