"""FLO006: NaN or infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import measured_evidence
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.runs import uses_line_search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import NonFinite, NonFiniteOrigin, Observations

FATAL = frozenset({"loss", "gradient", "weight"})
"""From here NaN reaches every weight with the next step."""


_CURES = {
    "domain error": "keep the argument where the operation is defined: clamp it, add a small "
    "constant inside, or use the fused form (log_softmax, binary_cross_entropy_with_logits)",
    "overflow": "keep the numbers smaller: lower the learning rate, scale or normalise the layer's "
    "input, subtract the maximum before exp, or compute this operation in float32 or bfloat16",
    "infinite derivative": "keep the argument away from where the derivative is infinite: "
    "sqrt(x + eps), x.norm() of something that is not 0; torch.where hides the value but "
    "not the derivative, so choose the argument before the operation",
}


class NonFiniteValue(Rule):
    """NaN or infinity appears in the inputs, activations, loss, gradients or weights.

    ## What it does
    Names the first tensor that stopped being finite, the operation that made it so, forward or
    backward, and the line that called it.

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
    Every held and every real step until the first non-finite value. The step's recording is then
    replayed: the origin is the first operation, on the way to the loss, whose inputs are finite and
    whose result is not; float64 tells an overflow from an argument outside the domain.

    ## References
    - PyTorch documentation, Autograd mechanics, torch.autograd.detect_anomaly
    """

    code, slug, severity = "FLO006", "non-finite", Severity.ERROR
    prediction = Prediction("step of the first non-finite value", "at least", 0.0)
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
        origin = seen.non_finite_origin if first.what in FATAL | {"activation"} else None
        yield self.finding(
            place_to_location(first.place if origin is None else origin.place or first.place, seen),
            f"{_kind(first)} in {_named(first)} {where}{_from(origin)}",
            help=_advice(first, seen, origin),
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


def _from(origin: NonFiniteOrigin | None) -> str:
    """The operation that made it, in words."""
    if origin is None or not origin.operation:
        return ""
    inside = f" in {origin.module} ({origin.cls})" if origin.module else ""
    if origin.backward:
        return f": the derivative of {origin.operation}{inside} is not finite here"
    why = {
        "overflow": f", whose result is too large for {origin.dtype}",
        "domain error": ", of numbers it is not defined for",
    }
    return f": made by {origin.operation}{inside}{why.get(origin.cause, '')}"


def _advice(event: NonFinite, seen: Observations, origin: NonFiniteOrigin | None) -> str:
    if event.what == "input":
        return "clean the data: drop or impute rows with NaN before they reach the model"
    if origin is not None and origin.cause in _CURES:
        return _CURES[origin.cause]
    if event.phase == "run" and event.step > 0:
        return "lower the learning rate, clip the gradient norm, and look for log, sqrt or division by something that can reach 0"
    return "look for log, sqrt or division by something that can be 0, and for empty batches; use the fused losses (cross_entropy, binary_cross_entropy_with_logits)"
