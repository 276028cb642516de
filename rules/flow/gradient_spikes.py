"""FLO011: rare steps with a gradient many times the usual, and no clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence, middle
from convlint.rules.patterns.places import first_place, place_to_location
from convlint.rules.patterns.runs import has_several_optimizers, improves, uses_line_search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations

SPIKE = 10.0
"""Times the median of the neighbouring steps. The noise of mini-batches stays within 3; a last
batch of one sample among batches of 64 reaches 8."""
SPIKES = 2
"""One outlier in a hundred steps is one odd batch."""
STEPS = 30
"""Rare events need a series to be rare in."""
WINDOW = 7
"""Neighbours on each side: the usual size is local, so a gradient that falls by orders of
magnitude while the loss converges shows no spikes."""
SETTLING = 5
"""The first steps, where the gradient of a fresh network falls steeply, are not judged."""


class GradientSpikes(Rule):
    """Single steps have a gradient many times the usual, and nothing clips it.

    ## What it does
    Compares the gradient norm of each step with the median of its neighbours.

    ## Why it hurts
    One such step moves the parameters as far as ten usual ones, in a direction a single batch
    chose. Recurrent networks and transformers may not recover from it.

    ## Example
        loss.backward()
        optimizer.step()

    ## Use instead
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    ## When it is fine
    Several optimizers take turns in one series, and a line search tries out points: neither is
    judged. When the loss converges all the same it is a note.

    ## Measured
    At least two steps above 10 times the local median, in at least 30 steps without clipping.

    ## References
    - Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks,
      ICML 2013
    """

    code, slug, severity = "FLO011", "gradient-spikes", Severity.WARNING
    prediction = Prediction("gradient spike", "above", SPIKE)
    measurements = ("gradient norm", "steps")
    explained_by = ("LOP", "LOS", "unnormalized-input", "update-ratio-too-large")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the run."""
        excesses = _excesses(seen)
        spikes = [excess for excess in excesses if excess > SPIKE]
        if len(spikes) < SPIKES or any(use.clipped for use in seen.optimizers):
            return
        yield self.finding(
            place_to_location(first_place(use.place for use in seen.optimizers), seen),
            f"{len(spikes)} of {len(excesses)} steps have a gradient more than {figure(SPIKE)} "
            f"times their neighbours', up to {figure(max(spikes))} times, and nothing clips it",
            help="call torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm) between "
            "backward() and step()",
            severity=Severity.INFO if improves(seen) else self.severity,
            evidence=measured_evidence(
                "largest gradient norm over the median of the neighbouring steps",
                quantity="gradient spike",
                value=max(spikes),
                expected=f"below {figure(SPIKE)}",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """The largest excess over the neighbours."""
        excesses = _excesses(seen)
        if not excesses:
            return None
        return (
            f"the largest gradient is {figure(max(excesses))} times its neighbours' over "
            f"{len(excesses)} steps"
        )


def _excesses(seen: Observations) -> list[float]:
    """Gradient norm over the median of the neighbours, per step that can be judged."""
    norms = seen.series.gradient_norm
    if has_several_optimizers(seen) or uses_line_search(seen) or len(norms) < STEPS:
        return []
    excesses = []
    for step in range(SETTLING, len(norms)):
        norm = norms[step]
        around = [
            other
            for other in (
                *norms[max(0, step - WINDOW) : step],
                *norms[step + 1 : step + 1 + WINDOW],
            )
            if other is not None and other > 0
        ]
        if norm is not None and len(around) >= WINDOW:
            excesses.append(norm / middle(around))
    return excesses
