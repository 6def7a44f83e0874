"""What scripts/patterns.py measures of nets that are not trained: costs and gradients."""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from .images import Images
from .net import DEPTHS, INITS, Variant, convnet, started


def costs(variant: Variant, image: Tensor, num_classes: int) -> dict[str, int]:
    """Numbers of parameters and of multiply-adds for one image (C, H, W).

    torch's counter gives two operations for a multiplication and its addition. It counts those of
    convolutions and matrix products, padding included; biases, BatchNorm, ReLU, the shortcuts'
    additions and the pooling are not counted.
    """
    model = convnet(variant, len(image), num_classes).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image[None])
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "multiply_adds": counter.get_total_flops() // 2}


def gradients(images: Images, seeds: range, batch_size: int, device: str) -> list[dict[str, Any]]:
    """In the deepest nets, the norm of the gradient of each convolution's weights at the start."""
    x, y = images.x_train[:batch_size].to(device), images.y_train[:batch_size].to(device)
    results = []
    for start in INITS:
        for norm, residual in ((False, False), (False, True), (True, False), (True, True)):
            net, norms = Variant(max(DEPTHS), residual, norm), []
            for seed in seeds:
                model = started(net, start, x.shape[1], images.num_classes, seed).to(device)
                F.cross_entropy(model(x), y).backward()
                convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
                norms.append([conv.weight.grad.norm().item() for conv in convs])
            results.append(asdict(net) | {"init": start, "norms": norms})
    return results
