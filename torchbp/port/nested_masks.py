"""Masks of what a model within a model gives: the module gives its outputs, these are beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torchbp.graph import Model
from torchbp.graph.lower import Ref, lower
from torchbp.graph.structure import leaves
from torchbp.port.values import LostMask

Place = int | Literal["made", "lost"] | None


@dataclass(frozen=True)
class NestedMasks:
    """Where the mask of each output comes from.

    Args:
        places: for each output None if it has no mask, the position of the input that is its mask,
            "made" if the model of masks gives it, "lost" if it takes weights to make it.
        model: gives the masks that are made.
        inputs: the positions of the inputs that it takes.
    """

    places: tuple[Place, ...]
    model: Model | None
    inputs: tuple[int, ...]

    def of(self, tensors: Sequence[Any]) -> Iterator[Any]:
        """The masks of the outputs of a call, None for those that have none.

        Args:
            tensors: the inputs of the call.
        """
        made = iter(self.model(*(tensors[i] for i in self.inputs)) if self.model else ())
        for place in self.places:
            if isinstance(place, int):
                yield tensors[place]
            else:
                yield next(made) if place == "made" else LostMask() if place == "lost" else None


def masks_of_outputs(tensors: Sequence[Any], masks: Sequence[Any], name: str) -> NestedMasks:
    """The masks of a model's outputs, by what is given to it.

    Args:
        tensors: the model's symbolic inputs.
        masks: the symbolic masks of its outputs, None for those that have none.
        name: of the module that makes masks.
    """
    places: list[Place] = [_place(mask, tensors) for mask in masks]
    made = [mask for mask, place in zip(masks, places, strict=True) if place == "made"]
    if made:
        inputs = _needed(tensors, made)
        model = Model([tensors[i] for i in inputs], made, name=name)
        if next(model.parameters(), None) is None:
            return NestedMasks(tuple(places), model, inputs)
    return NestedMasks(tuple("lost" if place == "made" else place for place in places), None, ())


def _place(mask: Any, tensors: Sequence[Any]) -> Place:
    if mask is None:
        return None
    if isinstance(mask, LostMask):
        return "lost"
    return next((i for i, tensor in enumerate(tensors) if tensor is mask), "made")


def _needed(tensors: Sequence[Any], outputs: list[Any]) -> tuple[int, ...]:
    """The positions of the tensors that some outputs are computed from."""
    names = {f"given_{i}": tensor for i, tensor in enumerate(tensors)}
    lowered = lower(names, outputs, reserved=set())
    used = {ref.name for node in lowered.nodes for ref in node.refs()}
    used |= {leaf.name for leaf in leaves(lowered.outputs) if isinstance(leaf, Ref)}
    return tuple(i for i, name in enumerate(names) if name in used)
