"""How a Keras model was compiled, as arguments of the Trainer."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from torchbp.callbacks import ClipGradients
from torchbp.errors import DataError
from torchbp.graph.structure import leaves
from torchbp.optim import SGD, Adam, RMSprop
from torchbp.port.architecture import Architecture, Source, architecture_of, read_architecture
from torchbp.port.build import Channels, build, is_channels_first
from torchbp.port.config import Config, UnsupportedError
from torchbp.port.isolated import read_training_text
from torchbp.port.losses import loss_of
from torchbp.port.metrics import metric_of
from torchbp.port.objects import keras_object
from torchbp.port.ported import has_masked_outputs
from torchbp.port.registry import is_keras
from torchbp.port.regularization import Constraints, Regularized, has_rules
from torchbp.port.schedules import ScheduledRate, schedule_of
from torchbp.port.weight_rules import asks_rules
from torchbp.train import Callback, Trainer


def training_config(
    source: str | Path | Any,
    model: nn.Module | None = None,
    *,
    channels: Channels = "first",
    metrics: bool = True,
) -> dict[str, Any]:
    """How a Keras model was compiled, as arguments of the `Trainer`.

    Losses and metrics take targets as Keras takes them: of any dtype, (N,) or (N, 1), the classes
    last in sequences. The optimizer has Keras's formula. Nothing of the file is run: names are
    looked up in tables.

    Args:
        source: a `.keras` or `.h5` file of a compiled model, of Keras 3 or tf.keras 2, or a live
            Keras 3 model.
        model: the ported model; needed if its layers have regularizers or constraints, which then
            enter the loss and the callbacks.
        channels: as the model was ported with.
        metrics: whether to take the metrics, too.

    Returns:
        `optimizer`, a function of parameters; `loss`; and, if there are any, `loss_weights`,
        `metrics`, and `callbacks` for clipping, a schedule of the learning rate and constraints.

    Raises:
        UnsupportedError: something in it has no counterpart here, such as a loss of your own.
        DataError: the model is not compiled, or the file cannot be read.

    Example:
        model = port.load("model.keras")
        trainer = Trainer(model, **port.training_config("model.keras", model))
        port.load_optimizer_state(trainer.optimizer, model, "model.keras")
        trainer.fit(x, y)

    What Keras leaves out of its files, such as the delta of Huber, is the default, as when Keras
    loads them.

    Differences from Keras: TensorFlow rounds the momentum and the betas to float32, also for
    weights in float64, and it computes cross entropies from the logits before a softmax or
    sigmoid, without the clip. Its gradients of an Embedding are look-ups, which Adam and RMSprop
    square (`torchbp.optim.per_lookup_squares`) and clipping sees one by one.
    """
    where = str(source) if isinstance(source, str | Path) else source.name
    found, architecture = _read(source, where)
    at_1 = channels == "first" and not is_channels_first(architecture)
    try:
        if _may_be_masked(architecture) and _is_masked(architecture, channels, model):
            raise UnsupportedError("an output with a mask, with which Keras weighs the loss")
        return _arguments(found, _Ends(architecture.outputs), model, architecture, at_1, metrics)
    except UnsupportedError as error:
        raise UnsupportedError(
            f"{where}: expected training that can be ported, got {error}.\n"
            "  To mend it: write this part of the Trainer's arguments yourself; metrics=False "
            "leaves the metrics out."
        ) from error


def _arguments(
    found: Mapping[str, Any],
    ends: _Ends,
    model: nn.Module | None,
    architecture: Architecture,
    at_1: bool,
    wants_metrics: bool,
) -> dict[str, Any]:
    optimizer, callbacks = _optimizer(found.get("optimizer", found.get("optimizer_config")))
    loss, weights = _losses(found, ends, at_1)
    if model is None:
        if any(asks_rules(config) for config in _configs(architecture)):
            raise UnsupportedError(
                "regularizers or constraints without the model that has them; give it"
            )
    else:
        is_regularized, is_constrained = has_rules(model)
        if is_regularized:
            loss = _regularized(loss, weights, model)
        if is_constrained:
            callbacks.append(Constraints(model))
    given = {"loss": loss, "loss_weights": weights, "optimizer": optimizer, "callbacks": callbacks}
    if found.get("weighted_metrics") and any(leaves(found["weighted_metrics"])):
        raise UnsupportedError("weighted_metrics: the Trainer's metrics take no sample weights")
    if wants_metrics:
        given["metrics"] = _metrics(found.get("metrics"), ends, at_1)
    return {name: value for name, value in given.items() if value}


def _read(source: Any, where: str) -> tuple[Mapping[str, Any], Architecture]:
    """What a file or a live model says of its training, and its layers."""
    if isinstance(source, str | Path):
        architecture = read_architecture(source)
        text = read_training_text(source)
        try:
            found = None if text is None else json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{where}: expected JSON that says how the model was compiled, got {error}.\n"
                "  To mend it: save the model again with Keras; nothing of the file was run."
            ) from error
        if isinstance(found, Mapping) and "compile_config" in found:
            found = found["compile_config"]
        elif isinstance(found, Mapping) and "class_name" in found:
            found = None
    else:
        architecture = architecture_of(json.loads(source.to_json()), where)
        found = source.get_compile_config()
        _check_live(source)
        theirs = getattr(source, "optimizer", None)
        if found and theirs is not None and "optimizer" not in found:  # lost by a save as .h5
            import keras

            found = {**found, "optimizer": keras.optimizers.serialize(theirs)}
        found = json.loads(json.dumps(found))
    if not isinstance(found, Mapping) or not found:
        raise DataError(
            f"{where}: expected a model that was compiled, got one without losses and optimizer.\n"
            "  To mend it: compile it in Keras and save it again, or write the Trainer's arguments."
        )
    return found, architecture


def _check_live(model: Any) -> None:
    """Refuses what a configuration does not tell: whose function it is, and some arguments."""
    metrics = getattr(getattr(model, "_compile_metrics", None), "_user_metrics", None)
    for item in leaves([getattr(model, "loss", None), metrics]):
        if not callable(item):
            continue
        name = getattr(item, "__name__", type(item).__name__)
        module = getattr(item, "__module__", None) or type(item).__module__
        if not is_keras(module):
            got = f"{name} of your own"
        else:
            told = item.get_config() if hasattr(item, "get_config") else {}
            untold = {
                key: value
                for key, value in getattr(item, "_fn_kwargs", {}).items()
                if key not in told and value != _UNTOLD.get(key)
            }
            got = f"{name} with {untold}, which Keras's configurations leave out" if untold else ""
        if got:
            raise UnsupportedError(
                f"{model.name}: expected losses and metrics that Keras can save, got {got}.\n"
                "  To mend it: write the Trainer's arguments yourself."
            )


# Keras's defaults of what it does not save
_UNTOLD = {"axis": -1, "delta": 1.0}


class _Ends:
    """The outputs of a model, and what was given for each of them.

    Args:
        outputs: `Source`s, as of `Architecture`.
    """

    def __init__(self, outputs: Any) -> None:
        if isinstance(outputs, list) and len(outputs) == 1:
            outputs = outputs[0]
        self.is_single = isinstance(outputs, Source)
        self.is_dict = isinstance(outputs, Mapping)
        items = list(outputs.values()) if isinstance(outputs, Mapping) else outputs
        items = [outputs] if isinstance(outputs, Source) else items
        if not all(isinstance(item, Source) for item in items):
            raise UnsupportedError("outputs in lists within lists")
        self.layers = [item.layer for item in items]
        self.names = list(outputs) if isinstance(outputs, Mapping) else self.layers

    def by_output(self, given: Any, what: str, *, partly: bool = False) -> list[Any]:
        """One for each output, in the order of `names`.

        Args:
            given: a list in Keras's order, or a dict by names.
            what: what an error calls it.
            partly: whether a dict may leave outputs out.
        """
        if isinstance(given, Mapping):
            if len(set(self.names)) < len(self.names) or not set(given) <= set(self.names):
                raise UnsupportedError(f"{what} for {list(given)} of the outputs {self.names}")
            if len(given) < len(self.names) and not (partly or self.is_dict):
                raise UnsupportedError(f"{what} for {list(given)} of the outputs {self.names}")
            return [given.get(name) for name in self.names]
        if len(given) != len(self.names):
            raise UnsupportedError(f"{len(given)} {what} for {len(self.names)} outputs")
        order = sorted(self.names) if self.is_dict else self.names
        by_name = dict(zip(order, given, strict=True)) if self.is_dict else {}
        return [by_name[name] for name in self.names] if self.is_dict else list(given)

    def packed(self, values: list[Any]) -> Any:
        """As the Trainer takes them."""
        if self.is_single:
            return values[0]
        return dict(zip(self.names, values, strict=True)) if self.is_dict else values


def _losses(found: Mapping[str, Any], ends: _Ends, at_1: bool) -> tuple[Any, Any]:
    """The losses and their weights, as the Trainer takes them."""
    given, weights = found.get("loss"), found.get("loss_weights")
    if given is None:
        raise UnsupportedError("a model that was compiled without a loss")
    if _is_object(given):
        several = [given] * len(ends.names)
        if not ends.is_single and weights is not None:
            raise UnsupportedError("loss_weights for one loss of several outputs")
    else:
        several = ends.by_output(given, "losses")
    losses = [loss_of(item, at_1) for item in several]
    if all(loss is None for loss in losses):
        raise UnsupportedError("a model that was compiled without a loss")
    if weights is None:
        return ends.packed(losses), None
    if ends.is_single and not isinstance(weights, list | Mapping):
        weights = [weights]
    factors = ends.by_output(weights, "loss_weights")
    factors = [1.0 if factor is None else factor for factor in factors]
    if any(isinstance(f, bool) or not isinstance(f, int | float) for f in factors):
        raise UnsupportedError(f"loss_weights={weights!r}")
    return ends.packed(losses), ends.packed([float(factor) for factor in factors])


def _metrics(given: Any, ends: _Ends, at_1: bool) -> Any:
    """The metrics by the outputs, as the Trainer takes them; None if there are none."""
    if not given:
        return None
    if ends.is_single:
        several = [given.values() if isinstance(given, Mapping) else given]
        if isinstance(given, list) and len(given) == 1 and isinstance(given[0], list):
            several = [given[0]]
        several = [[m for item in several[0] for m in (item if isinstance(item, list) else [item])]]
    else:
        several = ends.by_output(given, "metrics", partly=True)
    made = []
    for items in several:
        items = [] if items is None else [items] if _is_object(items) else items
        named = [metric_of(item, at_1) for item in items]
        if len(dict(named)) < len(named):
            raise UnsupportedError(f"metrics of one name among {[name for name, _ in named]}")
        made.append(dict(named))
    return ends.packed(made) if any(made) else None


def _regularized(loss: Any, weights: Any, model: nn.Module) -> Any:
    """The losses, of which the first gets the regularization of the model."""
    if isinstance(loss, nn.Module):
        return Regularized(loss, model, 1 / _factor(weights))
    keys = list(loss) if isinstance(loss, Mapping) else list(range(len(loss)))
    first = next(
        (k for k in keys if loss[k] is not None and (weights is None or weights[k] != 0)), None
    )
    if first is None:
        raise UnsupportedError("regularizers beside losses whose weights are all zero")
    factor = 1 / _factor(None if weights is None else weights[first])
    own = Regularized(loss[first], model, factor)
    if isinstance(loss, Mapping):
        return {key: own if key == first else loss[key] for key in keys}
    return [own if key == first else loss[key] for key in keys]


def _factor(weight: Any) -> float:
    if weight == 0:
        raise UnsupportedError("regularizers beside a loss of weight zero")
    return 1.0 if weight is None else float(weight)


def _optimizer(found: Any) -> tuple[Callable[..., Optimizer], list[Callback]]:
    """A function of parameters, and callbacks for what torch has outside the optimizer."""
    if found is None:
        raise UnsupportedError("a model that was compiled without an optimizer")
    name, config = keras_object(found, "the optimizer")
    if name not in _OPTIMIZERS or isinstance(found, str):
        raise UnsupportedError(f"the optimizer {name}")
    config.get("jit_compile", None)
    config.only("is_legacy_optimizer", False)
    config.only("use_ema", False)
    config.get("ema_momentum", None)
    config.get("ema_overwrite_frequency", None)
    for key in ("loss_scale_factor", "gradient_accumulation_steps"):
        config.only(key, None)
    config.only("decay", 0.0, None)
    callbacks = list(_clipping(config))
    rate = config.get("learning_rate")
    if isinstance(rate, Mapping):
        schedule = schedule_of(rate)
        callbacks.append(ScheduledRate(schedule))
        lr = schedule(0)
    else:
        lr = config.number("learning_rate")
    options = _OPTIMIZERS[name](config)
    if config.get("weight_decay", None) is not None:
        options |= {
            "weight_decay": config.number("weight_decay"),
            "decoupled_weight_decay": True,
        }
    config.check_all_read()
    return functools.partial(_CLASSES[name], lr=lr, **options), callbacks


def _clipping(config: Config) -> Iterator[Callback]:
    """Keras takes the first of the three that is there, and none of zero."""
    limits = {key: config.get(key, None) for key in ("clipnorm", "global_clipnorm", "clipvalue")}
    for key, limit in limits.items():
        if limit:
            number = config.number(key)
            if number > 0:
                yield _CLIPPING[key](number)
                return


class ClipGlobalNorm(Callback):
    """Scales all gradients by max_norm / max(their norm together, max_norm).

    Args:
        max_norm: the largest norm.

    `ClipGradients(max_norm=...)` is torch's formula, which divides by the norm + 1e-6.
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    @torch.no_grad()
    def on_gradients(self, trainer: Trainer) -> None:
        """Scales them."""
        assert trainer.optimizer is not None
        grads = [
            parameter.grad
            for group in trainer.optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if grads:
            scale = self.max_norm / get_total_norm(grads).clamp(min=self.max_norm)
            torch._foreach_mul_(grads, scale)


def _sgd(config: Config) -> dict[str, Any]:
    momentum, nesterov = config.number("momentum", 0.0), config.flag("nesterov", False)
    if not momentum:
        return {}
    return {"momentum": momentum, "nesterov": nesterov, "lr_in_momentum": True}


def _rmsprop(config: Config) -> dict[str, Any]:
    return {
        "alpha": config.number("rho", 0.9),
        "eps": config.number("epsilon", 1e-7),
        "momentum": config.number("momentum", 0.0),
        "centered": config.flag("centered", False),
        "eps_in_sqrt": True,
        "lr_in_momentum": True,
    }


def _adam(config: Config) -> dict[str, Any]:
    return {
        "betas": (config.number("beta_1", 0.9), config.number("beta_2", 0.999)),
        "eps": config.number("epsilon", 1e-7),
        "amsgrad": config.flag("amsgrad", False),
        "eps_before_correction": True,
    }


def _may_be_masked(architecture: Architecture) -> bool:
    return any(
        _may_be_masked(layer.model)
        if layer.model
        else layer.class_name == "Masking" or layer.config.get("mask_zero") is True
        for layer in architecture.layers
    )


def _is_masked(architecture: Architecture, channels: Channels, model: nn.Module | None) -> bool:
    if model is not None:
        return has_masked_outputs(model)
    return build(architecture, channels).is_masked


def _configs(architecture: Architecture) -> Iterator[Mapping[str, Any]]:
    for layer in architecture.layers:
        if layer.model:
            yield from _configs(layer.model)
        else:
            yield layer.config


def _is_object(found: Any) -> bool:
    """Whether it is one loss or metric, not several."""
    return isinstance(found, str) or (isinstance(found, Mapping) and "class_name" in found)


_CLASSES: dict[str, Callable[..., Optimizer]] = {
    "SGD": SGD,
    "RMSprop": RMSprop,
    "Adam": Adam,
    "AdamW": Adam,
}
_OPTIMIZERS: dict[str, Callable[[Config], dict[str, Any]]] = {
    "SGD": _sgd,
    "RMSprop": _rmsprop,
    "Adam": _adam,
    "AdamW": _adam,
}
_CLIPPING: dict[str, Callable[[float], Callback]] = {
    "clipnorm": lambda limit: ClipGradients(max_norm_each=limit),
    "global_clipnorm": ClipGlobalNorm,
    "clipvalue": lambda limit: ClipGradients(max_value=limit),
}
