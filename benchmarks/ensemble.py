"""Members of one architecture as one batched call, beside one call for each."""

import torch
from torch import nn

from benchmarks.timing import Comparison, clock_for, compare
from torchbp import models
from torchbp.ensemble import Ensemble

NUM_MEMBERS = 32


def run(device: str) -> list[Comparison]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for batch_size, calls in ((1, 5), (256, 3)):
        x = torch.randn(batch_size, 64, generator=generator).to(device)
        name = f"ensemble: {NUM_MEMBERS} nets of 3 layers, batch {batch_size}"
        rows.append(_compared(name, [models.mlp() for _ in range(NUM_MEMBERS)], x, calls))
    for batch_size, calls in ((1, 3), (64, 1)):
        x = torch.randn(batch_size, 1, 8, 8, generator=generator).to(device)
        name = f"ensemble: {NUM_MEMBERS} convnets of digits, batch {batch_size}"
        rows.append(_compared(name, [_convnet() for _ in range(NUM_MEMBERS)], x, calls))
    return rows


def _convnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
        nn.Softmax(dim=1),
    )


def _compared(name: str, nets: list[nn.Module], x: torch.Tensor, calls: int) -> Comparison:
    ensemble = Ensemble({f"net {i}": net for i, net in enumerate(nets)}).to(x.device).eval()
    batched = ensemble.batched()
    torch.testing.assert_close(batched(x), ensemble(x), rtol=1e-4, atol=1e-4)

    def forward(module: nn.Module) -> None:
        with torch.no_grad():
            module(x)

    return compare(
        name,
        lambda: forward(batched),
        lambda: forward(ensemble),
        calls=calls,
        turns=30,
        clock=clock_for(x.device.type),
    )
