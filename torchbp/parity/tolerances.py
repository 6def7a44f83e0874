"""How far two figures may be apart, and why.

Float64 is where equality is proved: its bounds lie a hundred times and more above the worst
rounding that was measured, and a hundred times below the smallest difference in meaning (a
constant rounded to float32, 1e-9). In float32 a pre-activation within rounding of zero can flip a
whole path through a relu, and an adaptive step turns noise into a step of full length; there the
bounds are what Keras's own backends keep towards each other.
"""

from dataclasses import dataclass

MEASURE = (
    "The figure is max|a - b| / max|b| of a tensor, the worst tensor counts. Float64 is where "
    "equality is proved; float32 of nets with kinks cannot tell right from wrong any closer."
)


@dataclass(frozen=True)
class Tolerance:
    """A bound in each dtype, and its reason."""

    float64: float
    float32: float
    why: str

    def of(self, dtype: str) -> float:
        """The bound in this dtype."""
        return self.float64 if dtype == "float64" else self.float32


EXACT = Tolerance(0.0, 0.0, "counted or copied, not computed")
FORWARD = Tolerance(1e-12, 1e-5, "whole networks measured: 1.7e-15 and 8.5e-7")
STATISTICS = Tolerance(1e-13, 2e-6, "moving statistics after one step measured: 2e-16 and 1.3e-7")
LOSS = Tolerance(1e-13, 1e-6, "the loss of one batch measured: 3e-16 and 9e-8")
GRADIENT = Tolerance(1e-11, 1e-4, "measured: 5e-15, and 2e-6 where nothing has a kink")
GRADIENT_LENGTH = Tolerance(
    1e-11,
    1e-2,
    "relative L2 error, of all weights as one vector in networks of tens of layers: 4.7e-3",
)
GRADIENT_DIRECTION = Tolerance(1e-11, 1e-4, "1 - cosine of the angle: the direction stays")
SGD_10 = Tolerance(1e-10, 1e-5, "measured: 4e-16 and 1e-7")
SGD_10_KINKS = Tolerance(1e-10, 1e-4, "small convnets measured: 4e-16 and 2e-7")
SGD_10_LARGE = Tolerance(1e-10, 5e-2, "Xception measured: 3.4e-16 and 2.3e-2; float32: the loss")
ADAPTIVE_10_LARGE = Tolerance(1e-8, 5e-2, "Xception measured: 9e-14; float32: as below")
ADAPTIVE_10 = Tolerance(1e-9, 1e-4, "measured: 6e-13; float32: the loss, weights 2 lr steps")
ADAPTIVE_50 = Tolerance(1e-8, 1e-3, "measured: 6e-12; float32: the loss, weights 2 lr steps")


def table() -> dict[str, Tolerance]:
    """Every bound under the name that a reader knows it by."""
    return {
        "counts, shapes, copies": EXACT,
        "outputs": FORWARD,
        "moving statistics": STATISTICS,
        "loss of a batch": LOSS,
        "gradients": GRADIENT,
        "gradients of nets with kinks in float32, length": GRADIENT_LENGTH,
        "gradients of nets with kinks in float32, direction": GRADIENT_DIRECTION,
        "10 steps of SGD": SGD_10,
        "10 steps of SGD, nets with kinks": SGD_10_KINKS,
        "10 steps of SGD, networks of tens of layers": SGD_10_LARGE,
        "10 steps of RMSprop or Adam, networks of tens of layers": ADAPTIVE_10_LARGE,
        "10 steps of RMSprop or Adam": ADAPTIVE_10,
        "50 steps of RMSprop or Adam": ADAPTIVE_50,
    }


def training(adaptive: bool, steps: int, smooth: bool, large: bool) -> Tolerance:
    """The bound on losses, and in float64 on weights, after `steps` optimizer steps."""
    if large:
        return ADAPTIVE_10_LARGE if adaptive else SGD_10_LARGE
    if adaptive:
        return ADAPTIVE_10 if steps <= 10 else ADAPTIVE_50
    return SGD_10 if smooth else SGD_10_KINKS


def adaptive_weights_float32(lr: float, steps: int) -> float:
    """The absolute bound on float32 weights: both sides may step by lr in opposite directions."""
    return 2 * lr * steps


def gradient_floor(layer_scale: float) -> float:
    """The least that a gradient's error is divided by, where it is zero in theory.

    Args:
        layer_scale: the largest entry in the gradients of the layer's weights.
    """
    return 1e-6 * layer_scale
