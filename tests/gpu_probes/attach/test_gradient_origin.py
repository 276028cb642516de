"""A gradient that is not finite is traced, whatever the script does to it before the step."""

from __future__ import annotations

from pathlib import Path

import pytest

from convlint.launch import run_probe

SCRIPT = """
import torch

torch.manual_seed(0)
layer, scale = torch.nn.Linear(4, 1), torch.nn.Parameter(torch.zeros(3))
parameters = [*layer.parameters(), scale]
optimizer = torch.optim.SGD(parameters, lr=0.01)
batch = torch.randn(8, 4)
for step in range(12):
    loss = layer(batch).square().mean()
    if step == 5:
        loss = loss + torch.sqrt(scale).sum()
    loss.backward()
    {between}
    optimizer.zero_grad()
"""
BETWEEN = {
    "stepped on": "optimizer.step()",
    "clipped by norm": "torch.nn.utils.clip_grad_norm_(parameters, 1.0); optimizer.step()",
    "clipped by value": "torch.nn.utils.clip_grad_value_(parameters, 1.0); optimizer.step()",
    "left out": "step == 5 or optimizer.step()",
    "an error": (
        "torch.nn.utils.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True); optimizer.step()"
    ),
    "cleaned": "[p.grad.nan_to_num_() for p in parameters if p.grad is not None]; optimizer.step()",
}


@pytest.mark.parametrize("kind", BETWEEN)
def test_an_infinite_gradient_is_traced_to_its_operation(kind: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(between=BETWEEN[kind]))
    seen = run_probe(
        str(script), tier="quick", hold=0, steps=12, budget=120.0, device="cpu", curvature=False
    )
    origin = seen.non_finite_origin
    assert origin is not None
    assert (origin.operation, origin.backward, origin.step) == ("sqrt", True, 5)
    assert origin.place is not None and origin.place.line == 12
