"""Keras's starting weights for every layer of a model."""

import warnings
from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from torchbp.errors import DataError, ShapeError
from torchbp.layers.axis_normalization import LayerNormOver
from torchbp.layers.einsum import Einsum, PReLUOver
from torchbp.layers.init.weight import (
    Fans,
    embedding_uniform_,
    glorot_normal_,
    glorot_uniform_,
    he_normal_,
    he_uniform_,
    lecun_normal_,
    lecun_uniform_,
    orthogonal_,
    unit_forget_bias_,
)
from torchbp.layers.score_attention import BahdanauAttention, LuongAttention
from torchbp.layers.standardize import LayerScale

Distribution = Literal["uniform", "normal"]


def glorot_(
    model: nn.Module, distribution: Distribution = "uniform", generator: Generator | None = None
) -> nn.Module:
    """Initialise a model as Keras does by default.

    Kernels are drawn by Glorot's scheme; biases are zero; recurrent kernels are orthogonal, all
    gates together; the forget gate's bias of an LSTM is one, once where there are two biases;
    embeddings are uniform in +-0.05, with zeros for a padding_idx; normalisations start at ones,
    zeros and fresh running statistics; slopes of PReLU are zero. Layers are known by torch's
    classes, so that plain `torch.nn` modules are initialised too. A layer that is used several
    times is drawn once. A convolution with one group a channel counts as Keras's DepthwiseConv.

    Args:
        model: any module; its parts are drawn in the order of `model.modules()`.
        distribution: of the kernels, "uniform" (Keras's default) or "normal", cut at two standard
            deviations.
        generator: source of the random numbers, on the device of the weights.

    Returns:
        The model.

    Warns:
        UserWarning: some parameters belong to modules of other classes. They stay as they are,
            since no scheme can be known for them, and the warning lists them.

    Raises:
        ShapeError: the model has lazy layers whose weights do not exist yet.
        DataError: an unknown distribution.

    Example:
        >>> from torchbp.layers import Linear, init
        >>> model = init.glorot_(nn.Sequential(Linear(4, 8), Linear(8, 1)))
        >>> model[1].bias
        Parameter containing:
        tensor([0.], requires_grad=True)
    """
    kernels = {"uniform": glorot_uniform_, "normal": glorot_normal_}
    return _initialize(model, kernels, distribution, generator)


def he_(
    model: nn.Module, distribution: Distribution = "uniform", generator: Generator | None = None
) -> nn.Module:
    """Initialise a model as `glorot_` does, with He's scheme for the kernels.

    Arguments, result, warning and error are those of `glorot_`.

    Example:
        >>> from torchbp.layers import Linear, ReLU, init
        >>> model = init.he_(nn.Sequential(Linear(4, 8), ReLU(), Linear(8, 1)))
    """
    kernels = {"uniform": he_uniform_, "normal": he_normal_}
    return _initialize(model, kernels, distribution, generator)


def lecun_(
    model: nn.Module, distribution: Distribution = "uniform", generator: Generator | None = None
) -> nn.Module:
    """Initialise a model as `glorot_` does, with LeCun's scheme for the kernels.

    Arguments, result, warning and error are those of `glorot_`.

    Example:
        >>> from torchbp.layers import SELU, Linear, init
        >>> model = init.lecun_(nn.Sequential(Linear(4, 8), SELU(), Linear(8, 1)), "normal")
    """
    kernels = {"uniform": lecun_uniform_, "normal": lecun_normal_}
    return _initialize(model, kernels, distribution, generator)


class _Initializer(Protocol):
    def __call__(
        self, weight: Tensor, fans: Fans | None = None, generator: Generator | None = None
    ) -> Tensor: ...


def _initialize(
    model: nn.Module,
    kernels: dict[str, _Initializer],
    distribution: str,
    generator: Generator | None,
) -> nn.Module:
    if distribution not in kernels:
        raise DataError(
            f"init: expected distribution 'uniform' or 'normal', got {distribution!r}.\n"
            "  To mend it: name one of the two."
        )
    _refuse_lazy(model)
    draw = _Draw(kernels[distribution], generator)
    left = []
    with torch.no_grad():
        for path, module in model.named_modules():
            known, initialize = _rule(module)
            initialize(module, draw)
            left += [
                f"{path}.{name}".lstrip(".") + f" ({type(module).__name__})"
                for name, _ in module.named_parameters(recurse=False)
                if not name.startswith(known)
            ]
    if left:
        warnings.warn(
            f"init: left as they are, since Keras has no scheme for them: {', '.join(left)}.\n"
            "  To mend it: initialise these yourself, with the functions of torchbp.layers.init.",
            stacklevel=3,
        )
    return model


