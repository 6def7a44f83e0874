"""Recurrent layers: torch's kernels, with one trained bias vector and the last output on demand."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from torchbp.graph.layer import Layer
from torchbp.layers.recurrent_tracing import traced_forward


class _Recurrent(Layer, nn.RNNBase):
    """torch's recurrent module with `single_bias` and `last_output`, which can be traced.

    It derives from the base of `nn.LSTM`, `nn.GRU` and `nn.RNN` and not from these, because
    torch.compile refuses their instances whatever they do.
    """

    def __init__(
        self, *args: Any, single_bias: bool = False, last_output: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.single_bias = single_bias
        self.last_output = last_output
        if single_bias:
            self._fix_second_biases()

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> Any:
        """What torch's layer returns, or only its last output."""
        if torch.compiler.is_compiling() and isinstance(input, Tensor) and not self.proj_size:
            output, state = traced_forward(self, input, hx)
        else:
            output, state = self._eager_forward(input, hx)
        if not self.last_output:
            return output, state
        h_n: Tensor = state[0] if isinstance(state, tuple) else state  # (layers, N, H)
        return torch.cat((h_n[-2], h_n[-1]), dim=-1) if self.bidirectional else h_n[-1]

    def _eager_forward(self, input: Tensor | PackedSequence, hx: Any) -> Any:
        raise NotImplementedError  # that of torch's class, by each class below

    def reset_parameters(self) -> None:
        """Draw the weights anew, as torch does; a second bias that is not trained is zero."""
        super().reset_parameters()
        for bias in self.buffers(recurse=False):
            nn.init.zeros_(bias)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        shown = super().extra_repr()
        for option in ("single_bias", "last_output"):
            if getattr(self, option):
                shown += f", {option}=True"
        return shown

    def _fix_second_biases(self) -> None:
        """Exchange the second biases for zeros that are neither trained nor saved.

        The kernels take two bias vectors; as buffers of the same names they stay in the list of
        weights that nn.RNNBase hands to them.
        """
        for name, bias in list(self.named_parameters(recurse=False)):
            if name.startswith("bias_hh"):
                delattr(self, name)
                self.register_buffer(name, torch.zeros_like(bias.detach()), persistent=False)
        self._init_flat_weights()


class LSTM(_Recurrent):
    """Long short-term memory.

    Arguments are those of `torch.nn.LSTM` and two more. Text models take the output of an
    `Embedding`, whose batch comes first: they say `batch_first=True`.

    Args:
        single_bias: train one bias vector, `bias_ih`, instead of torch's two, of which only the
            sum matters; `bias_hh` is then zero and in no state dict.
        last_output: return only the last layer's output of the last step, that of both directions
            joined if bidirectional, instead of (output, (h_n, c_n)).

    Shape:
        input (N, T, input_size) with batch_first, (T, N, input_size) without, the same without N,
        or a PackedSequence -> (output, (h_n, c_n)) as torch's, output (N, T, H) with batch_first,
        h_n and c_n (num_layers, N, H); (N, H) with last_output. Bidirectional, H is 2H.

    Example:
        >>> from torchbp.layers import LSTM
        >>> lstm = LSTM(128, 32, batch_first=True, single_bias=True, last_output=True)
        >>> lstm(torch.zeros(2, 10, 128)).shape
        torch.Size([2, 32])
        >>> sum(parameter.numel() for parameter in lstm.parameters())
        20608

    Differences from Keras: Keras's LSTM is this one with single_bias and last_output (without it
    for return_sequences); weights start as Keras's with `torchbp.layers.init.glorot_`. There are
    no masks, no kept states and no dropout within the recurrence.
    Source: Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    _eager_forward = nn.LSTM.forward
    check_forward_args = nn.LSTM.check_forward_args  # type: ignore[assignment]  # of two states
    permute_hidden = nn.LSTM.permute_hidden  # type: ignore[assignment]  # of two states
    get_expected_cell_size = nn.LSTM.get_expected_cell_size


class GRU(_Recurrent):
    """Gated recurrent unit.

    Arguments are those of `torch.nn.GRU` and two more. Text models take the output of an
    `Embedding`, whose batch comes first: they say `batch_first=True`.

    Args:
        single_bias: train only the bias of the input, `bias_ih`; the recurrent one, `bias_hh`, is
            zero and in no state dict. Unlike an LSTM's the two are not just summed: the candidate
            n = tanh(x_n + b_in + r * (h_n + b_hn)) has the second behind the reset gate.
        last_output: return only the last layer's output of the last step, that of both directions
            joined if bidirectional, instead of (output, h_n).

    Shape:
        input (N, T, input_size) with batch_first, (T, N, input_size) without, the same without N,
        or a PackedSequence -> (output, h_n) as torch's, output (N, T, H) with batch_first, h_n
        (num_layers, N, H); (N, H) with last_output. Bidirectional, H is 2H.

    Example:
        >>> from torchbp.layers import GRU
        >>> GRU(64, 32, batch_first=True, last_output=True)(torch.zeros(2, 10, 64)).shape
        torch.Size([2, 32])

    Differences from Keras: Keras's GRU is this one with both biases and last_output (without it
    for return_sequences); its reset_after=False is another formula and is not here. There are no
    masks, no kept states and no dropout within the recurrence.
    Source: Cho et al. 2014, https://arxiv.org/abs/1406.1078
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("GRU", *args, **kwargs)

    _eager_forward = nn.GRU.forward


class RNN(_Recurrent):
    """Plain recurrence: h' = tanh(W x + b + U h).

    Arguments are those of `torch.nn.RNN` and two more. Text models take the output of an
    `Embedding`, whose batch comes first: they say `batch_first=True`.

    Args:
        single_bias: train one bias vector, `bias_ih`, instead of torch's two, of which only the
            sum matters; `bias_hh` is then zero and in no state dict.
        last_output: return only the last layer's output of the last step, that of both directions
            joined if bidirectional, instead of (output, h_n).

    Shape:
        as for GRU.

    Example:
        >>> from torchbp.layers import RNN
        >>> RNN(64, 32, batch_first=True, last_output=True)(torch.zeros(2, 10, 64)).shape
        torch.Size([2, 32])

    Differences from Keras: Keras's SimpleRNN is this one with single_bias and last_output.
    Source: Elman 1990, https://doi.org/10.1207/s15516709cog1402_1
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(mode, input_size, hidden_size, num_layers, *args, **kwargs)
        self.nonlinearity = nonlinearity

    _eager_forward = nn.RNN.forward
