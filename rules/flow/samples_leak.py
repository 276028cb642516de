"""FLO014: the output for one sample depends on the other samples of its batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence
from convlint.rules.patterns.places import place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations

LEAKS = 1e-3
"""Change of the other samples' output over that of the changed sample. Kernels that sum in another
order differ by float32's rounding, 1e-6; what leaks by less than this changes no result."""


class SamplesLeak(Rule):
    """The output for one sample changes when another sample of the batch is exchanged.

    ## What it does
    Replays a recorded forward pass with one sample of the batch replaced, and looks at the output
    of the others.

    ## Why it hurts
    A softmax, a mean or an attention over the wrong dimension, a reshape that mixes rows: what the
    model predicts for a sample then depends on the company it was drawn in, and differs at test
    time.

    ## Example
        scores = torch.softmax(self.head(x), dim=0)

    ## Use instead
        scores = torch.softmax(self.head(x), dim=1)

    ## When it is fine
    Batch normalisation in training mode; the nodes of one graph. A discriminator that looks at the
    spread of its mini-batch does so on purpose: suppress the finding there.

    ## Measured
    Change of the other samples' output over that of the changed one, exactly, along the dimension
    where it is smallest, where the loader's batch size tells which dimensions can hold samples.

    ## References
    - Karpathy, A Recipe for Training Neural Networks, 2019 ("use backprop to chart dependencies")
    """

    code, slug, severity = "FLO014", "samples-leak-into-each-other", Severity.WARNING
    prediction = Prediction("leak between samples", "above", LEAKS)
    measurements = ("sample dependence",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding per model."""
        for model in seen.sample_dependence:
            leak = model.leak
            if leak is None or leak.value is None or leak.value <= LEAKS:
                continue
            name = f" of {model.model}" if model.model else ""
            amount = (
                f"by {figure(leak.value)} times as much as its own"
                if leak.value < 1e6
                else "and its own does not"
            )
            yield self.finding(
                place_to_location(model.place, seen),
                f"when one sample of a batch of {model.batch_size} is exchanged, the output{name} "
                f"for the others changes, {amount}",
                help="look for softmax, mean, normalisation or attention over dimension 0, for "
                "batch_first, and for view or reshape that mixes samples (permute first)",
                evidence=measured_evidence(
                    f"change of the other {leak.n} samples' output over that of the changed one",
                    quantity="leak between samples",
                    value=leak.value,
                    expected="0",
                ),
            )

    def reading(self, seen: Observations) -> str | None:
        """The largest leak."""
        known = [
            m.leak.value for m in seen.sample_dependence if m.leak and m.leak.value is not None
        ]
        if not known:
            return None
        return (
            "exchanging one sample changes the output for the others by "
            f"{figure(max(known))} times as much as its own"
        )
