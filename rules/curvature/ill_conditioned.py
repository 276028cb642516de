"""CRV002: the curvatures along the gradient differ by orders of magnitude."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence, surely_above
from convlint.rules.patterns.hessian import trusted_curvature
from convlint.rules.patterns.places import first_place, place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Measurement, Observations

CONDITION = 1e3
"""Largest eigenvalue over the gradient-weighted middle one. Plain gradient descent at its best
step then gains a digit in 1,150 steps. Freshly initialised networks show 1 to 100."""
STEPS_PER_DIGIT = math.log(10) / 2
"""Gradient descent at the best step contracts by (k - 1) / (k + 1) per step, so a digit costs
about k ln(10) / 2 steps (Boyd and Vandenberghe, Convex Optimization, section 9.3)."""
ADAPTIVE = (
    "Adam",
    "Adagrad",
    "Adadelta",
    "Adafactor",
    "RMSprop",
    "Rprop",
    "LBFGS",
    "LAMB",
    "Lion",
    "Muon",
    "Shampoo",
    "SOAP",
)
"""Optimizers whose step does not shrink with the largest eigenvalue in the same way."""


class IllConditioned(Rule):
    """The loss is far steeper in some directions than in those it has to descend.

    ## What it does
    Compares the largest curvature with the curvature in the middle of the gradient's own
    spectrum, and says how many steps a digit of progress costs.

    ## Why it hurts
    The steepest direction limits the learning rate, and all others creep at it.

    ## Example
        model = nn.Linear(30, 2)  # features between 1e-3 and 4e3
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-7)

    ## Use instead
        features = StandardScaler().fit_transform(features)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    ## When it is fine
    Adaptive optimizers rescale the directions, and a loss that falls has found its way: then it is
    a note.

    ## Measured
    Gradient-weighted condition number above 1000 with its whole interval. Warning when a
    non-adaptive optimizer stalls or is slow, else info.

    ## References
    - LeCun et al., Efficient BackProp, 1998, section 5
    """

    code, slug, severity = "CRV002", "ill-conditioned", Severity.WARNING
    measurements = ("curvature",)
    explained_by = ("unnormalized-input",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the worst conditioning seen."""
        worst = _worst(seen)
        if worst is None or worst.value is None or not surely_above(worst, CONDITION):
            return
        plain = any(not _is_adaptive(use.cls) for use in seen.optimizers)
        struggles = seen.convergence is not None and seen.convergence.kind in ("slow", "stalled")
        yield self.finding(
            place_to_location(first_place(use.place for use in seen.optimizers), seen),
            f"the loss is ill-conditioned: the steepest direction is {figure(worst.value)} times "
            f"as steep as a typical one, about {figure(worst.value * STEPS_PER_DIGIT)} steps of "
            "gradient descent per digit",
            help="standardise the input features, add normalisation layers, or use an adaptive "
            "optimizer",
            severity=self.severity if plain and struggles else Severity.INFO,
            evidence=measured_evidence(
                "largest Hessian eigenvalue over the gradient-weighted median one",
                quantity="condition number",
                value=worst.value,
                expected=f"below {figure(CONDITION)}",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """The largest condition number measured."""
        worst = _worst(seen)
        return None if worst is None else f"the condition number is {figure(worst.value)}"


def _is_adaptive(cls: str) -> bool:
    return any(name in cls.rsplit(".", 1)[-1] for name in ADAPTIVE)


def _worst(seen: Observations) -> Measurement | None:
    measured = [
        curvature.gradient_condition
        for curvature in trusted_curvature(seen)
        if curvature.gradient_condition is not None
        and curvature.gradient_condition.value is not None
    ]
    return max(measured, key=lambda condition: condition.value or 0.0, default=None)
