"""The table of a model's steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from torchbp.graph.captions import columns, output_tensors, shortened, type_text, weights
from torchbp.graph.lower import Node
from torchbp.graph.model import Model

WIDTH = 100
HEADER = ("Layer (type)", "Output shape", "Params", "Connected to")
MOST = (36, 30, 17)  # columns for name, shape and parameters; the last column has what is left
GAP = "  "


def summary(model: Model, expand_nested: bool = False) -> str:
    """The table of a model's steps: name and type, output shape, parameters, inputs.

    A step is an input, a call of a module, function or method, or a constant. None in a shape is
    a size that is unknown until data come; each tensor of a nested output has a line of its own;
    `-` stands for what is not a tensor.

    What is counted: all parameters, as in torch, and of the buffers those of floating-point
    numbers that are in the state dict, such as BatchNorm's moving averages (they are learned from
    data, though not by gradients). Trainable are the parameters that require grad; non-trainable
    are the others and these buffers, whose share is named where there are any. BatchNorm's
    counter of batches, masks and other buffers count nothing. A tensor counts once, in the first
    row that uses it: later rows say `shared`, so that the rows add up to the total.

    Args:
        model: a functional model.
        expand_nested: show the steps of models that are layers here, indented below their first
            call. The row of the nested model has their sum.

    Returns:
        Plain text of at most 100 columns; what is longer is wrapped or ends in an ellipsis.

    Example:
        >>> from torchbp import Input, Model, layers
        >>> x = Input((64,))
        >>> hidden = F.relu(layers.Linear(64, 32, name="hidden")(x))
        >>> print(summary(Model(x, layers.Linear(32, 10, name="scores")(hidden))))
        Model
        ---------------------------------------------------
        Layer (type)     Output shape  Params  Connected to
        ===================================================
        x (Input)        (None, 64)         0
        hidden (Linear)  (None, 32)     2,080  x
        relu (F.relu)    (None, 32)         0  hidden
        scores (Linear)  (None, 10)       330  relu
        ---------------------------------------------------
        Total params: 2,410
        Trainable params: 2,410
        Non-trainable params: 0

    Differences from Keras: the counts are Keras's; functions and methods are steps here as well.
    """
    rows = [HEADER, *_rows(model, expand_nested, counted=set())]
    widths = _widths(rows)
    lines = [line for row in rows for line in _lines(row, widths)]
    rule = max(columns(line) for line in lines)
    kind = type(model).__name__
    title = shortened(f"{model.name} ({kind})" if model.name else kind, WIDTH)
    table = [title, "-" * rule, lines[0], "=" * rule, *lines[1:], "-" * rule]
    return "\n".join([*table, *_totals(model)])


def _rows(
    model: Model, expand_nested: bool, counted: set[int], indent: str = ""
) -> Iterator[tuple[str, str, str, str]]:
    """The rows of a model's steps; `counted` holds the weights of the rows above."""
    expanded: set[str] = set()
    for node in model.nodes:
        module = model.get_submodule(node.target) if node.kind == "module" else None
        above = set(counted)
        yield (
            f"{indent}{node.name} ({type_text(node, model)}{_again(node)})",
            "\n".join(str(info.shape) for _, info in output_tensors(node)) or "-",
            _params_text(module, counted),
            ", ".join(dict.fromkeys(str(ref) for ref in node.refs())),
        )
        if expand_nested and isinstance(module, Model) and node.target not in expanded:
            expanded.add(node.target)
            yield from _rows(module, expand_nested, above, indent + "  ")


def _again(node: Node) -> str:
    """Which layer a call is of, where it is not its first one."""
    return f", {node.target} again" if node.kind == "module" and node.name != node.target else ""


def _params_text(module: nn.Module | None, counted: set[int]) -> str:
    """The count of a module's weights that no row above has; they are then in `counted`."""
    own = weights(module) if module else []
    new = [tensor for tensor in own if id(tensor) not in counted]
    counted.update(id(tensor) for tensor in new)
    if own and not new:
        return "shared"
    return f"{_count(new):,}" + (" + shared" if len(new) < len(own) else "")


def _totals(model: Model) -> list[str]:
    everything = weights(model)
    trainable = _count(model.parameters(), requires_grad=True)
    total, buffers = _count(everything), _count(everything) - _count(model.parameters())
    return [
        f"Total params: {total:,}",
        f"Trainable params: {trainable:,}",
        f"Non-trainable params: {total - trainable:,}"
        + (f" ({buffers:,} in buffers)" if buffers else ""),
    ]


def _count(tensors: Iterable[Tensor], requires_grad: bool = False) -> int:
    return sum(tensor.numel() for tensor in tensors if tensor.requires_grad or not requires_grad)


def _widths(rows: list[tuple[str, str, str, str]]) -> list[int]:
    """Columns for each cell: what the longest one needs, within the limits."""
    longest = [max(map(columns, "\n".join(cells).split("\n"))) for cells in zip(*rows, strict=True)]
    widths = [min(need, most) for need, most in zip(longest, MOST, strict=False)]
    return [*widths, min(longest[-1], WIDTH - sum(widths) - len(widths) * len(GAP))]


def _lines(row: tuple[str, str, str, str], widths: list[int]) -> Iterator[str]:
    """A row as lines of text, as many as its longest cell needs."""
    cells = [_wrapped(text, width) for text, width in zip(row, widths, strict=True)]
    for parts in itertools.zip_longest(*cells, fillvalue=""):
        padding = [" " * (width - columns(text)) for text, width in zip(parts, widths, strict=True)]
        padded = [text + space for text, space in zip(parts, padding, strict=True)]
        padded[2] = padding[2] + parts[2]  # numbers stand right
        yield GAP.join(padded).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    """The lines of a cell: broken at spaces, and shortened where a word is too long."""
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        current = ""
        for word in line.split():
            if current and columns(f"{indent}{current} {word}") > width:
                lines.append(shortened(indent + current, width))
                current = word
            else:
                current = f"{current} {word}".strip()
        lines.append(shortened(indent + current, width))
    return lines
