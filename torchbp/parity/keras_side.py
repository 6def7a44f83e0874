"""The Keras half of a case: its weights, values, gradients and training, as torch tensors.

Weights and gradients come out under the torch modules' names and in torch's layout, so that both
halves of a case give the same dictionaries.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchbp.errors import DataError
from torchbp.parity.case import Arrays, Batch, Case, Pair, Sizes
from torchbp.parity.keras_setup import REFERENCES, backend_here
from torchbp.parity.optimizers import OptimizerPair, Rounding
from torchbp.port.check import as_structured, nodes_of
from torchbp.port.layer_weights import Kind, to_torch
from torchbp.port.ported import inner_model, use_weights
from torchbp.port.registry import Weights

Tensors = dict[str, Tensor]


class KerasSide:
    """The Keras model of a case, its weights drawn from the case's seed.

    Args:
        case: the case.
        sizes: how large the model is built.
        dtype: "float64" or "float32"; Keras must be set to it, see `keras_dtype`.
    """

    def __init__(self, case: Case, sizes: Sizes, dtype: str) -> None:
        self.case = case
        self.dtype = dtype
        self.model = case.keras_model(**sizes.model)
        _turn_dropout_off(self.model)
        if not case.own_weights:
            _draw_weights(self.model, case.seed, case.shift)
            self._calibrate(sizes)
        self.compile("sgd")

    def _calibrate(self, sizes: Sizes) -> None:
        """Set the moving statistics to those of a batch, so that values keep their size.

        It is another batch than is measured with: its own statistics would change nothing in the
        moving ones, and hide how they move.
        """
        import keras

        layers = self._by_path.values()
        norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
        if norms:
            momenta = [norm.momentum for norm in norms]
            for norm in norms:
                norm.momentum = 0.0
            self.model(self._inputs(self.case.batches(sizes, 2)[1].inputs), training=True)
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum

    # Counts and shapes

    @property
    def layer_names(self) -> list[str]:
        """The layers in Keras's order, inputs left out."""
        return list(self._by_path)

    def counts(self, pair: Pair) -> tuple[int, int]:
        """Trainable and non-trainable parameters of a layer.

        The layers of a model inside count by themselves, and it has no others.
        """
        layer = self._layer(pair)
        if hasattr(layer, "layers"):
            return 0, 0
        return _count(layer.trainable_weights), _count(layer.non_trainable_weights)

    def total_counts(self) -> tuple[int, int]:
        """Trainable and non-trainable parameters of the model."""
        return _count(self.model.trainable_weights), _count(self.model.non_trainable_weights)

    def has_free_sizes(self) -> bool:
        """Whether another size than the batch's is unknown in some input."""
        return any(None in tuple(tensor.shape)[1:] for tensor in self.model.inputs)

    def symbolic_outputs(self) -> dict[str, tuple[int | None, ...]]:
        """The shape of each output, None where a size is unknown."""
        outputs = self._by_head(self.model.outputs)
        return {name: tuple(output.shape) for name, output in outputs.items()}

    def symbolic_values(self) -> dict[str, list[tuple[int | None, ...]]]:
        """The shapes that each layer gives, one for each of its calls."""
        return {
            name: [tuple(output.shape) for output in outputs]
            for name, outputs in _outputs(self.model).items()
        }

    # Weights

    def weights(self) -> Tensors:
        """Every weight, under the torch model's names and in torch's layout."""
        import keras

        return self._in_torch(lambda weight: keras.ops.convert_to_numpy(weight.value))

    def load(self, weights: Tensors) -> None:
        """Write weights, given as `weights` gives them."""
        for pair, kind in self._pairs_with_weights():
            prefix = f"{pair.torch}."
            own = {
                name.removeprefix(prefix): weight.detach().cpu()
                for name, weight in weights.items()
                if name.startswith(prefix)
            }
            layer = self._layer(pair)
            shapes = [tuple(weight.shape) for weight in layer.weights]
            layer.set_weights([array.numpy() for array in _to_keras(kind, own, shapes)])
        use_weights(self.model)

    def reloaded(self) -> KerasSide:
        """The same side around the model that its `.keras` file gives."""
        import keras

        other = object.__new__(KerasSide)
        other.case, other.dtype = self.case, self.dtype
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            self.model.save(path)
            other.model = keras.models.load_model(path, compile=False)
        return other

    def _in_torch(self, array_of: Any) -> Tensors:
        tensors = {}
        for pair, kind in self._pairs_with_weights():
            arrays = [(w.name, torch.tensor(array_of(w))) for w in self._layer(pair).weights]
            for name, tensor in _to_torch(kind, arrays).items():
                tensors[f"{pair.torch}.{name}"] = tensor
        return tensors

    def _pairs_with_weights(self) -> list[tuple[Pair, Kind | tuple[Weights, ...]]]:
        return [(pair, pair.kind) for pair in self.case.pairs if pair.kind is not None]

    # Values

    def predict(self, inputs: Arrays, training: bool = False) -> Tensors:
        """The outputs by the names of the heads."""
        return self._by_head(_flat(self.model(self._inputs(inputs), training=training)))

    def values(self, inputs: Arrays, training: bool = False) -> dict[str, list[Tensor]]:
        """What each layer gives, one tensor for each of its calls."""
        import keras

        outputs = _outputs(self.model)
        every_output = [output for found in outputs.values() for output in found]
        inside = keras.Model(self.model.inputs, every_output)
        values = iter(_flat(inside(self._flat_inputs(inputs), training=training)))
        return {name: [_tensor(next(values)) for _ in found] for name, found in outputs.items()}

    def next_of(self, name: str, known: Collection[str]) -> list[str]:
        """The nearest known layers that compute with what a layer gives."""
        after: dict[str, list[str]] = {}
        for other, nodes in nodes_of(self.model).items():
            for parent in (parent for node in nodes for parent in node.parent_nodes):
                after.setdefault(parent.operation.name, []).append(other)
        found, look_at = [], list(after.get(name, ()))
        while look_at:
            other = look_at.pop(0)
            if other in known:
                found.append(other)
            else:
                look_at += after.get(other, ())
        return found

    def described(self, pair: Pair) -> tuple[dict[str, Any], tuple[int, ...] | None]:
        """A layer's configuration, and the shape of what it gets flattened, if it does."""
        config = self._by_path[pair.keras].get_config() if pair.keras in self._by_path else {}
        parents = [p for n in nodes_of(self.model).get(pair.keras, ()) for p in n.parent_nodes]
        while parents and type(parents[0].operation).__name__ in ("Dropout", "Activation", "ReLU"):
            parents = parents[0].parent_nodes
        if parents and type(parents[0].operation).__name__ == "Flatten":
            return config, tuple(parents[0].input_tensors[0].shape[1:])
        return config, None

    # Loss, gradients, training

    def compile(self, optimizer: Any) -> None:
        """Take an optimizer, and the case's losses and loss weights."""
        heads = self.case.heads
        self.model.compile(
            optimizer,
            loss=_one_or_list([head.loss for head in heads]),
            loss_weights=_one_or_list([head.weight for head in heads]),
            jit_compile=False,
        )

    def gradients(self, batch: Batch) -> tuple[Tensor, Tensors]:
        """The loss of a batch in training mode, and its gradient for each weight."""
        variables = self.model.trainable_variables
        loss, gradients = self._loss_and_gradients(batch, variables)
        by_path = {v.path: g for v, g in zip(variables, gradients, strict=True)}
        return loss, self._in_torch(lambda weight: _or_zeros(by_path.get(weight.path), weight))

    def train(
        self,
        pair: OptimizerPair,
        batches: Sequence[Batch],
        keep: Sequence[int],
        rounded: Rounding,
    ) -> tuple[Tensor, dict[int, Tensors]]:
        """Train one step on each batch.

        Returns:
            The loss of every batch before its step, and the weights after the steps in `keep`.
        """
        self.compile(pair.keras(rounded))
        self.model.optimizer.build(self.model.trainable_variables)
        train_step = _compiled(self.model.train_step)
        losses, kept = [], {}
        for step, batch in enumerate(batches, start=1):
            self.model.reset_metrics()
            logs = train_step((self._inputs(batch.inputs), self._targets(batch)))
            losses.append(float(logs["loss"]))
            if step in keep:
                kept[step] = self.weights()
        return torch.tensor(losses, dtype=torch.float64), kept

    def _loss_and_gradients(self, batch: Batch, variables: Any) -> tuple[Tensor, list[Any]]:
        import keras

        compute = _tensorflow_gradients if backend_here() == REFERENCES[0] else _torch_gradients
        loss, gradients = compute(
            self.model, self._inputs(batch.inputs), self._targets(batch), variables
        )
        return _tensor(loss), [
            None if gradient is None else keras.ops.convert_to_numpy(gradient)
            for gradient in gradients
        ]

    # Names and order

    @cached_property
    def _by_path(self) -> dict[str, Any]:
        return _layers_by_path(self.model)

    def _layer(self, pair: Pair) -> Any:
        layers = self._by_path
        if pair.keras not in layers:
            raise DataError(
                f"parity case {self.case.name!r}: expected one of the Keras layers "
                f"{list(layers)} in a pair, got {pair.keras!r}.\n"
                "  To mend it: correct the pair's first name."
            )
        return layers[pair.keras]

    def _inputs(self, inputs: Arrays) -> Any:
        """The tensors in the structure of the model's inputs."""
        return as_structured(self.model, self._tensors(inputs))

    def _flat_inputs(self, inputs: Arrays) -> Any:
        return _one_or_list(self._tensors(inputs))

    def _tensors(self, inputs: Arrays) -> list[Any]:
        arrays = [_named(inputs, tensor.name, self.case) for tensor in self.model.inputs]
        return _tensors_of(arrays, self.dtype)

    def _targets(self, batch: Batch) -> Any:
        arrays = [batch.targets[head.name] for head in self.case.heads]
        return _one_or_list(_tensors_of(arrays, self.dtype))

    def _by_head(self, outputs: Sequence[Any]) -> dict[str, Any]:
        names = [head.name for head in self.case.heads]
        return {
            name: _tensor(output) if not hasattr(output, "_keras_history") else output
            for name, output in zip(names, outputs, strict=True)
        }


