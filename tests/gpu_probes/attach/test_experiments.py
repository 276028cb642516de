"""What is tried on the recorded steps of a script that warms up from zero and sums its loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from convlint.launch import run_probe

SCRIPT = """
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(2048, 12)
loader = DataLoader(TensorDataset(x, x[:, :3].argmax(dim=1)), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 3))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
warm_up = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 10))
for number, (inputs, labels) in enumerate(loader, 1):
    loss = F.cross_entropy(model(inputs), labels, reduction="sum") / torch.tensor(32.0)
    loss.backward()
    if number % 2 == 0:
        optimizer.step()
        warm_up.step()
        optimizer.zero_grad()
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    script: Path = tmp_path_factory.mktemp("run") / "train.py"
    script.write_text(SCRIPT)
    return run_probe(str(script), steps=30, hold=8, budget=300.0, device="cpu", curvature=False)


def test_the_rate_in_use_is_the_peak_of_the_warm_up(seen) -> None:
    assert seen.series.learning_rate[0] == 0.0
    assert seen.learning_rate_range is not None
    assert seen.learning_rate_range.in_use == pytest.approx(3e-3)


def test_one_batch_is_learnt_down_to_zero(seen) -> None:
    assert seen.overfit is not None
    assert (seen.overfit.outcome, seen.overfit.floor) == ("fits", 0.0)
    assert seen.overfit.attempts[0].learning_rate == pytest.approx(3e-3)


def test_the_noise_scale_counts_the_samples_of_a_step(seen) -> None:
    noise = seen.gradient_noise
    assert noise is not None
    assert (noise.batch_size, noise.step_size, noise.scale.unit) == (16, 32, "samples")
    # Eight held micro-batches and two for each of 24 recorded steps.
    assert noise.gradients >= 32
    assert noise.scale.value is not None
    assert noise.preconditioned is not None
