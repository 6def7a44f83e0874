"""The torch half of a case: any nn.Module, with its weights, values, gradients and training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.errors import DataError
from torchbp.graph import Model
from torchbp.layers import SharedDropout
from torchbp.optim import per_lookup_squares
from torchbp.parity.case import Arrays, Batch, Case, Pair, Sizes
from torchbp.parity.optimizers import OptimizerPair, Rounding

Tensors = dict[str, Tensor]


class UnpairedError(DataError):
    """A pair's torch module cannot take what its Keras layer holds.

    Attributes:
        layer: the Keras layer's name.
    """

    def __init__(self, pair: Pair, message: str) -> None:
        super().__init__(message)
        self.layer = pair.keras


class TorchSide:
    """The torch model of a case.

    Args:
        case: the case.
        sizes: how large the model is built.
        dtype: "float64" or "float32".
        device: where it computes.
    """

    def __init__(self, case: Case, sizes: Sizes, dtype: str, device: str) -> None:
        self.case = case
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.device = device
        self.model = case.torch_model(**sizes.model).to(device, self.dtype)
        _turn_dropout_off(self.model)

    # Counts and shapes

    def counts(self, pair: Pair) -> tuple[int, int]:
        """Trainable and non-trainable parameters of a module; none where there is no such one."""
        module = self._modules().get(pair.torch)
        return _counts(module) if module else (0, 0)

    def total_counts(self) -> tuple[int, int]:
        """Trainable and non-trainable parameters of the model, shared ones once."""
        return _counts(self.model)

    def unpaired(self) -> dict[str, tuple[int, int]]:
        """The counts of the modules with weights that no pair holds."""
        modules = self._modules()
        paired = [modules[p.torch] for p in self.case.pairs if p.kind and p.torch in modules]
        held = {id(tensor) for module in paired for _, tensor in _tensors(module)}
        return {
            name: _counts(module)
            for name, module in modules.items()
            if any(id(own) not in held for _, own in _tensors(module, recurse=False))
        }

    def symbolic_outputs(self) -> dict[str, tuple[int | None, ...]] | None:
        """The shape of each output, None where a size is unknown; only a `Model` knows them."""
        if not isinstance(self.model, Model):
            return None
        nodes = {node.name: node for node in self.model.nodes}
        refs = self._by_head(self.model.outputs)
        shapes = {name: _shape(nodes[ref.name].output, ref.path) for name, ref in refs.items()}
        return {
            head.name: tuple(shapes[head.name][axis] for axis in head.axes)
            if head.axes
            else shapes[head.name]
            for head in self.case.heads
        }

    # Weights

    def weights(self) -> Tensors:
        """The tensors of the paired modules, as `KerasSide.weights` names them."""
        return {
            f"{pair.torch}.{name}": tensor.detach().cpu().clone()
            for pair in self._pairs_with_weights()
            for name, tensor in _tensors(self._module(pair))
        }

    def load(self, weights: Tensors) -> None:
        """Write weights into the paired modules; a tensor that Keras has not becomes zero.

        Raises:
            UnpairedError: a module is missing, or a weight has no place in it.
        """
        for pair in self._pairs_with_weights():
            prefix = f"{pair.torch}."
            own = {
                name.removeprefix(prefix): weight
                for name, weight in weights.items()
                if name.startswith(prefix)
            }
            self._load_module(pair, own)

    @torch.no_grad()
    def _load_module(self, pair: Pair, weights: Tensors) -> None:
        tensors = dict(_tensors(self._module(pair)))
        for name, tensor in tensors.items():
            if name not in weights:
                tensor.zero_()
        for name, weight in weights.items():
            if name not in tensors or tensors[name].shape != weight.shape:
                got = tuple(tensors[name].shape) if name in tensors else "none"
                raise UnpairedError(
                    pair,
                    f"{pair.torch} ({type(self._module(pair)).__name__}): expected a {name} of "
                    f"shape {tuple(weight.shape)} for the Keras layer {pair.keras!r}, got {got}.\n"
                    "  To mend it: build the two layers with the same sizes, or correct the pair.",
                )
            tensors[name].copy_(weight)

    # Values

    @torch.no_grad()
    def predict(self, inputs: Arrays, training: bool = False) -> Tensors:
        """The outputs by the names of the heads, their dimensions in Keras's order."""
        self.model.train(training)
        outputs = self._by_head(self.model(*self._inputs(inputs)))
        return {
            head.name: _in_keras_order(outputs[head.name], head.axes).cpu()
            for head in self.case.heads
        }

    @torch.no_grad()
    def values(
        self, inputs: Arrays, training: bool = False
    ) -> tuple[dict[str, list[Tensor]], Exception | None]:
        """What each module and each node of a functional model gives, once for each call.

        Returns:
            The values by name, and the error that the model raised after them, if any.
        """
        self.model.train(training)
        with _recorded(self.model) as values:
            try:
                if isinstance(self.model, Model):
                    _Nodes(self.model.to_fx(), values).run(*self._inputs(inputs))
                else:
                    self.model(*self._inputs(inputs))
            except Exception as error:  # what was computed before it shows where it comes from
                return values, error
        return values, None

    # Loss, gradients, training

    def gradients(self, batch: Batch) -> tuple[Tensor, Tensors]:
        """The loss of a batch in training mode, and its gradient for each weight."""
        self.model.train()
        self.model.zero_grad()
        loss = self._loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        gradients = {
            f"{pair.torch}.{name}": (
                torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
            ).cpu()
            for pair in self._pairs_with_weights()
            for name, tensor in _tensors(self._module(pair))
        }
        self.model.zero_grad()
        return loss.detach().cpu(), gradients

    def train(
        self,
        pair: OptimizerPair,
        batches: Sequence[Batch],
        keep: Sequence[int],
        rounded: Rounding,
        per_lookup: bool,
    ) -> tuple[Tensor, dict[int, Tensors]]:
        """Train one step on each batch.

        Args:
            pair: the optimizer.
            batches: what to train on.
            keep: the steps after which the weights are kept.
            rounded: how the optimizer's constants are rounded.
            per_lookup: square the gradient of each embedding look-up by itself, as TensorFlow.

        Returns:
            The loss of every batch before its step, and the weights after the steps in `keep`.
        """
        self.model.train()
        optimizer = pair.torch(self.model, rounded)
        losses, kept = [], {}
        with per_lookup_squares(self.model) if per_lookup else ExitStack():
            for step, batch in enumerate(batches, start=1):
                optimizer.zero_grad()
                loss = self._loss(batch)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(loss.item())
                if step in keep:
                    kept[step] = self.weights()
        return torch.tensor(losses, dtype=torch.float64), kept

    def has_embedding(self) -> bool:
        """Whether per-look-up squares make a difference."""
        return any(isinstance(module, nn.Embedding) for module in self.model.modules())

    def _loss(self, batch: Batch) -> Tensor:
        outputs = self._by_head(self.model(*self._inputs(batch.inputs)))
        losses = [
            head.weight * head.criterion(outputs[head.name], self._tensor(batch.targets[head.name]))
            for head in self.case.heads
        ]
        return torch.stack(losses).sum()

    # Names and order

    def _modules(self) -> dict[str, nn.Module]:
        return dict(self.model.named_modules(remove_duplicate=False))

    def _module(self, pair: Pair) -> nn.Module:
        module = self._modules().get(pair.torch)
        if module is None:
            raise UnpairedError(
                pair,
                f"parity case {self.case.name!r}: expected a module {pair.torch!r} for the Keras "
                f"layer {pair.keras!r}, got {[name for name in self._modules() if name]}.\n"
                "  To mend it: correct the pair's second name, or add the module.",
            )
        return module

    def module(self, pair: Pair) -> nn.Module | None:
        """The module of a pair, if the model has it."""
        return self._modules().get(pair.torch)

    def _pairs_with_weights(self) -> list[Pair]:
        return [pair for pair in self.case.pairs if pair.kind is not None]

    def _inputs(self, inputs: Arrays) -> list[Tensor]:
        axes = self.case.input_axes
        return [
            self._tensor(array).permute(axes[name]) if name in axes else self._tensor(array)
            for name, array in inputs.items()
        ]

    def _tensor(self, array: Any) -> Tensor:
        dtype = self.dtype if array.dtype.kind == "f" else torch.int64
        return torch.as_tensor(array, dtype=dtype, device=self.device)

    def _by_head(self, outputs: Any) -> dict[str, Any]:
        names = [head.name for head in self.case.heads]
        if isinstance(outputs, dict):
            return {name: outputs[name] for name in names}
        several = outputs if isinstance(outputs, list) or _is_plain_tuple(outputs) else [outputs]
        return dict(zip(names, several, strict=True))


