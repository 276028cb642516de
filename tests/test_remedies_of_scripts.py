"""The whole way from a script to the change that cures it. More scripts, and full runs of them, are
in ``bench/remedies.py``."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import convlint
from convlint.audit import measure
from convlint.gpu_probes.observations import Observations
from convlint.gpu_probes.observations.remedies import BETTER, KEEP, Remedies
from convlint.launch import run_probe
from convlint.remedies import fitting

SICK = Path(__file__).parents[1] / "fixtures" / "measured" / "sick"


def table(seen: Observations) -> Remedies:
    fitted = fitting(seen, measure(seen)).remedies
    assert fitted is not None, seen.skipped
    return fitted


def of_script(name: str) -> Remedies:
    # Far more seconds than are needed: a busy machine must not decide.
    return table(run_probe(str(SICK / name), tier="quick", budget=500.0, steps=60, remedies=True))


def test_gradients_are_to_be_cleared_elsewhere():
    first = of_script("cleared_after_backward.py").tried[0]
    assert first.answers == ("zero-grad-kills-gradient",)
    assert first.outcome == BETTER


def test_a_huge_rate_is_to_be_lowered():
    first = of_script("embedding_with_huge_rate.py").tried[0]
    assert first.kind == "learning rate"
    assert first.value is not None and first.value < 0.2
    assert first.outcome == BETTER
    assert first.place is not None and first.place.path.endswith("embedding_with_huge_rate.py")


def test_a_run_that_trains_well_is_kept_and_left_as_it_was():
    torch.manual_seed(0)
    model = nn.Linear(6, 3)
    before = model.weight.detach().clone()
    inputs = torch.randn(400, 6)
    labels = inputs[:, :3].argmax(1)
    batches = list(zip(inputs.split(20), labels.split(20), strict=True))
    seen = convlint.probe(
        model,
        nn.functional.cross_entropy,
        batches,
        torch.optim.Adam(model.parameters(), lr=0.05),
        tier="quick",
        remedies=True,
        budget=500.0,
    )
    remedies = table(seen)
    assert remedies.tried[0].kind == KEEP
    assert BETTER not in {remedy.outcome for remedy in remedies.tried}
    assert torch.equal(model.weight, before)


def test_what_cannot_be_replayed_is_told():
    scripts = Path(__file__).parent / "gpu_probes" / "attach" / "scripts"
    seen = run_probe(str(scripts / "lbfgs_closure.py"), tier="quick", steps=12, remedies=True)
    assert seen.remedies is None
    reasons = {skipped.measurement: skipped.reason for skipped in seen.skipped}
    assert "closure" in reasons["remedies"]
