"""A ResNet-20 and a small GPT, each with a batch: where ``curvature.py`` measures."""

from __future__ import annotations

import argparse
import inspect
import itertools
import math

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, for CIFAR: padded identity)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x of shape (N, C, H, W)."""
        y = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return F.relu(y + shortcut)


class ResNet20(nn.Module):
    """ResNet-20: three stages of three blocks, 16, 32 and 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        self.stem, self.stem_norm = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(
            *(Block(a, b, 1 if a == b else 2) for a, b in itertools.pairwise(widths))
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of ten classes."""
        return self.head(self.blocks(F.relu(self.stem_norm(self.stem(x)))).mean((2, 3)))


class SmallGPT(nn.Module):
    """Two causal blocks over characters, width 64; attention written out, as fused attention has no
    second derivative on the CPU."""

    def __init__(self, characters: int, width: int = 64, length: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width),
                    "qkv": nn.Linear(width, 3 * width),
                    "out": nn.Linear(width, width),
                    "norm2": nn.LayerNorm(width),
                    "wide": nn.Linear(width, 4 * width),
                    "narrow": nn.Linear(4 * width, width),
                }
            )
            for _ in range(2)
        )
        self.norm, self.readout = nn.LayerNorm(width), nn.Linear(width, characters)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Logits of the next character, (batch, characters, length) as cross entropy wants them."""
        batch, length = codes.shape
        x = self.embedding(codes) + self.position[:length]
        hidden = torch.ones(length, length, dtype=torch.bool, device=codes.device).triu(1)
        for block in self.blocks:
            q, k, v = (
                part.view(batch, length, 4, -1).transpose(1, 2)
                for part in block["qkv"](block["norm1"](x)).chunk(3, dim=-1)
            )
            scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(
                hidden, -math.inf
            )
            mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, -1)
            x = x + block["out"](mixed)
            x = x + block["narrow"](F.gelu(block["wide"](block["norm2"](x))))
        return self.readout(self.norm(x)).transpose(1, 2)


Data = tuple[torch.Tensor, torch.Tensor]


def resnet20() -> tuple[nn.Module, Data, float]:
    """The network, a batch of smooth random pictures with ten classes, and a learning rate."""
    torch.manual_seed(0)
    coarse = torch.randn(8, 3, 8, 8)
    pictures = F.interpolate(coarse, size=32, mode="bilinear") + 0.1 * torch.randn(8, 3, 32, 32)
    return ResNet20(), (pictures, torch.arange(8)), 0.05


def resnet20_on_digits() -> tuple[nn.Module, Data, float]:
    """The network, 32 of scikit-learn's digits enlarged to its pictures, and a learning rate."""
    digits = load_digits()
    pictures = torch.tensor(digits.images[:32] / 16.0, dtype=torch.float32)[:, None]
    pictures = F.interpolate(pictures, size=32, mode="bilinear").expand(-1, 3, -1, -1)
    pictures = (pictures - pictures.mean()) / pictures.std()
    torch.manual_seed(0)
    return ResNet20(), (pictures.contiguous(), torch.tensor(digits.target[:32])), 0.05


def gpt() -> tuple[nn.Module, Data, float]:
    """The network on the source text of Python's argparse."""
    torch.manual_seed(1)
    text = inspect.getsource(argparse)[:8000]
    letters = sorted(set(text))
    codes = torch.tensor([letters.index(letter) for letter in text])[: 8 * 33].view(8, 33)
    return SmallGPT(len(letters)), (codes[:, :-1], codes[:, 1:]), 0.1


NETWORKS = {"resnet20": resnet20, "resnet20-digits": resnet20_on_digits, "gpt": gpt}


def train(model: nn.Module, data: Data, rate: float, steps: int) -> None:
    """A few full-batch steps, then evaluation mode, in which PyHessian measures."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(data[0]), data[1]).backward()
        optimizer.step()
    model.eval()
