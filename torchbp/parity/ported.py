"""A ported model and the Keras model it comes from, as a parity case: its certificate."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from torchbp.errors import DataError
from torchbp.parity.bench import Record
from torchbp.parity.case import Batch, Case, Head, Pair, Sizes
from torchbp.parity.keras_setup import REFERENCES, backend_here, start_keras
from torchbp.parity.optimizers import OptimizerPair, chapters_optimizers
from torchbp.parity.suite import run
from torchbp.port.architecture import Architecture, architecture_of
from torchbp.port.build import Built, build
from torchbp.port.check import run_keras
from torchbp.port.data import BATCH_SIZE, Inputs
from torchbp.port.model import fill
from torchbp.port.ported import keras_arrays, ported_layers, use_weights
from torchbp.port.registry import is_operation
from torchbp.port.values import Value

if TYPE_CHECKING:
    import numpy as np

TRAINING = (4, 5, 6)  # the levels that train
LARGE = 60  # layers with weights from which on float32 training tells little


def certify(
    source: str | Path | Any,
    module: nn.Module | None = None,
    *,
    dtypes: Sequence[str] = ("float64", "float32"),
    levels: Iterable[int] | None = None,
    replace: Any = None,
    progress: Callable[[str, str], None] = lambda reference, done: None,
) -> list[Record]:
    """Compare a Keras model with its port on the seven levels: the port's certificate.

    Keras itself reads the file, with TensorFlow below it, and builds the model in each dtype.
    Counts, shapes, outputs and the way back are measured with the weights that it has, in float32
    also; training in float64 alone, with weights drawn anew: those of a file may be zero, or
    saturated, and hide a fault. Outputs are trained on squared errors of random targets.

    Args:
        source: a `.keras` or whole-model `.h5` file that Keras can load, or a Keras model.
        module: what is to equal it; a port with `channels="last"` if None. If its modules have not
            the names of the port's, its outputs alone are compared.
        dtypes: to compare in. Float64 tells right from wrong.
        levels: numbers from 1 to 7; all that the model can be compared on if None: a model that
            draws random numbers other than dropout's, or gives whole numbers, is not trained.
        replace: as of `torchbp.port.load`.
        progress: as of `torchbp.parity.run`.

    Returns:
        Records as `torchbp.parity.run` gives them; `report` and `page` show them.

    Raises:
        DataError: Keras runs on another backend, or cannot load the file.
        UnsupportedError: a layer cannot be ported.
        MissingExtraError: Keras or TensorFlow is not installed.
    """
    start_keras(REFERENCES[0])
    original = _original(source)
    case, able = _case(original, module, replace)
    wanted = able if levels is None else list(levels)
    records: list[Record] = []
    for chosen, own_weights, in_dtypes in (
        ([level for level in wanted if level not in TRAINING], True, dtypes),
        ([level for level in wanted if level in TRAINING], False, [d for d in dtypes if "64" in d]),
    ):
        if chosen and in_dtypes:
            records += run(
                [dataclasses.replace(case, own_weights=own_weights)],
                dtypes=in_dtypes,
                references=REFERENCES[:1],
                levels=chosen,
                progress=progress,
            )
    return sorted(records, key=lambda record: (dtypes.index(record["dtype"]), record["level"]))


def keras_outputs(source: str | Path | Any) -> tuple[dict[str, Any], list[Any]]:
    """Inputs for a Keras model, and what Keras gives for them, in its own dtype and flat order.

    Args:
        source: as of `certify`.
    """
    start_keras(REFERENCES[0])
    original = _original(source)
    built = build(original.architecture, "last")
    fill(built, original.by_path, original.name)
    inputs = Inputs(original.architecture, built).draw(0)
    model = original.model(str(built.dtype).removeprefix("torch."))
    outputs = run_keras(model, model, inputs)
    return {name: inputs[name] for name in built.inputs}, [output.numpy() for output in outputs]


@dataclass
class _Original:
    """A Keras model, as text and arrays, from which it can be built in any dtype."""

    name: str
    config: Any
    arrays: list[Any]
    by_path: dict[tuple[str, ...], list[Any]]
    architecture: Architecture

    def model(self, dtype: str) -> Any:
        """The model with all its numbers in a dtype."""
        import keras

        text = json.dumps(_in_dtype(self.config, dtype))
        model = keras.models.model_from_json(text)
        model.set_weights(self.arrays)
        use_weights(model)
        return model


def _original(source: Any) -> _Original:
    import keras

    assert backend_here() == REFERENCES[0]
    if isinstance(source, str | Path):
        try:
            model = keras.models.load_model(source, compile=False)
        except Exception as error:
            raise DataError(
                f"{source}: expected a file that Keras can load, got {type(error).__name__}: "
                f"{str(error)[:500]}\n"
                "  To mend it: register the model's own classes with Keras before, or load it "
                "yourself and give the model."
            ) from error
    else:
        model = source
    config = json.loads(model.to_json())
    arrays = [array.copy() for array in model.get_weights()]
    architecture = architecture_of(config, model.name)
    return _Original(model.name, config, arrays, keras_arrays(model), architecture)


def _in_dtype(config: Any, dtype: str) -> Any:
    """A configuration whose policies and inputs are of a floating-point dtype."""
    if isinstance(config, list):
        return [_in_dtype(item, dtype) for item in config]
    if not isinstance(config, dict):
        return config
    changed = {key: _in_dtype(value, dtype) for key, value in config.items()}
    if changed.get("dtype") in ("float32", "float64"):
        changed["dtype"] = dtype
    if config.get("class_name") == "DTypePolicy":
        changed["config"] = {"name": dtype}
    return changed


def _case(original: _Original, module: nn.Module | None, replace: Any) -> tuple[Case, list[int]]:
    import keras

    built = build(original.architecture, "last", replace)
    fill(built, original.by_path, original.name)
    ported = module or built.model
    drawn = Inputs(original.architecture, built)
    outputs = drawn.outputs(drawn.draw(0))
    heads = tuple(_heads(built, len(outputs)))
    trainable = all(output.is_floating_point() for output in outputs) and _draws_nothing(built)
    num_layers = sum(layer.num_arrays > 0 for layer in ported_layers(built.model))
    sizes = Sizes(BATCH_SIZE, drawn.unknown_size)

    def data(rng: np.random.Generator, sizes: Sizes) -> Batch:
        inputs = drawn.draw(int(rng.integers(1 << 31)), sizes.batch_size)
        shapes = [(sizes.batch_size, *output.shape[1:]) for output in outputs]
        targets = {h.name: rng.normal(size=s) for h, s in zip(heads, shapes, strict=True)}
        return Batch(inputs, targets)

    modules = dict(ported.named_modules(remove_duplicate=False))
    pairs = tuple(_pairs(built))
    if not all(pair.torch in modules for pair in pairs if pair.kind):
        pairs, trainable = (), False  # the same function, of other modules
    case = Case(
        name=original.name,
        keras_model=lambda: original.model(keras.config.floatx()),
        torch_model=lambda: copy.deepcopy(ported),
        data=data,
        pairs=pairs,
        heads=heads,
        full=sizes,
        small=sizes,
        large=num_layers >= LARGE,
        shift=3.0 if num_layers >= LARGE else 0.2,
        zero_gradients=None,
        optimizers=_optimizers(built),
        steps=(1, 5),
        references=REFERENCES[:1],
    )
    able = [1, 2, 3, 7] if pairs else [3]
    return case, list(range(1, 8)) if trainable else able


def _optimizers(built: Built) -> tuple[OptimizerPair, ...]:
    """SGD, and Adam where no gradient is zero in theory: it makes full steps of rounding noise."""
    first, _, adam = chapters_optimizers()
    classes = {layer.class_name for layer in ported_layers(built.model)}
    return (first,) if any("Norm" in name or "Att" in name for name in classes) else (first, adam)


def _heads(built: Built, count: int) -> Iterator[Head]:
    outputs = built.model.outputs
    names = list(built.model.output_names)
    if isinstance(outputs, dict):
        names = sorted(names)  # as Keras orders them
    loss = _mean_square_of_all() if built.is_masked else "mse"
    for number in range(count):
        yield Head(names[number], loss, nn.MSELoss())


def _mean_square_of_all() -> Any:
    """Keras's mean square without the weights that it gives the steps of an output with a mask."""
    import keras

    class MeanSquareOfAll(keras.losses.Loss):  # type: ignore[misc]  # keras is untyped
        def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            return keras.ops.mean(keras.ops.square(y_pred - y_true))

    return MeanSquareOfAll()


