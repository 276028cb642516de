"""CRV001: the learning rate exceeds what the curvature allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence, surely_below
from convlint.rules.patterns.hessian import trusted_curvature
from convlint.rules.patterns.places import place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations, StabilityLimit

HEADROOM = 1.0
"""Stability limit over learning rate in use: 2 / (rate x largest eigenvalue) for gradient descent,
(2 + 2 beta) / (rate x largest eigenvalue) with momentum beta."""
SAFETY = 2.0
"""The advised rate lies this far below the limit: the limit is exact for a quadratic, and sharpness
grows while training."""


class LearningRateAboveStability(Rule):
    """The learning rate is above the stability limit of the measured curvature.

    ## What it does
    Measures the largest eigenvalue of the Hessian of the training loss (preconditioned as the
    optimizer does it) and compares the learning rate with the limit that follows from it.

    ## Why it hurts
    Along the steepest direction every step overshoots by more than it gains. If the loss rises as
    well, the run diverges.

    ## Example
        optimizer = torch.optim.SGD(model.parameters(), lr=10.0)

    ## Use instead
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    ## When it is fine
    Full-batch training settles at the limit by itself (edge of stability), and large first steps
    can catapult into a flatter region: above the limit with a falling loss is a note.

    ## Measured
    Headroom below 1 with its whole interval: error when the loss diverges, warning when it
    oscillates or stalls, else info. Not judged where second derivatives and differences of the loss
    are more than 1 % apart: of a straight-through estimator, a detached target or a custom Function
    that saved detached values, autograd has another Hessian than the loss.

    ## References
    - Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability,
      ICLR 2021
    - Cohen et al., Adaptive gradient methods at the edge of stability, 2022
    """

    code, slug, severity = "CRV001", "learning-rate-above-stability", Severity.ERROR
    prediction = Prediction("headroom", "below", HEADROOM)
    measurements = ("curvature",)
    # Frozen batch statistics change the very loss whose curvature is measured.
    explained_by = ("LOS", "unnormalized-input", "eval-mode-in-training")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per optimizer above its limit."""
        severity = _severity(seen)
        for limit in _limits(seen):
            if not surely_below(limit.headroom, HEADROOM) or limit.limit.value is None:
                continue
            yield self.finding(
                place_to_location(limit.place, seen),
                f"the learning rate {figure(limit.learning_rate)} of {limit.cls} is above the "
                f"stability limit {figure(limit.limit.value)} of the measured curvature"
                + _outcome(seen),
                help=f"use a learning rate of at most {figure(limit.limit.value / SAFETY)}, or "
                "warm up to it"
                if severity is not Severity.INFO
                else "nothing to do while the loss falls",
                severity=severity,
                evidence=measured_evidence(
                    "stability limit over the learning rate in use",
                    quantity="headroom",
                    value=limit.headroom.value,
                    expected="above 1",
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """The smallest headroom of any optimizer."""
        measured = [limit for limit in _limits(seen) if limit.headroom.value is not None]
        if not measured:
            return None
        tightest = min(measured, key=lambda limit: limit.headroom.value or 0.0)
        return (
            f"the stability limit {figure(tightest.limit.value)} is "
            f"{figure(tightest.headroom.value)} times the learning rate "
            f"{figure(tightest.learning_rate)}"
        )


def _limits(seen: Observations) -> list[StabilityLimit]:
    """The limits that can be judged.

    For plain and momentum descent those at the start of the run: after divergence the curvature
    at the end is that of wherever the run was thrown. For adaptive optimizers those at the end:
    at the start their second moments are not settled, and healthy runs lie far above the limit.
    """
    return [
        limit
        for curvature in trusted_curvature(seen)
        for limit in curvature.limits
        if (curvature.phase == "end") is limit.preconditioned
    ]


def _severity(seen: Observations) -> Severity:
    kind = seen.convergence.kind if seen.convergence is not None else ""
    if kind == "diverging":
        return Severity.ERROR
    return Severity.WARNING if kind in ("oscillating", "stalled") else Severity.INFO


def _outcome(seen: Observations) -> str:
    severity = _severity(seen)
    if severity is Severity.ERROR:
        return ", and the loss rises"
    if severity is Severity.WARNING and seen.convergence is not None:
        return f", and the loss is {seen.convergence.kind}"
    return "; the loss does not rise"
