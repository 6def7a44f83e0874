"""Sample and class weights, by the formula sum(value * weight) / number of values."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp.errors import DataError
from torchbp.losses import ProbBCELoss, ProbCrossEntropyLoss
from torchbp.train import Trainer
from torchbp.train.objectives import Criterion

make_sgd = functools.partial(torch.optim.SGD, lr=0.1)
N = 6
WEIGHTS = torch.tensor([0.5, 1.0, 0.0, 2.0, 3.0, 0.25], dtype=torch.float64)
LOGITS = torch.randn(N, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
CLASSES = torch.tensor([0, 1, 2, 0, 1, 1])
ONE_HOT = F.one_hot(CLASSES, 3).double()


def evaluate(loss, output, target, model=None, **settings):
    trainer = Trainer(model or nn.Identity(), loss)
    return trainer.evaluate(output, target, progress=False, **settings)["loss"]


def squared(output, target):
    return ((output - target) ** 2).mean(1)


def cross_entropies(logits, target):
    return torch.stack([-row.log_softmax(0)[c] for row, c in zip(logits, target, strict=True)])


P = LOGITS.softmax(1)
WEIGHED = {
    "MSELoss": (nn.MSELoss(), LOGITS, ONE_HOT, squared(LOGITS, ONE_HOT)),
    "mse_loss": (F.mse_loss, LOGITS, ONE_HOT, squared(LOGITS, ONE_HOT)),
    "L1Loss": (nn.L1Loss(), LOGITS, ONE_HOT, (LOGITS - ONE_HOT).abs().mean(1)),
    "CrossEntropyLoss": (
        nn.CrossEntropyLoss(), LOGITS, CLASSES, cross_entropies(LOGITS, CLASSES),
    ),
    "cross_entropy": (F.cross_entropy, LOGITS, CLASSES, cross_entropies(LOGITS, CLASSES)),
    "partial": (
        functools.partial(F.huber_loss, delta=100.0), LOGITS, ONE_HOT,
        squared(LOGITS, ONE_HOT) / 2,
    ),
    "CrossEntropyLoss with class weights": (
        nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]).double()), LOGITS, CLASSES,
        cross_entropies(LOGITS, CLASSES) * (CLASSES + 1),
    ),
    "ProbCrossEntropyLoss": (ProbCrossEntropyLoss(), P, CLASSES, cross_entropies(LOGITS, CLASSES)),
    "ProbBCELoss": (
        ProbBCELoss(), P, ONE_HOT, -torch.where(ONE_HOT == 1, P, 1 - P).log().mean(1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WEIGHED)
def test_the_weighted_loss_divides_by_the_number_of_values(case):
    loss, output, target, values = WEIGHED[case]
    got = evaluate(loss, output, target, sample_weight=WEIGHTS)
    assert got == pytest.approx(((values * WEIGHTS).sum() / N).item(), rel=1e-13)


def test_the_loss_of_a_position_is_averaged_within_its_sample():
    logits = torch.randn(N, 3, 5, dtype=torch.float64)
    target = torch.randint(3, (N, 5))
    got = evaluate(nn.CrossEntropyLoss(), logits, target, sample_weight=WEIGHTS)
    values = torch.stack([cross_entropies(logits[..., t], target[:, t]) for t in range(5)], 1)
    assert got == pytest.approx(((values * WEIGHTS[:, None]).sum() / (N * 5)).item(), rel=1e-13)


def test_weighs_batches_by_their_samples():
    values = squared(LOGITS, ONE_HOT)
    got = evaluate(nn.MSELoss(), LOGITS, ONE_HOT, sample_weight=WEIGHTS, batch_size=4)
    assert got == pytest.approx(((values * WEIGHTS).sum() / N).item(), rel=1e-13)


def test_the_loss_of_the_user_is_not_changed():
    loss = nn.MSELoss()
    evaluate(loss, LOGITS, ONE_HOT, sample_weight=WEIGHTS)
    assert loss.reduction == "mean"


def test_trains_on_the_weighted_loss():
    model, bare = nn.Linear(3, 1).double(), nn.Linear(3, 1).double()
    bare.load_state_dict(model.state_dict())
    y = LOGITS.sum(1, keepdim=True)
    Trainer(model, nn.MSELoss(), make_sgd).fit(
        LOGITS, y, sample_weight=WEIGHTS, shuffle=False, progress=False
    )
    ((bare(LOGITS) - y).square().squeeze(1) * WEIGHTS).sum().div(N).backward()
    wanted = bare.weight - 0.1 * bare.weight.grad
    torch.testing.assert_close(model.weight, wanted, rtol=1e-13, atol=0)


def test_weights_do_not_change_the_type_of_the_loss():
    loss = Criterion(nn.MSELoss())(LOGITS.float(), ONE_HOT.float(), WEIGHTS)
    assert loss.dtype == torch.float32


class Heads(nn.Module):
    output_names = ("a", "b")

    def forward(self, x):
        return x, 2 * x


def both(weights):
    losses = {"a": nn.MSELoss(), "b": nn.MSELoss()}
    trainer = Trainer(Heads(), losses)
    targets = {"a": ONE_HOT, "b": ONE_HOT}
    return trainer.evaluate(LOGITS, targets, sample_weight=weights, progress=False)


def weighted(factor, weights):
    return ((squared(factor * LOGITS, ONE_HOT) * weights).sum() / N).item()


def test_weights_of_several_outputs_go_by_name_and_one_tensor_is_for_all():
    plain = torch.ones(N, dtype=torch.float64)
    cases = [
        ({"b": WEIGHTS}, plain, WEIGHTS),
        ([WEIGHTS, plain], WEIGHTS, plain),
        (WEIGHTS, WEIGHTS, WEIGHTS),
    ]
    for given, of_a, of_b in cases:
        result = both(given)
        assert result["a_loss"] == pytest.approx(weighted(1, of_a), rel=1e-13)
        assert result["b_loss"] == pytest.approx(weighted(2, of_b), rel=1e-13)


def test_weights_by_a_name_that_is_not_there_are_refused():
    with pytest.raises(DataError, match=r"sample_weight: expected names .*'a', 'b'.*got .'c'"):
        both({"c": WEIGHTS})


CLASS_WEIGHT = {1: 3.0}  # the others, below and above it, have 1
OF_CLASSES = torch.tensor([1.0, 3.0, 1.0, 1.0, 3.0, 3.0], dtype=torch.float64)
BINARY = torch.tensor([[0.0], [1.0], [1.0], [0.0], [1.0], [0.0]], dtype=torch.float64)
OF_BINARY = torch.tensor([1.0, 3.0, 3.0, 1.0, 3.0, 1.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "target", "values", "weights"),
    [
        (nn.CrossEntropyLoss(), CLASSES, cross_entropies(LOGITS, CLASSES), OF_CLASSES),
        (nn.CrossEntropyLoss(), ONE_HOT, cross_entropies(LOGITS, CLASSES), OF_CLASSES),
        (
            lambda o, t, reduction="mean": F.mse_loss(o[:, :1], t, reduction=reduction),
            BINARY,
            squared(LOGITS[:, :1], BINARY),
            OF_BINARY,
        ),
    ],
    ids=["indices", "one-hot", "binary"],
)
def test_class_weights_are_those_of_the_targets(loss, target, values, weights):
    trainer = Trainer(Shift(), loss, functools.partial(torch.optim.SGD, lr=0.0))
    history = trainer.fit(
        LOGITS, target, class_weight=CLASS_WEIGHT, batch_size=4,
        validation_data=(LOGITS, target), progress=False,
    )  # fmt: skip
    assert history["loss"] == [pytest.approx(((values * weights).sum() / N).item(), rel=1e-13)]
    assert history["val_loss"] == [pytest.approx(values.mean().item(), rel=1e-13)]


class Shift(nn.Module):
    """The identity, with something to train."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        return x + self.shift


