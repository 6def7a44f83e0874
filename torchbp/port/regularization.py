"""Regularizers and constraints of a ported model: a term of its loss, and what follows a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.port.ported import PortedLayer, keras_tensors, ported_layers, tensors_of_arrays
from torchbp.train import Callback, Trainer


def regularization(model: nn.Module) -> Tensor:
    """What the regularizers of the Keras layers add to the loss; zero if there are none.

    It is Keras's `sum(model.losses)`: of the weights that are trained, each once, however often
    its layer is called.

    Args:
        model: what `load` or `from_keras` returned, or a copy of it.

    Returns:
        A scalar, to which gradients can be computed.

    Raises:
        DataError: the model was not ported.

    Example:
        loss = criterion(model(x), y) + port.regularization(model)

    With a Trainer: `Regularized`. TensorFlow rounds the factors to float32, for weights in
    float64, too.
    """
    total: Tensor | None = None
    for layer, module in _layers(model):
        if layer.rules.regularizers:
            arrays = _trained(layer, module)
            for number, regularizer in layer.rules.regularizers:
                if number in arrays:
                    term = regularizer(arrays[number])
                    total = term if total is None else total + term
    if total is None:
        first = next(model.parameters(), None)
        return torch.zeros(()) if first is None else first.new_zeros(())
    return total


@torch.no_grad()
def apply_constraints(model: nn.Module) -> None:
    """Projects the weights as the constraints of the Keras layers ask; call it after each step.

    Args:
        model: what `load` or `from_keras` returned, or a copy of it.

    Raises:
        DataError: the model was not ported.

    Example:
        optimizer.step()
        port.apply_constraints(model)

    With a Trainer: `Constraints`.
    """
    for layer, module in _layers(model):
        if not layer.rules.constraints:
            continue
        trained = _trained(layer, module)
        rules = [(number, rule) for number, rule in layer.rules.constraints if number in trained]
        if not rules:
            continue
        own = dict(module.named_parameters()) | dict(module.named_buffers())
        arrays = keras_tensors(layer, module, own)
        for number, rule in rules:
            arrays[number] = rule(arrays[number])
        for name, tensor in tensors_of_arrays(layer, arrays).items():
            own[name].copy_(tensor)


def has_rules(model: nn.Module) -> tuple[bool, bool]:
    """Whether a ported model has regularizers, and whether it has constraints."""
    rules = [layer.rules for layer in ported_layers(model)]
    return any(r.regularizers for r in rules), any(r.constraints for r in rules)


class Regularized(nn.Module):
    """A loss and what the regularizers of a ported model add to it.

    Args:
        loss: loss(output, target) -> scalar.
        model: the ported model.
        factor: of what is added. Of several outputs one loss gets it, with one over the weight
            of that loss.

    Example:
        trainer = Trainer(model, port.Regularized(nn.MSELoss(), model), torch.optim.Adam)

    Sample weights would weigh the regularization, too, so that they are refused with it.

    Differences from Keras: of several outputs, the logs of the one that has the term contain it.
    """

    def __init__(
        self, loss: Callable[[Tensor, Tensor], Tensor], model: nn.Module, factor: float = 1.0
    ) -> None:
        super().__init__()
        self.loss = loss
        self.factor = factor
        self._model = (model,)  # not a part of the loss

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch with the term."""
        extra = regularization(self._model[0])
        return self.loss(output, target) + (extra if self.factor == 1 else self.factor * extra)


class Constraints(Callback):
    """Applies the constraints of a ported model after each step of the optimizer.

    Args:
        model: the ported model, which the trainer trains or which is a part of what it trains.

    Example:
        trainer = Trainer(model, nn.MSELoss(), torch.optim.Adam, callbacks=[Constraints(model)])
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._is_due = False

    def on_gradients(self, trainer: Trainer) -> None:
        """A step follows."""
        self._is_due = True

    def on_batch_end(self, trainer: Trainer) -> None:
        """After it."""
        self._apply()

    def on_evaluate_begin(self, trainer: Trainer) -> None:
        """After the last step of an epoch, if it is made after the last batch."""
        self._apply()

    def on_epoch_end(self, trainer: Trainer) -> None:
        """The same, without validation."""
        self._apply()

    def _apply(self) -> None:
        if self._is_due:
            apply_constraints(self._model)
        self._is_due = False


def _layers(model: nn.Module) -> Iterator[tuple[PortedLayer, nn.Module]]:
    for layer in ported_layers(model):
        if layer.rules.regularizers or layer.rules.constraints:
            yield layer, model.get_submodule(layer.module)


def _trained(layer: PortedLayer, module: nn.Module) -> dict[int, Any]:
    """The arrays of the layer that are trained, by their numbers."""
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    with torch.enable_grad():
        arrays = keras_tensors(layer, module, own)
    return {number: array for number, array in enumerate(arrays) if array.requires_grad}
