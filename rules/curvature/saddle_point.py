"""CRV003: the gradient vanishes where the loss still curves downwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence, surely_below
from convlint.rules.patterns.hessian import trusted_curvature
from convlint.rules.patterns.places import first_place, place_to_location
from convlint.rules.patterns.runs import improves, is_classification

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Curvature, Observations

NEGATIVE = 0.1
"""Size of the most negative eigenvalue over the largest. Fresh networks have 0.5 together with a
large gradient: negative curvature alone is normal."""
GAIN = 1e-4
"""Share of the loss that the best gradient step can win, |g|^2 / (2 largest eigenvalue) / loss.
Fresh networks show 1e-2."""


class SaddlePoint(Rule):
    """The run sits at a saddle point: hardly any gradient, but the loss curves downwards.

    ## What it does
    Looks, where the curvature was measured, for a gradient that can win almost nothing together
    with significant negative curvature.

    ## Why it hurts
    Gradient steps leave a saddle exponentially slowly when they start on its ridge. Symmetric or
    zero initial weights put a network there.

    ## Example
        for parameter in model.parameters():
            nn.init.zeros_(parameter)

    ## Use instead
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    ## When it is fine
    Negative curvature with a usable gradient is the normal state of a network in training. Losses
    without an absolute scale (regression) are not judged: an offset of the targets makes any
    gradient look small.

    ## Measured
    Most negative eigenvalue beyond 10 % of the largest with its whole interval, while the best
    gradient step wins less than 1e-4 of the loss, and the loss does not fall.

    ## References
    - Dauphin et al., Identifying and attacking the saddle point problem, NeurIPS 2014
    """

    code, slug, severity = "CRV003", "saddle-point", Severity.WARNING
    measurements = ("curvature",)
    explained_by = ("symmetric-init", "diverging-loss")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding, for the first point that is a saddle."""
        if improves(seen) or not is_classification(seen):
            return
        for curvature in trusted_curvature(seen):
            gain, bend = _gain(curvature, seen), _bend(curvature)
            largest = curvature.largest.value
            if gain is None or bend is None or largest is None or gain >= GAIN:
                continue
            if bend < NEGATIVE or not surely_below(curvature.smallest, -NEGATIVE * largest):
                continue
            yield self.finding(
                place_to_location(first_place(use.place for use in seen.optimizers), seen),
                f"at the {curvature.phase} of the run the parameters sit at a saddle point: a "
                f"gradient step can win {figure(gain)} of the loss, while it curves downwards at "
                f"{figure(bend)} of the largest curvature",
                help="initialise the weights at random; do not start layers at zero or constant",
                evidence=measured_evidence(
                    "share of the loss that the best gradient step can win",
                    quantity="gradient gain",
                    value=gain,
                    expected=f"above {figure(GAIN)}",
                ),
            )
            return

    def reading(self, seen: Observations) -> str | None:
        """What the best gradient step can win."""
        if not is_classification(seen):
            return None
        gains = [gain for c in trusted_curvature(seen) if (gain := _gain(c, seen)) is not None]
        if not gains:
            return None
        return f"a gradient step can win {figure(min(gains))} of the loss"


def _gain(curvature: Curvature, seen: Observations) -> float | None:
    """Decrease by the best gradient step under the quadratic model, as a share of the loss."""
    if seen.convergence is None or curvature.gradient_norm is None:
        return None
    first, last = seen.convergence.first, seen.convergence.last
    loss = first if curvature.phase == "start" else last
    steepest = curvature.largest.value
    # Once the loss is near zero everything can be won already: a minimum, not a saddle.
    if not loss or not first or loss < NEAR_ZERO * first or not steepest or steepest <= 0:
        return None
    return float(curvature.gradient_norm**2 / (2 * steepest) / loss)


NEAR_ZERO = 0.5
"""Below half of the first loss the run has learnt something, and a small gradient is progress."""


def _bend(curvature: Curvature) -> float | None:
    largest, smallest = curvature.largest.value, curvature.smallest.value
    if largest is None or smallest is None or largest <= 0:
        return None
    return max(0.0, -smallest / largest)
