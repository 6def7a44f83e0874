"""Numbers to compare a port with its model on, and the two sides' orders of inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchbp.port.architecture import Architecture, LayerSpec
from torchbp.port.build import Built

if TYPE_CHECKING:
    import numpy as np

BATCH_SIZE = 3
UNKNOWN_SIZES = (12, 64, 128, 1024)  # what stands for one: the first that the model can take
Arrays = dict[str, Any]
_Maker = Callable[["np.random.Generator", int, int], Any]


class Inputs:
    """Draws inputs that a model can take, by the names of Keras's input layers.

    Numbers are normal; what is looked up in a table, and other whole numbers, are indices that all
    tables of the model have.

    Args:
        architecture: the model's.
        built: the port, with weights.
    """

    def __init__(self, architecture: Architecture, built: Built) -> None:
        self._built = built
        self._makers = dict(_makers(architecture))
        self.unknown_size = self._first_that_fits()

    def draw(self, seed: int, batch_size: int = BATCH_SIZE) -> Arrays:
        """A batch, in Keras's order of axes."""
        return self._draw(seed, batch_size, self.unknown_size)

    def outputs(self, arrays: Arrays) -> list[Tensor]:
        """What the port gives in inference, in Keras's order of outputs and axes."""
        return run(self._built, arrays)

    def _draw(self, seed: int, batch_size: int, unknown_size: int) -> Arrays:
        import numpy as np

        rng = np.random.default_rng(seed)
        drawn = {name: make(rng, batch_size, unknown_size) for name, make in self._makers.items()}
        return {name: drawn[name] for name in self._built.inputs}

    def _first_that_fits(self) -> int:
        for size in UNKNOWN_SIZES[:-1]:
            try:
                run(self._built, self._draw(0, BATCH_SIZE, size))
            except Exception:  # too small for what the model does with it
                continue
            return size
        return UNKNOWN_SIZES[-1]


def run(built: Built, arrays: Arrays, model: Any = None) -> list[Tensor]:
    """What a port gives in inference for inputs in Keras's order, as Keras would have it."""
    model = built.model if model is None else model
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), built.dtype)
    tensors = [torch.from_numpy(arrays[name]) for name in built.inputs]
    tensors = [t.to(dtype) if t.is_floating_point() else t for t in tensors]
    was_training = model.training
    try:
        with torch.no_grad():
            outputs = model.eval()(*(_moved(t, -1, 1) if built.moves else t for t in tensors))
    finally:
        model.train(was_training)
    found = list(keras_flat(outputs))
    return [_moved(tensor, 1, -1) for tensor in found] if built.moves else found


def keras_flat(outputs: Any) -> Iterator[Any]:
    """The outputs in Keras's flat order: a dict's are sorted by name."""
    if isinstance(outputs, dict):
        for name in sorted(outputs):
            yield from keras_flat(outputs[name])
    elif isinstance(outputs, list | tuple):
        for item in outputs:
            yield from keras_flat(item)
    else:
        yield outputs


def _moved(tensor: Tensor, source: int, target: int) -> Tensor:
    return tensor.movedim(source, target) if tensor.ndim > 3 else tensor


def _makers(architecture: Architecture) -> Iterator[tuple[str, _Maker]]:
    largest = min(_table_sizes(architecture), default=2)
    looked_up = {
        source.layer
        for spec in architecture.layers
        if spec.class_name in _TABLES
        for call in spec.calls
        for source in call.sources()
    }
    for spec in architecture.layers:
        if spec.is_input:
            yield spec.name, _maker(spec, largest, spec.name in looked_up)


def _maker(spec: LayerSpec, largest: int, is_looked_up: bool) -> _Maker:
    shape = spec.config.get("batch_shape", spec.config.get("batch_input_shape"))
    dtype = str(spec.config.get("dtype") or "float32")
    is_float = dtype.startswith(("float", "bfloat"))

    def draw(rng: np.random.Generator, batch_size: int, unknown_size: int) -> Any:
        sizes = (batch_size, *(unknown_size if size is None else size for size in shape[1:]))
        if is_float and not is_looked_up:
            return rng.normal(size=sizes)
        if dtype == "bool":
            return rng.integers(0, 2, sizes).astype(bool)
        numbers = rng.integers(0, largest, sizes)
        return numbers.astype(float) if is_float else numbers

    return draw


def _table_sizes(architecture: Architecture) -> Iterator[int]:
    for spec in architecture.layers:
        if spec.model is not None:
            yield from _table_sizes(spec.model)
        elif spec.class_name in _TABLES:
            yield spec.config["input_dim"]


_TABLES = ("Embedding", "ReversibleEmbedding")
