"""check_layer on every layer: the table is the list of what torchbp.layers exports."""

import inspect

import pytest
import torch
from torch import nn

from torchbp import layers
from torchbp.graph import Layer
from torchbp.layers import check_layer
from torchbp.layers.recurrent_cells import GRUCell, LSTMCell

SEQUENCE, IMAGE, VOLUME = (8, 12), (8, 12, 12), (8, 4, 4, 4)  # channels and sizes
WINDOWS = [(1, SEQUENCE), (2, IMAGE), (3, VOLUME)]

# class -> one or more of (arguments, keyword arguments, input shapes, further arguments)
TABLE = {
    "Linear": [((8, 3), {}, [(8,)]), ((8, 3), {"bias": False}, [(None, 8)])],
    "LazyLinear": [((3,), {}, [(8,)])],
    "Embedding": [((5, 3), {}, [(None,)], {"dtype": torch.int64})],
    "MultiheadAttention": [
        ((8, 2), {"batch_first": True}, [(None, 8)] * 3),
        ((8, 2), {"batch_first": True, "dropout": 0.5}, [(6, 8)] * 3, {"train_differs": True}),
    ],
    "Flatten": [((), {}, [IMAGE])],
    "Unflatten": [((1, (2, 4)), {}, [SEQUENCE])],
    "Transpose": [((1, 2), {}, [(None, 8)])],
    "Identity": [((), {}, [(8,)])],
    "LayerNorm": [((8,), {}, [(None, 8)])],
    "GroupNorm": [((2, 8), {}, [SEQUENCE])],
    "RMSNorm": [((8,), {}, [(None, 8)])],
    "Upsample": [
        ((), {"scale_factor": 2}, [SEQUENCE]),
        ((), {"scale_factor": 2}, [(8, None, None)]),
        ((), {"scale_factor": (2, 3), "mode": "bilinear"}, [IMAGE]),
    ],
    "Dropout": [((), {}, [SEQUENCE], {"train_differs": True})],
    "Dropout1d": [((), {}, [SEQUENCE], {"train_differs": True})],
    "Dropout2d": [((), {}, [IMAGE], {"train_differs": True})],
    "Dropout3d": [((), {}, [VOLUME], {"train_differs": True})],
    "AlphaDropout": [((), {}, [SEQUENCE], {"train_differs": True})],
    "Softmax": [((), {"dim": 1}, [SEQUENCE])],
    "LogSoftmax": [((), {"dim": -1}, [SEQUENCE])],
    "Subtract": [((), {}, [(8,)] * 2)],
    "Concat": [((), {}, [(8,), (3,), (2,)]), ((-1,), {}, [(8, 2), (8, 3)])],
    "Dot": [((1,), {}, [(8,)] * 2), (((1, 2), True), {}, [(8, 3), (None, 8)])],
}
for name in ("ReLU", "LeakyReLU", "PReLU", "ELU", "SELU", "GELU", "SiLU", "Mish", "Sigmoid",
             "Tanh", "Softplus", "Hardsigmoid", "Hardswish"):  # fmt: skip
    TABLE[name] = [((), {}, [SEQUENCE])]
for name in ("Add", "Multiply", "Average", "Maximum", "Minimum"):
    TABLE[name] = [((), {}, [(8,)] * 3), ((), {}, [SEQUENCE, (1, 12)])]
for name in ("LSTM", "GRU", "RNN"):
    TABLE[name] = [
        ((8, 3), {"batch_first": True}, [(4, 8)]),
        ((8, 3), {"batch_first": True, "last_output": True}, [(None, 8)]),
        ((8, 3, 2), {"batch_first": True, "single_bias": True, "bidirectional": True}, [(4, 8)]),
    ]