def _refuse_lazy(model: nn.Module) -> None:
    lazy = [name for name, parameter in model.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise ShapeError(
            f"init: expected weights with sizes, got lazy ones: {', '.join(lazy)}.\n"
            "  To mend it: call the model once, or connect it to an Input, before."
        )


class _Draw:
    """Draws kernels, by one scheme, and what is drawn by the same scheme in every model."""

    def __init__(self, kernel: _Initializer, generator: Generator | None) -> None:
        self._kernel = kernel
        self._generator = generator

    def kernel(self, weight: Tensor, fans: Fans | None = None) -> None:
        self._kernel(weight, fans, self._generator)

    def orthogonal(self, weight: Tensor) -> None:
        orthogonal_(weight, generator=self._generator)

    def embedding(self, weight: Tensor) -> None:
        embedding_uniform_(weight, self._generator)


def _linear(module: nn.Linear, draw: _Draw) -> None:
    draw.kernel(module.weight)
    if module.bias is not None:
        module.bias.zero_()


def _conv(module: _ConvNd, draw: _Draw) -> None:
    fans = None
    if not module.transposed and module.groups == module.in_channels:
        # Keras's depthwise kernel (*kernel, C, M) counts all channels as inputs of an output
        positions = module.weight[0, 0].numel()
        fans = positions * module.in_channels, positions * module.out_channels // module.groups
    draw.kernel(module.weight, fans)
    if module.bias is not None:
        module.bias.zero_()


def _recurrent(module: nn.RNNBase | nn.RNNCellBase, draw: _Draw) -> None:
    for name, weight in module.named_parameters(recurse=False):
        if name.startswith("weight_hh"):
            draw.orthogonal(weight)
        elif name.startswith("weight"):
            draw.kernel(weight)
        elif name.startswith("bias_ih") and (
            isinstance(module, nn.LSTMCell) or getattr(module, "mode", "") == "LSTM"
        ):
            unit_forget_bias_(weight)
        else:
            weight.zero_()


def _is_lstm(module: nn.RNNBase | nn.RNNCellBase) -> bool:
    return isinstance(module, nn.LSTMCell) or getattr(module, "mode", None) == "LSTM"


def _attention(module: nn.MultiheadAttention, draw: _Draw) -> None:
    for name, weight in module.named_parameters(recurse=False):
        if name == "in_proj_weight":
            for kernel in weight.chunk(3):  # of query, key and value
                draw.kernel(kernel)
        elif name.endswith("proj_weight"):
            draw.kernel(weight)
        elif name == "in_proj_bias":
            weight.zero_()


def _embedding(module: nn.Embedding | nn.EmbeddingBag, draw: _Draw) -> None:
    draw.embedding(module.weight)
    if module.padding_idx is not None:
        module.weight[module.padding_idx].zero_()


def _norm(module: nn.Module, draw: _Draw) -> None:
    module.reset_parameters()  # type: ignore[operator]  # the classes have no base that declares it


def _prelu(module: nn.PReLU | PReLUOver, draw: _Draw) -> None:
    module.weight.zero_()


def _einsum(module: Einsum, draw: _Draw) -> None:
    draw.kernel(module.weight, module.fans())
    if module.bias is not None:
        module.bias.zero_()


def _additive(module: BahdanauAttention, draw: _Draw) -> None:
    if module.scale is not None:
        draw.kernel(module.scale, (module.num_features, module.num_features))


def _nothing(module: nn.Module, draw: _Draw) -> None:
    pass


# Classes, the parameters that their rule knows (by how the names begin), and the rule.
_RULES: list[tuple[tuple[type, ...], tuple[str, ...], Callable[..., None]]] = [
    ((nn.Linear,), ("weight", "bias"), _linear),
    ((_ConvNd,), ("weight", "bias"), _conv),
    ((nn.RNNBase, nn.RNNCellBase), ("weight", "bias"), _recurrent),
    ((nn.MultiheadAttention,), ("in_proj_", "q_proj_", "k_proj_", "v_proj_"), _attention),
    ((nn.Embedding, nn.EmbeddingBag), ("weight",), _embedding),
    ((_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm), ("weight", "bias"), _norm),
    ((nn.PReLU, PReLUOver), ("weight",), _prelu),
    ((LayerNormOver, LayerScale), ("weight", "bias"), _norm),
    ((LuongAttention,), ("scale", "score_weight"), _norm),
    ((BahdanauAttention,), ("scale",), _additive),
    ((Einsum,), ("weight", "bias"), _einsum),
]


def _rule(module: nn.Module) -> tuple[tuple[str, ...], Callable[..., None]]:
    for classes, known, initialize in _RULES:
        if isinstance(module, classes):
            return known, initialize
    return (), _nothing
