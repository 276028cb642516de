"""FLO007: parameters the loss does not reach."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import measured_evidence, names, share
from convlint.rules.patterns.initial_scale import freshly_initialised
from convlint.rules.patterns.places import first_place, place_to_location
from convlint.rules.patterns.runs import closed_gates, improves, symmetric_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations, Parameter

BATCHES = 2
"""One batch can miss a branch of the model; at least two must agree."""
ERROR_SHARE = 0.5
"""When half of what the optimizer was given gets no gradient, the model as written is not being
trained."""
INFO_SHARE = 0.01
"""Unused poolers and auxiliary heads of library models are about this small and do no harm."""


class ParameterWithoutGradient(Rule):
    """Parameters given to an optimizer receive no gradient.

    ## What it does
    Lists trainable parameters in an optimizer whose gradient was None, or exactly zero, in every
    held batch.

    ## Why it hurts
    They keep their initial random values. Usual causes: a `.detach()`, `.item()`, `.data` or
    `torch.tensor(...)` between them and the loss, `argmax` in the forward pass, a ReLU that is
    off for every input, a module that is created and never called.

    ## Example
        features = encoder(x).detach()
        loss = F.cross_entropy(head(features), y)

    ## Use instead
        features = encoder(x)
        loss = F.cross_entropy(head(features), y)

    ## When it is fine
    Frozen parameters and networks in no optimizer (target networks) are not listed. Nor are
    experts of a mixture that no token chose, biases whose weight does learn, parameters another
    optimizer's loss trains, and layers hidden behind a last layer or gain that starts at zero.

    ## Measured
    None or exact zero in every one of at least two held batches. Error when they make up half of
    the optimized elements and are freshly initialised (told by the scale of the weights) or the
    loss does not go down; info below 1 %.

    ## References
    - PyTorch documentation, Autograd mechanics
    """

    code, slug, severity = "FLO007", "parameter-without-gradient", Severity.WARNING
    prediction = Prediction("share without gradient", "above", 0.0)
    measurements = ("parameters",)
    explained_by = ("dead-units",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for all parameters without gradient."""
        lost = _without_gradient(seen)
        if not lost:
            return
        optimized = [p for p in seen.parameters if p.requires_grad and p.optimized]
        part = _elements(lost) / max(1, _elements(optimized))
        missing = [p for p in lost if p.missing]
        how = "no gradient" if missing else "a gradient of exactly 0"
        if part >= ERROR_SHARE and (freshly_initialised(lost) or not improves(seen)):
            severity = Severity.ERROR
        elif part < INFO_SHARE or all(p.missing and p.depth < 0 for p in lost):
            severity = Severity.INFO
        else:
            severity = self.severity
        yield self.finding(
            place_to_location(first_place(p.place for p in lost), seen),
            f"{len(lost)} of {len(optimized)} optimized parameters receive {how} in any of the "
            f"{max(p.batches for p in lost)} batches held: {names([p.name for p in lost])} "
            f"({share(part)} of the elements)",
            help="look for detach(), item(), .data, argmax or torch.tensor(...) between them and "
            "the loss, or for modules that forward never calls"
            if missing
            else "look for units that are off on every input, or a loss that does not depend on "
            "them",
            severity=severity,
            evidence=measured_evidence(
                f"share of the optimized elements that receive {how}",
                quantity="share without gradient",
                value=part,
                expected="0",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """How many parameters received a gradient."""
        judged = [
            p for p in seen.parameters if p.requires_grad and p.optimized and p.batches >= BATCHES
        ]
        if not judged:
            return None
        reached = sum(not p.missing and not p.zero for p in judged)
        return f"{reached} of {len(judged)} optimized parameters receive a gradient"


def _without_gradient(seen: Observations) -> list[Parameter]:
    moved = {update.name for update in seen.updates if (update.ratio.value or 0.0) > 0.0}
    learning_modules = {
        p.module for p in seen.parameters if not p.missing and not p.zero and len(p.shape) >= 2
    }
    hidden = bool(closed_gates(seen)) or bool(symmetric_weights(seen))
    return [
        p
        for p in seen.parameters
        if p.requires_grad
        and p.optimized
        and p.batches >= BATCHES
        and (p.missing or (p.zero and not hidden))
        and not (p.missing and p.name in moved)
        and not (p.name.endswith("bias") and p.module in learning_modules)
        and "expert" not in p.name.lower()
    ]


def _elements(parameters: list[Parameter]) -> int:
    return sum(math.prod(p.shape) for p in parameters)