MASKED = {"dtype": [torch.float32, torch.bool]}
TABLE["CellRNN"] = [
    ((GRUCell(8, 3),), {}, [(4, 8)]),
    ((LSTMCell(8, 3), True), {}, [(None, 8), (None,)], MASKED),
]
TABLE["MaskedRNN"] = [
    ((layers.GRU(8, 3, batch_first=True),), {}, [(None, 8), (None,)], MASKED),
    ((layers.LSTM(8, 3, batch_first=True), 0.5), {}, [(4, 8)], {"train_differs": True}),
]
TABLE["BidirectionalRNN"] = [
    ((layers.CellRNN(GRUCell(8, 3)), layers.CellRNN(GRUCell(8, 3))), {}, [(4, 8)])
]
for n, shape in WINDOWS:
    even, odd, free = shape, (8,) + (5,) * n, (8,) + (None,) * n
    TABLE[f"Conv{n}d"] = [
        ((8, 4, 3), {}, [shape]),
        ((8, 8, 3), {"groups": 8}, [shape]),
        ((8, 4, 2), {"padding": "same"}, [odd]),
        ((8, 4, 3), {"padding": "same", "dilation": 2}, [free]),
        ((8, 4, 3, 2), {"padding": "same"}, [even]),
        ((8, 4, 3, 2), {"padding": "same"}, [odd]),
        ((8, 4, 1, 3), {"padding": "same", "bias": False}, [free]),
        ((8, 4, 2, 3), {"padding": "same", "padding_mode": "replicate"}, [odd]),
    ]
    TABLE[f"ConvTranspose{n}d"] = [
        ((8, 4, 3), {"stride": 2}, [shape]),
        ((8, 4, 3, 2), {"padding": "same"}, [even]),
        ((8, 4, 4, 2, "same"), {"output_padding": 1}, [odd]),
        ((8, 4, 2, 3, "valid"), {}, [free]),
        ((8, 4, 3), {"padding": "valid", "dilation": 2}, [odd]),
    ]
    for kind in ("Max", "Avg"):
        TABLE[f"{kind}Pool{n}d"] = [
            ((2,), {}, [shape]),
            ((2,), {"padding": "same"}, [odd]),
            ((3, 2), {"padding": "same"}, [even]),
            ((3, 2), {"padding": "same"}, [odd]),
            ((2, 1), {"padding": "same"}, [free]),
            ((1, 3), {"padding": "same"}, [free]),
        ]
    TABLE[f"MaxPool{n}d"] += [
        ((2, 1), {"padding": "same", "dilation": 3}, [odd]),
        ((3, 2), {"padding": "same", "return_indices": True}, [even]),
    ]
    TABLE[f"BatchNorm{n}d"] = [
        ((8,), keywords, [shape], {"train_differs": True})
        for keywords in (
            {},
            {"affine": False},
            {"biased_running_var": True},
            {"biased_running_var": True, "momentum": None},
            {"scale": False},
            {"shift": False, "biased_running_var": True},
            {"scale": False, "shift": False},
        )
    ] + [((8,), {"track_running_stats": False, "biased_running_var": True}, [free])]
    sides = ((1, 0), (2, 3), (0, 1))[:n]
    for name in ("ZeroPad", "Crop"):
        TABLE[f"{name}{n}d"] = [((1,), {}, [shape]), ((sum(sides, ()),), {}, [free])]
    TABLE[f"AdaptiveMaxPool{n}d"] = [((2,), {}, [shape])]
    TABLE[f"AdaptiveAvgPool{n}d"] = [((2,), {}, [shape])]
    TABLE[f"GlobalMaxPool{n}d"] = [((), {}, [shape])]
    TABLE[f"GlobalAvgPool{n}d"] = [((), {}, [shape])]
