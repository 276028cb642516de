"""FLO003: units that are zero on every example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence, names, share
from convlint.rules.patterns.places import first_place, place_to_location
from convlint.rules.patterns.runs import improves, is_frozen_below, knows_already

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Activation, Observations

WARNING_SHARE = 0.3
"""Initialised symmetrically, a unit is off on all of N examples with probability 2^-N; a layer
that has lost a third of its units has lost capacity it was meant to have."""
ERROR_SHARE = 0.7
"""Most of the layer is off: what lies before it receives almost no gradient. Symmetric initial
biases alone switch off no more than half of a layer."""
SAMPLES = 100
"""Rule of three: a unit never active in N samples is active on less than 3/N of the data (95 %);
100 samples bound it by 3 %."""
ERROR_SAMPLES = 300
"""Calling the layer broken asks for the bound of 1 %."""
UNITS = 8
"""In a layer of a few units one dead unit is already a large share, and chance."""
EXACT_ZERO = frozenset({"relu", "relu6", "threshold"})
"""Off means exactly zero."""
FLAT_SIDE = frozenset({"gelu", "silu", "swish", "mish", "elu", "celu", "selu", "softplus"})
"""Off means a vanishing derivative; the probe counts it as saturated."""
RULE_OF_THREE = 3.0
"""Upper 95 % bound on a rate after N trials without a success: 3/N."""


class DeadUnits(Rule):
    """Many units of a layer are switched off on every example.

    ## What it does
    Counts, over the held batches, the units of each ReLU-like activation that are zero (GELU and
    its kin: in their flat part) on every example and position.

    ## Why it hurts
    The derivative of a unit that is off is zero, so its incoming weights never change again: the
    capacity is lost for the whole run, and the layers before it get less gradient.

    ## Example
        hidden = nn.Linear(64, 256)
        nn.init.constant_(hidden.bias, -10.0)
        model = nn.Sequential(hidden, nn.ReLU(), nn.Linear(256, 10))

    ## Use instead
        hidden = nn.Linear(64, 256)
        nn.init.zeros_(hidden.bias)
        model = nn.Sequential(hidden, nn.ReLU(), nn.Linear(256, 10))

    ## When it is fine
    Layers of a frozen backbone, and pre-trained models, are sparse on foreign data. Units of deeper
    layers that are off at first can come back while the loss falls: a note. Nothing is claimed
    from fewer than 100 samples or about layers of fewer than 8 units.

    ## Measured
    Warning above 30 % of a layer's units, error above 70 % with at least 300 samples.

    ## References
    - Lu et al., Dying ReLU and initialization: theory and numerical examples, CiCP 2020
    """

    code, slug, severity = "FLO003", "dead-units", Severity.WARNING
    prediction = Prediction("dead share", "above", WARNING_SHARE)
    measurements = ("activations",)
    explained_by = ("unnormalized-input",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for all layers that lost their units."""
        if knows_already(seen):
            return
        judged = [a for a in _judged(seen) if not is_frozen_below(a.depth, seen)]
        dead = [a for a in judged if (_dead_share(a) or 0.0) > WARNING_SHARE]
        if not dead:
            return
        first_depth = min(a.depth for a in _judged(seen))
        severity, worst = max(
            ((_severity(a, first_depth, seen), a) for a in dead),
            key=lambda pair: (pair[0].rank, _dead_share(pair[1]) or 0.0),
        )
        worst_share = _dead_share(worst) or 0.0
        yield self.finding(
            place_to_location(first_place([worst.place, *(a.place for a in dead)]), seen),
            f"{share(worst_share)} of the {worst.units} units of {worst.module} are off on all "
            f"{worst.samples:,} samples" + _others(dead, judged),
            help="standardise the inputs, initialise with Kaiming and zero biases, lower the "
            "learning rate, or use LeakyReLU / GELU",
            severity=severity,
            evidence=measured_evidence(
                f"units of {worst.module} that are off on every sample (active on less than "
                f"{figure(100 * RULE_OF_THREE / worst.samples)} % of the data)",
                quantity="dead share",
                value=worst_share,
                expected=f"below {WARNING_SHARE}",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """The largest share of dead units in any layer."""
        judged = [(share_, a) for a in _judged(seen) if (share_ := _dead_share(a)) is not None]
        if not judged:
            return None
        largest, layer = max(judged, key=lambda pair: pair[0])
        return f"at most {share(largest)} of a layer's units are dead ({layer.module})"


def _judged(seen: Observations) -> list[Activation]:
    return [
        a
        for a in seen.activations
        if a.kind in EXACT_ZERO | FLAT_SIDE and a.samples >= SAMPLES and a.units >= UNITS
    ]


def _dead_share(activation: Activation) -> float | None:
    if activation.kind in EXACT_ZERO:
        return activation.dead_fraction
    return activation.saturated_fraction


def _severity(activation: Activation, first_depth: int, seen: Observations) -> Severity:
    """Units of the first layer stay off for ever: their inputs are the data.

    Those of deeper layers can come back as the layers below change, and where biases outweigh a
    signal that shrank on its way (behind a bottleneck) up to half of them are off at first.
    """
    most = (_dead_share(activation) or 0.0) > ERROR_SHARE
    lasting = activation.depth == first_depth or not improves(seen)
    if most and lasting and activation.samples >= ERROR_SAMPLES:
        return Severity.ERROR
    return Severity.WARNING if most or lasting else Severity.INFO


def _others(dead: list[Activation], judged: list[Activation]) -> str:
    if len(dead) == 1:
        return ""
    return f" ({len(dead)} of {len(judged)} layers: {names([a.module for a in dead])})"
