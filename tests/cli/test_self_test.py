"""``self-test``: what is known beforehand is measured, and a wrong answer is told."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from convlint.gpu_probes import ground_truths
from convlint.gpu_probes.ground_truths import GROUND_TRUTHS, GroundTruth


@pytest.fixture
def only(monkeypatch):
    """Make the self-test measure these alone."""

    def choose(*truths: GroundTruth) -> None:
        monkeypatch.setattr(ground_truths, "GROUND_TRUTHS", truths)

    return choose


@pytest.mark.parametrize("truth", GROUND_TRUTHS, ids=lambda truth: truth.name)
def test_every_ground_truth_holds_on_the_cpu(only, truth: GroundTruth) -> None:
    only(truth)
    (outcome,) = ground_truths.check(torch.device("cpu"))
    assert outcome.holds, (outcome.measured, outcome.error)


def test_agreement_is_zero_and_prints_expected_and_measured(convlint, only) -> None:
    only(GROUND_TRUTHS[5])
    result = convlint("self-test", "--device", "cpu")
    assert result.exit_code == 0
    assert "ReLU units 10 σ below zero, 16 of 64: expected 0.25 exactly, measured 0.25" in (
        result.output
    )
    assert result.output.endswith("All 1 agree.\n")


def test_a_wrong_value_is_one_and_marked(convlint, only) -> None:
    only(dataclasses.replace(GROUND_TRUTHS[5], expected=0.5), GROUND_TRUTHS[5])
    result = convlint("self-test", "--device", "cpu")
    assert result.exit_code == 1
    assert "OFF  ReLU units" in result.output
    assert "1 of 2 are off" in result.output


def test_a_measurement_that_fails_is_off_with_its_reason(convlint, only) -> None:
    def broken(device: torch.device) -> float:
        raise RuntimeError("no kernel image\nand more")

    only(dataclasses.replace(GROUND_TRUTHS[5], measured=broken))
    result = convlint("self-test", "--device", "cpu", "--output-format", "json")
    assert result.exit_code == 1
    (truth,) = json.loads(result.output)["ground_truths"]
    assert truth["error"] == "RuntimeError: no kernel image"
    assert (truth["holds"], truth["measured"]) == (False, None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_line_and_two(convlint) -> None:
    result = convlint("self-test", "--device", "cuda")
    assert result.exit_code == 2
    assert result.stderr == "convlint: --device cuda: torch sees no CUDA device\n"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("truth", GROUND_TRUTHS, ids=lambda truth: truth.name)
def test_every_ground_truth_holds_on_cuda(only, truth: GroundTruth) -> None:
    only(truth)
    (outcome,) = ground_truths.check(torch.device("cuda"))
    assert outcome.holds, (outcome.measured, outcome.error)