def _to_torch(kind: Kind | tuple[Weights, ...], arrays: Sequence[tuple[str, Tensor]]) -> Tensors:
    """A layer's arrays, with their names in Keras, as the module's tensors."""
    if isinstance(kind, str):
        return to_torch(kind, dict(arrays))
    rest = [array for _, array in arrays]
    tensors: Tensors = {}
    for weights in kind:
        tensors |= weights.to_torch(rest[: len(weights.names)])
        rest = rest[len(weights.names) :]
    return tensors


def _to_keras(
    kind: Kind | tuple[Weights, ...], tensors: Tensors, shapes: Sequence[tuple[int, ...]]
) -> list[Tensor]:
    """The way back, to arrays of these shapes."""
    several = kind if isinstance(kind, tuple) else (Weights(kind, ()),)
    arrays: list[Tensor] = []
    for weights in several:
        shape = shapes[len(arrays)]
        in_channels = shape[-2] if weights.kind in ("depthwise", "separable") else 0
        arrays += weights.to_keras(tensors, in_channels)
    return arrays


def _compiled(train_step: Any) -> Any:
    """Keras's own training step as a graph. `train_on_batch` traces a graph anew at each step."""
    if backend_here() != REFERENCES[0]:
        return train_step
    import tensorflow as tf

    return tf.function(train_step, autograph=False)


