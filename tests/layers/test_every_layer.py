"""check_layer on every layer: the table is the list of what torchbp.layers exports."""

import inspect

import pytest
import torch
from torch import nn

from torchbp import layers
from torchbp.graph import Layer
from torchbp.layers import check_layer

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
    "BatchNorm1d": [
        ((8,), {}, [(8,)], {"train_differs": True}),
        ((8,), {"affine": False}, [SEQUENCE], {"train_differs": True}),
        ((8,), {"track_running_stats": False}, [SEQUENCE]),
    ],
    "BatchNorm2d": [((8,), {}, [IMAGE], {"train_differs": True})],
    "BatchNorm3d": [((8,), {}, [VOLUME], {"train_differs": True})],
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
for n, shape in WINDOWS:
    TABLE[f"Conv{n}d"] = [((8, 4, 3), {}, [shape]), ((8, 8, 3), {"groups": 8}, [shape])]
    TABLE[f"ConvTranspose{n}d"] = [((8, 4, 3), {"stride": 2}, [shape])]
    TABLE[f"MaxPool{n}d"] = [((2,), {}, [shape])]
    TABLE[f"AvgPool{n}d"] = [((2,), {}, [shape])]
    TABLE[f"AdaptiveMaxPool{n}d"] = [((2,), {}, [shape])]
    TABLE[f"AdaptiveAvgPool{n}d"] = [((2,), {}, [shape])]
    TABLE[f"GlobalMaxPool{n}d"] = [((), {}, [shape])]
    TABLE[f"GlobalAvgPool{n}d"] = [((), {}, [shape])]

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


@pytest.mark.parametrize("name", sorted(name for name in TABLE if hasattr(nn, name)))
def test_is_torchs_class_with_torchs_arguments(name):
    ours, theirs = getattr(layers, name), getattr(nn, name)
    args, kwargs = TABLE[name][0][:2]
    kwargs = {key: kwargs[key] for key in kwargs if key not in ("single_bias", "last_output")}
    # torch.compile refuses every instance of nn.LSTM, nn.GRU and nn.RNN
    assert issubclass(ours, nn.RNNBase if issubclass(theirs, nn.RNNBase) else theirs)
    torch.manual_seed(3)
    expected = theirs(*args, **kwargs)
    torch.manual_seed(3)
    layer = ours(*args, **kwargs)
    assert repr(layer) == repr(expected)
    if name != "LazyLinear":
        torch.testing.assert_close(layer.state_dict(), expected.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(set(TABLE) - {"LazyLinear"}))
def test_is_known_to_the_initialisers(name):
    args, kwargs = TABLE[name][0][:2]
    layers.init.glorot_(getattr(layers, name)(*args, **kwargs))  # a warning would be an error
