"""What is refused in the first batch, and what is not."""

import functools
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp.errors import DataError, DtypeError
from torchbp.losses import ProbBCELoss, ProbCrossEntropyLoss
from torchbp.train import Trainer

N = 8
X = torch.randn(N, 4, generator=torch.Generator().manual_seed(1))
LABELS = (X[:, :1] > 0).float()
CLASSES = X[:, :3].argmax(1)


def make_model(size, last=None):
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(4, size), last or nn.Identity())


def fit(model, loss, target, **settings):
    trainer = Trainer(model, loss, functools.partial(torch.optim.SGD, lr=0.1), **settings)
    return trainer.fit(X, target, batch_size=4, shuffle=False, progress=False)


def refused(error, message, model, loss, target, mend="", **settings):
    before = model[0].weight.detach().clone()
    with pytest.raises(error, match=f"(?s){message}.*To mend it:.*{mend}"):
        fit(model, loss, target, **settings)
    assert torch.equal(model[0].weight, before)


def mean_squared(output, target):
    return (output - target).square().mean()


def of_cast_target(output, target):
    return (target.double() - output.sigmoid()).square().mean()


class Custom(nn.Module):
    def forward(self, output, target):
        return F.mse_loss(output, target) + 1


BROADCASTING = {
    "MSELoss": nn.MSELoss(),
    "L1Loss": nn.L1Loss(),
    "SmoothL1Loss": nn.SmoothL1Loss(),
    "HuberLoss": nn.HuberLoss(),
    "PoissonNLLLoss": nn.PoissonNLLLoss(),
    "BCEWithLogitsLoss": nn.BCEWithLogitsLoss(),
    "mse_loss": F.mse_loss,
    "partial": functools.partial(F.huber_loss, delta=2.0),
    "function": mean_squared,
    "of a cast target": of_cast_target,
    "module": Custom(),
    "compiled module": torch.compile(nn.MSELoss(), backend="eager"),
    "compiled function": torch.compile(mean_squared, backend="eager"),
}


@pytest.mark.parametrize("loss", BROADCASTING)
@pytest.mark.parametrize("shape", [(N,), (N, 3), (N, 1, 1)])
def test_refuses_to_broadcast_the_output_with_its_target(loss, shape):
    target = LABELS.reshape(N, *[1] * (len(shape) - 1)).expand(shape).contiguous()
    message = re.escape(f"expected targets (4, 1) like the output, got {(4, *shape[1:])}")
    refused(DataError, message, make_model(1), BROADCASTING[loss], target)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo looks at it
@pytest.mark.parametrize("loss", BROADCASTING)
def test_takes_outputs_and_targets_of_one_shape(loss):
    assert fit(make_model(1), BROADCASTING[loss], LABELS)["loss"][0] > 0


def test_says_how_to_reshape_the_target():
    message = r"targets.reshape\(-1, 1\)"
    with pytest.raises(DataError, match=message):
        fit(make_model(1), nn.MSELoss(), LABELS.squeeze(1))


@pytest.mark.parametrize(
    "loss",
    [
        lambda output, target: F.mse_loss(output.squeeze(1), target),
        lambda output, target: (output.squeeze(1) - target).square().mean(),
        lambda output, target: (output.T - target).square().mean(),
        lambda output, target: mean_squared(output, target.unsqueeze(1)),
        lambda output, target: (output - target.unsqueeze(0)).square().mean(),  # all pairs
    ],
)
def test_takes_a_loss_that_lines_them_up_itself(loss):
    assert fit(make_model(1), loss, LABELS.squeeze(1))["loss"][0] > 0


def test_a_loss_may_compare_classes_with_rows():
    def hinge(output, target):
        right = output.gather(1, target.unsqueeze(1))
        return (output - right + 1).clamp(min=0).mean()

    assert fit(make_model(3), hinge, CLASSES)["loss"][0] > 0


SIGMOID, SOFTMAX = nn.Sigmoid(), nn.Softmax(1)
FLAT = nn.Sequential(nn.Sigmoid(), nn.Flatten(0))
PROBABILITIES = {
    "CrossEntropyLoss": (3, SOFTMAX, nn.CrossEntropyLoss(), CLASSES, "ProbCrossEntropyLoss"),
    "cross_entropy": (3, SOFTMAX, F.cross_entropy, CLASSES, "ProbCrossEntropyLoss"),
    "a function": (
        3, SOFTMAX, lambda o, t: F.cross_entropy(o, t.long()), CLASSES, "ProbCrossEntropyLoss",
    ),
    "sigmoids": (3, SIGMOID, nn.CrossEntropyLoss(), CLASSES, "ProbCrossEntropyLoss"),
    "BCEWithLogitsLoss": (1, SIGMOID, nn.BCEWithLogitsLoss(), LABELS, "ProbBCELoss"),
    "flattened": (1, FLAT, nn.BCEWithLogitsLoss(), LABELS.squeeze(1), "ProbBCELoss"),
}  # fmt: skip


@pytest.mark.parametrize("case", PROBABILITIES)
def test_refuses_probabilities_for_a_loss_that_takes_logits(case):
    size, last, loss, target, remedy = PROBABILITIES[case]
    message = "expected logits for .*, got probabilities"
    refused(DataError, message, make_model(size, last), loss, target, f"torchbp.losses.{remedy}")


