"""Blocks: what each owes as a layer, the chapter's sizes, and projections where shapes differ."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from torchbp import Input, Model, blocks
from torchbp.blocks import (
    Bottleneck,
    ConvNormAct,
    ConvStep,
    Inception,
    InceptionA,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
    PoolStep,
    Residual,
    XceptionBlock,
    four_branches,
)
from torchbp.errors import DataError, ShapeError
from torchbp.layers import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    Conv1d,
    Conv2d,
    Conv3d,
    GroupNorm,
    Identity,
    Linear,
    MaxPool2d,
    ReLU,
    SeparableConv2d,
    Tanh,
    check_layer,
)
from torchbp.layers.init import glorot_

IMAGE, ODD, FREE = (4, 8, 8), (4, 9, 7), (4, None, None)
# as the big networks have it: its running variance is the batch's own
NORM = partial(BatchNorm2d, eps=1e-3, momentum=0.01, biased_running_var=True)
SIDE_BY_SIDE = [[ConvStep(3, (1, 3))], [ConvStep(2, (3, 1)), ConvStep(3, 1)]]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def conv(in_channels, out_channels, stride=1, dims=2):
    conv_class = {1: Conv1d, 2: Conv2d, 3: Conv3d}[dims]
    return conv_class(in_channels, out_channels, 3, stride, "same")


# What a block owes as a layer. id -> block, shapes of its input, whether training differs.
TABLE = {
    "conv norm act": (lambda: ConvNormAct(4, 6), [IMAGE], True),
    "norm act conv": (
        lambda: ConvNormAct(4, 6, order=("norm", "activation", "conv")),
        [FREE],
        True,
    ),
    "act conv norm": (
        lambda: ConvNormAct(4, 6, stride=2, order=("activation", "conv", "norm")),
        [ODD],
        True,
    ),
    "conv act norm": (
        lambda: ConvNormAct(4, 6, order=("conv", "activation", "norm"), activation=Tanh),
        [IMAGE],
        True,
    ),
    "conv act": (lambda: ConvNormAct(4, 6, norm=None), [FREE], False),
    "conv norm": (lambda: ConvNormAct(4, 6, activation=None, norm=partial(GroupNorm, 2)), [ODD], 0),
    "conv": (lambda: ConvNormAct(4, 6, (1, 3), (2, 1), 0, norm=None, activation=None), [ODD], 0),
    "separable": (lambda: ConvNormAct(4, 6, conv=SeparableConv2d), [IMAGE], True),
    "1d": (lambda: ConvNormAct(4, 6, conv=Conv1d, norm=BatchNorm1d), [(4, 9)], True),
    "3d": (lambda: ConvNormAct(4, 6, conv=Conv3d, norm=BatchNorm3d), [(4, 3, 5, 4)], True),
    "one branch": (lambda: Inception(4, [[PoolStep(3, 2)]]), [IMAGE], False),
    "branches": (
        lambda: Inception(4, [[ConvStep(2, 1)], [ConvStep(3, 1), ConvStep(2, 3)], [PoolStep(3)]]),
        [FREE],
        False,
    ),
    "branches with norms": (
        lambda: Inception(4, [[ConvStep(2, 1)], [PoolStep(3, kind="max")]], norm=BatchNorm2d),
        [ODD],
        True,
    ),
    "branches in branches": (
        lambda: Inception(4, [[ConvStep(3, 1), SIDE_BY_SIDE], [SIDE_BY_SIDE, ConvStep(2, 3)]]),
        [ODD],
        False,
    ),
    "four branches": (lambda: four_branches(4, 3), [ODD], False),
    "four branches with norms": (lambda: four_branches(4, 3, 1, norm=BatchNorm2d), [FREE], True),
    "A": (lambda: InceptionA(4, 5), [ODD], True),
    "B": (lambda: InceptionB(4), [ODD], True),
    "C": (lambda: InceptionC(4, 5), [FREE], True),
    "D": (lambda: InceptionD(4), [ODD], True),
    "E": (lambda: InceptionE(4, norm=NORM), [(4, 4, 4)], True),
    "identity": (lambda: Residual(conv(4, 4)), [FREE], False),
    "given shortcut": (lambda: Residual(conv(4, 6, 2), Conv2d(4, 6, 1, 2)), [ODD], False),
    "residual around an inception": (
        lambda: Residual(Inception(4, [[ConvStep(3, 3)], [ConvStep(1, 1)]])),
        [IMAGE],
        False,
    ),
    "residual in a residual": (
        lambda: Residual(nn.Sequential(Residual(conv(4, 4)), conv(4, 4))),
        [ODD],
        False,
    ),
    "residual over features": (lambda: Residual(nn.Sequential(Linear(4, 4), Tanh())), [(4,)], 0),
    "bottleneck": (lambda: Bottleneck(4, 1), [FREE], True),
    "bottleneck with a projection": (lambda: Bottleneck(4, 2, bias=True, norm=NORM), [IMAGE], True),
    "bottleneck with a stride": (lambda: Bottleneck(4, 1, stride=2), [ODD], True),
    "xception": (lambda: XceptionBlock(4, (3, 4)), [FREE], True),
    "xception with a projection": (lambda: XceptionBlock(4, (6,), norm=NORM), [IMAGE], True),
    "xception with a stride": (
        lambda: XceptionBlock(4, (4, 4), 2, first_activation=False),
        [ODD],
        True,
    ),
}


@pytest.mark.parametrize("block", TABLE)
def test_keeps_what_a_layer_owes(block):
    make, shapes, train_differs = TABLE[block]
    check_layer(make, *shapes, train_differs=bool(train_differs))


def test_every_exported_block_is_in_the_table():
    made = {type(module).__name__ for make, *_ in TABLE.values() for module in make().modules()}
    assert set(blocks.__all__) - made == {"ConvStep", "PoolStep", "four_branches"}


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: ConvNormAct(4, 6), IMAGE),
        (lambda: ConvNormAct(4, 6, order=("activation", "conv", "norm")), IMAGE),
        (lambda: Inception(4, [[ConvStep(3, 1), SIDE_BY_SIDE], [PoolStep(3)]], norm=NORM), ODD),
        (lambda: four_branches(4, 3), ODD),
        (lambda: InceptionE(4), (4, 4, 4)),
        (lambda: Residual(conv(4, 4)), IMAGE),
        (lambda: Residual(conv(4, 6, 2)), ODD),
        (lambda: Bottleneck(4, 2, stride=2), ODD),
        (lambda: XceptionBlock(4, (6, 6), stride=2), ODD),
    ],
)
def test_a_model_of_it_compiles_as_one_graph_trains_and_survives_a_copy(make, shape):
    """Float32; the compiled graph may order the sums anew: torch's own bounds of 1e-5."""
    x = Input(shape)
    model, data = Model(x, make()(x)), torch.randn(3, *shape, requires_grad=True)
    copied = copy.deepcopy(model)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for module in (compiled, copied):
        module(data).square().mean().backward()
    for (name, mine), other in zip(model.named_parameters(), copied.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-4, msg=name)
    torch.testing.assert_close(model.state_dict(), copied.state_dict())