class _Nodes(torch.fx.Interpreter):
    """Runs a graph and keeps the value of each node that is not a module's."""

    def __init__(self, module: torch.fx.GraphModule, values: dict[str, list[Tensor]]) -> None:
        super().__init__(module)
        self.kept = values

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        if n.op in ("call_function", "call_method"):
            _keep(self.kept, n.name, value)
        return value


@contextmanager
def _recorded(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Hooks that gather the output of every call of every submodule."""
    values: dict[str, list[Tensor]] = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.enter_context(module.register_forward_hook(_keeper(values, name)))
        yield values


def _keeper(values: dict[str, list[Tensor]], name: str) -> Callable[..., None]:
    return lambda module, args, output: _keep(values, name, output)


def _keep(values: dict[str, list[Tensor]], name: str, output: Any) -> None:
    """Keep a tensor, or the first of several, such as an LSTM's output without its state."""
    first = output[0] if isinstance(output, tuple) else output
    if isinstance(first, Tensor):
        # a copy: an activation may work in place
        values.setdefault(name, []).append(first.detach().cpu().clone())


def _tensors(module: nn.Module, recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
    """A module's parameters and what it saves beside them, but for torch's counts of batches."""
    yield from module.named_parameters(recurse=recurse)
    saved = module.state_dict()
    for name, buffer in module.named_buffers(recurse=recurse):
        if name in saved and not name.endswith("num_batches_tracked"):
            yield name, buffer


def _counts(module: nn.Module) -> tuple[int, int]:
    """Trainable and non-trainable numbers, shared ones once."""
    tensors = [tensor for _, tensor in _tensors(module)]
    trainable = sum(tensor.numel() for tensor in tensors if tensor.requires_grad)
    return trainable, sum(tensor.numel() for tensor in tensors) - trainable


def _shape(output: Any, path: Sequence[int | str]) -> tuple[int | None, ...]:
    for key in path:
        output = output[key]
    return tuple(output.shape)


def _in_keras_order(tensor: Tensor, axes: tuple[int, ...] | None) -> Tensor:
    return tensor.permute(axes) if axes else tensor


def _is_plain_tuple(outputs: Any) -> bool:
    return isinstance(outputs, tuple) and not hasattr(outputs, "path")


def _turn_dropout_off(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd | SharedDropout):
            module.p = 0.0
        for rate in ("dropout", "recurrent_dropout"):
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
