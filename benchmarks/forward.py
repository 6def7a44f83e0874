"""Forward of a functional model beside the same module written by hand."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.timing import Comparison, clock_for, compare
from torchbp import models

LIMIT = 1.02


class Mlp(nn.Module):
    """The chapter's first model, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden_1 = nn.Linear(64, 32)
        self.hidden_2 = nn.Linear(32, 32)
        self.class_scores = nn.Linear(32, 10)
        self.classes = nn.Softmax(dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        x = F.relu(self.hidden_1(features))
        x = F.relu(self.hidden_2(x))
        return self.classes(self.class_scores(x))


class SentimentConvnet(nn.Module):
    """The chapter's IMDB model, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(2000, 128)
        self.conv_1 = nn.Conv1d(128, 32, 7)
        self.pool_1 = nn.MaxPool1d(5)
        self.conv_2 = nn.Conv1d(32, 32, 7)
        self.sentiment_score = nn.Linear(32, 1)

    def forward(self, review: Tensor) -> Tensor:
        x = self.embed(review).transpose(1, 2)
        x = self.pool_1(F.relu(self.conv_1(x)))
        x = F.relu(self.conv_2(x)).amax(dim=-1)
        return torch.sigmoid(self.sentiment_score(x))


def run(device: str) -> list[Comparison]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(256, 64, generator=generator).to(device)
    review = torch.randint(2000, (8, 60), generator=generator).to(device)
    return [
        _compared("forward: 3-layer net, batch 256", models.mlp(), Mlp(), features, calls=30),
        _compared(
            "forward: text convnet, batch 8 of 60 words",
            models.sentiment_convnet(),
            SentimentConvnet(),
            review,
            calls=10,
        ),
    ]


def _compared(
    name: str, functional: nn.Module, by_hand: nn.Module, x: Tensor, calls: int
) -> Comparison:
    functional.to(x.device)
    # the very same tensors: where weights lie in memory is worth some per cent
    by_hand.to(x.device).load_state_dict(functional.state_dict(), assign=True)
    torch.testing.assert_close(functional(x), by_hand(x))

    def forward(module: nn.Module) -> None:
        with torch.no_grad():
            module(x)

    return compare(
        name,
        lambda: forward(functional),
        lambda: forward(by_hand),
        calls=calls,
        turns=300,
        limit=LIMIT,
        clock=clock_for(x.device.type),
    )
