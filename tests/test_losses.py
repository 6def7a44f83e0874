"""The cross entropies of probabilities: their formulas, their clip, and what they refuse."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp.errors import DataError, DtypeError
from torchbp.losses import ProbBCELoss, ProbCrossEntropyLoss

EPS = 1e-7
SHAPES = [(4, 3), (4, 3, 5), (2, 3, 4, 5)]
SMOOTHINGS = [0.0, 0.1, 1.0]


def classes(shape, dtype=torch.float64):
    """Probabilities of the classes in dimension 1."""
    return torch.randn(shape, dtype=dtype).softmax(1)


def class_losses(p, target, smoothing=0.0):
    """The loss of each position by the formula, for targets in the shape of `p`, in numpy."""
    p = np.clip(p / p.sum(1, keepdims=True), EPS, 1 - EPS)
    target = target * (1 - smoothing) + smoothing / p.shape[1]
    return -(target * np.log(p)).sum(1)


def binary_losses(p, target, smoothing=0.0):
    """The loss of each element by the formula, in numpy."""
    p = np.clip(p, EPS, 1 - EPS)
    target = target * (1 - smoothing) + smoothing / 2
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


# One class out of several


@pytest.mark.parametrize(
    ("p", "target", "loss"),
    [
        ([[0.5, 0.25, 0.25]], [0], math.log(2)),
        ([[0.5, 0.25, 0.25]], [2], math.log(4)),
        ([[2.0, 1.0, 1.0]], [1], math.log(4)),  # renormalised: one in four
        ([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]], [0, 0], math.log(8) / 2),
        ([[0.5, 0.25, 0.25]], [[0.5, 0.5, 0.0]], math.log(8) / 2),
        ([[0.5, 0.25, 0.25]], [[0, 1, 0]], math.log(4)),
        ([[0.0, 1.0]], [0], -math.log(EPS)),
        ([[0.0, 1.0]], [1], -math.log(1 - EPS)),
    ],
)
def test_class_loss_of_a_few_numbers(p, target, loss):
    p = torch.tensor(p, dtype=torch.float64)
    result = ProbCrossEntropyLoss()(p, torch.tensor(target)).item()
    assert result == pytest.approx(loss, rel=1e-9)  # -log(1 - 1e-7) has lost seven digits


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_class_loss_follows_the_formula_on_any_shape(shape, smoothing):
    p, target = classes(shape), classes(shape)
    loss = ProbCrossEntropyLoss(label_smoothing=smoothing, reduction="none")(p, target)
    expected = class_losses(p.numpy(), target.numpy(), smoothing)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_class_indices_mean_their_one_hot_rows(shape, smoothing):
    p = classes(shape)
    indices = torch.randint(3, shape[:1] + shape[2:])
    rows = F.one_hot(indices, 3).movedim(-1, 1)
    loss = ProbCrossEntropyLoss(label_smoothing=smoothing, reduction="none")
    torch.testing.assert_close(loss(p, indices), loss(p, rows), rtol=1e-12, atol=0)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_class_loss_is_torchs_on_logits_away_from_the_clip(smoothing):
    logits, target = torch.randn(8, 5, dtype=torch.float64), torch.randint(5, (8,))
    loss = ProbCrossEntropyLoss(label_smoothing=smoothing)(logits.softmax(1), target)
    expected = nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, target)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def test_an_impossible_class_costs_what_the_clip_leaves_and_has_no_gradient():
    p = torch.tensor([[0.0, 1.0], [0.5, 0.5]], requires_grad=True)
    losses = ProbCrossEntropyLoss(reduction="none")(p, torch.tensor([0, 0]))
    losses.sum().backward()
    assert losses[0].item() == pytest.approx(16.118, abs=1e-3)
    assert p.grad[0].tolist() == [0, 0]
    assert p.grad[1].isfinite().all()
    assert p.grad[1, 0] < 0


# Independent yes or no


@pytest.mark.parametrize(
    ("p", "target", "loss"),
    [
        ([[0.5]], [[1.0]], math.log(2)),
        ([[0.25]], [[0.0]], math.log(4 / 3)),
        ([[0.25]], [[0.5]], math.log(16 / 3) / 2),
        ([[0.5, 0.25], [0.5, 0.5]], [[1, 1], [0, 1]], math.log(32) / 4),
        ([[0.0]], [[1]], -math.log(EPS)),
        ([[1.0]], [[0]], -math.log(EPS)),
        ([[0.0]], [[0]], -math.log(1 - EPS)),
    ],
)
def test_binary_loss_of_a_few_numbers(p, target, loss):
    p = torch.tensor(p, dtype=torch.float64)
    result = ProbBCELoss()(p, torch.tensor(target)).item()
    assert result == pytest.approx(loss, rel=1e-9)  # 1 - (1 - 1e-7) has lost seven digits


@pytest.mark.parametrize("shape", [(4,), *SHAPES])
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_binary_loss_follows_the_formula_on_any_shape(shape, smoothing):
    p, target = torch.rand(2, *shape, dtype=torch.float64)
    loss = ProbBCELoss(label_smoothing=smoothing, reduction="none")(p, target)
    expected = binary_losses(p.numpy(), target.numpy(), smoothing)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)


def test_binary_loss_is_torchs_away_from_the_clip():
    logits = torch.randn(8, 3, dtype=torch.float64)
    target = torch.randint(2, (8, 3)).double()
    loss = ProbBCELoss()(logits.sigmoid(), target)
    torch.testing.assert_close(loss, nn.BCEWithLogitsLoss()(logits, target), rtol=1e-12, atol=0)
    torch.testing.assert_close(loss, nn.BCELoss()(logits.sigmoid(), target), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("p", "target"), [(0.0, 1.0), (1.0, 0.0)])
def test_a_certain_wrong_answer_costs_what_the_clip_leaves_and_has_no_gradient(p, target):
    p = torch.tensor([[p]], requires_grad=True)
    loss = ProbBCELoss()(p, torch.tensor([[target]]))
    loss.backward()
    assert 15.9 < loss.item() < 16.2  # float32 rounds 1 - 1e-7, so that its log is 15.94
    assert p.grad.item() == 0


# Both


BOTH = {
    "classes": (ProbCrossEntropyLoss, lambda: (classes((4, 3)), classes((4, 3)))),
    "indices": (ProbCrossEntropyLoss, lambda: (classes((4, 3)), torch.randint(3, (4,)))),
    "binary": (ProbBCELoss, lambda: (torch.rand(4, 3).double(), torch.randint(2, (4, 3)))),
}
both = pytest.mark.parametrize(("loss_class", "data"), BOTH.values(), ids=list(BOTH))


@both
def test_reductions_are_mean_and_sum_of_the_unreduced(loss_class, data):
    p, target = data()
    losses = loss_class(reduction="none")(p, target)
    torch.testing.assert_close(loss_class()(p, target), losses.mean())
    torch.testing.assert_close(loss_class(reduction="sum")(p, target), losses.sum())


@both
def test_eps_is_where_the_clip_begins(loss_class, data):
    p, target = data()
    certain = (p == p.amax(1, keepdim=True)).double()
    losses = loss_class(eps=0.01, reduction="none")(certain, target)
    assert losses.max() <= -math.log(0.01) + 1e-12
    assert losses.min() >= -math.log(0.99) - 1e-12


@both
def test_gradients_are_those_of_the_formula(loss_class, data):
    p, target = data()
    for smoothing in SMOOTHINGS:
        loss = loss_class(label_smoothing=smoothing)
        assert torch.autograd.gradcheck(lambda p, loss=loss: loss(p, target), p.requires_grad_())


@both
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_loss_has_the_dtype_of_the_input(loss_class, data, dtype):
    p, target = data()
    assert loss_class()(p.to(dtype), target).dtype == dtype


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_lifted_to_float32_so_that_certainty_has_a_log(loss_class, data, dtype):
    p, target = data()
    half = p.to(dtype)
    assert torch.equal(loss_class()(half, target), loss_class()(half.float(), target))
    certain = (p == p.amax(1, keepdim=True)).to(dtype).requires_grad_()
    loss = loss_class()(certain, target)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert certain.grad.isfinite().all()


@both
def test_integer_and_bool_targets_count_as_numbers(loss_class, data):
    p, _ = data()
    target = F.one_hot(torch.tensor([0, 2, 1, 1]), 3)
    expected = loss_class()(p, target.double())
    assert torch.equal(loss_class()(p, target), expected)
    assert torch.equal(loss_class()(p, target.bool()), expected)


@both
def test_input_and_target_stay_as_they_were(loss_class, data):
    p, target = data()
    before = p.clone(), target.clone()
    loss_class(label_smoothing=0.1)(p, target)
    assert torch.equal(p, before[0])
    assert torch.equal(target, before[1])


@both
def test_exports_with_any_batch_size(loss_class, data):
    p, target = data()
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        loss_class(label_smoothing=0.1), (p, target), dynamic_shapes=({0: batch}, {0: batch})
    )
    p, target = p.repeat(2, 1), torch.cat([target, target])
    expected = loss_class(label_smoothing=0.1)(p, target)
    torch.testing.assert_close(program.module()(p, target), expected)


@both
def test_compiles_into_one_graph(loss_class, data):
    loss = loss_class()
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*data()).shape, torch.Size([]))
    p, target = data()
    torch.testing.assert_close(compiled(p, target), loss(p, target))


@both
def test_copies_and_pickles_with_its_settings(loss_class, data):
    loss = loss_class(eps=0.1, label_smoothing=0.2, reduction="sum")
    for copied in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert repr(copied) == repr(loss)
        assert "eps=0.1, label_smoothing=0.2, reduction='sum'" in repr(copied)


@pytest.mark.gpu
@both
def test_is_the_same_on_cuda_without_waiting_for_it(loss_class, data):
    p, target = data()
    on_device = p.cuda(), target.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = loss_class(label_smoothing=0.1)(*on_device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    # the order of the sum differs
    expected = loss_class(label_smoothing=0.1)(p, target)
    torch.testing.assert_close(loss.cpu(), expected, rtol=1e-12, atol=0)


# What is refused


@pytest.mark.parametrize(
    ("p", "target", "message"),
    [
        ((4, 3), (4, 1), r"expected target \(4,\) of class indices or \(4, 3\) of probabilities"),
        ((4, 3), (3,), r"for input \(4, 3\), got \(3,\)"),
        ((4, 3), (), r"got \(\)"),
        ((4, 3, 5), (4, 3), r"expected target \(4, 5\) of class indices"),
        ((4, 3, 5), (4, 5, 3), r"got \(4, 5, 3\)\.\n  To mend it: squeeze or reshape the target"),
        ((4, 1), (4,), r"C >= 2 classes, got \(4, 1\)\.\n  To mend it: use ProbBCELoss"),
        ((4,), (4,), r"C >= 2 classes, got \(4,\)"),
    ],
)
def test_class_shapes_that_do_not_fit_are_refused(p, target, message):
    with pytest.raises(DataError, match=f"ProbCrossEntropyLoss: .*{message}"):
        ProbCrossEntropyLoss()(torch.rand(p), torch.zeros(target, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_class_indices_that_are_not_integers_are_refused(dtype):
    with pytest.raises(DtypeError, match=r"class indices as integers, got torch\.\w+ of shape \(4"):
        ProbCrossEntropyLoss()(torch.rand(4, 3), torch.zeros(4, dtype=dtype))


@pytest.mark.parametrize(
    ("p", "target"),
    [((4, 1), (4,)), ((4,), (4, 1)), ((4, 1), (4, 3)), ((4, 3), (4, 1)), ((2,), ())],
)
def test_binary_shapes_that_would_be_broadcast_are_refused(p, target):
    with pytest.raises(DataError, match=r"ProbBCELoss: expected target .* like the input"):
        ProbBCELoss()(torch.rand(p), torch.zeros(target))


@both
def test_an_unknown_reduction_is_refused(loss_class, data):
    with pytest.raises(DataError, match=r"expected reduction 'mean', 'sum' or 'none', got 'avg'"):
        loss_class(reduction="avg")
