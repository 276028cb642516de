"""FLO013: the output of the model does not depend on its input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.runs import closed_gates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations, SampleDependence

UNMOVED = 1e-6
"""Relative change of the output, of the size of float32's rounding."""


class OutputIgnoresInput(Rule):
    """The model's output stays the same whatever samples it is given.

    ## What it does
    Replays a recorded forward pass with the samples of the batch exchanged for each other and
    compares the outputs.

    ## Why it hurts
    A model that does not see its input can only learn the frequencies of the labels.

    ## Example
        def forward(self, x):
            hidden = self.encoder(torch.zeros_like(x))
            return self.head(hidden)

    ## Use instead
        def forward(self, x):
            return self.head(self.encoder(x))

    ## When it is fine
    A last layer or residual branch that starts at zero and opens with the first steps.

    ## Measured
    The relative change of the output, exactly, at the initial parameters; where it is zero, again
    at those of the last step.

    ## References
    - Humbatova et al., Taxonomy of Real Faults in Deep Learning Systems, ICSE 2020
    """

    code, slug, severity = "FLO013", "output-ignores-input", Severity.ERROR
    measurements = ("sample dependence",)
    explained_by = ("dead-units", "vanishing-gradient", "saturated-activations", "symmetric-init")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per model."""
        if closed_gates(seen) and not seen.steps:
            return
        for model in seen.sample_dependence:
            response = model.input_response
            if response.value is None or response.value > UNMOVED:
                continue
            yield self.finding(
                place_to_location(model.place, seen),
                f"the output{_of(model)} stays the same when the samples of its batch are exchanged "
                f"for each other (relative change {figure(response.value)})",
                help="follow the input through forward: a variable overwritten, a constant passed "
                "on, a layer left out, or units that are all dead or saturated",
                evidence=measured_evidence(
                    f"relative change of the output over {response.n} samples",
                    quantity="relative change of the output",
                    value=response.value,
                    expected=f"more than {UNMOVED:g}",
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """How far the output moved."""
        known = [
            model.input_response.value
            for model in seen.sample_dependence
            if model.input_response.value is not None
        ]
        if not known:
            return None
        return f"exchanging the samples changes the output by {figure(min(known))} of its size"


def _of(model: SampleDependence) -> str:
    return f" of {model.model}" if model.model else ""
