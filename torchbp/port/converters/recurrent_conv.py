"""Recurrent layers of images: ConvLSTM."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from torchbp import layers
from torchbp.layers.recurrent_conv import ConvLSTMCell
from torchbp.port.config import Config, UnsupportedError
from torchbp.port.converters.recurrent import check_unrolled, given_of, results
from torchbp.port.converters.recurrent_config import function_of, rates, read_run
from torchbp.port.registry import Layer, Weights, keras_layer
from torchbp.port.values import Value

_OF_AN_AXIS = ("softmax", "log_softmax", "glu", "sparsemax")


@dataclass(frozen=True)
class _Cell:
    num_dims: int
    filters: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str
    dilation: tuple[int, ...]
    bias: bool
    activation: Any
    gate_activation: Any
    dropout: float
    recurrent_dropout: float


def _read(config: Config, num_dims: int) -> _Cell:
    for name in ("unit_forget_bias", "seed"):
        config.get(name, None)
    dropout, recurrent_dropout = rates(config)
    activations = [
        config.get("activation", "tanh"),
        # tf.keras has another default, and always says which
        config.get("recurrent_activation", "sigmoid"),
    ]
    for activation in activations:
        if activation in _OF_AN_AXIS or isinstance(activation, dict):
            raise UnsupportedError(f"activation={activation!r}")
    return _Cell(
        num_dims,
        config.count("filters"),
        config.sizes("kernel_size", num_dims),
        config.sizes("strides", num_dims, 1),
        config.word("padding", "valid", "same", default="valid"),
        config.sizes("dilation_rate", num_dims, 1),
        config.flag("use_bias", True),
        activations[0],
        activations[1],
        dropout,
        recurrent_dropout,
    )


def _conv_lstm(num_dims: int) -> Any:
    def port(layer: Layer, x: Any, initial_state: Any = None) -> Any:
        cell, run = _read(layer.config, num_dims), read_run(layer.config)
        layer.config.only("data_format", "channels_last", None)
        given = given_of(layer, x, initial_state, 2)
        check_unrolled(run, given)
        if given.value.ndim != num_dims + 3 or None in given.value.shape[2:]:
            raise UnsupportedError(f"an input of shape {given.value.shape}")
        names = ("kernel", "recurrent_kernel", "bias")[: 2 + cell.bias]
        rnn = layer.module(
            _make,
            cell,
            given.value.channels,
            run.zero_masked,
            weights=Weights("conv_lstm", names, part="cell"),
        )
        steps = given.value.with_channels_at_1().movedim(1, 2)  # (N, T, C, ...)
        mask = given.mask
        if run.backwards:
            steps, mask = steps.flip(1), None if mask is None else mask.flip(1)
        states = given.states and tuple(state.movedim(-1, 1) for state in given.states)
        output, last = rnn(steps, mask, states)
        output = output.movedim(2, 1) if run.sequences else output[:, -1]
        values = [Value(tensor, channels_at_1=True) for tensor in (output, *last)]
        return results(run, given, values[:1], values[1:])

    return port


def _make(cell: _Cell, in_channels: int, zero_masked: bool, name: str) -> nn.Module:
    made = ConvLSTMCell(
        cell.num_dims,
        in_channels,
        cell.filters,
        cell.kernel_size,
        cell.stride,
        0 if cell.padding == "valid" else cell.padding,
        cell.dilation,
        cell.bias,
        activation=function_of(cell.activation),
        gate_activation=function_of(cell.gate_activation),
        dropout=cell.dropout,
        recurrent_dropout=cell.recurrent_dropout,
    )
    return layers.CellRNN(made, zero_masked, name=name)


for _num_dims in (1, 2, 3):
    keras_layer(f"ConvLSTM{_num_dims}D", masks="own")(_conv_lstm(_num_dims))
