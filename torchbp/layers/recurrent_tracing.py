"""Recurrent layers in the forms that compilers and exporters can take.

torch's recurrent kernels stop both: the compiler refuses them or unrolls them step by step for
one length of sequence, and so does the exporter. Here a layer is, for `torch.compile`, one
operator that calls the kernel; for `torch.export` and ONNX, a `scan` over the steps, which keeps
the length of the sequence free and needs no torchbp to run.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan_op
from torch.nn import functional as F

Layer = Callable[[str, Tensor, list[Tensor], list[Tensor]], list[Tensor]]
"""(kind, x (T, N, D), state, weights) -> [output (T, N, H), *state]; a state is (1, N, H)."""


def traced_forward(
    module: nn.RNNBase, input: Tensor, hx: Any, one_layer: Layer | None = None
) -> tuple[Tensor, Any]:
    """What a recurrent module returns, computed by operations that can be traced.

    Args:
        module: an LSTM, GRU or RNN of any number of layers and directions, without projection.
        input: as for the module; not packed.
        hx: the first state, or None for zeros.
        one_layer: computes a layer in one direction; by default the form that the tracer at work
            can take.

    Returns:
        (output, state), as the module does.
    """
    kind = module.mode
    if one_layer is None:
        one_layer = _scan_layer if torch.compiler.is_exporting() else _kernel_layer
    batched = input.dim() == 3
    x = input if batched else input.unsqueeze(0 if module.batch_first else 1)
    x = x.transpose(0, 1) if module.batch_first else x  # (T, N, D)
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(_weights(module, "_l0")[0].dtype)
    first = _first_state(module, x, hx, batched)  # (layers * directions, N, H) each
    last: list[list[Tensor]] = []
    for number in range(module.num_layers):
        outputs = []
        for suffix in ("", "_reverse") if module.bidirectional else ("",):
            index = len(last)
            state = [part[index : index + 1] for part in first]
            weights = _weights(module, f"_l{number}{suffix}")
            sequence = x.flip(0) if suffix else x
            output, *state = one_layer(kind, sequence, state, weights)
            outputs.append(output.flip(0) if suffix else output)
            last.append(state)
        x = torch.cat(outputs, dim=-1) if module.bidirectional else outputs[0]
        if module.dropout and number < module.num_layers - 1:
            x = F.dropout(x, module.dropout, module.training)
    output = x.transpose(0, 1) if module.batch_first else x
    states = [torch.cat(parts) for parts in zip(*last, strict=True)]
    if not batched:
        output = output.squeeze(0 if module.batch_first else 1)
        states = [state.squeeze(1) for state in states]
    return output, (states[0], states[1]) if kind == "LSTM" else states[0]


def _first_state(module: nn.RNNBase, x: Tensor, hx: Any, batched: bool) -> list[Tensor]:
    if hx is not None:
        given = list(hx) if isinstance(hx, tuple) else [hx]
        return given if batched else [part.unsqueeze(1) for part in given]
    count = module.num_layers * (2 if module.bidirectional else 1)
    zeros = x.new_zeros(count, x.shape[1], module.hidden_size)
    return [zeros, zeros.clone()] if module.mode == "LSTM" else [zeros]


def _weights(module: nn.RNNBase, suffix: str) -> list[Tensor]:
    names = (
        ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        if module.bias
        else (
            "weight_ih",
            "weight_hh",
        )
    )
    return [getattr(module, name + suffix) for name in names]


def _lstm_step(x: Tensor, state: list[Tensor], recurrent: Callable[..., Tensor]) -> list[Tensor]:
    h, c = state
    i, f, n, o = (x + recurrent(h)).chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * n.tanh()
    return [o.sigmoid() * c.tanh(), c]


def _gru_step(x: Tensor, state: list[Tensor], recurrent: Callable[..., Tensor]) -> list[Tensor]:
    (h,) = state
    x_r, x_z, x_n = x.chunk(3, dim=-1)
    h_r, h_z, h_n = recurrent(h).chunk(3, dim=-1)
    z = (x_z + h_z).sigmoid()
    n = (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
    return [(1 - z) * n + z * h]


def _tanh_step(x: Tensor, state: list[Tensor], recurrent: Callable[..., Tensor]) -> list[Tensor]:
    return [(x + recurrent(state[0])).tanh()]


def _relu_step(x: Tensor, state: list[Tensor], recurrent: Callable[..., Tensor]) -> list[Tensor]:
    return [(x + recurrent(state[0])).relu()]


_STEPS = {"LSTM": _lstm_step, "GRU": _gru_step, "RNN_TANH": _tanh_step, "RNN_RELU": _relu_step}


def _scan_layer(kind: str, x: Tensor, state: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    weight_ih, weight_hh = weights[:2]
    bias_ih, bias_hh = weights[2] if len(weights) > 2 else None, weights[3:]
    count = len(state)

    def step(*tensors: Tensor) -> list[Tensor]:
        carry, (x_t, own_weight, *own_bias) = list(tensors[:count]), tensors[count:]
        new = _STEPS[kind](x_t, carry, lambda h: F.linear(h, own_weight, *own_bias))
        return [*new, new[0].clone()]  # what is carried and what is kept may not be one tensor

    # The operator itself: `scan` asks dynamo first, whose guards of earlier calls would be tried
    # on the length of this sequence and fix it. Weights are arguments, since nothing lifts them.
    first = [part[0] for part in state]
    *last, output = scan_op(step, first, [F.linear(x, weight_ih, bias_ih)], (weight_hh, *bias_hh))
    return [output, *(part.unsqueeze(0) for part in last)]


def _kernel_layer(kind: str, x: Tensor, state: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    return _operator(kind, x, state, weights)


def _kernel(
    kind: str, x: Tensor, state: list[Tensor], weights: list[Tensor], train: bool
) -> list[Tensor]:
    """Torch's kernel for one layer in one direction."""
    function = getattr(torch._VF, kind.lower())
    first = tuple(state) if kind == "LSTM" else state[0]
    outputs = function(x, first, weights, len(weights) > 2, 1, 0.0, train, False, False)
    return [output.contiguous() for output in outputs]


