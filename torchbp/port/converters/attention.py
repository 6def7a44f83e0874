"""Attention, with its projections and without."""

from collections.abc import Sequence
from typing import Any

from torchbp import layers
from torchbp.port.config import UnsupportedError
from torchbp.port.converters.masking import boolean
from torchbp.port.registry import Layer, Weights, keras_layer
from torchbp.port.values import Value


@keras_layer("MultiHeadAttention", masks="own")
def _multi_head_attention(
    layer: Layer,
    query: Value,
    value: Value,
    key: Value | None = None,
    query_mask: None = None,
    value_mask: None = None,
    key_mask: None = None,
    attention_mask: Value | None = None,
    return_attention_scores: bool = False,
    use_causal_mask: bool = False,
) -> Any:
    """Keras takes the masks off the tensors that it is called on: see stripped_masks."""
    config = layer.config
    heads, size = config.count("num_heads"), config.count("key_dim")
    axes = config.get("attention_axes", None)
    if axes is not None and (not isinstance(axes, list | tuple) or list(axes) != [1]):
        raise UnsupportedError(f"attention_axes={axes!r}")
    sizes = {
        "num_heads": heads,
        "head_dim": size,
        "num_kv_heads": heads,
        "value_head_dim": config.count("value_dim", size),
        "out_features": _out_features(layer, query),
    }
    attention = _Attention(layer, query, value, key, (query_mask, value_mask, key_mask))
    result = attention.result(sizes, attention_mask, return_attention_scores, use_causal_mask)
    for given in (query, value, key):
        if given is not None:
            given.mask = None
    return result


@keras_layer("GroupQueryAttention", masks="own")
@keras_layer("GroupedQueryAttention", masks="own")
def _grouped_query_attention(
    layer: Layer,
    query: Value,
    value: Value,
    key: Value | None = None,
    query_mask: None = None,
    value_mask: None = None,
    key_mask: None = None,
    attention_mask: Value | None = None,
    return_attention_scores: bool = False,
    use_causal_mask: bool = False,
) -> Any:
    config = layer.config
    heads, size = config.count("num_query_heads"), config.count("head_dim")
    sizes = {
        "num_heads": heads,
        "head_dim": size,
        "num_kv_heads": config.count("num_key_value_heads"),
        "value_head_dim": size,
        "out_features": query.channels,
    }
    if attention_mask is not None and attention_mask.tensor.is_floating_point():
        raise UnsupportedError("an attention_mask of floats")
    attention = _Attention(layer, query, value, key, (query_mask, value_mask, key_mask))
    return attention.result(sizes, attention_mask, return_attention_scores, use_causal_mask)


class _Attention:
    """A call of a layer with projections."""

    def __init__(
        self, layer: Layer, query: Value, value: Value, key: Value | None, given: Sequence[Any]
    ) -> None:
        self.layer, self.query, self.value = layer, query, value
        self.key = value if key is None else key
        self.is_key_given = key is not None
        if any(mask is not None for mask in given):
            raise UnsupportedError("a mask of the query, value or key as an argument of the call")
        if any(x.ndim != 3 for x in (query, value, self.key)):
            raise UnsupportedError("tensors of other than three axes")

    def result(
        self,
        sizes: dict[str, int],
        attention_mask: Value | None,
        need_weights: bool,
        is_causal: bool,
    ) -> Any:
        """What the call gives."""
        module = self.module(sizes)
        tensors = [x.as_keras() for x in (self.query, self.key, self.value)]
        mask, options = self.mask(attention_mask), {}
        if is_causal:
            options["is_causal"] = True
        if need_weights:
            options["need_weights"] = True
        if mask is not None:
            tensors.append(mask)
        if not need_weights:
            return Value(module(*tensors, **options), mask=self.query.mask)
        found, weights = module(*tensors, **options)
        return [Value(found, mask=self.query.mask), Value(weights)]

    def module(self, sizes: dict[str, int]) -> Any:
        config = self.layer.config
        bias, gate = config.flag("use_bias", True), config.flag("use_gate", False)
        config.get("flash_attention", None)  # another way to the same numbers
        dropout = config.number("dropout", 0.0)
        if not 0.0 <= dropout < 1.0:
            raise UnsupportedError(f"dropout={dropout}")
        window = config.get("sliding_window", None)
        window = window if window is None else config.count("sliding_window")
        return self.layer.module(
            layers.GroupedQueryAttention,
            self.query.channels,
            kdim=self.key.channels,
            vdim=self.value.channels,
            bias=bias,
            gate=gate,
            window=window,
            dropout=dropout,
            weights=tuple(self.weights(sizes, bias, gate)),
            **sizes,
        )

    def weights(self, sizes: dict[str, int], bias: bool, gate: bool) -> list[Weights]:
        """Kernels with an axis for the heads, which torch's linear layers have side by side."""
        heads, kv_heads, size = sizes["num_heads"], sizes["num_kv_heads"], sizes["head_dim"]
        value_size, outs = sizes["value_head_dim"], sizes["out_features"]
        parts = [
            ("query", (self.query.channels,), (heads, size)),
            ("key", (self.key.channels,), (kv_heads, size)),
            ("gate", (self.query.channels,), (heads, value_size)),
            ("value", (self.value.channels,), (kv_heads, value_size)),
            ("out", (heads, value_size), (outs,)),
        ]
        return [_of_heads(*part, bias) for part in parts if gate or part[0] != "gate"]

    def mask(self, attention_mask: Value | None) -> Any:
        """Which keys a query may see, as far as masks tell; None if they tell nothing."""
        masks = []
        if self.query.mask is not None:
            masks.append(_of_steps(self.query).unsqueeze(-1))  # (N, L, 1)
        if self.value.mask is not None:
            masks.append(_of_steps(self.value).unsqueeze(-2))  # (N, 1, S)
        if self.is_key_given and self.key.mask is not None:
            masks.append(_of_steps(self.key).unsqueeze(-2))
        if attention_mask is not None:
            given = attention_mask.as_keras()
            if not 2 <= given.ndim <= 4 or (given.ndim == 4 and masks):
                raise UnsupportedError(f"an attention_mask of {given.ndim} axes")
            masks.append(boolean(given))
        if not masks:
            return None
        seen = masks[0]
        for mask in masks[1:]:
            seen = seen & mask
        return seen