TABLE["BatchNorm1d"].append(((8,), {"biased_running_var": True}, [(8,)], {"train_differs": True}))
TABLE["Conv1d"] += [
    ((8, 4, 3), {"padding": "causal", "dilation": 2}, [(8, None)]),
    ((8, 4, 2, 3), {"padding": "causal"}, [SEQUENCE]),
]
for n, shape in WINDOWS[:2]:
    odd, free = (8,) + (5,) * n, (8,) + (None,) * n
    TABLE[f"DepthwiseConv{n}d"] = [
        ((8, 3), {}, [shape]),
        ((8, 3, 2, "same"), {"multiplier": 2}, [odd]),
        ((8, 2), {"padding": "same", "bias": False}, [free]),
    ]
    TABLE[f"SeparableConv{n}d"] = [
        ((8, 4, 3), {}, [shape]),
        ((8, 4, 3, 2, "same"), {"multiplier": 2}, [odd]),
        ((8, 4, 2), {"padding": "same", "bias": False}, [free]),
    ]
TABLE["SeparableConv1d"].append(((8, 4, 3, 1, "causal"), {}, [SEQUENCE]))

TABLE |= {
    "GroupedQueryAttention": [
        ((8, 4, 3), {}, [(None, 8)]),
        ((8, 4, 3, 2, 5), {"kdim": 6, "vdim": 7, "gate": True}, [(5, 8), (4, 6), (4, 7)]),
        ((8, 2, 4), {"window": 2, "bias": False, "out_features": 3}, [(5, 8)]),
        ((8, 2, 4), {"dropout": 0.5}, [(5, 8)], {"train_differs": True}),
    ],
    "LuongAttention": [
        ((True, "concat"), {}, [(5, 8), (4, 3), (4, 8)]),
        ((), {}, [(None, 8), (4, 8)]),
        ((), {"dropout": 0.5}, [(5, 8), (4, 8)], {"train_differs": True}),
    ],
    "BahdanauAttention": [((8,), {}, [(5, 8), (None, 8)]), ((8, False), {}, [(5, 8)] * 2)],
    "LayerNormOver": [
        (((8,), (1,)), {}, [SEQUENCE]),
        (((8, 12), (1, 3)), {}, [IMAGE]),
        (((8,), (1,)), {"scale": False}, [(8, None)]),
    ],
    "Standardize": [(((8,), (1,)), {}, [IMAGE]), (((12, 8), (2, 1)), {"invert": True}, [SEQUENCE])],
    "LayerScale": [((8, 1), {}, [IMAGE]), ((8,), {}, [(None, 8)])],
    "Einsum": [(("abc,cde->abde", (8, 2, 3), (2, 3)), {}, [(None, 8)])],
    "PReLUOver": [(((8, 1, 1),), {}, [IMAGE])],
    "SharedDropout": [((0.5, (1, 2)), {}, [SEQUENCE], {"train_differs": True})],
    "GaussianNoise": [((0.5,), {}, [SEQUENCE], {"train_differs": True})],
    "GaussianDropout": [((0.5,), {}, [SEQUENCE], {"train_differs": True})],
    "Resize": [
        (((5, 6),), {}, [IMAGE]),
        (((5, 6), "bicubic"), {"crop": True}, [(8, None, None)]),
        (((5, 20), "nearest"), {"crop": True}, [IMAGE]),
        (((5, 6),), {"antialias": True}, [IMAGE]),
    ],
    "RandomFlip": [((), {}, [IMAGE], {"train_differs": True})],
    "RandomContrast": [(((0.5, 1.5),), {}, [IMAGE], {"train_differs": True})],
    "RandomBrightness": [(((-0.5, 0.5),), {}, [IMAGE], {"train_differs": True})],
    "RandomRotation": [(((-0.2, 0.2),), {}, [IMAGE], {"train_differs": True})],
    "RandomTranslation": [(((0.1, 0.2), (0.1, 0.2)), {}, [IMAGE], {"train_differs": True})],
    "RandomZoom": [(((0.5, 0.8),), {}, [IMAGE], {"train_differs": True})],
}
TABLE["LayerNorm"].append(((8,), {"scale": False}, [(None, 8)]))
TABLE["GroupNorm"] += [((2, 8), {key: False}, [SEQUENCE]) for key in ("scale", "shift")]

# what torch's classes do not take
OWN_OPTIONS = {"single_bias", "last_output", "scale", "shift", "biased_running_var"}
WORDS = {"same", "valid", "causal"}

