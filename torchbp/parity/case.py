"""A parity case: one model written in Keras and in torch, and what corresponds to what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from torchbp.parity.keras_setup import REFERENCES
from torchbp.parity.optimizers import OptimizerPair, chapters_optimizers
from torchbp.port.layer_weights import Kind
from torchbp.port.registry import Weights

if TYPE_CHECKING:
    import numpy as np

Arrays = dict[str, Any]
"""numpy arrays by name."""


@dataclass(frozen=True)
class Pair:
    """A Keras layer and the torch module that stands for it.

    Args:
        keras: the layer's name in the Keras model; `model/layer` in a model inside it.
        torch: the module's name in the torch model, dotted where it is nested.
        kind: how the weights correspond, as a word or as a ported layer has it; None for layers
            without weights.
        value: the torch value that equals the layer's output, where the module's own output does
            not: the name of a submodule, or of a node of a functional model, such as the relu
            that follows a Linear. One name for each call of the layer.
        axes: order in which the dimensions of the torch value are those of the Keras output;
            (0, 2, 1) for (N, C, T) against (N, T, C).

    Example:
        >>> Pair("conv_1", "conv1d", "conv", value="relu", axes=(0, 2, 1)).values
        ('relu',)
    """

    keras: str
    torch: str
    kind: Kind | tuple[Weights, ...] | None = None
    value: str | tuple[str, ...] | None = None
    axes: tuple[int, ...] | None = None

    @property
    def values(self) -> tuple[str, ...]:
        """The names of the torch values, one for each call; empty: the module's own outputs."""
        if self.value is None:
            return ()
        return (self.value,) if isinstance(self.value, str) else self.value


@dataclass(frozen=True)
class Head:
    """One output with its loss on both sides.

    Args:
        name: the output's name, on both sides.
        loss: Keras's name of the loss, or one of its losses.
        criterion: the same loss in torch, called with (output, target).
        weight: its share in the total loss.
        axes: order of the torch output's dimensions that gives the Keras output's.
    """

    name: str
    loss: Any
    criterion: nn.Module
    weight: float = 1.0
    axes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Sizes:
    """How large a model is built and how much data it gets.

    Args:
        batch_size: rows of a batch.
        length: time steps of a sequence, for cases that have any.
        model: keyword arguments of both builders.
    """

    batch_size: int
    length: int = 0
    model: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """A batch of data for both sides; floats are float64, whole numbers int32.

    Args:
        inputs: by the names of the Keras inputs, in the order of the torch model's arguments.
        targets: by the names of the heads.
    """

    inputs: Arrays
    targets: Arrays


@dataclass(frozen=True)
class Case:
    """A concept on both sides, and everything needed to compare the two.

    Args:
        name: what reports and `--only` call it.
        keras_model: builds the Keras model, with `Sizes.model` as keyword arguments.
        torch_model: builds the torch model, any nn.Module, likewise.
        data: makes a batch from a random generator and sizes. Values must keep probabilities
            away from 0 and 1: where a loss is clipped, Keras's backends differ among themselves.
        pairs: the layers, in the order of computation. Every layer with weights is in one; those
            without weights are for naming the place where two models part.
        heads: the outputs, in order.
        full: the sizes for the levels 1 to 3, the chapter's.
        small: the sizes for the levels 4 to 7, which compute much more.
        input_axes: by name, the order of a Keras input's dimensions that gives the torch input's;
            (0, 3, 1, 2) for images.
        own_weights: compare with the weights that the Keras model is built with, not drawn ones.
        seed: of the weights. A case chooses another one where an output comes out near zero: its
            relative error would measure the cancellation in it. Or where training saturates a loss.
        smooth: nothing in the model has a kink (relu, max pooling): in float32 its gradients
            can be compared tightly.
        deep: many layers with kinks. In float32 their training is compared for 10 steps at most;
            later a flipped relu has spread, even between two programs on the same kernels.
        large: a network of tens of layers. Float64 is computed in the small sizes at all levels,
            float32 in the full ones up to level 5; float32 training is compared by the loss.
        shift: normalisations add numbers from -shift to shift. With random weights and small
            shifts a deep network forgets its input layer by layer, and its normalisations then
            enlarge rounding until float32 tells nothing; larger ones keep it well-conditioned.
        zero_gradients: weights, by their torch names, whose gradient is zero in theory, such as
            the bias before a normalisation. Theirs is compared on the scale of the largest
            gradient of their layer, since what is left of it is rounding alone. None: those whose
            gradient in Keras is 1e-10 of that at most.
        optimizers: what level 6 trains with.
        steps: after how many steps of training level 6 compares the weights.
        references: which of Keras's backends compute the case.
        note: where the two frameworks really differ, and why.
        source: the file that the case was loaded from. A reference that needs a process of its
            own loads it there again.
    """

    name: str
    keras_model: Callable[..., Any]
    torch_model: Callable[..., nn.Module]
    data: Callable[[np.random.Generator, Sizes], Batch]
    pairs: tuple[Pair, ...]
    heads: tuple[Head, ...]
    full: Sizes
    small: Sizes
    own_weights: bool = False
    seed: int = 0
    smooth: bool = False
    deep: bool = False
    large: bool = False
    shift: float = 0.2
    zero_gradients: tuple[str, ...] | None = ()
    input_axes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    optimizers: tuple[OptimizerPair, ...] = field(default_factory=chapters_optimizers)
    steps: tuple[int, ...] = (1, 10, 50)
    references: tuple[str, ...] = REFERENCES
    note: str = ""
    source: Path | None = None

    def batches(self, sizes: Sizes, count: int) -> list[Batch]:
        """The same `count` batches each time they are asked for."""
        import numpy as np

        return [self.data(np.random.default_rng(seed), sizes) for seed in range(count)]
