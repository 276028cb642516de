"""The first loss, and what the loss series of a short run proves."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from measurements import (
    LN_10,
    course,
    cross_entropy,
    curvature,
    falling,
    flat,
    found,
    healthy,
    number,
    severities,
)

from convlint.findings import Severity
from convlint.gpu_probes.observations import LossFunction, Observations
from convlint.rules import Rule
from convlint.rules.convergence.beats_no_baseline import BeatsNoBaseline
from convlint.rules.convergence.diverging_loss import DivergingLoss
from convlint.rules.convergence.initial_loss_off import InitialLossOff
from convlint.rules.convergence.oscillating_loss import OscillatingLoss
from convlint.rules.convergence.slow_convergence import SlowConvergence
from convlint.rules.convergence.stalled_loss import StalledLoss

INFO, WARNING, ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR
RISING = tuple(2.3 * 1.02**step for step in range(100))
GAN = {"recognised": ("several optimizers",)}


def warm_up(seen: Observations) -> Observations:
    rates = tuple(1e-5 * (step + 1) for step in range(len(seen.series.loss)))
    return replace(seen, series=replace(seen.series, learning_rate=rates))


def test_an_overconfident_network_warns_at_its_loss() -> None:
    (finding,) = found(InitialLossOff(), healthy(losses=(cross_entropy(3.5),)))
    assert finding.severity is WARNING
    assert finding.location.line == 30
    assert "3.5 (95 % interval 3.48 to 3.52)" in finding.message
    assert "2.3 = ln 10" in finding.message


def test_a_hopeless_start_that_recovers_is_a_warning() -> None:
    seen = healthy(losses=(cross_entropy(27.0),), **course("converging", falling(first=27.0)))
    assert severities(InitialLossOff(), seen) == [WARNING]


def test_a_hopeless_start_that_does_not_recover_is_an_error() -> None:
    losses = falling(first=8000.0, last=150.0)
    seen = healthy(losses=(cross_entropy(8000.0),), **course("converging", losses))
    assert severities(InitialLossOff(), seen) == [ERROR]


BINARY = {"classes": None, "uniform": number(math.log(2)), "uninformed": number(0.1)}


@pytest.mark.parametrize(
    "loss",
    [
        cross_entropy(LN_10 + 0.4),
        cross_entropy(0.4),
        replace(cross_entropy(), initial=number(3.5, margin=1)),
        replace(cross_entropy(), initial=number(3.5, n=16)),
        cross_entropy(4.0, input_shape=(64, 64), uniform=number(math.log(64) - 2)),
        cross_entropy(3.5, back_propagated=False),
        cross_entropy(4e4, function="mse_loss", uniform=None, classes=None),
        cross_entropy(0.7, function="binary_cross_entropy_with_logits", **BINARY),
    ],
    ids=[
        "usual spread of logits",
        "pre-trained",
        "uncertain",
        "few samples",
        "contrastive",
        "validation",
        "value head",
        "rare class",
    ],
)
def test_first_losses_that_are_fine(loss: LossFunction) -> None:
    assert found(InitialLossOff(), healthy(losses=(loss,))) == []


def test_the_first_loss_is_read() -> None:
    assert InitialLossOff().reading(healthy()) == (
        "the initial cross_entropy is 2.31, near 2.3 = ln 10"
    )


def test_a_rising_loss_is_an_error() -> None:
    (finding,) = found(DivergingLoss(), healthy(**course("diverging", RISING)))
    assert finding.severity is ERROR
    assert finding.location.line == 20
    assert "in 100 steps" in finding.message


def test_a_rising_regression_may_chase_moving_targets() -> None:
    mse = cross_entropy(function="mse_loss", uniform=None)
    seen = healthy(losses=(mse,), **course("diverging", RISING))
    assert severities(DivergingLoss(), seen) == [WARNING]
    blown = healthy(losses=(mse,), **course("diverging", tuple(2.0**k for k in range(60))))
    assert severities(DivergingLoss(), blown) == [ERROR]


@pytest.mark.parametrize(
    "seen",
    [
        healthy(**course("diverging", RISING), **GAN),
        healthy(**course("diverging", RISING[:8])),
        healthy(**course("diverging", (*falling(60), None, None))),
    ],
    ids=["players in turn", "catapult", "NaN without a rise is non-finite's"],
)
def test_series_that_do_not_diverge(seen: Observations) -> None:
    assert found(DivergingLoss(), seen) == []


def swinging(first: float, last: float) -> tuple[float, ...]:
    return tuple(level * (1 + 0.4 * (-1) ** i) for i, level in enumerate(falling(100, first, last)))


def test_an_oscillation_without_progress_warns() -> None:
    seen = healthy(**course("oscillating", swinging(2.3, 2.3)))
    assert severities(OscillatingLoss(), seen) == [WARNING]


def test_an_oscillation_that_falls_is_a_note() -> None:
    seen = healthy(**course("oscillating", swinging(2.3, 0.4)))
    assert severities(OscillatingLoss(), seen) == [INFO]


@pytest.mark.parametrize(
    "seen",
    [
        healthy(**course("oscillating", swinging(2.3, 2.3)), **GAN),
        healthy(**course("oscillating", swinging(2.3, 2.3)), recognised=("LBFGS",)),
        healthy(**course("oscillating", swinging(2.3, 2.3)[:20])),
    ],
    ids=["players in turn", "line search", "few steps"],
)
def test_swings_that_prove_nothing(seen: Observations) -> None:
    assert found(OscillatingLoss(), seen) == []


def test_a_loss_that_stays_where_it_began_warns() -> None:
    (finding,) = found(StalledLoss(), healthy(**course("stalled", flat())))
    assert finding.severity is WARNING
    assert "2.3 at first, 2.3 after 100 steps (a constant prediction gives 2.29)" in finding.message


def test_a_loss_resting_at_the_constant_prediction_warns() -> None:
    seen = healthy(**course("stalled", (*falling(10, 4.2, 2.3), *flat(90, 2.29))))
    assert severities(StalledLoss(), seen) == [WARNING]


def test_a_plateau_below_the_constant_prediction_is_a_note() -> None:
    seen = healthy(**course("stalled", (*falling(20, 2.3, 1.5), *flat(80, 1.5))))
    assert severities(StalledLoss(), seen) == [INFO]


@pytest.mark.parametrize(
    "seen",
    [
        healthy(**course("stalled", flat(40))),
        healthy(**course("stalled", flat()), **GAN),
        healthy(
            **course("stalled", flat(level=0.05)), baseline=None, losses=(cross_entropy(0.05),)
        ),
        healthy(**course("stalled", flat(level=0.05))),
        warm_up(healthy(**course("stalled", flat()))),
        healthy(**course("undetermined", flat())),
    ],
    ids=["few steps", "players in turn", "fine-tuning", "solved", "warm-up", "noise"],
)
def test_standing_losses_that_are_fine(seen: Observations) -> None:
    assert found(StalledLoss(), seen) == []


def slow(**changes: object) -> Observations:
    values = {"curvature": (curvature(500.0),), **course("slow", falling(last=2.2)), **changes}
    return healthy(**values)


def test_a_slow_loss_far_below_the_stability_limit_warns() -> None:
    (finding,) = found(SlowConvergence(), slow())
    assert finding.severity is WARNING
    assert "500 times below its stability limit" in finding.message
    assert finding.help == "try a learning rate of 1"


def test_a_slow_loss_near_the_limit_is_a_note() -> None:
    assert severities(SlowConvergence(), slow(curvature=(curvature(5.0),))) == [INFO]
    assert severities(SlowConvergence(), slow(curvature=())) == [INFO]


@pytest.mark.parametrize(
    "seen",
    [
        slow(losses=(cross_entropy(0.4),)),
        warm_up(slow()),
        slow(**GAN),
        slow(**course("slow", falling(40))),
    ],
    ids=["fine-tuning", "warm-up", "players in turn", "few steps"],
)
def test_slow_losses_that_are_fine(seen: Observations) -> None:
    assert found(SlowConvergence(), seen) == []


NOISE = course("undetermined", flat(level=2.35))


def test_a_loss_above_the_constant_prediction_warns() -> None:
    (finding,) = found(BeatsNoBaseline(), healthy(**NOISE))
    assert finding.severity is WARNING
    assert "not below the 2.29 of a constant prediction" in finding.message


def test_a_regression_still_learning_its_offset_is_a_note() -> None:
    mse = cross_entropy(function="mse_loss", uniform=None)
    seen = healthy(losses=(mse,), **course("undetermined", flat(level=40.0)))
    assert severities(BeatsNoBaseline(), seen) == [INFO]


@pytest.mark.parametrize(
    "seen",
    [
        healthy(**course("undetermined", falling(first=4.0, last=2.32))),
        healthy(**NOISE, **GAN),
        warm_up(healthy(**NOISE)),
        healthy(**NOISE, baseline=None),
        healthy(**course("stalled", flat(level=2.35))),
        healthy(**course("undetermined", flat(40, 2.35))),
    ],
    ids=[
        "still falling",
        "players in turn",
        "warm-up",
        "regularised loss on another scale",
        "stalled-loss says it",
        "few steps",
    ],
)
def test_losses_that_need_not_beat_the_baseline_yet(seen: Observations) -> None:
    assert found(BeatsNoBaseline(), seen) == []


@pytest.mark.parametrize(
    ("rule", "seen"),
    [
        (DivergingLoss(), healthy(**course("diverging", RISING))),
        (OscillatingLoss(), healthy(**course("oscillating", swinging(2.3, 2.3)))),
        (StalledLoss(), healthy(**course("stalled", flat()))),
        (SlowConvergence(), slow()),
        (BeatsNoBaseline(), healthy(**NOISE)),
    ],
    ids=lambda value: getattr(value, "slug", ""),
)
def test_the_level_of_a_loss_against_moving_targets_is_not_judged(
    rule: Rule, seen: Observations
) -> None:
    assert found(rule, seen)
    assert found(rule, replace(seen, recognised=("moving targets",))) == []


def test_a_class_met_once_cannot_show_what_was_learnt_of_it() -> None:
    single = replace(cross_entropy(math.log(200), classes=200), calls=8)
    few = replace(single, initial=number(math.log(200), n=8))
    many = replace(single, initial=number(math.log(200), n=8 * 64))
    run = course("stalled", flat(level=math.log(200)))
    assert severities(StalledLoss(), healthy(losses=(few,), baseline=None, **run)) == [INFO]
    assert severities(StalledLoss(), healthy(losses=(many,), baseline=None, **run)) == [WARNING]
