"""What a Keras configuration says of a recurrent layer, of its cell and of a layer within."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchbp import layers
from torchbp.layers import recurrent_cells
from torchbp.port.config import Config, UnsupportedError
from torchbp.port.converters.activation import apply
from torchbp.port.registry import Layer
from torchbp.port.values import Value

CellKind = Literal["lstm", "gru", "rnn"]
LAYER_KINDS: dict[str, CellKind] = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "rnn"}
CELL_KINDS: dict[str, CellKind] = {"LSTMCell": "lstm", "GRUCell": "gru", "SimpleRNNCell": "rnn"}
_KERNELS: dict[CellKind, type[nn.Module]] = {
    "lstm": layers.LSTM,
    "gru": layers.GRU,
    "rnn": layers.RNN,
}


@dataclass(frozen=True)
class Activation:
    """An activation as a function of tensors, which can be compared and pickled.

    Args:
        activation: as the file has it.
    """

    activation: Any

    def __call__(self, x: Tensor) -> Tensor:
        """The values after it."""
        result: Tensor = apply(self.activation, Value(x)).tensor
        return result


def function_of(activation: Any) -> Any:
    """Torch's function where that is one, else Keras's activation as a function."""
    known = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu}
    return (
        known[activation]
        if isinstance(activation, str) and activation in known
        else (Activation(activation))
    )


@dataclass(frozen=True)
class Cell:
    """The arguments of a cell that a port needs."""

    kind: CellKind
    units: int
    bias: bool
    activation: Any
    gate_activation: Any
    reset_after: bool
    dropout: float
    recurrent_dropout: float
    per_gate: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Keras's names of the arrays."""
        return ("kernel", "recurrent_kernel", "bias")[: 2 + self.bias]

    @property
    def num_states(self) -> int:
        """How many tensors a state has."""
        return 2 if self.kind == "lstm" else 1

    @property
    def has_kernel(self) -> bool:
        """Whether torch's kernels compute it, but for dropout of the input."""
        if self.recurrent_dropout or (self.dropout and self.per_gate):
            return False
        if self.kind == "rnn":
            return self.activation in ("tanh", "relu")
        return (self.activation, self.gate_activation) == ("tanh", "sigmoid") and self.reset_after

    def kernel(self, in_features: int, **options: Any) -> nn.Module:
        """Torch's kernel."""
        if self.kind == "rnn":
            options["nonlinearity"] = self.activation
        options["single_bias"] = self.bias and self.kind != "gru"
        make = _KERNELS[self.kind]
        return make(in_features, self.units, bias=self.bias, batch_first=True, **options)

    def cell(self, in_features: int) -> recurrent_cells.Cell:
        """A cell for a loop."""
        options: dict[str, Any] = {
            "activation": function_of(self.activation),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
        }
        if self.kind == "rnn":
            return recurrent_cells.RNNCell(in_features, self.units, self.bias, **options)
        options["gate_activation"] = function_of(self.gate_activation)
        options["dropout_per_gate"] = self.per_gate
        if self.kind == "lstm":
            return recurrent_cells.LSTMCell(in_features, self.units, self.bias, **options)
        options["reset_after"] = self.reset_after
        return recurrent_cells.GRUCell(in_features, self.units, self.bias, **options)


@dataclass(frozen=True)
class Run:
    """How a layer goes through a sequence, and what it gives."""

    sequences: bool
    state: bool
    backwards: bool
    zero_masked: bool
    unroll: bool


def read_cell(config: Config, kind: CellKind) -> Cell:
    """The arguments of a cell, which a layer of one cell has, too."""
    for name in ("unit_forget_bias", "seed"):  # how the weights start, and random numbers
        config.get(name, None)
    config.only("implementation", 2, 1, None)
    dropout, recurrent_dropout = rates(config)
    return Cell(
        kind,
        config.count("units"),
        config.flag("use_bias", True),
        config.get("activation", "tanh"),
        config.get("recurrent_activation", "sigmoid") if kind != "rnn" else None,
        config.flag("reset_after", True) if kind == "gru" else True,
        dropout,
        recurrent_dropout,
        per_gate=kind != "rnn" and (recurrent_dropout > 0 or config.get("implementation", 2) == 1),
    )


def rates(config: Config) -> tuple[float, float]:
    """The shares of the input and of the state that are dropped."""
    found = config.number("dropout", 0.0), config.number("recurrent_dropout", 0.0)
    if not all(0.0 <= rate < 1.0 for rate in found):
        raise UnsupportedError(f"dropout={found[0]}, recurrent_dropout={found[1]}")
    return found


def read_run(config: Config) -> Run:
    """The arguments of all recurrent layers."""
    if config.flag("stateful", False):
        raise UnsupportedError("stateful=True: states that are kept from call to call")
    config.only("time_major", False)
    return Run(
        config.flag("return_sequences", False),
        config.flag("return_state", False),
        config.flag("go_backwards", False),
        config.flag("zero_output_for_mask", False),
        config.flag("unroll", False),
    )


def inner(layer: Layer, item: Any) -> tuple[str, Mapping[str, Any]]:
    """The class and the arguments of a layer of Keras's that is an argument of another.

    Raises:
        UnsupportedError: it is no layer of Keras's, or has another dtype.
    """
    values = item.get("config") if isinstance(item, Mapping) else None
    if not isinstance(values, Mapping) or not isinstance(item.get("class_name"), str):
        raise UnsupportedError("a layer within that the file does not describe")
    module, registered = item.get("module"), item.get("registered_name")
    is_own = registered not in (None, item["class_name"])
    if is_own or (module is not None and module.split(".")[0] not in ("keras", "tf_keras")):
        raise UnsupportedError(f"a layer within of your own: {item['class_name']}")
    dtypes = {str(_dtype(values.get("dtype"))), str(_dtype(layer.spec.config.get("dtype")))}
    if len(dtypes - {"None"}) > 1:
        raise UnsupportedError(f"a layer within of another dtype: {sorted(dtypes)}")
    return item["class_name"], values


def _dtype(policy: Any) -> Any:
    config = policy.get("config") if isinstance(policy, Mapping) else None
    return config.get("name") if isinstance(config, Mapping) else policy


def inner_config(layer: Layer, values: Mapping[str, Any]) -> Config:
    """The arguments of a layer within.

    Raises:
        UnsupportedError: it is frozen, and the layer around it is not.
    """
    if layer.trainable and values.get("trainable") is False:
        raise UnsupportedError("a layer within that is frozen alone")
    return Config(values)
