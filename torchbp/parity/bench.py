"""Both halves of a case side by side, and the records of what is measured on them."""

from __future__ import annotations

import math
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from torch import Tensor

from torchbp.parity.case import Arrays, Batch, Case, Pair, Sizes
from torchbp.parity.cause import activated, activation_between, changes, rounding
from torchbp.parity.compare import Measure, worst
from torchbp.parity.diverge import Parting, agree, partings, values_of, with_values
from torchbp.parity.keras_side import KerasSide
from torchbp.parity.torch_side import TorchSide

Record = dict[str, Any]
LEVEL_NAMES = {
    1: "counts",
    2: "shapes",
    3: "forward",
    4: "training forward",
    5: "gradients",
    6: "training",
    7: "return trip",
}


class Bench:
    """Both halves of a case, in the case's two sizes, with the same weights and data.

    Args:
        case: the case.
        reference: "keras-tensorflow" or "keras-torch", which must be loaded.
        dtype: "float64" or "float32", which Keras must be set to.
        device: where the torch half computes.
    """

    def __init__(self, case: Case, reference: str, dtype: str, device: str) -> None:
        self.case = case
        self.reference = reference
        self.dtype = dtype
        self.device = device

    def halves(self, level: int) -> Halves:
        """The models in the size for a level."""
        in_full = level <= 3
        if self.case.large:
            in_full = self.dtype == "float32" and level <= 5
        return self.full if in_full else self.small

    @cached_property
    def full(self) -> Halves:
        """The models in full size."""
        return Halves(self, self.case.full)

    @cached_property
    def small(self) -> Halves:
        """The models in the size for the levels that compute much."""
        if self.case.small == self.case.full:
            return self.full
        return Halves(self, self.case.small)

    def record(self, level: int, what: str, value: float, tolerance: float, **more: Any) -> Record:
        """One figure with its verdict; the value of what could not be measured is None."""
        return {
            "case": self.case.name,
            "level": level,
            "name": LEVEL_NAMES[level],
            "what": what,
            "dtype": self.dtype,
            "device": self.device,
            "reference": self.reference,
            "value": value if math.isfinite(value) else None,
            "tolerance": tolerance,
            "ok": value <= tolerance,
            **more,
        }

    def compared(
        self,
        level: int,
        what: str,
        tensors: tuple[dict[str, Tensor], dict[str, Tensor]],
        measure: Measure,
        tolerance: float,
        backward: bool = False,
        only: Collection[str] | None = None,
    ) -> Record:
        """The worst figure over named tensors, and the first that is out of tolerance.

        Args:
            level: the level.
            what: what is compared.
            tensors: torch's, and Keras's.
            measure: of a tensor, what it should be, and the largest entry of its layer's tensors.
            tolerance: the bound.
            backward: look for the first from the last layer on, as gradients are computed.
            only: names of the tensors to measure, if not all of them.
        """
        ours, theirs = tensors
        errors = {
            name: measure(ours[name], expected, self._scale(name, theirs))
            for name, expected in theirs.items()
            if only is None or name in only
        }
        wrong = [name for name, error in errors.items() if not error <= tolerance]
        more = self.place(wrong[-1] if backward else wrong[0]) if wrong else {}
        return self.record(level, what, worst(errors.values()), tolerance, **more)

    def place(self, name: str) -> Record:
        """The layer of a weight, or of an output: what a failing record says."""
        for pair in self.case.pairs:
            if name.startswith(f"{pair.torch}."):
                return {"layer": pair.keras, "module": pair.torch, "weight": name}
        return {"layer": name}

    def _scale(self, name: str, tensors: dict[str, Tensor]) -> float:
        layer = name.rpartition(".")[0]
        own = [t for other, t in tensors.items() if other.rpartition(".")[0] == layer]
        return max(tensor.abs().max().item() for tensor in own)


class Halves:
    """The Keras half and the torch half in one size."""

    def __init__(self, bench: Bench, sizes: Sizes) -> None:
        self.case = bench.case
        self.sizes = sizes
        self.keras = KerasSide(bench.case, sizes, bench.dtype)
        self.torch = TorchSide(bench.case, sizes, bench.dtype, bench.device)
        self.weights = self.keras.weights()

    def batches(self, count: int) -> list[Batch]:
        """The first batches of the case's data."""
        return self.case.batches(self.sizes, count)

    def reset(self) -> None:
        """Both halves with the weights of the start, the same to the last bit."""
        self.keras.load(self.weights)
        self.torch.load(self.weights)

    def parting(self, training: bool, bound: float) -> Parting | None:
        """The first layer at which the two part, even if the torch half cannot finish, and why."""
        self.reset()
        inputs = self.batches(1)[0].inputs
        search = _Search(self, inputs, training, bound)
        return search.first()


class _Search:
    """Looks for the layer at which two halves part, and for the reason."""

    def __init__(self, halves: Halves, inputs: Arrays, training: bool, bound: float) -> None:
        self.halves, self.case = halves, halves.case
        self.inputs, self.training, self.bound = inputs, training, bound
        self.theirs = halves.keras.values(inputs, training)
        self.pairs = {pair.keras: pair for pair in self.case.pairs}

    def first(self) -> Parting | None:
        """The first layer that parts, and why."""
        for parting, lacks in partings(self.case, self.theirs, self._values(), self.bound):
            if parting.cause:
                return parting
            if lacks is None:
                return replace(parting, cause=self._cause(self.pairs[parting.layer]))
            if self._is_missing(self.pairs[parting.layer], lacks):
                return replace(parting, cause=f"{lacks} is missing on the torch side")
        return None

    def _values(self) -> dict[str, list[Tensor]]:
        return self.halves.torch.values(self.inputs, self.training)[0]

    def _agrees(self, pair: Pair) -> bool:
        found = values_of(pair, self._values()) or []
        return agree(found, self.theirs[pair.keras], self.bound)

    def _is_missing(self, pair: Pair, activation: str) -> bool:
        """Whether an activation is missing after a module: with it, what comes after agrees.

        A module may give its value before the activation that the torch model applies to it.
        """
        module = self.halves.torch.module(pair)
        known = with_values(self.case, self.theirs, self._values())
        after = [self.pairs[name] for name in self.halves.keras.next_of(pair.keras, known)]
        if module is None or not after:
            return True
        if any(map(self._agrees, after)):
            return False
        with activated(module, activation):
            return any(map(self._agrees, after))

    def _cause(self, pair: Pair) -> str:
        """Why a layer's values differ, in words; empty if no change that is tried mends them."""
        module = self.halves.torch.module(pair)
        if module is not None:
            for text, change in changes(module, *self.halves.keras.described(pair)):
                with suppress(Exception), change:  # a change that the module cannot take
                    if self._agrees(pair):
                        return text
        values, expected = self._values(), self.theirs[pair.keras][0]
        before, found = values_of(replace(pair, value=None), values), values_of(pair, values)
        variant = activation_between(before[0], expected, self.bound) if before else None
        if variant is not None:
            return f"activation variant: Keras computes {variant} here"
        return rounding(found[0], expected) if found else ""
