"""Merges against numpy, their gradients, and the errors that name the shapes."""

import numpy as np
import pytest
import torch

from torchbp import Input, Model
from torchbp.errors import ShapeError
from torchbp.layers import Add, Average, Concat, Dot, Maximum, Minimum, Multiply, Subtract
from torchbp.layers.merge import Merge


def doubles(*shapes):
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=shape) for shape in shapes]
    return arrays, [torch.from_numpy(array) for array in arrays]


VALUES = [
    (Add(), lambda a, b, c: a + b + c),
    (Multiply(), lambda a, b, c: a * b * c),
    (Average(), lambda a, b, c: (a + b + c) / 3),
    (Maximum(), lambda a, b, c: np.maximum(np.maximum(a, b), c)),
    (Minimum(), lambda a, b, c: np.minimum(np.minimum(a, b), c)),
]


@pytest.mark.parametrize("shapes", [((4, 3),) * 3, ((4, 5, 3), (5, 1), (4, 1, 1))])
@pytest.mark.parametrize(("layer", "expected"), VALUES)
def test_merges_element_by_element_with_broadcasting(layer, expected, shapes):
    arrays, tensors = doubles(*shapes)
    # the same operations in the same order: equal to the last bit
    np.testing.assert_array_equal(layer(*tensors).numpy(), expected(*arrays))


def test_subtracts_the_second_from_the_first():
    (a, b), tensors = doubles((4, 3), (4, 3))
    np.testing.assert_array_equal(Subtract()(*tensors).numpy(), a - b)


@pytest.mark.parametrize("dim", [1, -1])
def test_concatenates_along_its_dimension(dim):
    arrays, tensors = doubles((4, 3, 2), (4, 3, 2))
    np.testing.assert_array_equal(Concat(dim)(*tensors).numpy(), np.concatenate(arrays, dim))


def test_concatenates_channels_by_default():
    _, tensors = doubles((4, 3, 2), (4, 1, 2))
    assert Concat()(*tensors).shape == (4, 4, 2)


DOTS = [
    (1, (4, 3), (4, 3), "nk,nk->n"),
    (-1, (4, 3), (4, 3), "nk,nk->n"),
    ((1, 2), (4, 3, 5), (4, 6, 3), "nka,nbk->nab"),
    ((2, 1), (4, 5, 3), (4, 3), "nak,nk->na"),
    ((1, 1), (4, 3), (4, 3, 6), "nk,nkb->nb"),
    ((2, -1), (4, 5, 3, 2), (4, 6, 3), "nakc,nbk->nacb"),
    ((1, 2), (4, 1, 5), (4, 6, 1), "nka,nbk->nab"),
]


@pytest.mark.parametrize(("dim", "first", "second", "equation"), DOTS)
def test_contracts_one_dimension_of_each(dim, first, second, equation):
    (a, b), tensors = doubles(first, second)
    expected = np.einsum(equation, a, b)
    actual = Dot(dim)(*tensors).numpy()
    expected = expected[:, None] if expected.ndim == 1 else expected
    assert actual.shape == expected.shape
    # sums of at most three products, in any order
    np.testing.assert_allclose(actual, expected, rtol=1e-14, atol=1e-15)


def test_normalized_dot_is_the_cosine_and_zero_for_a_zero_vector():
    (a, b), (x, y) = doubles((4, 3), (4, 3))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    expected = ((a * b).sum(1) / lengths)[:, None]
    np.testing.assert_allclose(Dot(1, normalize=True)(x, y).numpy(), expected, rtol=1e-14)
    assert Dot(1, normalize=True)(torch.zeros(1, 3), torch.ones(1, 3)).item() == 0


@pytest.mark.parametrize("layer", [Maximum(), Minimum()])
def test_equal_values_share_the_gradient(layer):
    a, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    layer(a, b).backward()
    assert (a.grad.item(), b.grad.item()) == (0.5, 0.5)


MISFITS = [
    (Add(), [(4, 3), (4, 2)], r"expected inputs whose shapes broadcast, got \(4, 3\), \(4, 2\)"),
    (Multiply(name="gate"), [(4, 3), (5, 3)], r"^gate \(Multiply\): .*\(5, 3\)"),
    (Average(), [(4, 3)], r"two or more tensors, each an argument of its own, got \(4, 3\)"),
    (Maximum(), [(4, 3), (4, 3), (4, 4)], r"got \(4, 3\), \(4, 3\), \(4, 4\)"),
    (Subtract(), [(4, 3)] * 3, "expected two inputs"),
    (Concat(1), [(4, 3, 2), (4, 3, 1)], r"differ in dimension 1 only, got \(4, 3, 2\)"),
    (Concat(2), [(4, 3), (4, 3)], "differ in dimension 2 only"),
    (Concat(1), [(4, 3), (4, 3, 2)], "differ in dimension 1 only"),
    (Dot(1), [(4, 3)] * 3, "expected two inputs of one batch"),
    (Dot(1), [(4, 3), (4, 2)], "one size along dim 1"),
    (Dot(1), [(4, 3), (4, 1)], "one size along dim 1"),
    (Dot(1), [(4, 3), (1, 3)], "of one batch"),
    (Dot(0), [(4, 3), (4, 3)], "never the batch"),
    (Dot((1, 2)), [(4, 3), (4, 3)], r"along dim \(1, 2\)"),
]


@pytest.mark.parametrize(("layer", "shapes", "message"), MISFITS)
def test_names_the_shapes_that_do_not_fit(layer, shapes, message):
    with pytest.raises(ShapeError, match=message):
        layer(*(torch.zeros(shape) for shape in shapes))


def test_says_that_a_list_is_not_several_tensors():
    with pytest.raises(ShapeError, match="each an argument of its own, got list"):
        Add()([torch.zeros(2), torch.zeros(2)])


def test_names_the_shapes_while_a_graph_is_built():
    with pytest.raises(ShapeError, match=r"sum \(Add\): .*3\), .*2\)"):
        Add(name="sum")(Input((3,)), Input((2,)))


def test_keeps_errors_that_are_not_about_shapes():
    class Broken(Merge):
        def merge(self, *inputs):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Broken()(torch.zeros(2), torch.zeros(2))


def test_merges_in_a_model():
    a, b = Input((3,), name="a"), Input((3,), name="b")
    model = Model([a, b], Add(name="sum")(a, b, a))
    assert torch.equal(model(torch.ones(2, 3), torch.ones(2, 3)), torch.full((2, 3), 3.0))


def test_compiles_in_one_graph():
    _, tensors = doubles((4, 5, 3), (4, 3))
    layer = Dot((2, 1), normalize=True)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    assert torch.equal(compiled(*tensors), layer(*tensors))


def test_prints_its_arguments():
    assert repr(Concat(-1)) == "Concat(dim=-1)"
    assert repr(Dot((1, 2), normalize=True)) == "Dot(dim=(1, 2), normalize=True)"
