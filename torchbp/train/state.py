"""The state of optimizers and of a run by names and plain values, as a safe file can hold it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchbp.errors import DataError
from torchbp.train.processes import is_sharded

_PLAIN = (Tensor, str, int, float, bool, bytes, type(None), torch.dtype, torch.device, torch.Size)


def model_and_optimizer_state(
    model: nn.Module, optimizer: Optimizer
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The states of both, whole also where each process has a shard of the model.

    The optimizer's state is by the names of the parameters. Of a sharded model all processes
    must call it.
    """
    if is_sharded(model):
        from torch.distributed.checkpoint import state_dict

        options = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
        return state_dict.get_state_dict(model, optimizer, options=options)
    names = _names(model, optimizer)
    given = optimizer.state_dict()
    groups = [
        group | {"params": [names[index] for index in group["params"]]}
        for group in given["param_groups"]
    ]
    by_name = {names[index]: state for index, state in given["state"].items()}
    return model.state_dict(), given | {"state": by_name, "param_groups": groups}


def load_model_and_optimizer_state(
    model: nn.Module, optimizer: Optimizer, of_model: Mapping[str, Any], of_optimizer: Any
) -> None:
    """Restores what `model_and_optimizer_state` gave, whether it was sharded or not.

    Raises:
        DataError: the states do not fit the model or the optimizer.
    """
    names = _names(model, optimizer)
    saved = [name for group in of_optimizer["param_groups"] for name in group["params"]]
    if saved != names or len(of_optimizer["param_groups"]) != len(optimizer.param_groups):
        raise _misfit("optimizer", f"{len(names)} parameters {names}, got {len(saved)} {saved}")
    try:
        _load(model, optimizer, of_model, of_optimizer, names)
    except (RuntimeError, ValueError, KeyError) as error:
        raise _misfit("model", f"the model that it was made of, got one where {error}") from error


def check_plain(value: Any, where: str) -> None:
    """Refuses what a file cannot hold safely.

    Raises:
        DataError: something that is no number, string or tensor, nor a list or dict of these.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_plain(key, where)
            check_plain(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_plain(item, f"{where}[{index}]")
    elif not isinstance(value, _PLAIN) or type(value).__module__ == "numpy":
        raise DataError(
            f"{where}: expected numbers, strings, tensors, and lists and dicts of these, got "
            f"{type(value).__name__}.\n"
            "  To mend it: let state_dict give plain values, as in float(x) or x.tolist()."
        )


def _load(
    model: nn.Module, optimizer: Optimizer, of_model: Any, of_optimizer: Any, names: list[str]
) -> None:
    if is_sharded(model):
        from torch.distributed.checkpoint import state_dict

        state_dict.set_state_dict(
            model,
            optimizer,
            model_state_dict=of_model,
            optim_state_dict=of_optimizer,
            options=state_dict.StateDictOptions(full_state_dict=True),
        )
        return
    model.load_state_dict(of_model)
    index = {name: i for i, name in enumerate(names)}
    groups = [
        group | {"params": [index[name] for name in group["params"]]}
        for group in of_optimizer["param_groups"]
    ]
    by_index = {index[name]: state for name, state in of_optimizer["state"].items()}
    optimizer.load_state_dict(of_optimizer | {"state": by_index, "param_groups": groups})


def _names(model: nn.Module, optimizer: Optimizer) -> list[str]:
    """A name for each of the optimizer's parameters, in its order."""
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    parameters = [item for group in optimizer.param_groups for item in group["params"]]
    return [known.get(id(item), f"#{index}") for index, item in enumerate(parameters)]


def _misfit(who: str, what: str) -> DataError:
    return DataError(
        f"checkpoint: expected for its {who} {what}.\n"
        "  To mend it: make the model and the optimizer as when it was saved, or start anew in "
        "another folder."
    )