@torch.library.custom_op("torchbp::recurrent_layer", mutates_args=())
def _operator(kind: str, x: Tensor, state: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    return _kernel(kind, x, state, weights, train=False)


@torch.library.custom_op("torchbp::recurrent_layer_backward", mutates_args=())
def _backward_operator(
    kind: str, x: Tensor, state: list[Tensor], weights: list[Tensor], grads: list[Tensor]
) -> list[Tensor]:
    """Gradients of x, the state and the weights; the forward pass is run again for them."""
    with _autograd_within_operator():
        leaves = [tensor.detach().requires_grad_() for tensor in (x, *state, *weights)]
        inputs, rest = leaves[1 : len(state) + 1], leaves[len(state) + 1 :]
        outputs = _kernel(kind, leaves[0], inputs, rest, train=True)
        return [grad.contiguous() for grad in torch.autograd.grad(outputs, leaves, grads)]


@contextmanager
def _autograd_within_operator() -> Iterator[None]:
    """Record gradients again, which torch turns off while an operator's own code runs."""
    keys = torch._C.DispatchKey
    with (
        torch.enable_grad(),
        torch._C._SetExcludeDispatchKeyGuard(keys.AutogradFunctionality, False),
        torch._C._SetExcludeDispatchKeyGuard(keys.ADInplaceOrView, False),
    ):
        yield


@_operator.register_fake
def _(kind: str, x: Tensor, state: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    output = x.new_empty(x.shape[0], x.shape[1], state[0].shape[-1])
    return [output, *(part.new_empty(part.shape) for part in state)]


@_backward_operator.register_fake
def _(
    kind: str, x: Tensor, state: list[Tensor], weights: list[Tensor], grads: list[Tensor]
) -> list[Tensor]:
    return [tensor.new_empty(tensor.shape) for tensor in (x, *state, *weights)]


def _save(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.kind, x, state, weights = inputs
    ctx.num_states = len(state)
    ctx.save_for_backward(x, *state, *weights)


def _differentiate(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    x, *rest = ctx.saved_tensors
    state, weights = rest[: ctx.num_states], rest[ctx.num_states :]
    result = _backward_operator(ctx.kind, x, state, weights, [grad.contiguous() for grad in grads])
    return None, result[0], result[1 : ctx.num_states + 1], result[ctx.num_states + 1 :]


_operator.register_autograd(_differentiate, setup_context=_save)