DYNAMIC = torch.export.Dim.DYNAMIC


@pytest.mark.parametrize(
    "make",
    [
        lambda: ConvNormAct(4, 6, stride=2),
        lambda: four_branches(4, 3),
        lambda: four_branches(4, 3, stride=1),
        lambda: InceptionB(4),
        lambda: Residual(conv(4, 4)),
        lambda: Residual(conv(4, 6, 2)),
        lambda: Bottleneck(4, 2, stride=2),
        lambda: XceptionBlock(4, (6, 6), stride=2),
    ],
)
def test_exports_with_any_batch_height_and_width(make):
    """Float32: torch's own bounds."""
    x = Input(FREE)
    model = Model(x, make()(x)).eval()
    exported = torch.export.export(
        model, (torch.randn(3, 4, 12, 13),), dynamic_shapes=({0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC},)
    )
    other = torch.randn(5, 4, 9, 14)
    torch.testing.assert_close(exported.module()(other), model(other))


@pytest.mark.parametrize("block", TABLE)
def test_is_known_to_the_initialisers(block):
    glorot_(TABLE[block][0]())  # a warning would be an error


# The chapter's sizes


@pytest.mark.parametrize(
    ("make", "shape", "expected"),
    [
        (lambda: four_branches(192), (192, 32, 32), 738_176),
        (
            lambda: Residual(nn.Sequential(*[conv(128, 128) for _ in range(3)])),
            (128, 32, 32),
            442_752,
        ),
        (
            lambda: Residual(nn.Sequential(conv(64, 128), conv(128, 128), MaxPool2d(2))),
            (64, 32, 32),
            229_760,
        ),
    ],
)
def test_counts_as_in_the_chapter(make, shape, expected):
    block = make()
    block(Input(shape))
    assert count(block) == expected


