"""The chapter's optimizers on both sides, with Keras's formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from torchbp.optim import SGD, Adam, RMSprop

Rounding = Callable[[float], float]


@dataclass(frozen=True)
class OptimizerPair:
    """An optimizer on both sides.

    Args:
        name: what reports call it.
        keras: makes Keras's optimizer; gets the function that rounds constants.
        torch: makes torch's for a model; gets the model and that function.
        lr: the learning rate on both sides, the scale of a step.
        adaptive: the step is divided by the gradient's size, so that rounding noise in a small
            gradient becomes a step of up to lr.
        steps: for how many steps the two must agree, at most.
    """

    name: str
    keras: Callable[[Rounding], Any]
    torch: Callable[[nn.Module, Rounding], torch.optim.Optimizer]
    lr: float
    adaptive: bool = True
    steps: int = 50


def chapters_optimizers() -> tuple[OptimizerPair, ...]:
    """SGD with momentum, the chapter's RMSprop, and Adam, in Keras's defaults otherwise."""
    return (
        sgd(lr=1e-2),
        OptimizerPair("rmsprop", _keras_rmsprop, _torch_rmsprop, lr=1e-3),
        OptimizerPair("adam", _keras_adam, _torch_adam, lr=1e-3),
    )


def rounding(reference: str) -> Rounding:
    """How the reference holds Python constants.

    TensorFlow rounds some of them to float32, even for float64 weights: the momentum of SGD, and
    the betas in Adam's bias corrections but not in its moments. Constants that float32 holds are
    the same everywhere, so both sides are given those.
    """
    return _through_float32 if reference == "keras-tensorflow" else float


def _through_float32(constant: float) -> float:
    return torch.tensor(constant, dtype=torch.float32).item()


def sgd(lr: float) -> OptimizerPair:
    """SGD with momentum."""

    def in_keras(rounded: Rounding) -> Any:
        import keras

        return keras.optimizers.SGD(lr, momentum=rounded(0.9))

    def in_torch(model: nn.Module, rounded: Rounding) -> torch.optim.Optimizer:
        return SGD(model.parameters(), lr=lr, momentum=rounded(0.9), lr_in_momentum=True)

    return OptimizerPair("sgd", in_keras, in_torch, lr, adaptive=False, steps=10)


def _keras_rmsprop(rounded: Rounding) -> Any:
    import keras

    return keras.optimizers.RMSprop(1e-3, rho=0.9, epsilon=1e-7)


def _torch_rmsprop(model: nn.Module, rounded: Rounding) -> torch.optim.Optimizer:
    return RMSprop(
        model.parameters(), lr=1e-3, alpha=0.9, eps=1e-7, eps_in_sqrt=True, lr_in_momentum=True
    )


def _keras_adam(rounded: Rounding) -> Any:
    import keras

    return keras.optimizers.Adam(1e-3, beta_1=rounded(0.9), beta_2=rounded(0.999), epsilon=1e-7)


def _torch_adam(model: nn.Module, rounded: Rounding) -> torch.optim.Optimizer:
    betas = (rounded(0.9), rounded(0.999))
    return Adam(model.parameters(), lr=1e-3, betas=betas, eps=1e-7, eps_before_correction=True)
