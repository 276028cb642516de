"""Real short runs: healthy ones are never called sick, sick ones are recognised."""

from __future__ import annotations

import math
from functools import cache

import pytest

torch = pytest.importorskip("torch")
sklearn_datasets = pytest.importorskip("sklearn.datasets")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from convlint.curves import convergence  # noqa: E402

SICK = {"diverging", "oscillating", "stalled"}
LN10 = math.log(10.0)


@cache
def digits():
    images, labels = sklearn_datasets.load_digits(return_X_y=True)
    images = torch.tensor(images / 16.0, dtype=torch.float32)
    return (images - images.mean()) / images.std(), torch.tensor(labels)


class LastStep(nn.Module):
    """A recurrent classifier that reads an image row by row."""

    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(8, 48, batch_first=True)
        self.readout = nn.Linear(48, 10)

    def forward(self, x):
        return self.readout(self.recurrent(x.view(-1, 8, 8))[0][:, -1])


class CharacterTransformer(nn.Module):
    """One causal block over characters."""

    def __init__(self, characters, width=32, length=24):
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.block = nn.TransformerEncoderLayer(
            width, 4, 64, 0.0, batch_first=True, norm_first=True
        )
        self.readout = nn.Linear(width, characters)
        self.mask = nn.Transformer.generate_square_subsequent_mask(length)

    def forward(self, x):
        hidden = self.embedding(x) + self.position
        return self.readout(self.block(hidden, src_mask=self.mask, is_causal=True))


def perceptron():
    return nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def convolutional():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def dead():
    model = perceptron()
    with torch.no_grad():
        model[0].bias.fill_(-50.0)
        model[2].bias.fill_(-50.0)
    return model


def train(make_model, make_optimizer, batch, seed, steps):
    torch.manual_seed(seed)
    images, labels = digits()
    model = make_model()
    optimizer = make_optimizer(model.parameters())
    losses, order = [], iter(())
    for _ in range(steps):
        rows = next(order, None)
        if rows is None or len(rows) < batch:
            order = iter(torch.randperm(len(images)).split(batch))
            rows = next(order)
        loss = F.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


HEALTHY = {
    "perceptron, SGD": (perceptron, lambda p: torch.optim.SGD(p, 0.05)),
    "perceptron, momentum": (perceptron, lambda p: torch.optim.SGD(p, 0.05, momentum=0.9)),
    "perceptron, Adam": (perceptron, lambda p: torch.optim.Adam(p, 1e-3)),
    "convolutional, Adam": (convolutional, lambda p: torch.optim.Adam(p, 1e-3)),
    "LSTM, Adam": (LastStep, lambda p: torch.optim.Adam(p, 3e-3)),
}


@pytest.mark.parametrize("batch", [16, 32, 64, 128])
@pytest.mark.parametrize("run", HEALTHY)
def test_healthy_run_is_never_called_sick(run, batch):
    for seed in (0, 1):
        losses = train(*HEALTHY[run], batch, seed, 60)
        for steps in (30, 60):
            seen = convergence(losses[:steps], baseline=LN10)
            assert seen.kind not in SICK, seen.note
        assert seen.kind == "converging"


@pytest.mark.parametrize("batch", [16, 64])
def test_cautious_learning_rate_is_not_called_stalled(batch):
    losses = train(perceptron, lambda p: torch.optim.SGD(p, 0.01), batch, 1, 100)
    for steps in (30, 60, 100):
        assert convergence(losses[:steps], baseline=LN10).kind not in SICK


def test_healthy_character_model_is_never_called_sick():
    text = (math.__doc__ or "") + (torch.nn.Module.__doc__ or "") + (pytest.__doc__ or "")
    text = (text + (torch.optim.SGD.__doc__ or "") + (F.cross_entropy.__doc__ or ""))[:6000]
    characters = sorted(set(text))
    tokens = torch.tensor([characters.index(c) for c in text])
    shares = torch.bincount(tokens).double() / len(tokens)
    entropy = float(-(shares[shares > 0] * shares[shares > 0].log()).sum())
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = CharacterTransformer(len(characters))
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        losses = []
        for _ in range(60):
            starts = torch.randint(len(tokens) - 25, (16, 1))
            windows = tokens[starts + torch.arange(25)]
            logits = model(windows[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        for steps in (30, 60):
            assert convergence(losses[:steps], baseline=entropy).kind not in SICK


SICK_RUNS = {
    "SGD at 5": (perceptron, lambda p: torch.optim.SGD(p, 5.0), {"diverging", "oscillating"}),
    "momentum at 1": (
        perceptron,
        lambda p: torch.optim.SGD(p, 1.0, momentum=0.9),
        {"diverging", "oscillating"},
    ),
    "Adam at 0.5": (
        perceptron,
        lambda p: torch.optim.Adam(p, 0.5),
        {"diverging", "oscillating"},
    ),
    "SGD at 1e-7": (perceptron, lambda p: torch.optim.SGD(p, 1e-7), {"stalled", "slow"}),
    "Adam at 1e-7": (perceptron, lambda p: torch.optim.Adam(p, 1e-7), {"stalled", "slow"}),
    "dead units": (dead, lambda p: torch.optim.SGD(p, 0.05), {"stalled"}),
}


@pytest.mark.parametrize("batch", [16, 64])
@pytest.mark.parametrize("run", SICK_RUNS)
def test_sick_run_is_recognised(run, batch):
    make_model, make_optimizer, expected = SICK_RUNS[run]
    for seed in (0, 1):
        losses = train(make_model, make_optimizer, batch, seed, 100)
        assert convergence(losses, baseline=LN10).kind in expected
