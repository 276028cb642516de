"""Stability, conditioning and saddle points."""

from __future__ import annotations

import pytest
from measurements import (
    course,
    cross_entropy,
    curvature,
    falling,
    flat,
    found,
    healthy,
    number,
    optimizer,
    severities,
)

from convlint.findings import Severity
from convlint.gpu_probes.observations import Observations
from convlint.rules.curvature.ill_conditioned import IllConditioned
from convlint.rules.curvature.learning_rate_above_stability import LearningRateAboveStability
from convlint.rules.curvature.saddle_point import SaddlePoint

INFO, WARNING, ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR
RISING = tuple(2.3 * 1.03**step for step in range(100))


@pytest.mark.parametrize(
    ("kind", "losses", "severity"),
    [
        ("diverging", RISING, ERROR),
        ("oscillating", flat(), WARNING),
        ("stalled", flat(), WARNING),
        ("converging", falling(), INFO),
        ("undetermined", flat(), INFO),
    ],
)
def test_above_the_limit_counts_as_much_as_the_loss_says(
    kind: str, losses: tuple[float, ...], severity: Severity
) -> None:
    seen = healthy(curvature=(curvature(0.5),), **course(kind, losses))
    (finding,) = found(LearningRateAboveStability(), seen)
    assert finding.severity is severity
    assert "0.1 of SGD is above the stability limit 0.05" in finding.message
    assert finding.location.line == 20


@pytest.mark.parametrize(
    "point",
    [
        curvature(1.2),
        curvature(1.005),
        curvature(0.5, consistency=0.3),
        curvature(0.5, preconditioned=True),
        curvature(0.5, phase="end"),
    ],
    ids=[
        "below the limit",
        "limit within the interval",
        "gradient of no function",
        "second moments not settled",
        "thrown somewhere by the run",
    ],
)
def test_limits_that_say_nothing(point: object) -> None:
    seen = healthy(curvature=(point,), **course("diverging", RISING))
    assert found(LearningRateAboveStability(), seen) == []


def test_adaptive_optimizers_are_judged_when_their_moments_are_settled() -> None:
    settled = curvature(0.5, phase="end", preconditioned=True)
    seen = healthy(curvature=(settled,), **course("diverging", RISING))
    assert severities(LearningRateAboveStability(), seen) == [ERROR]


def test_the_tightest_limit_is_read() -> None:
    seen = healthy(curvature=(curvature(5.0),))
    reading = LearningRateAboveStability().reading(seen)
    assert reading == "the stability limit 0.5 is 5 times the learning rate 0.1"


def ill(kind: str, cls: str, condition: float = 1e5, margin: float = 1e3) -> Observations:
    point = curvature(gradient_condition=number(condition, margin=margin))
    losses = falling() if kind == "converging" else flat()
    return healthy(curvature=(point,), optimizers=(optimizer(cls),), **course(kind, losses))


def test_ill_conditioning_warns_where_it_hurts() -> None:
    (finding,) = found(IllConditioned(), ill("slow", "SGD"))
    assert finding.severity is WARNING
    # k ln(10) / 2 steps per digit for k = 1e5
    assert "115,129 steps" in finding.message


@pytest.mark.parametrize(("kind", "cls"), [("converging", "SGD"), ("slow", "torch.optim.AdamW")])
def test_ill_conditioning_without_consequence_is_a_note(kind: str, cls: str) -> None:
    assert severities(IllConditioned(), ill(kind, cls)) == [INFO]


def test_an_uncertain_condition_number_is_not_judged() -> None:
    assert found(IllConditioned(), ill("slow", "SGD", condition=2e3, margin=1.5e3)) == []


def saddle(**changes: object) -> Observations:
    point = curvature(gradient_norm=1e-3, smallest=number(-4.0, margin=0.5))
    return healthy(**{"curvature": (point,), **course("stalled", flat()), **changes})


def test_a_flat_gradient_over_negative_curvature_is_a_saddle() -> None:
    (finding,) = found(SaddlePoint(), saddle())
    assert finding.severity is WARNING
    assert "0.4 of the largest curvature" in finding.message


@pytest.mark.parametrize(
    "seen",
    [
        healthy(curvature=(curvature(),), **course("stalled", flat())),
        saddle(**course("converging", falling())),
        saddle(curvature=(curvature(gradient_norm=1e-3, smallest=number(-0.5)),)),
        saddle(curvature=(curvature(gradient_norm=1e-3, smallest=number(-2.0, margin=1.9)),)),
        saddle(losses=(cross_entropy(function="mse_loss", uniform=None),)),
        saddle(
            curvature=(curvature(gradient_norm=1e-6, phase="end"),),
            **course("undetermined", falling(last=1e-3)),
        ),
    ],
    ids=[
        "negative curvature with a gradient",
        "loss falls",
        "hardly negative",
        "uncertain",
        "regression",
        "minimum reached",
    ],
)
def test_points_that_are_no_saddles(seen: Observations) -> None:
    assert found(SaddlePoint(), seen) == []