def _pairs(built: Built) -> Iterator[Pair]:
    """A pair for each layer, with the nodes that give what the layer gives."""
    names = built.nodes()
    for layer in ported_layers(built.model):
        if is_operation(built.layers[layer.path].spec):  # no layer of the Keras model
            continue
        found = [(value, names[key]) for key, value in _values_of(built, layer.path)]
        plain = [(value, name) for value, name in found if value.flattened is None and name]
        if not layer.num_arrays and len(plain) < len(found):
            continue
        values, nodes = zip(*plain, strict=True) if plain else ((), ())
        axes = _axes(values[0]) if values else None
        module = layer.module or layer.name  # as a module of another's making may have it
        yield Pair(layer.name, module, layer.weights or None, nodes or None, axes)


def _values_of(built: Built, path: tuple[str, ...]) -> list[tuple[Any, Value]]:
    """The first output of each call of a layer."""
    return [(key, v) for key, v in built.values.items() if key[0] == path and key[2] == 0]


def _axes(value: Value) -> tuple[int, ...] | None:
    return (0, *range(2, value.ndim), 1) if value.channels_at_1 else None


def _draws_nothing(built: Built) -> bool:
    """Whether training is without chance once dropout is off."""
    return not any(layer.class_name in _RANDOM for layer in ported_layers(built.model))


_RANDOM = {
    "GaussianNoise", "GaussianDropout", "AlphaDropout", "RandomFlip", "RandomRotation",
    "RandomZoom", "RandomTranslation", "RandomCrop", "RandomContrast", "RandomBrightness",
}  # fmt: skip
