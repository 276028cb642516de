"""Small models of the kinds people train, each with a loss, as closures over fixed data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Workload:
    """A model and a function from the number of a batch to the training loss on it."""

    model: nn.Module
    loss: Callable[[int], torch.Tensor]


class CharacterGpt(nn.Module):
    """One pre-norm block with causal fused attention and tied embeddings."""

    def __init__(self, width: int = 32, vocabulary: int = 65, context: int = 16) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(context, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.1)
        )
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        batch, length = tokens.shape
        x = self.tokens(tokens) + self.positions[:length]
        parts = self.projection(self.norm(x)).chunk(3, dim=-1)
        query, key, value = (p.view(batch, length, 4, -1).transpose(1, 2) for p in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, -1))
        return self.head(x + self.mlp(self.norm(x)))


class ConvolutionalNet(nn.Module):
    """Convolution, batch normalisation, ReLU in place, pooling, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(72, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.drop(self.features(x).flatten(1)))


class RecurrentNet(nn.Module):
    """Two layers of a recurrent class, read at the last step."""

    def __init__(self, cls: type[nn.RNNBase], bidirectional: bool = False) -> None:
        super().__init__()
        self.recurrent = cls(4, 8, 2, batch_first=True, dropout=0.2, bidirectional=bidirectional)
        self.out = nn.Linear(16 if bidirectional else 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.recurrent(x)[0][:, -1])


def _classification(model: nn.Module, shape: tuple[int, ...], classes: int) -> Workload:
    inputs = [torch.randn(shape) for _ in range(6)]
    targets = [torch.randint(0, classes, shape[:1]) for _ in range(6)]
    return Workload(model, lambda k: F.cross_entropy(model(inputs[k % 6]), targets[k % 6]))


def build(name: str) -> Workload:
    """The workload of this name, from a fixed seed."""
    torch.manual_seed(0)
    if name == "perceptron":
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))
        return _classification(model, (8, 6), 4)
    if name == "cnn":
        return _classification(ConvolutionalNet(), (6, 1, 8, 8), 10)
    if name == "lstm":
        return _classification(RecurrentNet(nn.LSTM, bidirectional=True), (5, 7, 4), 3)
    if name == "gru":
        return _classification(RecurrentNet(nn.GRU), (5, 7, 4), 3)
    if name == "encoder":
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        return _classification(nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 3)), (5, 3, 8), 3)
    gpt = CharacterGpt()
    tokens = [torch.randint(0, 65, (4, 17)) for _ in range(6)]

    def next_token(k: int) -> torch.Tensor:
        batch = tokens[k % 6]
        return F.cross_entropy(gpt(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())

    return Workload(gpt, next_token)


NAMES = ("perceptron", "cnn", "lstm", "gru", "encoder", "gpt")