def _tensorflow_gradients(model: Any, inputs: Any, targets: Any, variables: Any) -> Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = model.compute_loss(y=targets, y_pred=model(inputs, training=True))
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    # an embedding's is sparse, with a row for each look-up; as a tensor they are added
    return loss, [None if g is None else tf.convert_to_tensor(g) for g in gradients]


def _torch_gradients(model: Any, inputs: Any, targets: Any, variables: Any) -> Any:
    model.zero_grad()
    loss = model.compute_loss(y=targets, y_pred=model(inputs, training=True))
    loss.backward()
    return loss, [variable.value.grad for variable in variables]


def _draw_weights(model: Any, seed: int, shift: float) -> None:
    """Weights of the size that training starts from; nothing is zero, which would hide faults."""
    import numpy as np

    rng = np.random.default_rng(seed)
    depthwise = {id(weight) for weight in _depthwise_kernels(model)}
    for weight in model.weights:
        shape = tuple(weight.shape)
        # a channel of a depthwise kernel reads one channel
        fan_in = math.prod(shape[:-2] if id(weight) in depthwise else shape[:-1])
        if "int" in str(weight.dtype):  # a counter
            continue
        if weight.name in ("gamma", "scale", "moving_variance", "variance"):
            drawn = rng.uniform(0.9, 1.1, shape)
        elif weight.name == "beta":
            drawn = rng.uniform(-shift, shift, shape)
        elif weight.name in ("bias", "moving_mean", "mean"):
            drawn = rng.uniform(-0.2, 0.2, shape)
        elif weight.name == "embeddings":
            drawn = rng.uniform(-0.5, 0.5, shape)
        else:
            limit = math.sqrt(3 / fan_in)  # keeps the size of the input
            drawn = rng.uniform(-limit, limit, shape)
        weight.assign(drawn)
    use_weights(model)


