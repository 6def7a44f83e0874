"""Which source stands for a layer: a layer of torch's, an expression, or torchbp's own layer."""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from torchbp import layers
from torchbp.graph.layer import Layer
from torchbp.layers.conv import _Conv
from torchbp.layers.conv_transpose import _ConvTranspose
from torchbp.layers.global_pooling import _GlobalPool
from torchbp.layers.normalization import _BatchNorm
from torchbp.layers.pooling import _Pool
from torchbp.layers.recurrent import _Recurrent
from torchbp.layers.resize import _Crop
from torchbp.layers.separable import _SeparableConv
from torchbp.port.eject.creation import Argument, Creation, creation_of
from torchbp.port.eject.text import called

Args = Sequence[ast.expr]


def expression(module: nn.Module, args: Args, num_dims: int | None) -> ast.expr | None:
    """A call of a layer without weights as an expression; None if a module must stand for it.

    Args:
        module: the layer.
        args: what it is called with, tensors only.
        num_dims: of the first of these, None if unknown.
    """
    for cls, write in _EXPRESSIONS.items():
        if isinstance(module, cls) and (type(module) is cls or cls in (_GlobalPool, _Crop)):
            return write(module, args, num_dims)
    return None


def creation(module: nn.Module) -> Creation:
    """The call that makes a layer, as torch's layer where that computes the same.

    Raises:
        DataError: it cannot be written.
    """
    for cls, write in _CREATIONS.items():
        if isinstance(module, cls):
            return write(module)
    plain = _plain_class(module)
    if plain is not None:
        return creation_of(module, plain)
    short = type(module).__name__
    why = f"{short}, which torch does not have" if isinstance(module, Layer) else ""
    return dataclasses.replace(creation_of(module), why=why)


def _own(module: nn.Module, why: str) -> Creation:
    return dataclasses.replace(creation_of(module), why=why)


def _plain_class(module: nn.Module) -> type | None:
    """The class of torch's that a layer is, and adds nothing to but symbolic calls."""
    for base in type(module).__mro__:
        if base.__module__.startswith("torch.nn."):
            return base if base is not nn.Module and base is not type(module) else None
        if base is not Layer and set(vars(base)) - _SAYS_NOTHING:
            return None
    return None


_SAYS_NOTHING = {
    "__module__", "__doc__", "__annotations__", "__qualname__", "__firstlineno__",
    "__static_attributes__", "num_dims", "cls_to_become",
}  # fmt: skip


def _torch_class(module: nn.Module) -> type[nn.Module]:
    """Torch's class among the bases, for arguments for which torchbp's computes the same."""
    own = (base for base in type(module).__mro__ if base.__module__.startswith("torch.nn.modules"))
    return next(base for base in own if getattr(nn, base.__name__, None) is base)


