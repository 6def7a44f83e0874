"""Xception, ResNet50 and the separable convnet as one writes them by hand in PyTorch."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SeparableConv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, padding: int = 1, bias: bool = False):
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, padding=padding, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class XceptionBlock(nn.Module):
    def __init__(self, in_channels: int, channels: list[int], stride: int, first_relu: bool = True):
        super().__init__()
        parts: list[nn.Module] = []
        width = in_channels
        for i, out_channels in enumerate(channels):
            if i or first_relu:
                parts.append(nn.ReLU(inplace=i > 0))
            parts += [SeparableConv(width, out_channels), _norm(out_channels)]
            width = out_channels
        if stride > 1:
            parts.append(nn.MaxPool2d(3, stride, padding=1))
        self.branch = nn.Sequential(*parts)
        self.shortcut = None
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, width, 1, stride, bias=False), _norm(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return self.branch(x) + shortcut


class Xception(nn.Module):
    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        relu = nn.ReLU(inplace=True)
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, bias=False), _norm(32), relu,
            nn.Conv2d(32, 64, 3, bias=False), _norm(64), relu,
            XceptionBlock(64, [128, 128], 2, first_relu=False),
            XceptionBlock(128, [256, 256], 2),
            XceptionBlock(256, [728, 728], 2),
            *(XceptionBlock(728, [728, 728, 728], 1) for _ in range(8)),
            XceptionBlock(728, [728, 1024], 2),
            SeparableConv(1024, 1536), _norm(1536), relu,
            SeparableConv(1536, 2048), _norm(2048), relu,
        )  # fmt: skip
        self.scores = nn.Linear(2048, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.scores(self.features(images).mean((2, 3)))


class Bottleneck(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * channels
        self.conv1, self.bn1 = nn.Conv2d(in_channels, channels, 1, stride), _norm(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1), _norm(channels)
        self.conv3, self.bn3 = nn.Conv2d(channels, out_channels, 1), _norm(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride), _norm(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(x + identity)


class ResNet50(nn.Module):
    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3), _norm(64)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        blocks, width = [], 64
        for channels, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for i in range(count):
                blocks.append(Bottleneck(width, channels, stride if i == 0 else 1))
                width = 4 * channels
        self.blocks = nn.Sequential(*blocks)
        self.scores = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool(self.relu(self.bn1(self.conv1(images))))
        return self.scores(self.blocks(x).mean((2, 3)))


class SeparableConvnet(nn.Module):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.sepconv_1 = SeparableConv(3, 32, padding=0, bias=True)
        self.sepconv_2 = SeparableConv(32, 64, padding=0, bias=True)
        self.sepconv_3 = SeparableConv(64, 64, padding=0, bias=True)
        self.sepconv_4 = SeparableConv(64, 128, padding=0, bias=True)
        self.sepconv_5 = SeparableConv(128, 64, padding=0, bias=True)
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(64, 32)
        self.scores = nn.Linear(32, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.sepconv_1(images))
        x = F.relu(self.sepconv_2(x))
        x = self.pool(F.relu(self.sepconv_3(x)))
        x = F.relu(self.sepconv_4(x))
        x = F.relu(self.sepconv_5(x)).mean((2, 3))
        return torch.softmax(self.scores(F.relu(self.hidden(x))), dim=-1)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