def _depthwise_kernels(model: Any) -> list[Any]:
    import keras

    depthwise = keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D
    separable = keras.layers.SeparableConv1D, keras.layers.SeparableConv2D
    layers = _layers_by_path(model).values()
    return [layer.weights[0] for layer in layers if isinstance(layer, (*depthwise, *separable))]


def _turn_dropout_off(model: Any) -> None:
    for layer in _layers_by_path(model).values():
        holder = getattr(layer, "cell", layer)  # a recurrent layer's rates are its cell's
        for rate in ("rate", "dropout", "recurrent_dropout", "drop_path_rate"):
            if isinstance(getattr(holder, rate, None), float | int):
                with suppress(AttributeError):  # an attention's is its dropout layer's
                    setattr(holder, rate, 0.0)
        if hasattr(layer, "_dropout_layer"):
            layer._dropout_layer.rate = 0.0


def _layers(model: Any) -> list[Any]:
    import keras

    return [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]


def _layers_by_path(model: Any, path: str = "") -> dict[str, Any]:
    """The layers by name; those of a model inside are `model/layer`, after the model itself."""
    layers = {}
    for layer in _layers(model):
        layers[f"{path}{layer.name}"] = layer
        inner = inner_model(layer)
        if inner is not None:
            layers |= _layers_by_path(inner, f"{path}{layer.name}/")
    return layers


def _outputs(model: Any) -> dict[str, list[Any]]:
    """The symbolic output of each call of each layer in the model."""
    nodes = nodes_of(model)
    return {
        layer.name: [node.output_tensors[0] for node in nodes[layer.name]]
        for layer in _layers(model)
    }


def _flat(outputs: Any) -> list[Any]:
    """Outputs in Keras's flat order; a dict's are sorted by name, as Keras sorts them."""
    import keras

    return list(keras.tree.flatten(outputs))


def _count(weights: Any) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _tensor(value: Any) -> Tensor:
    import keras

    return torch.tensor(keras.ops.convert_to_numpy(value))


def _or_zeros(gradient: Any, weight: Any) -> Any:
    import numpy as np

    return np.zeros(weight.shape, weight.dtype) if gradient is None else gradient


def _tensors_of(arrays: Sequence[Any], dtype: str) -> list[Any]:
    """The backend's tensors; floating-point numbers in the dtype, whole ones as int32."""
    import keras

    return [
        keras.ops.convert_to_tensor(array, dtype if array.dtype.kind == "f" else "int32")
        for array in arrays
    ]


def _one_or_list(items: list[Any]) -> Any:
    """Keras takes and gives a single input, target or loss without a list around it."""
    return items[0] if len(items) == 1 else items


def _named(inputs: Arrays, name: str, case: Case) -> Any:
    if name not in inputs:
        raise DataError(
            f"parity case {case.name!r}: expected data for the Keras input {name!r}, "
            f"got {list(inputs)}.\n"
            "  To mend it: give the data the names of the Keras inputs."
        )
    return inputs[name]
