"""Embedding layers in TensorBoard's projector: a point for each row, with its label."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from torchbp.callbacks.inspection import whole
from torchbp.errors import DataError
from torchbp.train.files import write_atomically

Labels = Mapping[str, Sequence[str]]


def check_labels(model: nn.Module, labels: Labels) -> None:
    """Refuses labels that do not fit the layers they are for.

    Raises:
        DataError: there is no such layer, or it has another number of rows.
    """
    for name, words in labels.items():
        weight = getattr(dict(model.named_modules()).get(name), "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim != 2:
            raise DataError(
                f"TensorBoard: embeddings: expected names of embedding layers, got {name!r}; the "
                f"model has {_embeddings(model)}.\n"
                "  To mend it: use the name that the layer has in model.named_modules()."
            )
        if len(words) != len(weight):
            raise DataError(
                f"TensorBoard: embeddings: expected {len(weight)} labels for {name!r}, one for "
                f"each row, got {len(words)}.\n"
                "  To mend it: give every index a label, padding too."
            )


def write_embeddings(folder: Path, model: nn.Module, labels: Labels, is_main: bool) -> None:
    """Writes the weights of embedding layers and their labels where the projector reads them.

    Args:
        folder: of the run; what the projector shows is the state written last.
        model: has the layers.
        labels: for each layer, one for each row.
        is_main: whether to write; the weights are gathered in any case.
    """
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    config = ProjectorConfig()
    for name, words in labels.items():
        weight = whole(model.get_parameter(f"{name}.weight")).float().cpu()
        paths = {"tensor_path": f"projector/{name}.tsv", "metadata_path": f"projector/{name}.txt"}
        config.embeddings.add(tensor_name=name, tensor_shape=list(weight.shape), **paths)
        if is_main:
            _write_text(folder / paths["tensor_path"], _rows(weight))
            _write_text(folder / paths["metadata_path"], map(_label, words))
    if is_main:
        _write_text(folder / "projector_config.pbtxt", [text_format.MessageToString(config)])


def _rows(weight: Tensor) -> Any:
    return ("\t".join(f"{value:.6g}" for value in row) for row in weight.tolist())


def _label(word: str) -> str:
    """A label on one line; the projector leaves out empty lines, and all below would move up."""
    return " ".join(str(word).split()) or "(empty)"


def _write_text(path: Path, lines: Any) -> None:
    content = "\n".join(lines) + "\n"
    write_atomically(path, lambda file: file.write(content.encode()))


def _embeddings(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Embedding)]
