"""FLO004: sigmoid and tanh units in their flat tails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import measured_evidence, names, share
from convlint.rules.patterns.places import first_place, place_to_location
from convlint.rules.patterns.runs import is_frozen_below, knows_already

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Activation, Observations

WARNING_SHARE = 0.3
"""Share of units whose mean derivative is below 5 % of the largest: a layer that passes back a
twentieth through a third of its units. Unit-variance inputs leave tanh below 1 %."""
ERROR_SHARE = 0.7
"""Most of the layer is flat: hardly any gradient passes."""
SAMPLES = 30
"""A mean derivative is known to a few per cent from 30 samples."""
UNITS = 4
"""Output gates and single units are not a layer."""
FLAT_TAILS = frozenset({"sigmoid", "tanh", "hardsigmoid", "hardtanh", "softsign", "logsigmoid"})
"""Softmax is not here: over many classes an even softmax has small derivatives by itself."""


class SaturatedActivations(Rule):
    """Many sigmoid or tanh units sit in their flat tails at initialisation.

    ## What it does
    Counts, over the held batches, the units of hidden sigmoid and tanh layers whose mean
    derivative is below 5 % of the activation's largest.

    ## Why it hurts
    The gradient is multiplied by that derivative at every such layer, so what lies before it
    learns twenty times more slowly, or not at all.

    ## Example
        images = images * 255.0
        model = nn.Sequential(nn.Linear(784, 128), nn.Tanh(), nn.Linear(128, 10))

    ## Use instead
        images = (images - 0.1307) / 0.3081
        model = nn.Sequential(nn.Linear(784, 128), nn.Tanh(), nn.Linear(128, 10))

    ## When it is fine
    Gates inside recurrent modules, output activations (whose bias may encode a rare class),
    frozen and pre-trained layers.

    ## Measured
    Warning above 30 % of a layer's units, error above 70 %, from at least 30 samples.

    ## References
    - Glorot and Bengio, Understanding the difficulty of training deep feedforward neural
      networks, AISTATS 2010
    - LeCun et al., Efficient BackProp, 1998
    """

    code, slug, severity = "FLO004", "saturated-activations", Severity.WARNING
    prediction = Prediction("saturated share", "above", WARNING_SHARE)
    measurements = ("activations",)
    explained_by = ("unnormalized-input",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for all saturated layers."""
        if knows_already(seen):
            return
        judged = [a for a in _judged(seen) if not is_frozen_below(a.depth, seen)]
        flat = [a for a in judged if (a.saturated_fraction or 0.0) > WARNING_SHARE]
        if not flat:
            return
        worst = max(flat, key=lambda a: a.saturated_fraction or 0.0)
        worst_share = worst.saturated_fraction or 0.0
        among = (
            ""
            if len(flat) == 1
            else f" ({len(flat)} of {len(judged)} layers: {names([a.module for a in flat])})"
        )
        yield self.finding(
            place_to_location(first_place([worst.place, *(a.place for a in flat)]), seen),
            f"{share(worst_share)} of the {worst.kind} units of {worst.module} are saturated at "
            f"initialisation{among}",
            help="standardise the inputs, initialise with Xavier (gain 1 for sigmoid, 5/3 for "
            "tanh), or normalise before the activation",
            severity=Severity.ERROR if worst_share > ERROR_SHARE else self.severity,
            evidence=measured_evidence(
                f"units of {worst.module} whose mean derivative is below 5 % of the largest",
                quantity="saturated share",
                value=worst_share,
                expected=f"below {WARNING_SHARE}",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """The largest share of saturated units in any hidden layer."""
        judged = [a for a in _judged(seen) if a.saturated_fraction is not None]
        if not judged:
            return None
        worst = max(judged, key=lambda a: a.saturated_fraction or 0.0)
        return (
            f"at most {share(worst.saturated_fraction or 0.0)} of a layer's units are saturated "
            f"({worst.module})"
        )


def _judged(seen: Observations) -> list[Activation]:
    deepest = max((p.depth for p in seen.parameters if p.requires_grad), default=-1)
    return [
        a
        for a in seen.activations
        if a.kind in FLAT_TAILS
        and not a.inside
        and a.samples >= SAMPLES
        and a.units >= UNITS
        and a.depth < deepest
    ]
