"""Gradients by module and step, against their own root mean squares."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from convlint.gpu_probes.quantities.gradient_history import (
    MOST_MODULES,
    MOST_STEPS,
    GradientHistoryRecorder,
)


def recorder_of(named: dict[str, nn.Parameter]) -> GradientHistoryRecorder:
    names = {id(parameter): name for name, parameter in named.items()}
    return GradientHistoryRecorder(lambda tensor: (names[id(tensor)], None))


def test_the_norm_is_global_and_the_rows_are_per_module():
    weight, bias, head = (nn.Parameter(torch.zeros(n)) for n in (2, 1, 1))
    unused = nn.Parameter(torch.zeros(3))
    recorder = recorder_of({"a.weight": weight, "a.bias": bias, "head": head, "unused.w": unused})
    weight.grad, bias.grad, head.grad = (
        torch.tensor([1.0, 2.0]),
        torch.tensor([2.0]),
        torch.tensor([4.0]),
    )
    assert recorder.observe([weight, bias, head, unused]).item() == pytest.approx(5.0)
    recorder.stepped()
    head.grad = None
    assert recorder.observe([weight, bias, head]).item() == pytest.approx(3.0)
    recorder.stepped()
    seen = recorder.results()
    assert seen is not None
    assert (seen.modules, seen.steps) == (("a", "head"), (0, 1))
    # Three significant digits are kept.
    assert seen.rms[0] == pytest.approx((math.sqrt(3.0),) * 2, rel=5e-3)
    assert seen.rms[1] == (4.0, None)


def test_of_several_looks_before_a_step_the_first_counts():
    parameter = nn.Parameter(torch.zeros(1))
    recorder = recorder_of({"a.weight": parameter})
    for value in (1.0, 7.0):
        parameter.grad = torch.tensor([value])
        recorder.observe([parameter])
    recorder.stepped()
    seen = recorder.results()
    assert seen is not None and seen.rms == ((1.0,),)


def test_nan_shows_in_the_norm_and_is_none_in_the_rows():
    parameter = nn.Parameter(torch.zeros(2))
    recorder = recorder_of({"a.weight": parameter})
    parameter.grad = torch.tensor([1.0, math.nan])
    assert math.isnan(recorder.observe([parameter]).item())
    recorder.stepped()
    seen = recorder.results()
    assert seen is not None and seen.rms == ((None,),)


def test_without_gradients_the_norm_is_zero_and_there_is_no_history():
    parameter = nn.Parameter(torch.zeros(2))
    recorder = recorder_of({"a.weight": parameter})
    assert recorder.observe([parameter]).item() == 0.0
    recorder.stepped()
    assert recorder.results() is None


def test_many_modules_and_steps_are_thinned_with_their_ends_kept():
    named = {f"layer{i}.weight": nn.Parameter(torch.zeros(1)) for i in range(100)}
    recorder = recorder_of(named)
    for step in range(500):
        for parameter in named.values():
            parameter.grad = torch.tensor([float(step)])
        recorder.observe(named.values())
        recorder.stepped()
    seen = recorder.results()
    assert seen is not None
    assert (len(seen.modules), len(seen.steps)) == (MOST_MODULES, MOST_STEPS)
    assert (seen.modules[0], seen.modules[-1]) == ("layer0", "layer99")
    assert (seen.steps[0], seen.steps[-1]) == (0, 499)
    assert all(row == seen.rms[0] for row in seen.rms)
    assert seen.rms[0][-1] == 499.0