def fit(loss=None, target=CLASSES, model=None, **settings):
    trainer = Trainer(model or Shift(), loss or nn.CrossEntropyLoss(), make_sgd)
    return trainer.fit(LOGITS, target, progress=False, **settings)


def per_sample(output, target):
    return (output - target).square().mean()


class Deaf(nn.MSELoss):
    """Says that it has a reduction and does not heed it."""

    def forward(self, input, target):
        return F.mse_loss(input, target)


REFUSED = {
    "both": (
        {"class_weight": {0: 2.0}, "sample_weight": WEIGHTS}, "class_weight: .*without sample",
    ),
    "names": ({"class_weight": {"cat": 2.0}}, "class_weight: expected a dict of class index"),
    "negative": ({"class_weight": {-1: 2.0}}, "class_weight: expected a dict of class index"),
    "empty": ({"class_weight": {}}, "class_weight: expected a dict of class index"),
    "positions": (
        {"class_weight": {0: 2.0}, "target": torch.zeros(N, 3, 2)}, "class_weight: .*6, 3, 2",
    ),
    "no reduction": (
        {"loss": per_sample, "target": ONE_HOT, "sample_weight": WEIGHTS},
        "loss per_sample: expected a loss that gives the value of each sample.*reduction None",
    ),
    "sum": (
        {"loss": nn.MSELoss(reduction="sum"), "target": ONE_HOT, "sample_weight": WEIGHTS},
        "loss MSELoss: .*reduction 'sum'",
    ),
    "deaf": (
        {"loss": Deaf(), "target": ONE_HOT, "sample_weight": WEIGHTS},
        r"loss Deaf: .*values \(\)",
    ),
    "columns": ({"sample_weight": WEIGHTS[:, None]}, r"sample weights \(6,\).*got \(6, 1\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_weights_that_do_not_fit(case):
    settings, message = REFUSED[case]
    with pytest.raises(DataError, match=f"(?s){message}.*To mend it:"):
        fit(**settings)


def test_class_weight_is_for_one_output_only():
    losses = {"a": nn.MSELoss(), "b": nn.MSELoss()}
    model = Heads()
    model.unused = nn.Parameter(torch.zeros(()))
    trainer = Trainer(model, losses, make_sgd)
    with pytest.raises(DataError, match="class_weight: expected a model with one output"):
        trainer.fit(LOGITS, {"a": ONE_HOT, "b": ONE_HOT}, class_weight={0: 2.0}, progress=False)


def test_a_summed_loss_is_taken_without_weights():
    got = evaluate(nn.MSELoss(reduction="sum"), LOGITS, ONE_HOT)
    assert got == pytest.approx((LOGITS - ONE_HOT).square().sum().item(), rel=1e-13)


@pytest.mark.parametrize(
    "loss", [nn.MSELoss(reduction="none"), functools.partial(F.mse_loss, reduction="none")]
)
def test_a_loss_that_does_not_reduce_is_refused(loss):
    with pytest.raises(
        DataError, match=r"(?i)mse_?loss: expected one number.*got reduction='none'"
    ):
        Trainer(nn.Identity(), loss)
