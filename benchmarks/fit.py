"""An epoch of Trainer.fit on the chapter's first model beside a bare PyTorch loop."""

import torch
from torch import Tensor, nn

from benchmarks.timing import Comparison, clock_for, compare
from torchbp import Trainer, models

NUM_SAMPLES, BATCH_SIZE = 10_000, 256


def run(device: str) -> list[Comparison]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(NUM_SAMPLES, 64, generator=generator)
    y = torch.randint(10, (NUM_SAMPLES,), generator=generator)
    trainer = _trainer(device)
    model, optimizer = _model_and_optimizer(device)
    return [
        compare(
            "fit: 3-layer net, one epoch of 10,000 samples in batches of 256",
            lambda: trainer.fit(x, y, epochs=1, batch_size=BATCH_SIZE, progress=False),
            lambda: bare_epoch(model, optimizer, x.to(device), y.to(device)),
            calls=1,
            turns=30,
            clock=clock_for(device),
        )
    ]


def bare_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    """What a careful user writes by hand: shuffle, step, the mean loss read once at the end."""
    loss_function = nn.CrossEntropyLoss()
    model.train()
    total = torch.zeros((), device=x.device)
    for rows in torch.randperm(len(x)).to(x.device).split(BATCH_SIZE):
        optimizer.zero_grad()
        loss = loss_function(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(rows)
    return total.item() / len(x)


def _model_and_optimizer(device: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    classifier = models.mlp()
    stack = nn.Sequential(  # the scores, for a loss from logits
        classifier.hidden_1, nn.ReLU(), classifier.hidden_2, nn.ReLU(), classifier.class_scores
    ).to(device)
    return stack, torch.optim.RMSprop(stack.parameters(), lr=1e-3)


def _trainer(device: str) -> Trainer:
    model, optimizer = _model_and_optimizer(device)
    return Trainer(model, loss=nn.CrossEntropyLoss(), optimizer=optimizer)
