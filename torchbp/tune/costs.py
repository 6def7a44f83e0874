"""What a model costs: second objectives, which a study makes small."""

import time
from statistics import median
from typing import Any

import torch
from torch import nn

from torchbp.train.module import call_model, device_of, in_mode
from torchbp.train.tensors import map_tensors

_RUNS = 30


def num_parameters(model: nn.Module, inputs: Any) -> int:
    """Numbers that training sets.

    Args:
        model: any.
        inputs: are not looked at.

    Example:
        >>> num_parameters(nn.Linear(3, 2), None)
        8
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def latency(model: nn.Module, inputs: Any) -> float:
    """Milliseconds for one sample in evaluation mode: the median of 30 runs after 3 others.

    Args:
        model: where it is.
        inputs: samples, of which the first is run.

    Example:
        >>> latency(nn.Linear(3, 2), torch.zeros(5, 3)) > 0
        True
    """
    device = device_of(model)
    sample = map_tensors(lambda tensor: tensor[:1].to(device), inputs)
    times = []
    with in_mode(model, training=False), torch.no_grad():
        for _ in range(3 + _RUNS):
            began = time.perf_counter()
            call_model(model, sample)
            if device.type != "cpu":
                torch.accelerator.synchronize(device)
            times.append(1000 * (time.perf_counter() - began))
    return median(times[3:])
