"""What can be seen of a model while it trains: the output of each layer for one sample."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from torchbp.callbacks.shards import shard_again
from torchbp.errors import DataError
from torchbp.train import Trainer
from torchbp.train.module import call_model, device_of, float_dtype_of, in_mode
from torchbp.train.random_states import random_states, restore_random_states
from torchbp.train.tensors import as_tensors, map_tensors, move

OUTPUT = "output"


class Sample:
    """The sample that a callback looks at: the one that is given, or the first to validate on.

    Args:
        who: the callback, as an error calls it.
        given: inputs of the model, a batch of one; None for the first sample of the validation.
    """

    def __init__(self, who: str, given: Any = None) -> None:
        self.inputs: Any = None
        self._who = who
        self._given = given

    def begin(self, trainer: Trainer) -> None:
        """Forgets the sample of the last training."""
        self.inputs = None
        if self._given is not None:
            dtype = float_dtype_of(trainer.model)
            sample = as_tensors(self._given, dtype, f"{self._who}: sample")
            self.inputs = move(sample, device_of(trainer.model))

    def require(self, trainer: Trainer) -> None:
        """Refuses a training that will show no sample.

        Raises:
            DataError: no sample is given and there is no validation.
        """
        if self.inputs is None and trainer.validation is None:
            raise DataError(
                f"{self._who}: expected a sample or validation data to take the first one of, got "
                "neither.\n"
                "  To mend it: pass sample=x[:1], or validation_data to fit."
            )

    def see(self, trainer: Trainer) -> None:
        """Keeps the first sample of the batch at work, unless there is one."""
        if self.inputs is None:
            self.inputs = first_sample(trainer.current.inputs)


def first_sample(inputs: Any) -> Any:
    """A batch of one, in memory of its own."""
    return map_tensors(lambda tensor: tensor[:1].detach().clone(), inputs)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """A look at the model that training does not notice: evaluation mode, no gradients.

    Modes and random states are those of before afterwards.
    """
    states = random_states()
    try:
        with in_mode(model, training=False), torch.no_grad():
            yield
    finally:
        shard_again(model)
        restore_random_states(states)


def activations_of(model: nn.Module, inputs: Any) -> dict[str, Tensor]:
    """What each layer gives for the inputs, by its name in the model, in the order of the calls.

    A tuple or dict of tensors stands under `name.0`, `name.key` ..., the second call of a shared
    layer under `name.call_1`. What the model itself gives is `output`.
    """
    found: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            number = calls[name] = calls.get(name, -1) + 1
            called = f"{name}.call_{number}" if number else name
            found.update((key, tensor.detach().clone()) for key, tensor in parts(output, called))

        return hook

    handles: list[RemovableHandle] = []
    try:
        handles += [
            m.register_forward_hook(note(name)) for name, m in model.named_modules() if name
        ]
        with undisturbed(model):
            output = call_model(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return (
        dict(parts(output, OUTPUT)) | found
        if OUTPUT in found
        else found | dict(parts(output, OUTPUT))
    )


def parts(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Each tensor in a layer's output with its name, such as `lstm.1.0`."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from parts(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from parts(item, f"{name}.{index}")


def whole(tensor: Tensor) -> Tensor:
    """The tensor; of one that is sharded over processes, which all must ask for it, all shards."""
    tensor = tensor.detach()
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def whole_gradient(parameter: Tensor) -> Tensor | None:
    """The gradient of a parameter; of a sparse one, the rows that there are."""
    if parameter.grad is None:
        return None
    gradient = whole(parameter.grad)
    return gradient.coalesce().values() if gradient.is_sparse else gradient