def _of_steps(x: Value) -> Any:
    if x.mask.ndim != 2:
        raise UnsupportedError(f"a mask of {x.mask.ndim} axes")
    return boolean(x.mask)


def _out_features(layer: Layer, query: Value) -> int:
    shape = layer.config.get("output_shape", None)
    if not shape:
        return query.channels
    sizes = list(shape) if isinstance(shape, list | tuple) else [shape]
    if len(sizes) != 1 or type(sizes[0]) is not int or sizes[0] < 1:
        raise UnsupportedError(f"output_shape={shape!r}")
    return sizes[0]


def _of_heads(part: str, ins: tuple[int, ...], outs: tuple[int, ...], bias: bool) -> Weights:
    kernel = ((*ins, *outs), (_product(ins), _product(outs)))
    shapes = (kernel, (outs, (_product(outs),))) if bias else (kernel,)
    names = ("kernel", "bias") if bias else ("kernel",)
    return Weights("linear", names, part=part, shapes=shapes)


def _product(sizes: tuple[int, ...]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


@keras_layer("Attention", masks="own")
def _attention(
    layer: Layer,
    inputs: Any,
    return_attention_scores: bool = False,
    use_causal_mask: bool = False,
) -> Any:
    config = layer.config
    scale, score = config.flag("use_scale", False), config.word("score_mode", "dot", "concat")
    found = [("scale", scale), ("score_weight", score == "concat")]
    names = tuple(name for name, is_there in found if is_there)
    module = layer.module(
        layers.LuongAttention,
        scale,
        score,
        _dropout(layer),
        weights=Weights("same", names) if names else (),
    )
    return _of_scores(module, inputs, return_attention_scores, use_causal_mask)


@keras_layer("AdditiveAttention", masks="own")
def _additive_attention(
    layer: Layer,
    inputs: Any,
    return_attention_scores: bool = False,
    use_causal_mask: bool = False,
) -> Any:
    scale = layer.config.flag("use_scale", True)
    query = _query_value_key(inputs)[0]
    module = layer.module(
        layers.BahdanauAttention,
        query.channels,
        scale,
        _dropout(layer),
        weights=Weights("same", ("scale",)) if scale else (),
    )
    return _of_scores(module, inputs, return_attention_scores, use_causal_mask)


def _dropout(layer: Layer) -> float:
    rate = layer.config.number("dropout", 0.0)
    if not 0.0 <= rate < 1.0:
        raise UnsupportedError(f"dropout={rate}")
    return rate


def _query_value_key(inputs: Any) -> list[Value]:
    if not isinstance(inputs, list | tuple) or len(inputs) not in (2, 3):
        raise UnsupportedError("a call with something else than [query, value] or a key, too")
    if any(x.ndim != 3 for x in inputs):
        raise UnsupportedError("tensors of other than three axes")
    return list(inputs)


def _of_scores(module: Any, inputs: Any, need_weights: bool, is_causal: bool) -> Any:
    values = _query_value_key(inputs)
    query, value = values[:2]
    options: dict[str, Any] = {}
    if query.mask is not None:
        options["query_mask"] = _of_steps(query)
    if value.mask is not None:
        options["value_mask"] = _of_steps(value)
    if is_causal:
        options["is_causal"] = True
    if need_weights:
        options["need_weights"] = True
    result = module(*(x.as_keras() for x in values), **options)
    if not need_weights:
        return Value(result, mask=query.mask)
    return [Value(result[0], mask=query.mask), Value(result[1])]
