"""How a model computes: where, in which precision, compiled or not, alone or with others."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from torchbp.errors import DataError
from torchbp.train.module import call_model, device_of
from torchbp.train.processes import is_sharded, join_processes, num_processes
from torchbp.train.tensors import map_tensors

Precision = Literal["fp32", "bf16", "fp16"]
Parallel = Literal["ddp", "fsdp"]

_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Engine:
    """The model on its device, as training and evaluation call it.

    Args:
        model: the module, which is moved in place.
        device: where it goes; None leaves it where it is, and of several processes that
            torchrun has started gives each its GPU, if there are any.
        precision: "fp32" computes in the model's own type; "bf16" and "fp16" in these where
            torch.autocast finds them safe, with outputs in float32 again for the losses, and
            fp16 with a gradient scaler.
        compile: whether torch.compile compiles the model.
        channels_last: whether image kernels and images get this memory format.
        parallel: with several processes, "ddp" gives each a whole model, "fsdp" a shard of it.

    Attributes:
        model: the module itself.
        scaler: the torch.amp.GradScaler of fp16, None otherwise.

    Raises:
        DataError: a word that is not one of these.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str | torch.device | None,
        precision: Precision,
        compile: bool,
        channels_last: bool,
        parallel: Parallel,
    ) -> None:
        _check_word("precision", precision, tuple(_AUTOCAST))
        _check_word("parallel", parallel, ("ddp", "fsdp"))
        own = join_processes(None if device is None else torch.device(device))
        self.model = model if own is None else model.to(own)
        if channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._autocast = _AUTOCAST[precision]
        self._device_type = self.device.type
        self.scaler = torch.amp.GradScaler(self._device_type) if precision == "fp16" else None
        self._alone: nn.Module = self.model
        self._together = _in_parallel(self.model, parallel)
        self._ddp = self._together if isinstance(self._together, DistributedDataParallel) else None
        self._is_single = num_processes() == 1
        if compile:
            self._alone, self._together = self._compiled()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return device_of(self.model)

    def train(self, inputs: Any) -> Any:
        """The outputs for a step, which all processes take together."""
        return self._call(self._together, inputs)

    def evaluate(self, inputs: Any) -> Any:
        """The outputs, without regard to other processes."""
        return self._call(self._alone, inputs)

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Adds the gradients; processes exchange them with the last batch of a step."""
        scaled: Any = loss if self.scaler is None else self.scaler.scale(loss)
        if self._is_single:
            scaled.backward()
            return
        with self._exchanging(is_last):
            scaled.backward()

    def unscale(self, optimizer: Optimizer) -> None:
        """Makes the gradients those of the loss itself."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer, skip: bool) -> None:
        """The optimizer's step; with a scaler, none if a gradient is not finite."""
        if self.scaler is None:
            if not skip:
                optimizer.step()
            return
        if not skip:
            self.scaler.step(optimizer)
        self.scaler.update()

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the model computes in its precision."""
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self._device_type, self._autocast)

    def _call(self, module: nn.Module, inputs: Any) -> Any:
        if self._autocast is None:
            return call_model(module, inputs)
        with self.autocast():
            outputs = call_model(module, inputs)
        return map_tensors(_widened, outputs)

    def _exchanging(self, is_last: bool) -> AbstractContextManager[None]:
        if is_sharded(self.model):
            self.model.set_requires_gradient_sync(is_last)  # type: ignore[operator]
            return nullcontext()
        return nullcontext() if is_last or self._ddp is None else self._ddp.no_sync()

    def _compiled(self) -> tuple[nn.Module, nn.Module]:
        alone: Any = torch.compile(self._alone)
        is_same = self._together is self._alone
        return alone, alone if is_same else torch.compile(self._together)  # type: ignore[return-value]


def _in_parallel(model: nn.Module, parallel: Parallel) -> nn.Module:
    if num_processes() == 1 or isinstance(model, DistributedDataParallel) or is_sharded(model):
        return model
    if parallel == "fsdp":
        from torch.distributed.fsdp import fully_shard

        fully_shard(model)
        return model
    return DistributedDataParallel(model)


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _check_word(name: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise DataError(
            f"{name}: expected one of {', '.join(map(repr, words))}, got {word!r}.\n"
            "  To mend it: choose one of them."
        )
