"""Symbolic tensors: operators, indexing, methods, properties, sizes."""

import operator

import numpy as np
import pytest
import torch

from torchbp import Input, Model, call
from torchbp.errors import GraphError

X = torch.tensor([[1.5, -2.0, 3.0], [0.5, 4.0, -1.0]])
Y = torch.tensor([[2.0, 1.0, -0.5], [3.0, 0.25, 2.0]])
INTS = torch.tensor([[5, 2, 3], [1, 7, 4]])
MORE_INTS = torch.tensor([[1, 2, 1], [3, 1, 2]])

ARITHMETIC = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow, operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
]  # fmt: skip
BITWISE = [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift]


@pytest.mark.parametrize("function", ARITHMETIC)
def test_arithmetic_is_that_of_tensors(function, assert_same):
    assert_same(function, X, Y)
    assert_same(lambda x: function(x, 2), X)
    assert_same(lambda x: function(2.5, x), X)
    assert_same(lambda x: function(x, Y[0]), X)
    assert_same(lambda x: function(Y[0], x), X)


@pytest.mark.parametrize("function", BITWISE)
def test_bitwise_operators_are_those_of_tensors(function, assert_same):
    assert_same(function, INTS, MORE_INTS)
    assert_same(lambda x: function(x, 2), INTS)
    assert_same(lambda x: function(2, x), INTS)
    assert_same(lambda x: function(MORE_INTS[0], x), INTS)


def test_matmul_works_from_both_sides(assert_same):
    assert_same(lambda x, y: x @ y.mT, X, Y)
    assert_same(lambda x: x @ torch.ones(3, 2), X)
    assert_same(lambda x: torch.ones(2, 3) @ x.mT, X)


@pytest.mark.parametrize("function", [operator.neg, operator.pos, operator.abs, operator.invert])
def test_unary_operators_are_those_of_tensors(function, assert_same):
    assert_same(function, INTS if function is operator.invert else X)


def test_negative_base_keeps_its_parentheses(assert_same):
    assert_same(lambda x: (-2) ** x, INTS)


CUBE = torch.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "index",
    [
        np.s_[0], np.s_[-1], np.s_[:, 1], np.s_[:, -1], np.s_[:, 1:], np.s_[:, :2], np.s_[:, ::2],
        np.s_[:, 1:3, None], np.s_[..., 0], np.s_[..., None], np.s_[None], np.s_[:], np.s_[...],
        np.s_[:, [0, 2]], np.s_[:, torch.tensor([2, 0])], np.s_[:, 1, 2], np.s_[1:, ..., -2:],
        np.s_[:, torch.tensor([True, False, True])], (), np.s_[True],
    ],
    ids=str,
)  # fmt: skip
def test_indexing_is_that_of_tensors(index, assert_same):
    assert_same(lambda x: x[index], CUBE)


