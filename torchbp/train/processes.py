"""The processes that train one model together, as `torchrun` starts them; usually just one."""

import atexit
import os
from typing import Any

import torch
from torch import Tensor, distributed, nn


def join_processes(device: torch.device | None) -> torch.device | None:
    """Joins the other processes that torchrun has started, if there are any.

    Args:
        device: where the model is meant to be; a CUDA device without an index becomes the one of
            this process.

    Returns:
        The device of this process.
    """
    if not distributed.is_available() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    on_gpu = torch.cuda.is_available() if device is None else device.type == "cuda"
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
        atexit.register(_leave)
    if not on_gpu or (device is not None and device.index is not None):
        return device
    own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(own)
    return own


def num_processes() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if _are_several() else 1


def is_sharded(module: nn.Module) -> bool:
    """Whether torch's `fully_shard` was called on it, so that each process has a part of it."""
    return hasattr(module, "set_requires_gradient_sync")


def rank() -> int:
    """Which of the processes this is, from 0 on."""
    return distributed.get_rank() if _are_several() else 0


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in place."""
    if _are_several():
        distributed.all_reduce(tensor)
    return tensor


def from_main(tensor: Tensor) -> Tensor:
    """The tensor of process 0, in place."""
    if _are_several():
        distributed.broadcast(tensor, 0)
    return tensor


def gather(value: Any) -> list[Any]:
    """The values of all processes, in each of them."""
    if not _are_several():
        return [value]
    values: list[Any] = [None] * num_processes()
    distributed.all_gather_object(values, value)
    return values


def _are_several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