@pytest.mark.parametrize(
    ("make", "out_channels"),
    [
        (lambda: InceptionA(192, 32), 256),
        (lambda: InceptionB(288), 768),
        (lambda: InceptionC(768, 160), 768),
        (lambda: InceptionD(768), 1280),
        (lambda: InceptionE(2048), 2048),
        (lambda: Inception(3, [[ConvStep(3, 1), SIDE_BY_SIDE], [PoolStep(3)]]), 9),
    ],
)
def test_an_inception_module_knows_its_channels(make, out_channels):
    with torch.device("meta"):
        module = make()
        in_channels = next(module.parameters()).shape[1]
        assert module.out_channels == module(torch.empty(1, in_channels, 9, 9)).shape[1]
    assert module.out_channels == out_channels


# ConvNormAct


@pytest.mark.parametrize(
    "order",
    [
        ("conv", "norm", "activation"),
        ("norm", "activation", "conv"),
        ("activation", "conv", "norm"),
    ],
)
def test_computes_in_its_order(order):
    block, x = ConvNormAct(4, 6, order=order), torch.randn(2, 4, 5, 5)
    expected = x
    for part in order:
        expected = getattr(block, part)(expected)
    assert torch.equal(block(x), expected)
    assert block.norm.num_features == (4 if order[0] == "norm" else 6)


@pytest.mark.parametrize(
    ("order", "norm", "has_bias"),
    [
        (("conv", "norm", "activation"), BatchNorm2d, False),
        (("activation", "conv", "norm"), BatchNorm2d, False),
        (("conv", "activation", "norm"), BatchNorm2d, True),
        (("norm", "activation", "conv"), BatchNorm2d, True),
        (("norm", "conv", "activation"), BatchNorm2d, True),
        (("conv", "norm", "activation"), None, True),
    ],
)
def test_the_convolution_has_a_bias_unless_the_norm_comes_next(order, norm, has_bias):
    assert (ConvNormAct(4, 6, norm=norm, order=order).conv.bias is not None) is has_bias
    assert ConvNormAct(4, 6, norm=norm, order=order, bias=True).conv.bias is not None
    assert ConvNormAct(4, 6, norm=norm, order=order, bias=False).conv.bias is None


@pytest.mark.parametrize(
    "order", [("conv", "norm"), ("conv", "norm", "norm"), ("conv", "norm", "act"), ()]
)
def test_an_order_without_all_three_is_refused(order):
    with pytest.raises(DataError, match=r"order of 'conv', 'norm' and 'activation'.*\n.*each"):
        ConvNormAct(4, 6, order=order)


# Inception


def test_the_branches_stand_in_the_channels_in_their_order():
    module = Inception(4, [[PoolStep(1, kind="max")], [ConvStep(2, 1)], [PoolStep(3)]])
    x = torch.randn(2, 4, 6, 6)
    output = module(x)
    assert torch.equal(output[:, :4], x)
    assert torch.equal(output[:, 4:6], module.branches[1](x))
    assert torch.equal(output[:, 6:], AvgPool2d(3, 1, "same")(x))


def test_a_pooling_step_is_of_its_kind():
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(Inception(4, [[PoolStep(3, 2, 0, "max")]])(x), MaxPool2d(3, 2)(x))


@pytest.mark.parametrize(
    ("norm", "kinds"),
    [(None, [Conv2d, ReLU]), (BatchNorm2d, [Conv2d, BatchNorm2d, ReLU])],
)
def test_each_convolution_has_the_modules_norm_and_activation(norm, kinds):
    module = Inception(4, [[ConvStep(3, 1), SIDE_BY_SIDE]], norm=norm)
    steps = [step for step in module.modules() if isinstance(step, ConvNormAct)]
    assert len(steps) == 4
    assert all([type(part) for part in step.children()] == kinds for step in steps)
    assert all((step.conv.bias is None) is (norm is not None) for step in steps)


@pytest.mark.parametrize(
    ("branches", "message"),
    [
        ([], r"branches of one step or more, got \[\]"),
        ([[ConvStep(2, 1)], []], "branches of one step or more"),
        ([ConvStep(2, 1), ConvStep(2, 3)], "each branch as a list of its steps"),
        (["ab"], "branches of one step or more"),
        ([[ConvStep(2, 1), [ConvStep(2, 1)]]], "each branch as a list of its steps"),
        ([[ConvStep(2, 1), []]], "branches of one step or more"),
        ([[nn.Conv2d(4, 2, 1)]], r"a ConvStep, a PoolStep or a list of branches, got Conv2d\(4"),
        ([[PoolStep(3, kind="mean")]], "kind='mean'.*\n.*'avg' or 'max'"),
    ],
)
def test_branches_of_something_else_are_refused(branches, message):
    with pytest.raises(DataError, match=message):
        Inception(4, branches)