def test_index_may_be_symbolic(assert_same):
    assert_same(lambda x, rows: x[:, rows[0]], CUBE, INTS % 3)
    assert_same(lambda x: x[:, : x.shape[1] // 2], CUBE, unknown=True)
    assert_same(lambda x: x[:, x.size(1) - 2 :, 0], CUBE, unknown=True)


def test_takes_tensors_methods(assert_same):
    assert_same(lambda x: x.transpose(1, 2).reshape(x.size(0), -1), CUBE)
    assert_same(lambda x: x.mean(dim=1, keepdim=True).expand_as(x), CUBE)
    assert_same(lambda x: x.to(torch.float64).flatten(1).softmax(-1), CUBE)
    assert_same(lambda x, y: x.masked_fill(y > 0, -1.0).clamp(min=0), X, Y)
    assert_same(lambda x: x.new_zeros((x.shape[0], 2)), X)
    assert_same(lambda x: x.view(x.shape[0], 2, -1).type_as(x), CUBE, unknown=True)


def test_methods_of_real_tensors_take_symbolic_ones(assert_same):
    assert_same(lambda x: torch.ones(2, 3).mul(x.sum()), X)
    assert_same(lambda x: torch.ones(3).where(x > 0, x), X)


def test_several_outputs_come_in_the_structure_of_torch(assert_same):
    assert_same(lambda x: x.max(dim=1).values + x.max(dim=1).indices, CUBE)
    assert_same(lambda x: x.topk(2), X)
    assert_same(lambda x: torch.sort(x, descending=True)[1], X)
    assert_same(lambda x: torch.chunk(x, 2, dim=2), CUBE)
    assert_same(lambda x: list(x.split([1, 2], dim=1)), CUBE)
    assert_same(lambda x: x.unbind(1)[2], CUBE)


def test_named_outputs_keep_their_names():
    highest = Input((3,)).max(dim=1)
    assert type(highest) is torch.return_types.max
    assert highest.indices.dtype == torch.int64


def test_moves_to_devices_are_recorded(assert_same):
    assert_same(lambda x: x.to("cpu", torch.float64) + x.cpu(), X)
    assert_same(lambda x: x.to(device="cpu").to(x.device) + x.to(torch.device("cpu")), X)
    x = Input((3,), name="x")
    assert "x.to('cuda:1', non_blocking=True)" in Model(x, x.to("cuda:1", non_blocking=True)).code


def test_attributes_are_recorded(assert_same):
    assert_same(lambda x: x.T, X)
    assert_same(lambda x: x.mT + x.real.mT, CUBE)


def test_tells_shape_dtype_and_ndim():
    x = Input((None, 8), dtype=torch.float64, name="x")
    assert x.shape == (None, None, 8)
    assert (x.ndim, x.dim(), x.dtype, x.name) == (3, 3, torch.float64, "x")
    assert x.size(-1) == 8
    assert x.size() == x.shape
    assert x.is_floating_point()
    assert repr(x) == "SymbolicTensor(name='x', shape=(None, None, 8), dtype=torch.float64)"


def test_known_first_dimension_is_unpacked(assert_same):
    qkv = torch.arange(48.0).reshape(2, 4, 3, 2)

    def attend(x):
        q, k, v = x.permute(2, 0, 1, 3)
        return q + 2 * k + 3 * v

    assert_same(attend, qkv)
    assert len(Input((4,)).T) == 4


def test_unknown_sizes_can_be_computed_with(assert_same):
    assert_same(lambda x: x.reshape(x.shape[0] * x.shape[1], -1), CUBE, unknown=True)
    assert_same(lambda x: x.sum(1) / x.shape[1], CUBE, unknown=True)
    assert_same(lambda x: x / x.shape[2] ** 0.5, CUBE, unknown=True)
    assert_same(lambda x: x * (-x.shape[1] + 2 * x.numel() - 1), CUBE, unknown=True)


def test_coincidence_of_sizes_is_not_taken_for_knowledge():
    """Both stand-ins of an unknown size can be divided by 32."""
    x = Input((None,))
    padded = torch.nn.functional.pad(x, (0, -x.shape[1] % 32))
    model = Model(x, padded)
    assert padded.shape == (None, None)
    assert model(torch.ones(1, 33)).shape == (1, 64)
    assert model(torch.ones(1, 64)).shape == (1, 64)


def test_sizes_know_nothing_but_that_they_are_unknown():
    x, y = Input((None,)), Input((None, 3))
    assert x.shape[1] == None  # noqa: E711 - what the test is about
    assert x.shape[0] == y.shape[0]
    assert {x.shape[0]} == {None}
    assert y.shape[2] == 3
    assert str(y.shape) == "(None, None, 3)"


def test_shapes_of_any_call_are_sizes():
    x = Input((None, 4))
    assert call(lambda x: x.shape, x) == (None, None, 4)
    assert Model(x, x.new_ones(call(len, x)))(torch.ones(5, 2, 4)).shape == (5,)


def test_numbers_of_numpy_become_pythons():
    x = Input((3,))
    assert "x * 0.5" in Model(x, x * np.float64(0.5)).code


def test_arrays_of_numpy_are_refused_on_both_sides():
    for function in (lambda x: np.ones(3) * x, lambda x: x * np.ones(3), np.asarray):
        with pytest.raises(GraphError, match=r"ndarray|numpy array"):
            function(Input((3,)))


def test_symbolic_tensors_are_compared_by_identity_in_containers():
    x, y = Input((3,)), Input((3,))
    assert {x: 1, y: 2}[x] == 1
    assert len({x, y, x}) == 2


def test_sees_no_python_protocols_of_tensors():
    x = Input((3,))
    assert not hasattr(x, "__dlpack__")
    assert not hasattr(x, "no_such_method")
