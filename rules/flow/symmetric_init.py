"""FLO005: all units of a layer are copies of one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import measured_evidence, names
from convlint.rules.patterns.places import first_place, place_to_location
from convlint.rules.patterns.runs import symmetric_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations


class SymmetricInit(Rule):
    """All units of a layer start with the same weights and receive the same gradient.

    ## What it does
    Compares the rows (output units) of each trainable weight and of its gradient over the held
    batches.

    ## Why it hurts
    Units that start equal and receive equal gradients stay equal for ever: a layer of any width
    computes what a single unit could.

    ## Example
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.constant_(module.weight, 0.1)

    ## Use instead
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    ## When it is fine
    A last layer or residual branch that starts at zero: its units receive different gradients,
    and the layers it hides for one step are not judged.

    ## Measured
    Identical rows and identical gradients in every held batch, for a weight of at least two rows.

    ## References
    - Goodfellow, Bengio and Courville, Deep Learning, section 8.4
    """

    code, slug, severity = "FLO005", "symmetric-init", Severity.ERROR
    prediction = Prediction("distinct units", "equals", 1.0)
    measurements = ("parameters",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for all symmetric weights."""
        symmetric = symmetric_weights(seen)
        if not symmetric:
            return
        first = symmetric[0]
        units = first.shape[0]
        yield self.finding(
            place_to_location(first_place(p.place for p in symmetric), seen),
            f"all {units} units of {names([p.name for p in symmetric])} have the same weights and "
            "the same gradient, so they stay copies of one unit",
            help="initialise the weights at random (nn.init.kaiming_normal_ or xavier_uniform_); "
            "only biases and last layers may start constant",
            evidence=measured_evidence(
                f"distinct units among the {units} of {first.name}, in weights and gradients",
                quantity="distinct units",
                value=1.0,
                expected=str(units),
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """How many weights were compared."""
        compared = [p for p in seen.parameters if p.requires_grad and len(p.shape) >= 2]
        if not compared:
            return None
        return f"the units differ in each of the {len(compared)} weights compared"
