"""What the message about a schedule that dies tells: when, at what rate, and how the curve looks."""

from __future__ import annotations

import math

import pytest
from on_source import judge

SCRIPT = """
import torch
from torch import nn

model = nn.Linear(8, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma={gamma})
x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
for epoch in range({epochs}):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    scheduler.step()
"""


@pytest.mark.parametrize(("gamma", "epochs"), [(0.5, 60), (0.7, 100), (0.25, 12)])
def test_it_names_the_epoch_and_the_rate_and_draws_the_curve(gamma: float, epochs: int) -> None:
    (finding,) = judge("lr-schedule-collapses", SCRIPT.format(gamma=gamma, epochs=epochs))
    dead = math.floor(math.log(1e-3) / math.log(gamma)) + 1
    assert f"after epoch {dead} of {epochs}" in finding.message
    assert f"{0.1 * gamma**dead:.2e}"[:3] in finding.message
    assert "peak of 0.1" in finding.message
    curve = finding.message[finding.message.rindex("(") + 1 : -1]
    assert curve[0] == "█"
    assert set(curve[len(curve) // 2 :]) == {"▁"}


@pytest.mark.parametrize(("gamma", "epochs"), [(0.5, 60), (0.7, 100)])
def test_the_sums_of_robbins_and_monro_are_those_of_the_series(gamma: float, epochs: int) -> None:
    (finding,) = judge("lr-schedule-collapses", SCRIPT.format(gamma=gamma, epochs=epochs))
    sums = next(e for e in finding.evidence if e.quantity == "sum of learning rates over peak")
    total = (1 - gamma**epochs) / (1 - gamma)
    squares = (1 - gamma ** (2 * epochs)) / (1 - gamma**2)
    # The closed forms of the geometric series, to rounding.
    assert sums.value == pytest.approx(total, rel=1e-9)
    assert f"their squares {squares:.3g}" in sums.statement
