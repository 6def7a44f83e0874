"""check_layer catches every fault that it is there for, and says which."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp.graph import Layer
from torchbp.layers import Dropout, Linear, check_layer


class Sound(Layer):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8))

    def forward(self, x):
        return self.weight * x


class OtherShapeForManySamples(Sound):
    def forward(self, x):
        return super().forward(x)[:, : 8 if x.shape[0] < 5 else 7]


class OtherDtypeForManySamples(Sound):
    def forward(self, x):
        y = super().forward(x)
        return y if x.shape[0] < 5 else y.double()


class IgnoresAParameter(Sound):
    def __init__(self):
        super().__init__()
        self.forgotten = nn.Parameter(torch.ones(8))


class HasDeadParameter(Sound):
    def forward(self, x):
        return x + 0 * self.weight


class CutsTheGraph(Sound):
    def forward(self, x):
        return super().forward(x.detach())


class GradientIsNaN(Sound):
    def forward(self, x):
        return super().forward(x) + torch.sqrt(0 * x)


class DrawsInEvaluation(Sound):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.5))


class DrawsWithoutEffect(Sound):
    def forward(self, x):
        torch.rand(1)
        return super().forward(x)


class CountsInEvaluation(Sound):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


class HidesTrainingState(Sound):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8), persistent=False)

    def forward(self, x):
        if self.training:
            self.mean.copy_(x.detach().mean(0))
        return super().forward(x) - self.mean


class HidesAConstant(Sound):
    def __init__(self):
        super().__init__()
        self.offset = torch.randn(8)

    def forward(self, x):
        return super().forward(x) + self.offset


class ChangesItsInput(Sound):
    def forward(self, x):
        return super().forward(x.data.mul_(2) + x)


class ChangesItsInputInTraining(Sound):
    def forward(self, x):
        if self.training:
            x.data.mul_(2)
        return super().forward(x)


class SharesItsCopy(Sound):
    def __deepcopy__(self, memo):
        copied = type(self)()
        copied.weight = self.weight
        return copied


class ForgetsOnCopy(Sound):
    def __deepcopy__(self, memo):
        return type(self)()


class FixesTheBatchInExport(Sound):
    def forward(self, x):
        return super().forward(torch.cat(list(x.unbind(0))).reshape(x.shape))


class RefusesManySamples(Sound):
    def forward(self, x):
        if x.shape[0] > 5:
            raise ValueError("too many")
        return super().forward(x)


FAULTS = [
    (OtherShapeForManySamples, "symbolic outputs are .*a batch of 7"),
    (OtherDtypeForManySamples, "symbolic outputs are .*a batch of 7"),
    (IgnoresAParameter, "gradient of forgotten is none"),
    (HasDeadParameter, "gradient of weight is zero"),
    (CutsTheGraph, "gradient of input 0 is none"),
    (GradientIsNaN, "gradient of .* not finite"),
    (DrawsInEvaluation, "evaluation draws random numbers"),
    (DrawsWithoutEffect, "evaluation draws random numbers"),
    (CountsInEvaluation, "second call in evaluation"),
    (HidesAConstant, "same state_dict gives another output"),
    (ChangesItsInput, "changes its input in place"),
    (ChangesItsInputInTraining, "changes its input in place"),
    (SharesItsCopy, "deep copy shares parameters"),
    (ForgetsOnCopy, "deep copy gives another output"),
    (FixesTheBatchInExport, "exported, it has a fixed batch"),
]


def test_passes_a_sound_layer():
    check_layer(Sound, (8,))


@pytest.mark.parametrize(("layer_class", "message"), FAULTS)
def test_catches_a_layer_that(layer_class, message):
    with pytest.raises(AssertionError, match=f"^{layer_class.__name__}: .*{message}"):
        check_layer(layer_class, (8,))


def test_catches_state_of_training_that_is_not_saved():
    with pytest.raises(AssertionError, match="same state_dict gives another output"):
        check_layer(HidesTrainingState, (8,), train_differs=True)


def test_catches_undeclared_and_wrongly_declared_training():
    with pytest.raises(AssertionError, match="was not declared"):
        check_layer(Dropout, (8,))
    with pytest.raises(AssertionError, match="declared to differ from evaluation and does not"):
        check_layer(Sound, (8,), train_differs=True)


def test_notes_what_was_tested_when_the_layer_raises():
    with pytest.raises(ValueError, match="too many") as caught:
        check_layer(RefusesManySamples, (8,))
    assert "in check_layer: symbolic outputs are those of real calls" in caught.value.__notes__


def test_takes_plain_modules_and_integers():
    check_layer(lambda: nn.Linear(8, 3), (8,))
    check_layer(lambda: nn.Embedding(2, 3), (None,), dtype=torch.int32)


def test_takes_one_dtype_for_each_input():
    class Gate(Layer):
        def forward(self, x, keep):
            return x * keep

    check_layer(Gate, (8,), (8,), dtype=[torch.float64, torch.bool])


def test_leaves_the_random_numbers_of_the_caller_alone():
    state = torch.get_rng_state()
    check_layer(lambda: Linear(8, 3), (8,))
    assert torch.equal(torch.get_rng_state(), state)
