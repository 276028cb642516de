"""CVG007: a batch far below the noise scale, and a run that suffers from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from measurements import course, falling, flat, found, healthy, place, severities

from convlint.findings import Severity
from convlint.gpu_probes.observations import GradientNoise, Measurement
from convlint.rules.convergence.gradient_noise_dominated import GradientNoiseDominated

RULE = GradientNoiseDominated()
STUCK = course("oscillating", flat())
LEARNS = course("converging", falling())


def noise(value: float = 400.0, step: int | None = 4, **rest: Any) -> GradientNoise:
    values: dict[str, Any] = {
        "scale": Measurement(value, unit="samples", n=32, ci=(0.7 * value, 1.5 * value)),
        "at_least": False,
        "batch_size": step,
        "step_size": step,
        "gradients": 32,
        "optimizer": 0,
        "cls": "SGD",
        "rate_in_use": 0.1,
        "place": place(21),
    }
    return GradientNoise(**{**values, **rest})


def test_a_run_that_jumps_on_four_noisy_samples_is_warned_of() -> None:
    (finding,) = found(RULE, healthy(gradient_noise=noise(), **STUCK))
    assert finding.severity is Severity.WARNING
    assert finding.location.line == 21
    assert finding.message == (
        "each step follows 4 samples; signal and noise of the gradient are equally strong at "
        "400 samples, and the loss jumps without coming down"
    )
    assert "towards 512 samples" in finding.help


def test_a_run_that_learns_all_the_same_is_told_in_a_note() -> None:
    assert severities(RULE, healthy(gradient_noise=noise(), **LEARNS)) == [Severity.INFO]


def test_steps_far_beyond_the_best_one_that_gain_nothing_are_warned_of() -> None:
    best = Measurement(0.01, n=8, ci=(0.004, 0.03))
    stalled = healthy(gradient_noise=noise(best_rate=best), **course("stalled", flat()))
    (finding,) = found(RULE, stalled)
    assert finding.severity is Severity.WARNING
    assert "at this batch the best rate is 0.01, in use is 0.1" in finding.message
    unsure = replace(best, ci=(0.001, 0.2))
    stalled = healthy(gradient_noise=noise(best_rate=unsure), **course("stalled", flat()))
    assert severities(RULE, stalled) == [Severity.INFO]


def test_a_lower_bound_is_enough() -> None:
    bound = Measurement(80.0, unit="samples", n=8, converged=False, note="at least")
    seen = healthy(gradient_noise=noise(scale=bound, at_least=True), **STUCK)
    (finding,) = found(RULE, seen)
    assert "equally strong at 80 samples or more" in finding.message


@pytest.mark.parametrize(
    "quiet",
    [
        noise(40.0),
        noise(55.0),
        noise(step=None),
        noise(scale=Measurement(400.0, unit="batches", n=32)),
        noise(scale=Measurement(None, unit="samples", n=32)),
        noise(preconditioned=Measurement(20.0, unit="samples", n=32, ci=(10.0, 40.0))),
    ],
    ids=["ten times", "interval", "no batch size", "batches", "not measured", "own norm"],
)
def test_what_is_not_surely_far_below_is_left_alone(quiet: GradientNoise) -> None:
    assert severities(RULE, healthy(gradient_noise=quiet, **STUCK)) == []


@pytest.mark.parametrize("kind", ["several optimizers", "moving targets", "LBFGS", "full batch"])
def test_runs_whose_loss_says_little_are_left_alone(kind: str) -> None:
    seen = healthy(gradient_noise=noise(), recognised=(kind,), **STUCK)
    assert severities(RULE, seen) == []


def test_the_reading_names_both_sides() -> None:
    seen = healthy(gradient_noise=noise(), **LEARNS)
    assert RULE.reading(seen) == "the gradient noise scale is 400 samples; a step has 4"
