"""FLO006: NaN or infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns.figures import measured_evidence
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.runs import uses_line_search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import NonFinite, Observations

FATAL = frozenset({"loss", "gradient", "weight"})
"""From here NaN reaches every weight with the next step."""


class NonFiniteValue(Rule):
    """NaN or infinity appears in the inputs, activations, loss, gradients or weights.

    ## What it does
    Names the first tensor that stopped being finite, and the line that made it.

    ## Why it hurts
    NaN spreads to every weight with the next optimizer step; the rest of the run computes
    nothing.

    ## Example
        loss = -(target * torch.log(torch.relu(output))).mean()

    ## Use instead
        loss = F.binary_cross_entropy_with_logits(output, target)

    ## When it is fine
    Infinite gradients in the first steps under a GradScaler (it lowers its scale and skips the
    step), attention scores masked with minus infinity, trial points of a line search.

    ## Measured
    Every held and every real step until the first non-finite value.

    ## References
    - PyTorch documentation, Autograd mechanics, torch.autograd.detect_anomaly
    """

    code, slug, severity = "FLO006", "non-finite", Severity.ERROR
    measurements = ("steps", "non-finite values")
    explained_by = ("diverging-loss",)

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding, for the first value that spoils the run."""
        fatal = [event for event in seen.non_finite if _is_fatal(event, seen)]
        doubtful = [event for event in seen.non_finite if _is_doubtful(event)]
        if not fatal and not doubtful:
            return
        # With a fatal event the earliest one tells the origin, whatever kind of tensor it is.
        first = min(fatal + doubtful, key=lambda event: (event.phase != "hold", event.step))
        where = "before the first step" if first.phase == "hold" else f"at step {first.step}"
        yield self.finding(
            place_to_location(first.place, seen),
            f"{_kind(first)} in {_named(first)} {where}",
            help=_advice(first, seen),
            severity=Severity.ERROR if fatal else Severity.WARNING,
            evidence=measured_evidence(
                f"first non-finite value: {_named(first)}",
                quantity="step of the first non-finite value",
                value=float(first.step),
                expected="none",
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """How many steps stayed finite."""
        if not seen.backwards or any(_is_fatal(event, seen) for event in seen.non_finite):
            return None
        return f"loss, gradients and weights stayed finite over {seen.backwards} backward passes"


def _kind(event: NonFinite) -> str:
    return "NaN" if "nan" in event.kind.lower() else "infinity"


def _named(event: NonFinite) -> str:
    if event.name in ("", event.what):
        return f"the {event.what}"
    return f"the {event.what} {event.name}"


def _is_fatal(event: NonFinite, seen: Observations) -> bool:
    if event.what not in FATAL:
        return False
    if event.what == "gradient" and "GradScaler" in seen.recognised:
        return False
    losses = seen.series.loss
    recovered = bool(losses) and losses[-1] is not None and event.step < len(losses) - 1
    return not (uses_line_search(seen) and event.what == "loss" and recovered)


def _is_doubtful(event: NonFinite) -> bool:
    """NaN in data or activations; an infinity there may be a mask."""
    return event.what in ("input", "activation") and "nan" in event.kind.lower()


def _advice(event: NonFinite, seen: Observations) -> str:
    if event.what == "input":
        return "clean the data: drop or impute rows with NaN before they reach the model"
    if event.phase == "run" and event.step > 0:
        return "lower the learning rate, clip the gradient norm, and look for log, sqrt or division by something that can reach 0"
    return "look for log, sqrt or division by something that can be 0, and for empty batches; use the fused losses (cross_entropy, binary_cross_entropy_with_logits)"
