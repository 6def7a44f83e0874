"""Members of the same architecture as one batched call."""

from __future__ import annotations

import copy
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from torchbp.ensemble.member import Member
from torchbp.errors import DataError
from torchbp.train.tensors import map_tensors

if TYPE_CHECKING:
    from torchbp.ensemble.ensemble import Ensemble


class BatchedEnsemble(nn.Module):
    """A copy of an ensemble for inference: each architecture is called once for all its members.

    Args:
        ensemble: of modules; what is trained or weighted later does not change the copy.

    Shape:
        As the ensemble.

    Raises:
        DataError: members that are not modules.

    Example:
        >>> from torchbp.ensemble import Ensemble
        >>> nets = {name: nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1)) for name in "abc"}
        >>> batched = Ensemble(nets).batched()
        >>> len(batched.groups), batched(torch.zeros(2, 4)).shape
        (1, torch.Size([2, 3]))

    Weights of a group are stacked along a new first dimension and mapped by `torch.func.vmap`:
    matrix products become batched ones, convolutions grouped ones. It stays in evaluation mode.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        ensemble.require_modules()
        places: dict[tuple[Any, ...], list[int]] = {}
        members = []
        for place, member in enumerate(ensemble.members.values()):
            assert isinstance(member, Member)
            members.append(copy.deepcopy(member).eval())
            key = (member.architecture(), id(member.inputs))
            places.setdefault(key, []).append(place)
        self.places = list(places.values())
        self.groups = nn.ModuleList(
            StackedMembers([members[place] for place in own]) for own in self.places
        )
        self.names = ensemble.names
        self.tasks = dict(ensemble.tasks)
        self.finishing = copy.deepcopy(_without_members(ensemble))
        super().train(False)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The pooled outputs of one batch."""
        given = named or (inputs[0] if len(inputs) == 1 else inputs)
        columns: list[dict[str, Tensor]] = [{} for _ in self.names]
        for group, own in zip(self.groups, self.places, strict=True):
            for place, outputs in zip(own, group(given), strict=True):
                name = self.names[place]
                member = self.finishing.member(name)
                columns[place] = member.columns(outputs, self.tasks, f"member {name!r}")
        values = {name: torch.stack([own[name] for own in columns]) for name in self.tasks}
        return self.finishing.answer(values)

    def train(self, mode: bool = True) -> BatchedEnsemble:
        """Refuses to train: the copy's members could not be told apart again.

        Raises:
            DataError: mode is True.
        """
        if mode:
            raise DataError(
                "BatchedEnsemble: expected to be used for inference, got train().\n"
                "  To mend it: train the members, then make it anew with ensemble.batched()."
            )
        return super().train(mode)


class StackedMembers(nn.Module):
    """Members of one architecture, their weights stacked.

    Args:
        members: nets that differ in their weights only.
    """

    def __init__(self, members: list[Member]) -> None:
        super().__init__()
        parameters, buffers = stack_module_state([_net(member) for member in members])
        self.count = len(members)
        self._names = {"p": list(parameters), "b": list(buffers)}
        for i, value in enumerate(parameters.values()):
            self.register_parameter(f"p{i}", nn.Parameter(value.detach(), requires_grad=False))
        for i, value in enumerate(buffers.values()):
            self.register_buffer(f"b{i}", value)
        self._inputs = members[0].inputs
        self._activations = [member.activation for member in members]
        self._template = [copy.deepcopy(_net(members[0])).to("meta")]  # in a list: no submodule

    def forward(self, given: Any) -> list[Any]:
        """The outputs of each member."""
        seen = given if self._inputs is None else self._inputs(given)
        state = {
            name: getattr(self, f"{kind}{i}")
            for kind, names in self._names.items()
            for i, name in enumerate(names)
        }
        args, kwargs = ((), dict(seen)) if isinstance(seen, dict) else (_positional(seen), {})

        def call(own: dict[str, Tensor]) -> Any:
            return functional_call(self._template[0], own, args, kwargs)

        stacked = torch.vmap(call)(state)
        outputs = [map_tensors(itemgetter(i), stacked) for i in range(self.count)]
        return [
            outputs[i] if activation is None else map_tensors(activation, outputs[i])
            for i, activation in enumerate(self._activations)
        ]


def _positional(seen: Any) -> tuple[Any, ...]:
    return tuple(seen) if isinstance(seen, list | tuple) else (seen,)


def _net(member: Member) -> nn.Module:
    assert member.net is not None
    return member.net


def _without_members(ensemble: Ensemble) -> Ensemble:
    """The pooling and the weights; its nets are gone."""
    from torchbp.ensemble.ensemble import Ensemble as Class

    shells = {name: Member(nn.Identity()) for name in ensemble.names}
    poolings: Any = dict(ensemble.poolings.items())
    shell = Class(shells, ensemble.tasks, poolings)
    shell.weight.copy_(ensemble.weight)
    return shell.to(ensemble.weight.device)