def test_sees_probabilities_of_classes_without_autograd():
    trainer = Trainer(make_model(3, SOFTMAX), nn.CrossEntropyLoss())
    with pytest.raises(DataError, match="expected logits for cross_entropy, got probabilities"):
        trainer.evaluate(X, CLASSES, progress=False)


class Constant(nn.Module):
    """Gives the same logits for whatever comes."""

    def __init__(self, values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, x):
        return self.values.expand(len(x), -1)


@pytest.mark.parametrize(
    "values", [[0.0, 0.0, 0.0], [0.2, 0.3, 0.4], [0.9, 0.8, 0.7], [2.0, -1, 0]]
)
def test_logits_that_look_a_little_like_probabilities_are_logits(values):
    assert fit(Constant(values), nn.CrossEntropyLoss(), CLASSES)["loss"][0] > 0


def test_logits_between_0_and_1_are_logits():
    assert fit(Constant([0.5]), nn.BCEWithLogitsLoss(), LABELS)["loss"][0] > 0


def test_a_gate_within_the_model_is_no_probability():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 1)

        def forward(self, x):
            return self.linear(x) * x[:, :1].sigmoid()

    assert fit(Gated(), nn.BCEWithLogitsLoss(), LABELS)["loss"][0] > 0


@pytest.mark.parametrize(
    ("size", "loss", "target"),
    [
        (1, nn.BCELoss(), LABELS),
        (1, F.binary_cross_entropy, LABELS),
        (1, ProbBCELoss(), LABELS),
        (3, ProbCrossEntropyLoss(), CLASSES),
    ],
    ids=["BCELoss", "binary_cross_entropy", "ProbBCELoss", "ProbCrossEntropyLoss"],
)
def test_refuses_logits_for_a_loss_that_takes_probabilities(size, loss, target):
    message = "expected probabilities, from 0 to 1, for .*, got values from -"
    refused(DataError, message, make_model(size), loss, target)
    last = SIGMOID if size == 1 else SOFTMAX
    assert fit(make_model(size, last), loss, target)["loss"][0] > 0


@pytest.mark.parametrize(
    ("loss", "target", "got"),
    [
        (nn.CrossEntropyLoss(), CLASSES.float(), "torch.float32"),
        (F.cross_entropy, CLASSES.double(), "torch.float64"),
        (nn.NLLLoss(), CLASSES.float(), "torch.float32"),
        (nn.CrossEntropyLoss(), CLASSES.int(), "torch.int32"),
    ],
)
def test_refuses_targets_that_are_no_indices_for_a_loss_of_indices(loss, target, got):
    message = rf"expected class indices \(4,\) as int64 for .*, got {got}"
    refused(DtypeError, message, make_model(3, nn.LogSoftmax(1)), loss, target)


def test_refuses_one_hot_targets_of_integers():
    target = F.one_hot(CLASSES, 3)
    message = r"probabilities of the classes as floats for targets \(4, 3\), got torch.int64"
    refused(DtypeError, message, make_model(3), nn.CrossEntropyLoss(), target)


def test_refuses_indices_in_a_column():
    message = r"expected targets \(4,\) of class indices or \(4, 3\) of prob.*got \(4, 1\)"
    refused(DataError, message, make_model(3), nn.CrossEntropyLoss(), CLASSES.unsqueeze(1))


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), nn.HuberLoss(), nn.BCELoss()])
def test_refuses_integers_for_a_loss_of_floats(loss):
    message = r"expected targets of torch.float32 like the output for .*, got torch.int64"
    refused(DtypeError, message, make_model(1, SIGMOID), loss, LABELS.long())


@pytest.mark.parametrize("loss", [nn.HuberLoss(), nn.BCELoss()])
def test_refuses_a_wider_float_where_torch_fails_in_the_backward_pass(loss):
    message = r"expected targets of torch.float32 like the output for .*, got torch.float64"
    refused(DtypeError, message, make_model(1, SIGMOID), loss, LABELS.double())


def test_a_metric_may_not_broadcast_either():
    def accuracy(output, target):
        return ((output > 0) == target).float().mean()

    model = nn.Sequential(nn.Linear(4, 1))
    loss = lambda output, target: F.mse_loss(output.squeeze(1), target)  # noqa: E731
    with pytest.raises(DataError, match=r"output metric 'accuracy': expected targets \(4, 1\)"):
        fit(model, loss, LABELS.squeeze(1), metrics=accuracy)
    assert fit(model, nn.MSELoss(), LABELS, metrics=accuracy)["accuracy"][0] > 0


def test_refuses_a_loss_that_is_not_one_number():
    message = r"output \(<lambda>\): expected the loss to be a scalar tensor, got \(4, 1\)"
    refused(DataError, message, make_model(1), lambda o, t: (o - t).square(), LABELS)


@pytest.mark.parametrize("loss", [nn.MSELoss, "mse", 3])
def test_refuses_what_is_no_loss(loss):
    with pytest.raises(DataError, match=r"loss: expected loss\(input, target\), a module or a fun"):
        Trainer(make_model(1), loss)


def test_names_the_output_and_its_loss():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 1)

        def forward(self, x):
            return {"age": self.linear(x), "size": self.linear(x)}

    losses = {"age": nn.MSELoss(), "size": nn.L1Loss()}
    targets = {"age": LABELS, "size": LABELS.squeeze(1)}
    with pytest.raises(DataError, match=r"output 'size' \(L1Loss\): expected targets \(4, 1\)"):
        fit(Named(), losses, targets)
