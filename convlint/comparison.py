"""Two runs of ``probe`` or ``audit`` compared: what became better, worse, or cannot be told apart."""

from __future__ import annotations

import enum
import math
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from convlint.findings import Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Measurement, Observations
    from convlint.report.json import Output, OutputFinding

ERRORS_APART = 4.0
"""Standard errors by which two levels of the loss must differ. The noise that they come from is
estimated from a hundred steps, to within a quarter: three true errors remain."""

LOSS_SHARE = 0.02
"""A difference of less than this share of the loss is none that matters."""

TIME_SHARE = 0.5
"""Other work on the machine moves the step times of one script by tens of per cent from run to run,
and nothing in a run tells by how much."""

MEMORY_SHARE = 0.05

FEWEST_STEPS = 8
"""The last quarter of fewer steps than this has no level."""

DECISIONS = ("go", "go with care", "no-go")


class Change(enum.StrEnum):
    """What the second run is against the first."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "the same"
    DIFFERENT = "different"
    """Beyond noise, but neither better nor worse in itself."""
    UNKNOWN = "not comparable"


class Difference(msgspec.Struct, frozen=True):
    """One quantity of both runs; ``text`` gives both values, or why they are not comparable."""

    quantity: str
    change: Change
    text: str


def compare(before: Output, after: Output) -> list[Difference]:
    """Every quantity the two outputs have in common, verdict and findings first."""
    differences = [*_verdicts(before, after), *_findings(before, after)]
    one, other = before.observations, after.observations
    if one is not None and other is not None:
        differences += [
            *_loss(one, other),
            *_intervals(one, other),
            *_costs(one, other),
        ]
    return differences


def _verdicts(before: Output, after: Output) -> Iterator[Difference]:
    if before.verdict is None or after.verdict is None:
        return
    one, other = before.verdict.decision, after.verdict.decision
    change = _ordered(DECISIONS.index(other) - DECISIONS.index(one))
    yield Difference("verdict", change, one if one == other else f"{one} -> {other}")


def _findings(before: Output, after: Output) -> Iterator[Difference]:
    """Findings that are new or gone. Lines move, so they are told by rule and file."""
    one, other = _weighty(before), _weighty(after)
    counted, recounted = Counter(map(_kind, one)), Counter(map(_kind, other))
    for change, more, less, findings in (
        (Change.WORSE, recounted, counted, other),
        (Change.BETTER, counted, recounted, one),
    ):
        for kind in more - less:
            first = next(finding for finding in findings if _kind(finding) == kind)
            word = "new" if change is Change.WORSE else "gone"
            place = f"{first.path}:{first.line}"
            yield Difference(f"{word} {first.severity.value}", change, f"{first.slug} ({place})")


def _weighty(output: Output) -> list[OutputFinding]:
    return [
        finding
        for finding in output.findings
        if finding.severity is not Severity.INFO
        and (finding.verdict is None or finding.verdict.verdict is not Verdict.REFUTED)
    ]


def _kind(finding: OutputFinding) -> tuple[str, str]:
    return finding.slug, finding.path


def _loss(one: Observations, other: Observations) -> Iterator[Difference]:
    if not one.series.loss or not other.series.loss:
        return
    if one.steps != other.steps:
        text = f"{one.steps} and {other.steps} steps were run"
        yield Difference("loss", Change.UNKNOWN, text)
        return
    functions = [{loss.function for loss in seen.losses} for seen in (one, other)]
    if functions[0] != functions[1]:
        text = " and ".join(", ".join(sorted(names)) or "none" for names in functions)
        yield Difference("loss", Change.UNKNOWN, f"other loss functions: {text}")
        return
    levels = [_level(seen) for seen in (one, other)]
    if levels[0] is None or levels[1] is None:
        reason = "too few finite values at the end, or their noise is not known"
        yield Difference("loss", Change.UNKNOWN, reason)
        return
    (a, error_a), (b, error_b) = levels[0], levels[1]
    beyond = max(ERRORS_APART * math.hypot(error_a, error_b), LOSS_SHARE * max(abs(a), abs(b)))
    change = _ordered(b - a, beyond)
    text = f"{a:.4g} -> {b:.4g} at the end (noise ± {beyond:.2g})"
    yield Difference("loss", change, text)


def _level(seen: Observations) -> tuple[float, float] | None:
    """Mean of the last quarter of the loss and its standard error from the step-to-step noise."""
    losses = seen.series.loss
    end = [v for v in losses[-max(1, len(losses) // 4) :] if v is not None]
    noise = None if seen.convergence is None else seen.convergence.noise
    if noise is None or len(losses) < FEWEST_STEPS or 2 * len(end) < len(losses) // 4:
        return None
    return sum(end) / len(end), noise / math.sqrt(len(end))


def _intervals(one: Observations, other: Observations) -> Iterator[Difference]:
    """Quantities that carry a confidence interval: different when the intervals are apart."""
    for name, before, after, higher_is_better in (
        *_headrooms(one, other),
        *(
            (f"gradient first/last ({a.model})" if a.model else "gradient first/last",
             a.end_to_end, b.end_to_end, None)
            for a, b in zip(one.gradient_flow, other.gradient_flow, strict=False)
            if a.model == b.model
        ),
        *(
            (f"initial {a.function}", a.initial, b.initial, None)
            for a, b in zip(one.losses, other.losses, strict=False)
            if a.function == b.function
        ),
    ):  # fmt: skip
        if before.value is None or after.value is None or not before.ci or not after.ci:
            continue
        apart = after.ci[0] > before.ci[1] or after.ci[1] < before.ci[0]
        change = Change.SAME
        if apart and higher_is_better is None:
            change = Change.DIFFERENT
        elif apart:
            change = _ordered(before.value - after.value)
        yield Difference(name, change, f"{before.value:.4g} -> {after.value:.4g}")


def _headrooms(
    one: Observations, other: Observations
) -> Iterator[tuple[str, Measurement, Measurement, bool | None]]:
    """Stability limit over the learning rate. More is better only as long as there is too little."""
    for a, b in zip(one.curvature, other.curvature, strict=False):
        for x, y in zip(a.limits, b.limits, strict=False):
            if a.phase != b.phase or x.cls != y.cls:
                continue
            lowest = min(x.headroom.value or 0.0, y.headroom.value or 0.0)
            judged = True if lowest < 1.0 else None
            yield f"stability headroom of {x.cls} at the {a.phase}", x.headroom, y.headroom, judged


def _costs(one: Observations, other: Observations) -> Iterator[Difference]:
    same_machine = one.device == other.device
    times = [_median(seen.series.seconds[1:]) for seen in (one, other)]
    if times[0] and times[1]:
        text = f"{1000 * times[0]:.4g} -> {1000 * times[1]:.4g} ms"
        if same_machine:
            change = _ordered(times[1] - times[0], TIME_SHARE * times[0])
            yield Difference("time of a step", change, text)
        else:
            yield Difference("time of a step", Change.UNKNOWN, f"{text}, on other devices")
    for name, a, b in (
        ("peak memory of the process", one.peak_memory.host, other.peak_memory.host),
        ("peak memory on the GPU", one.peak_memory.device, other.peak_memory.device),
    ):
        if a and b:
            text = f"{a / 2**30:.3g} -> {b / 2**30:.3g} GiB"
            yield Difference(name, _ordered(b - a, MEMORY_SHARE * a), text)


def _median(values: tuple[float, ...]) -> float | None:
    return sorted(values)[len(values) // 2] if len(values) >= FEWEST_STEPS else None


def _ordered(rise: float, beyond: float = 0.0) -> Change:
    """Of a quantity of which less is better."""
    if rise > beyond:
        return Change.WORSE
    return Change.BETTER if rise < -beyond else Change.SAME