CASES = [
    pytest.param(name, *case, *([{}] if len(case) == 3 else []), id=f"{name}-{i}")
    for name, cases in TABLE.items()
    for i, case in enumerate(cases)
]


def exported():
    return {name for name in layers.__all__ if inspect.isclass(getattr(layers, name))}


def test_every_exported_layer_is_in_the_table():
    assert exported() == set(TABLE)


@pytest.mark.parametrize(("name", "args", "kwargs", "shapes", "options"), CASES)
def test_keeps_what_a_layer_owes(name, args, kwargs, shapes, options):
    check_layer(lambda: getattr(layers, name)(*args, **kwargs), *shapes, **options)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_takes_a_name_and_has_a_documented_class(name):
    layer_class = getattr(layers, name)
    args, kwargs = TABLE[name][0][:2]
    assert issubclass(layer_class, Layer)
    assert layer_class(*args, name="mine", **kwargs).name == "mine"
    assert layer_class.__doc__ != getattr(nn, name, nn.Module).__doc__
    assert "Example:" in layer_class.__doc__


def torchs_cases():
    """The cases whose arguments torch's class takes, too."""
    return [
        pytest.param(name, args, kwargs, id=f"{name}-{i}")
        for name, cases in TABLE.items()
        for i, (args, kwargs, *_) in enumerate(cases)
        if hasattr(nn, name)
        if not OWN_OPTIONS & set(kwargs) and not WORDS.intersection([*args, *kwargs.values()])
    ]


@pytest.mark.parametrize(("name", "args", "kwargs"), torchs_cases())
def test_is_torchs_class_with_torchs_arguments(name, args, kwargs):
    ours, theirs = getattr(layers, name), getattr(nn, name)
    # torch.compile refuses every instance of nn.LSTM, nn.GRU and nn.RNN
    assert issubclass(ours, nn.RNNBase if issubclass(theirs, nn.RNNBase) else theirs)
    torch.manual_seed(3)
    expected = theirs(*args, **kwargs)
    torch.manual_seed(3)
    layer = ours(*args, **kwargs)
    assert repr(layer) == repr(expected)
    if name != "LazyLinear":
        torch.testing.assert_close(layer.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_every_class_of_torchs_is_compared_with_torchs():
    assert {case.values[0] for case in torchs_cases()} == {n for n in TABLE if hasattr(nn, n)}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layer_class", [layers.SeparableConv1d, layers.SeparableConv2d])
def test_a_separable_convolution_has_one_bias_at_most(layer_class, bias):
    names = {name for name, _ in layer_class(8, 4, 3, bias=bias).named_parameters()}
    biases = {"pointwise.bias"} if bias else set()
    assert names == {"depthwise.weight", "pointwise.weight"} | biases


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (layers.Conv2d(3, 4, 3, stride=2, padding="same"), "padding=same"),
        (layers.Conv1d(3, 4, 3, padding="causal"), "padding=causal"),
        (layers.ConvTranspose2d(3, 4, 3, padding="same"), "like='same'"),
        (layers.MaxPool2d(3, 2, padding="same"), "padding=same"),
        (layers.AvgPool1d(3, 2, padding="same"), "padding=same"),
        (layers.BatchNorm2d(3, scale=False), "scale=False"),
        (layers.BatchNorm2d(3, shift=False), "shift=False"),
        (layers.BatchNorm2d(3, biased_running_var=True), "biased_running_var=True"),
        (layers.Crop1d((1, 2)), "(1, 2)"),
    ],
)
def test_what_torch_has_not_is_printed(layer, told):
    assert told in repr(layer)


@pytest.mark.parametrize("name", sorted(set(TABLE) - {"LazyLinear"}))
def test_is_known_to_the_initialisers(name):
    args, kwargs = TABLE[name][0][:2]
    layers.init.glorot_(getattr(layers, name)(*args, **kwargs))  # a warning would be an error
