"""Tensors of a model that is sharded over processes, and whole ones."""

from typing import Any

from torch import Tensor, nn

from torchbp.train.processes import is_sharded


def own_parts(tensors: list[Tensor]) -> list[Tensor]:
    """What this process has of each tensor, in the tensor's own memory."""
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]


def shard_again(model: nn.Module) -> None:
    """Frees the whole parameters that a sharded model keeps after a call, which would go stale."""
    for module in model.modules():
        if is_sharded(module):
            module.reshard()  # type: ignore[operator]


def sharded_like(value: Any, present: Any) -> Any:
    """A whole tensor dealt out over the processes as another one is, if that one is.

    Args:
        value: a tensor that is the same in all processes, which all must call this; what is
            sharded already, and what is no tensor, stays.
        present: the tensor whose place it is to take.
    """
    if not isinstance(value, Tensor) or not hasattr(present, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(value, DTensor):
        return value
    return distribute_tensor(value.to(present.device), present.device_mesh, present.placements)
