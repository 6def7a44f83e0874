"""What the epochs leave in the event files: scalars, histograms, pictures and curves."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.callbacks.inspection import whole, whole_gradient
from torchbp.callbacks.npz import as_array
from torchbp.callbacks.tensorboard.images import feature_map, filters

VALIDATION = "val_"


def place_of(name: str) -> tuple[str, str]:
    """The run and the tag of a log; those of the training and the validation share the tag."""
    run = "validation" if name.startswith(VALIDATION) else "train"
    return run, f"epoch/{name.removeprefix(VALIDATION)}"


def histograms_of(model: nn.Module, activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights, gradients of the last step, and activations, by tag; without what is not finite."""
    found = {}
    for name, parameter in model.named_parameters():
        found[f"weights/{name}"] = whole(parameter)
        gradient = whole_gradient(parameter)
        if gradient is not None:
            found[f"gradients/{name}"] = gradient
    found |= {f"activations/{name}": tensor for name, tensor in activations.items()}
    finite = {tag: _finite(tensor) for tag, tensor in found.items()}
    return {tag: values for tag, values in finite.items() if len(values)}


def pictures_of(model: nn.Module, activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Filters and feature maps, by tag."""
    maps = {name: feature_map(tensor) for name, tensor in activations.items()}
    found = {f"filters/{name}": picture for name, picture in filters(model).items()}
    return found | {f"feature_maps/{name}": m for name, m in maps.items() if m is not None}


def write_histograms(writer: Any, histograms: Mapping[str, Tensor], step: int) -> None:
    """Writes histograms by their tags."""
    for tag, values in histograms.items():
        writer.add_histogram(tag, as_array(values), step)


def write_pictures(writer: Any, pictures: Mapping[str, Tensor], step: int) -> None:
    """Writes pictures (3, H, W) by their tags."""
    for tag, picture in pictures.items():
        writer.add_image(tag, as_array(picture), step)


def write_curves(writer: Any, curves: Mapping[str, dict[str, Any]], step: int) -> None:
    """Writes precision-recall curves by their tags."""
    for tag, curve in curves.items():
        writer.add_pr_curve_raw(tag, **curve, global_step=step)


def _finite(tensor: Tensor) -> Tensor:
    values = tensor.flatten()
    return values[torch.isfinite(values)]
