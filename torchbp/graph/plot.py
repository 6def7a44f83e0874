"""Pictures of models, in files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

from torchbp.errors import GraphError, MissingExtraError
from torchbp.graph.drawing.dot import dot
from torchbp.graph.drawing.figure import figure
from torchbp.graph.drawing.picture import picture
from torchbp.graph.drawing.svg import svg
from torchbp.graph.model import Model


def plot_model(
    model: Model,
    path: str | os.PathLike[str],
    *,
    show_shapes: bool = True,
    show_dtype: bool = False,
    expand_nested: bool = False,
    rankdir: Literal["TB", "LR"] = "TB",
) -> Path:
    """Draw a functional model.

    Each step is a box with its name, its type and the shape of what comes out; None is a size
    that is unknown until data come. Inputs and outputs are boxes with round ends. Calls of one
    layer with weights that is called several times have the same colour, are numbered, and are
    named below the drawing. Where arrows take parts of an output, `[0]`, they start at these.

    Args:
        model: a functional model.
        path: where to write. `.svg` needs nothing; `.dot` is graphviz's text; `.png` is drawn by
            graphviz, which must be installed.
        show_shapes: name shapes.
        show_dtype: name element types.
        expand_nested: draw the steps of models that are layers here, in a frame at their first
            call; otherwise they are boxes with a double border.
        rankdir: direction of the arrows, from top to bottom or from left to right.

    Returns:
        The path.

    Raises:
        GraphError: what is given is no functional model, or the path or rankdir are of no known
            kind.
        MissingExtraError: `.png` without graphviz.

    Example:
        >>> import tempfile
        >>> from torchbp import Input, Model, layers
        >>> x = Input((64,))
        >>> model = Model(x, layers.Linear(64, 10)(x))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_model(model, f"{folder}/model.svg").name
        'model.svg'

    Differences from Keras: `.svg` needs no system program; outputs are boxes of their own; boxes
    show the shapes of outputs, not of inputs.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    _check(model, suffix, path, rankdir)
    drawn = picture(model, show_shapes, show_dtype, expand_nested)
    title = f"{model.name} ({type(model).__name__})" if model.name else type(model).__name__
    if suffix == ".svg":
        horizontal = rankdir == "LR"
        content = svg(figure(drawn, horizontal), title, horizontal).encode()
    else:
        text = dot(drawn, title, rankdir)
        content = text.encode() if suffix == ".dot" else _png(text)
    _write(path, content)
    return path


def _check(model: object, suffix: str, path: Path, rankdir: str) -> None:
    if not isinstance(model, Model):
        raise GraphError(
            f"plot_model: expected a functional model, got {type(model).__name__}.\n"
            "  To mend it: build it with torchbp.Model(inputs, outputs); a Sequential has "
            "to_model(Input(...))."
        )
    if suffix not in (".svg", ".dot", ".png"):
        raise GraphError(
            f"plot_model: expected a path that ends in .svg, .dot or .png, got '{path}'.\n"
            "  To mend it: name the file so; .svg needs no other program."
        )
    if rankdir not in ("TB", "LR"):
        raise GraphError(
            f"plot_model: expected rankdir 'TB' or 'LR', got {rankdir!r}.\n"
            "  To mend it: use 'TB' for arrows from top to bottom, 'LR' from left to right."
        )


def _png(text: str) -> bytes:
    try:
        import graphviz
    except ImportError as error:
        raise _no_graphviz("the Python package graphviz is not installed") from error
    if shutil.which("dot") is None:
        raise _no_graphviz("the program dot is not installed")
    return graphviz.Source(text).pipe(format="png")


def _no_graphviz(what: str) -> MissingExtraError:
    return MissingExtraError(
        f"plot_model: a .png is drawn by graphviz, and {what}.\n"
        '  To mend it: pip install "torchbp[plot]" and install the system package graphviz '
        "(apt-get install graphviz, brew install graphviz), or write .svg, which needs neither."
    )


def _write(path: Path, content: bytes) -> None:
    """Write under a temporary name first, so that the file is whole or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