def _conv(module: Any) -> Creation:
    """Padding in numbers, and "same" without a stride, are torch's own."""
    if module._sees_few_pixels:
        return _own(module, "torch's gradient may be wrong here: uxlfoundation/oneDNN#6035")
    padding = module.padding
    if padding in ("same", "valid") and all(size == 1 for size in module.kernel_size):
        padding = 0
    elif padding == "same" and not module._own_padding:
        reach = zip(module.kernel_size, module.dilation, strict=True)
        padding = tuple((size - 1) * step // 2 for size, step in reach)
        padding = padding[0] if len(set(padding)) == 1 else padding
    elif padding == "causal":
        return _own(module, 'padding="causal", which torch does not have')
    elif padding == "same":
        strided = any(step > 1 for step in module.stride)
        how = "with a stride" if strided else "for an even kernel"
        return _own(module, f'padding="same" {how}, which torch does not have')
    if padding == module.padding:
        return creation_of(module, _torch_class(module))
    return creation_of(module, _torch_class(module), padding=padding)


def _conv_transpose(module: Any) -> Creation:
    """A word for the padding is numbers, unless cells are cut at the end."""
    if module.padding_word is None or not any(map(sum, module.crop)):
        return creation_of(module, _torch_class(module))
    # the layer keeps what the word and output_padding came to
    reach = [(k - 1) * d + 1 for k, d in zip(module.kernel_size, module.dilation, strict=True)]
    shown = zip(module.padding, module.crop, module.output_padding, strict=True)
    total = [2 * before + cut - more for before, (_, cut), more in shown]
    output_padding = None
    if any(r - s != t for r, s, t in zip(reach, module.stride, total, strict=True)):
        output_padding = tuple(r - r % 2 - t for r, t in zip(reach, total, strict=True))
    made = creation_of(module, padding=module.padding_word, output_padding=output_padding)
    return dataclasses.replace(made, why='padding="same" whose cells at the end torch cannot cut')


def _separable(module: Any) -> Creation:
    """Two convolutions of torch's in a row, if both are."""
    parts = [creation(module.depthwise), creation(module.pointwise)]
    if any(part.why for part in parts):
        return _own_separable(module)
    return Creation(
        "nn.Sequential",
        {str(i): Argument(part.call()) for i, part in enumerate(parts)},
        keys={
            f"{i}.{key}": f"{part}.{key}"
            for i, part in enumerate(("depthwise", "pointwise"))
            for key in module.get_submodule(part).state_dict()
        },
        fixed=_fixed(module, {"depthwise": "0", "pointwise": "1"}),
        is_fixed=not any(p.requires_grad for p in module.parameters()),
        has_weights=True,
    )


def _own_separable(module: Any) -> Creation:
    made = creation_of(
        module,
        out_channels=module.pointwise.out_channels,
        multiplier=module.depthwise.out_channels // module.depthwise.in_channels,
        bias=module.pointwise.bias is not None,
    )
    return dataclasses.replace(made, why=creation(module.depthwise).why)


def _fixed(module: nn.Module, parts: dict[str, str]) -> tuple[str, ...]:
    names = [key for key, p in module.named_parameters() if not p.requires_grad]
    return tuple(".".join([parts[key.split(".")[0]], *key.split(".")[1:]]) for key in names)


def _pool(module: Any) -> Creation:
    if module.padding == "same":
        return _own(module, 'padding="same" of pooling, which torch does not have')
    return creation_of(module, _torch_class(module))


def _batch_norm(module: Any) -> Creation:
    has_both = (module.weight is None) == (module.bias is None) == (not module.affine)
    if module.frozen:
        return _own(module, "frozen, so that the statistics stay as they are in training, too")
    if module.biased_running_var:
        return _own(module, "the running variance follows sum / n, not torch's sum / (n - 1)")
    if not has_both:
        return _own(module, "a weight or a bias, where torch's has both or none")
    return creation_of(module, _torch_class(module))


def _norm(module: Any) -> Creation:
    """Torch's cannot do without the weight alone."""
    affine = getattr(module, "affine", getattr(module, "elementwise_affine", True))
    can_lack_bias = isinstance(module, nn.LayerNorm)
    if affine and (module.weight is None or (module.bias is None and not can_lack_bias)):
        return _own(module, "a weight or a bias, where torch's has both or none")
    return creation_of(module, _torch_class(module))


def _recurrent(module: Any) -> Creation:
    reasons = []
    if module.single_bias:
        reasons.append("one trained bias, where torch's has two")
    if module.last_output:
        reasons.append("the last output alone")
    if reasons:
        return _own(module, "; ".join(reasons))
    made = creation_of(module, getattr(nn, type(module).__name__))
    if not isinstance(module, layers.RNN):
        return made
    # torch's class takes it by name only, and does not say so in its signature
    word = Argument(ast.Constant(module.nonlinearity), ast.Constant("tanh"), is_positional=False)
    return dataclasses.replace(made, arguments={**made.arguments, "nonlinearity": word})


def _grouped_attention(module: Any) -> Creation:
    """Its sizes are those of its linear layers."""
    embed_dim = module.query.in_features
    sizes = {
        "kdim": module.key.in_features,
        "vdim": module.value.in_features,
        "out_features": module.out.out_features,
    }
    own = {key: None if size == embed_dim else size for key, size in sizes.items()}
    bias = module.query.bias is not None
    made = creation_of(module, embed_dim=embed_dim, bias=bias, **own)
    return dataclasses.replace(made, why="GroupedQueryAttention, which torch does not have")


_CREATIONS: dict[type, Callable[[Any], Creation]] = {
    _Conv: _conv,
    _ConvTranspose: _conv_transpose,
    _SeparableConv: _separable,
    _Pool: _pool,
    _BatchNorm: _batch_norm,
    _Recurrent: _recurrent,
    layers.GroupedQueryAttention: _grouped_attention,
    layers.LayerNorm: _norm,
    layers.GroupNorm: _norm,
}


def _operator(symbol: ast.operator) -> Any:
    def write(module: nn.Module, args: Args, num_dims: int | None) -> ast.expr:
        return functools.reduce(lambda a, b: ast.BinOp(a, symbol, b), args)

    return write


def _pairwise(function: str) -> Any:
    def write(module: nn.Module, args: Args, num_dims: int | None) -> ast.expr:
        return functools.reduce(lambda a, b: called(function, [a, b]), args)

    return write


def _average(module: nn.Module, args: Args, num_dims: int | None) -> ast.expr:
    total = functools.reduce(lambda a, b: ast.BinOp(a, ast.Add(), b), args)
    return ast.BinOp(total, ast.Div(), ast.Constant(len(args)))


def _concat(module: Any, args: Args, num_dims: int | None) -> ast.expr:
    return called("torch.cat", [ast.Tuple(list(args))], dim=_number(module.dim))


def _transpose(module: Any, args: Args, num_dims: int | None) -> ast.expr:
    return _method(args[0], "transpose", _number(module.dim0), _number(module.dim1))


def _flatten(module: Any, args: Args, num_dims: int | None) -> ast.expr:
    ends = [_number(module.start_dim)]
    if module.end_dim != -1:
        ends.append(_number(module.end_dim))
    return _method(args[0], "flatten", *ends)


def _identity(module: Any, args: Args, num_dims: int | None) -> ast.expr:
    return args[0]


def _global_pool(module: Any, args: Args, num_dims: int | None) -> ast.expr:
    count = len(module.sizes)
    dims = range(2, 2 + count) if num_dims == 2 + count else range(-count, 0)
    method = "amax" if "Max" in type(module).__name__ else "mean"
    numbers = [_number(dim) for dim in dims]
    return _method(args[0], method, numbers[0] if count == 1 else ast.Tuple(numbers))


def _crop(module: Any, args: Args, num_dims: int | None) -> ast.expr:
    ends = list(zip(module.cropping[::2], module.cropping[1::2], strict=True))[::-1]
    slices = [
        ast.Slice(
            _number(before) if before else None,
            _number(-after) if after else None,
        )
        for before, after in ends
    ]
    return ast.Subscript(args[0], ast.Tuple([ast.Constant(...), *slices]))


def _zero_pad(module: Any, args: Args, num_dims: int | None) -> ast.expr:
    return called("F.pad", [args[0], ast.Tuple([_number(cells) for cells in module.padding])])


def _function(function: str, *attributes: str, **named: str) -> Any:
    """`F.leaky_relu(x, 0.3)`: the attributes positionally, those by name where not default."""

    def write(module: Any, args: Args, num_dims: int | None) -> ast.expr | None:
        if getattr(module, "inplace", False):
            return None
        own = creation_of(module)
        values = [own.arguments[key].value for key in attributes if key in own.told()]
        if "dim" in named.values() and module.dim is None:
            return None
        told = {key: own.arguments[arg].value for key, arg in named.items() if arg in own.told()}
        return called(function, [args[0], *values], **told)

    return write


def _number(value: float) -> ast.expr:
    if value < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.Constant(value)


def _method(tensor: ast.expr, method: str, *args: ast.expr) -> ast.expr:
    return ast.Call(ast.Attribute(tensor, method), list(args), [])


_EXPRESSIONS: dict[type, Any] = {
    layers.Add: _operator(ast.Add()),
    layers.Subtract: _operator(ast.Sub()),
    layers.Multiply: _operator(ast.Mult()),
    layers.Average: _average,
    layers.Maximum: _pairwise("torch.maximum"),
    layers.Minimum: _pairwise("torch.minimum"),
    layers.Concat: _concat,
    layers.Transpose: _transpose,
    layers.Flatten: _flatten,
    layers.Identity: _identity,
    layers.ZeroPad1d: _zero_pad,
    layers.ZeroPad2d: _zero_pad,
    layers.ZeroPad3d: _zero_pad,
    _GlobalPool: _global_pool,
    _Crop: _crop,
    layers.ReLU: _function("F.relu"),
    layers.LeakyReLU: _function("F.leaky_relu", "negative_slope"),
    layers.ELU: _function("F.elu", "alpha"),
    layers.SELU: _function("F.selu"),
    layers.GELU: _function("F.gelu", approximate="approximate"),
    layers.SiLU: _function("F.silu"),
    layers.Mish: _function("F.mish"),
    layers.Sigmoid: _function("torch.sigmoid"),
    layers.Tanh: _function("torch.tanh"),
    layers.Softplus: _function("F.softplus", beta="beta", threshold="threshold"),
    layers.Softmax: _function("torch.softmax", dim="dim"),
    layers.LogSoftmax: _function("torch.log_softmax", dim="dim"),
    layers.Hardsigmoid: _function("F.hardsigmoid"),
    layers.Hardswish: _function("F.hardswish"),
}