def test_branches_of_several_sizes_are_refused():
    module = Inception(4, [[ConvStep(2, 1, 2)], [ConvStep(2, 3, 2, 0)]])
    with pytest.raises(ShapeError, match=r"one size, got \[\(4, 4\), \(3, 3\)\].*\n.*same stride"):
        module(torch.zeros(2, 4, 8, 8))
    with pytest.raises(ShapeError, match="images of one size"):
        module(Input(IMAGE))


# Residual: a projection where shapes differ, and nowhere else


@pytest.mark.parametrize("sizes", [(8,), (9,), (8, 9), (9, 7), (5, 4, 3), (1, 2)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("channels", [4, 6])
def test_makes_a_projection_only_where_shapes_differ(sizes, stride, channels):
    dims = len(sizes)
    block = Residual(conv(4, channels, stride, dims))
    symbolic = block(Input((4, *sizes)))
    x = torch.randn(2, 4, *sizes)
    branch = block.branch(x)
    assert (type(block.shortcut) is Identity) is (branch.shape == x.shape)
    assert torch.equal(block(x), branch + block.shortcut(x))
    assert symbolic.shape[1:] == branch.shape[1:]


@pytest.mark.parametrize("size", [8, 9, 12, 13, 31])
@pytest.mark.parametrize("stride", [1, 2, 3, (1, 2), (3, 2)])
def test_the_projection_has_the_branchs_stride(size, stride):
    block = Residual(conv(4, 6, stride))
    block(Input((4, size, size)))
    expected = (stride, stride) if isinstance(stride, int) else stride
    assert block.shortcut.stride == expected
    assert block.shortcut.kernel_size == (1, 1)


def test_the_projection_has_the_smallest_stride_of_those_that_fit():
    block = Residual(conv(4, 6, stride=3))
    assert block(Input((4, 4, 4))).shape == (None, 6, 2, 2)
    assert block.shortcut.stride == (2, 2)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_unknown_sizes_are_projected_for_every_size(dims, stride):
    block = Residual(conv(4, 6, stride, dims))
    free = Input((4, *[None] * dims)) if dims < 3 else Input((4, None, 5, 4))  # 480^3 is much
    output = block(free)
    assert output.shape[:3] == (None, 6, None)
    for size in (5, 6, 7, 8, 9):
        sizes = [size] * dims if dims < 3 else [size, 5, 4]
        x = torch.randn(2, 4, *sizes)
        assert block(x).shape == block.branch(x).shape


def test_features_without_sizes_are_projected_by_a_linear_layer():
    block = Residual(nn.Sequential(Linear(4, 8), ReLU(), Linear(8, 6)))
    assert block(Input((4,))).shape == (None, 6)
    assert (type(block.shortcut), block.shortcut.weight.shape) == (Linear, (6, 4))


def test_a_pooling_is_followed_by_a_projection_without_new_channels():
    block = Residual(MaxPool2d(2))
    block(Input(IMAGE))
    assert repr(block.shortcut) == repr(Conv2d(4, 4, 1, (2, 2), "same"))


def test_an_input_by_keyword_is_projected_too():
    block = Residual(conv(4, 6))
    block(input=Input(IMAGE))
    assert isinstance(block.shortcut, Conv2d)


def test_a_projection_starts_as_torch_starts_the_layer():
    block = Residual(conv(4, 6, 2))
    torch.manual_seed(7)
    block(Input(IMAGE))
    torch.manual_seed(7)
    expected = Conv2d(4, 6, 1, 2, "same")
    assert torch.equal(block.shortcut.weight, expected.weight)
    assert torch.equal(block.shortcut.bias, expected.bias)


@pytest.mark.parametrize("shortcut", [None, Conv2d(4, 6, 1)])
def test_building_draws_nothing_where_no_projection_is_made(shortcut):
    block = Residual(conv(4, 4 if shortcut is None else 6), shortcut)
    state = torch.get_rng_state()
    block(Input(IMAGE))
    assert torch.equal(torch.get_rng_state(), state)
    assert shortcut is None or block.shortcut is shortcut


def test_a_projection_is_made_once():
    block = Residual(conv(4, 6))
    left, right = Input(IMAGE, name="left"), Input(IMAGE, name="right")
    first = block(left)
    projection = block.shortcut
    model = Model([left, right], [first, block(right)])
    assert block.shortcut is projection
    assert count(model) == count(block)


def test_a_projection_is_in_the_state_dict():
    x = Input(IMAGE)
    model, other = (Model(x, Residual(conv(4, 6), name="block")(x)) for _ in range(2))
    assert "block.shortcut.weight" in model.state_dict()
    other.load_state_dict(model.state_dict())
    data = torch.randn(2, *IMAGE)
    assert torch.equal(model(data), other(data))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_projection_has_the_dtype_of_the_branch(dtype):
    block = Residual(conv(4, 6).to(dtype))
    block(Input(IMAGE, dtype))
    assert {parameter.dtype for parameter in block.parameters()} == {dtype}
    without_weights = Residual(MaxPool2d(2))
    without_weights(Input(IMAGE, dtype))
    assert without_weights.shortcut.weight.dtype == dtype


def test_a_projection_is_on_the_device_of_the_branch():
    block = Residual(conv(4, 6).to("meta"))
    block(Input(IMAGE))
    assert {parameter.device.type for parameter in block.parameters()} == {"meta"}


@pytest.mark.gpu
def test_a_projection_is_on_the_gpu_of_the_branch():
    block = Residual(conv(4, 6).cuda())
    block(Input(IMAGE))
    assert block.shortcut.weight.is_cuda


def test_a_mismatch_outside_of_a_graph_says_what_to_give():
    with pytest.raises(
        ShapeError,
        match=r"Residual: expected .* one shape, got \(2, 6, 4, 4\) and \(2, 4, 8, 8\).*\n.*shortc",
    ):
        Residual(conv(4, 6, 2))(torch.zeros(2, *IMAGE))


@pytest.mark.parametrize(
    ("branch", "shape"),
    [
        (Conv2d(4, 4, 3), IMAGE),  # 8 x 8 to 6 x 6
        (Conv2d(4, 6, 3, 2), FREE),  # 480 to 239
        (nn.Upsample(scale_factor=2), IMAGE),
        (nn.Flatten(), IMAGE),
        (Linear(8, 4), (None, 8)),  # the channels would be the unknown size
        (nn.Unflatten(1, (2, 2)), (4,)),
    ],
)
def test_what_no_projection_can_bring_about_is_refused(branch, shape):
    block = Residual(branch)
    with pytest.raises(ShapeError, match=r"Residual: expected a branch and a shortcut .*\n.*1x1"):
        block(Input(shape))
    assert type(block.shortcut) is Identity


def test_a_given_shortcut_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"Residual: expected a branch and a shortcut"):
        Residual(conv(4, 6), Conv2d(4, 5, 1))(Input(IMAGE))


# The blocks of the big networks


@pytest.mark.parametrize(
    ("make", "has_projection"),
    [
        (lambda: Bottleneck(8, 2).residual, False),
        (lambda: Bottleneck(8, 2, stride=2).residual, True),
        (lambda: Bottleneck(8, 4).residual, True),
        (lambda: XceptionBlock(8, (3, 8)), False),
        (lambda: XceptionBlock(8, (3, 8), 2), True),
        (lambda: XceptionBlock(8, (8, 3)), True),
    ],
)
def test_a_shortcut_projects_only_where_shapes_differ(make, has_projection):
    shortcut = make().shortcut
    assert isinstance(shortcut, ConvNormAct if has_projection else Identity)
    if has_projection:
        assert not hasattr(shortcut, "activation")


def test_the_stride_of_a_bottleneck_is_in_its_first_convolution_and_the_shortcut():
    residual = Bottleneck(8, 2, stride=2).residual
    assert [step.conv.stride[0] for step in residual.branch] == [2, 1, 1]
    assert residual.shortcut.conv.stride == (2, 2)


def test_an_xception_block_activates_before_each_convolution():
    for first in (True, False):
        block = XceptionBlock(8, (8, 8, 8), first_activation=first)
        found = [hasattr(step, "activation") for step in block.branch]
        assert found == [first, True, True]
        assert all(next(iter(step._modules)) == "activation" for step in block.branch[1:])


def test_the_shortcut_of_an_xception_block_sees_what_came_in():
    """The first activation works on a copy, or the shortcut would have lost the negatives."""
    block, x = XceptionBlock(4, (4,)).eval(), torch.randn(2, *IMAGE)
    expected = block.branch(x.clone()) + x
    assert torch.equal(block(x), expected)
