"""One part of an answer that is not finite costs that part, not the answer."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest

from convlint.gpu_probes.attach.sound_answers import REASON, sound
from convlint.gpu_probes.observations import (
    Device,
    LearningRateRange,
    Measurement,
    ModeUse,
    Observations,
)
from convlint.launch import run_probe

RANGE = LearningRateRange(
    in_use=0.1, rates=(0.1, 0.2), initial=1.0, bound=2.0, one_step=(None, 0.5), sweep=(1.0, None),
    best=None, steepest=None, diverges=None, suggested=None,
)  # fmt: skip


def answer(**parts: object) -> Observations:
    device = Device("cpu", "", "2", "3.11", "torch", 1)
    whole = Observations("train.py", (), device, "steps", held=1, steps=1, seconds=1.0)
    return replace(whole, **parts)


def test_what_is_whole_stays_the_same() -> None:
    whole = answer(learning_rate_range=RANGE, baseline=Measurement(None, unit="", n=1))
    assert sound(whole) is whole


@pytest.mark.parametrize("broken", [{"initial": math.nan}, {"rates": (0.1, math.inf)}])
def test_a_part_without_a_promised_number_is_left_out_and_told(broken: dict[str, object]) -> None:
    kept = sound(answer(learning_rate_range=replace(RANGE, **broken), backwards=3))
    assert kept.learning_rate_range is None
    assert kept.backwards == 3
    assert [(s.measurement, s.reason) for s in kept.skipped] == [("learning rate range", REASON)]


def test_a_number_that_may_be_missing_costs_nothing() -> None:
    part = replace(RANGE, best=math.nan, sweep=(1.0, math.inf))
    assert sound(answer(learning_rate_range=part)).learning_rate_range is part


def test_an_interval_with_an_infinite_end_costs_nothing() -> None:
    part = Measurement(1.0, unit="", n=1, ci=(0.0, math.inf))
    assert sound(answer(baseline=part)).baseline is part


def test_of_several_only_the_broken_one_goes() -> None:
    names = {field.name for field in fields(ModeUse)}
    assert "eval_share" in names
    good, bad = _mode(0.5), _mode(math.nan)
    assert sound(answer(modes=(bad, good))).modes == (good,)


def _mode(share: float) -> ModeUse:
    values = {field.name: None for field in fields(ModeUse)}
    return ModeUse(**{**values, "eval_share": share})  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite_from_the_start_is_measured(tmp_path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import torch\n"
        "from torch import nn\n"
        "model = nn.Linear(4, 1)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "for _ in range(12):\n"
        "    out = torch.log(model(torch.randn(8, 4)).relu())\n"
        "    loss = nn.functional.mse_loss(out, torch.zeros(8, 1))\n"
        "    optimizer.zero_grad()\n"
        "    loss.backward()\n"
        "    optimizer.step()\n"
    )
    seen = run_probe(str(script), tier="standard", hold=4, steps=4, device="cpu")
    assert seen.stopped == "steps"
    assert seen.non_finite
    reasons = {skipped.measurement: skipped.reason for skipped in seen.skipped}
    assert reasons["learning-rate range"] == "the loss is not finite at the initial parameters"
