"""Judging a probe, and joining it with what the source said: the verdicts and the go / no-go.

The join needs no wiring per pair of checks. One rule is one class that may judge source and
execution; where both spoke of the same rule, the measurement confirms or refutes the source.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from convlint.cells import with_its_cell
from convlint.findings import Confidence, Finding, Judgement, Related, Severity, Verdict
from convlint.outcome import SourceTexts
from convlint.rules import Rule, all_rules, find_rule
from convlint.rules.patterns.runs import has_moving_objective
from convlint.sources import NOTEBOOK_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from convlint.gpu_probes.observations import Observations

__all__ = ["Decision", "RunVerdict", "join", "measure"]

SAME_PLACE_LINES = 2
"""A static and a measured finding speak of one thing when their ranges of lines are at most this
far apart: an argument of a call that spans lines, a layer and its activation."""


FEWEST_STEPS = 10
"""A run that its budget ended before this many steps, after a slow start or on a busy machine, has
shown too little for a go."""

NO_PROGRESS = ("stalled-loss", "beats-no-baseline")
"""Rules whose finding, together with a cause, says that the run trains nothing."""


class Decision(enum.StrEnum):
    """Whether to start the long run."""

    GO = "go"
    CARE = "go with care"
    NO_GO = "no-go"


class RunVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of an audit, with the evidence that decided.

    ``reason`` is one sentence. ``confirmed``, ``refuted`` and ``unmeasured`` count static
    findings; ``measured`` counts findings only the probe made. Info findings count nowhere but
    in ``refuted``.
    """

    decision: Decision
    reason: str
    confirmed: int = 0
    refuted: int = 0
    unmeasured: int = 0
    measured: int = 0


def measure(observations: Observations, rules: Sequence[Rule] | None = None) -> list[Finding]:
    """Everything the rules find in what the probe saw, in order of place.

    ``rules`` defaults to the whole catalogue. A finding whose cause is found as well (a loss that
    stands still because softmax is applied twice) drops to info and names the cause.
    """
    judging = [rule for rule in (all_rules() if rules is None else rules) if rule.has_measured()]
    found = [(rule, finding) for rule in judging for finding in rule.measured(observations)]
    findings = [_explain(rule, finding, found) for rule, finding in found]
    return sorted(_in_their_cells(findings), key=lambda finding: finding.sort_key)


def _in_their_cells(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings with the cells of their places, where those lie in notebooks."""
    texts = SourceTexts()
    for finding in findings:
        path = finding.location.path
        inside = path.endswith(NOTEBOOK_SUFFIX)
        yield with_its_cell(finding, texts[path]) if inside else finding


def _explain(rule: Rule, finding: Finding, found: Sequence[tuple[Rule, Finding]]) -> Finding:
    """The finding as it is, or as a note beside a cause that is at least as severe."""
    if finding.severity is Severity.INFO:
        return finding
    causes = [
        other
        for _, other in found
        if other.slug != rule.slug
        and (other.slug in rule.explained_by or other.code[:3] in rule.explained_by)
        and other.severity.rank >= finding.severity.rank
    ]
    if not causes:
        return finding
    cause = max(causes, key=lambda other: other.severity.rank)
    message = f"{finding.message} (follows from {cause.slug})"
    return msgspec.structs.replace(
        finding,
        severity=Severity.INFO,
        message=message,
        related=(*finding.related, Related(cause.location, cause.message)),
    )


def join(
    static_findings: Iterable[Finding],
    observations: Observations | None,
    rules: Sequence[Rule] | None = None,
) -> tuple[list[Finding], RunVerdict]:
    """Judge each static finding by the measurements, add the measured ones, and decide.

    A static finding is

    * *confirmed* when its own rule, or one it names in ``confirmed_by``, fires on the
      observations. The measured evidence joins it, the more severe of both severities and the
      highest confidence hold, and the measured finding of the same rule is not reported again;
    * *refuted* when a rule that could have confirmed it has a reading and all of them stayed
      silent, unless the fault shows too rarely for that (``Rule.silence_refutes``). It drops to
      info and keeps the number;
    * *unmeasured* otherwise, with the reason. So is every finding about a file the run never
      loaded, and one of several of a rule when the measurement points at another of them.

    ``observations`` is None when the script could not be probed at all. ``rules`` defaults to the
    whole catalogue. Findings come in order of place.
    """
    static = sorted(static_findings, key=lambda finding: finding.sort_key)
    catalogue = _Catalogue(all_rules() if rules is None else rules)
    if observations is None:
        judged = [_judge(f, Verdict.UNMEASURED, "the script was not probed") for f in static]
        return judged, _decide(judged, None)
    measured = measure(observations, catalogue.rules)
    joined: list[Finding] = []
    reported: set[Finding] = set()
    for finding in static:
        verdict, used = _confront(finding, static, measured, observations, catalogue)
        joined.append(verdict)
        reported.update(used)
    joined += [finding for finding in measured if finding not in reported]
    joined.sort(key=lambda finding: finding.sort_key)
    return joined, _decide(joined, observations)


class _Catalogue:
    """The rules in use, by slug; rules left out can still confirm."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._by_slug = {rule.slug: rule for rule in self.rules}

    def find(self, slug: str) -> Rule | None:
        return self._by_slug.get(slug) or find_rule(slug)

    def witnesses(self, slug: str) -> list[Rule]:
        """The rules whose measurement bears on a finding of ``slug``, its own first."""
        rule = self.find(slug)
        if rule is None:
            return []
        found = [rule, *filter(None, map(self.find, rule.confirmed_by))]
        return [witness for witness in found if witness.has_measured()]


def _confront(
    finding: Finding,
    static: Sequence[Finding],
    measured: Sequence[Finding],
    seen: Observations,
    catalogue: _Catalogue,
) -> tuple[Finding, list[Finding]]:
    """The static finding with its judgement, and the measured findings it takes in."""
    if _not_loaded(finding, seen):
        return _judge(finding, Verdict.UNMEASURED, "the run did not load this file"), []
    witnesses = catalogue.witnesses(finding.slug)
    elsewhere = False
    for witness in witnesses:
        fired = [m for m in measured if m.slug == witness.slug] or sorted(
            witness.measured(seen), key=lambda m: m.sort_key
        )
        if not fired:
            continue
        same_rule = witness.slug == finding.slug
        about = [m for m in fired if _same_place(finding, m)]
        if not about and same_rule and _claimed(fired, finding, static):
            elsewhere = True
            continue
        taken = about or fired
        return _confirm(finding, taken, same_rule), (taken if same_rule else [])
    if elsewhere:
        reason = "the measurement speaks of another place"
        return _judge(finding, Verdict.UNMEASURED, reason), []
    readings = [reading for witness in witnesses if (reading := witness.reading(seen))]
    if readings:
        seen_instead = "; ".join(dict.fromkeys(readings))
        rule = catalogue.find(finding.slug)
        if rule is None or rule.silence_refutes:
            return _judge(finding, Verdict.REFUTED, seen_instead), []
        reason = f"no sign of it within the probe's horizon, which proves little: {seen_instead}"
        return _judge(finding, Verdict.UNMEASURED, reason), []
    return _judge(
        finding, Verdict.UNMEASURED, _why_unmeasured(finding, witnesses, seen, catalogue)
    ), []


def _confirm(finding: Finding, by: Sequence[Finding], same_rule: bool) -> Finding:
    """The static finding with the measured evidence; the more severe of the two holds."""
    evidence = tuple(item for witness in by for item in witness.evidence)
    severities = [finding.severity, *(witness.severity for witness in by if same_rule)]
    slug = "" if same_rule else f"{by[0].slug}: "
    return msgspec.structs.replace(
        finding,
        severity=max(severities, key=lambda severity: severity.rank),
        confidence=Confidence.HIGH,
        evidence=(*finding.evidence, *evidence),
        judgement=Judgement(Verdict.CONFIRMED, slug + "; ".join(w.message for w in by)),
    )


def _judge(finding: Finding, verdict: Verdict, reason: str) -> Finding:
    severity = Severity.INFO if verdict is Verdict.REFUTED else finding.severity
    return msgspec.structs.replace(finding, severity=severity, judgement=Judgement(verdict, reason))


def _why_unmeasured(
    finding: Finding, witnesses: Sequence[Rule], seen: Observations, catalogue: _Catalogue
) -> str:
    """Why no measurement bears on the finding: the most specific reason that holds."""
    rule = catalogue.find(finding.slug)
    if rule is None or not witnesses:
        return rule.unmeasured_because if rule is not None else Rule.unmeasured_because
    if not seen.backwards:
        return f"the probe saw no training: {_why_no_training(seen)}"
    needed = {name for witness in witnesses for name in witness.measurements}
    for skipped in seen.skipped:
        if skipped.measurement in needed:
            return f"{skipped.measurement} was not measured: {skipped.reason}"
    if rule.unmeasured_because != Rule.unmeasured_because:
        return rule.unmeasured_because
    if not seen.steps:
        return "the probe stopped before the first real step"
    return f"the probe stopped before it was measured, after {seen.steps} steps"


def _same_place(one: Finding, other: Finding) -> bool:
    here, there = one.location, other.location
    return (
        _resolved(here.path) == _resolved(there.path)
        and there.line - SAME_PLACE_LINES <= here.end_line
        and here.line <= there.end_line + SAME_PLACE_LINES
    )


def _claimed(fired: Sequence[Finding], finding: Finding, static: Sequence[Finding]) -> bool:
    """Whether every measured finding belongs to another static finding of the same rule."""
    others = [s for s in static if s.slug == finding.slug and s is not finding]
    return bool(others) and all(any(_same_place(s, m) for s in others) for m in fired)


def _not_loaded(finding: Finding, seen: Observations) -> bool:
    """Whether the run is known not to have executed the finding's file."""
    if not seen.loaded_files:
        return False
    path = _resolved(finding.location.path)
    return path != _resolved(seen.script) and path not in map(_resolved, seen.loaded_files)


def _resolved(path: str) -> str:
    return str(Path(path).resolve())


def _decide(findings: Sequence[Finding], seen: Observations | None) -> RunVerdict:
    """The verdict, by the strongest evidence there is.

    * no-go: an error is confirmed or measured (a diverging run and a NaN are such errors), the
      loss does not come down and a cause is found, or the script never trained or crashed;
    * go with care: an error or warning is confirmed, measured or could not be measured, or
      nothing was measured at all;
    * go: everything else. Refuted, info and low-confidence findings do not count.
    """
    counts = {
        "confirmed": sum(_has(f, Verdict.CONFIRMED) for f in findings),
        "refuted": sum(_has(f, Verdict.REFUTED) for f in findings),
        "unmeasured": sum(_has(f, Verdict.UNMEASURED) and _counts(f) for f in findings),
        "measured": sum(f.judgement is None and _counts(f) for f in findings),
    }

    def verdict(decision: Decision, reason: str) -> RunVerdict:
        return RunVerdict(decision=decision, reason=reason, **counts)

    if seen is None:
        return verdict(Decision.CARE, "the script was not probed, so nothing is measured")
    if not seen.backwards:
        why = _why_no_training(seen)
        return verdict(Decision.CARE if seen.stopped == "budget" else Decision.NO_GO, why)
    evident = [f for f in findings if _counts(f) and not _has(f, Verdict.UNMEASURED)]
    errors = [f for f in evident if f.severity is Severity.ERROR]
    if errors:
        return verdict(Decision.NO_GO, _deciding(errors))
    if seen.stopped == "crashed":
        reason = f"the script raised after {seen.steps} steps: {seen.error}"
        return verdict(Decision.NO_GO, reason)
    stuck = [f for f in findings if f.slug in NO_PROGRESS and f.related]
    if stuck:
        return verdict(Decision.NO_GO, f"{stuck[0].slug}: {stuck[0].message}")
    if evident:
        return verdict(Decision.CARE, _deciding(evident))
    open_questions = [f for f in findings if _counts(f)]
    if open_questions:
        first = max(open_questions, key=lambda f: f.severity.rank)
        assert first.judgement is not None
        reason = f"{first.slug} ({_where(first)}) could not be measured: {first.judgement.reason}"
        return verdict(Decision.CARE, reason)
    if not seen.steps:
        reason = "nothing stands against it, but no real step was taken"
        return verdict(Decision.CARE, reason)
    if seen.stopped == "budget" and seen.steps < FEWEST_STEPS:
        steps = "1 step was" if seen.steps == 1 else f"{seen.steps} steps were"
        reason = (
            f"nothing stands against it, but only {steps} run within the budget; raise --budget"
        )
        return verdict(Decision.CARE, reason)
    return verdict(Decision.GO, _all_clear(seen, counts["refuted"]))


def _has(finding: Finding, verdict: Verdict) -> bool:
    return finding.judgement is not None and finding.judgement.verdict is verdict


def _counts(finding: Finding) -> bool:
    """Whether a finding can weigh on the decision."""
    return finding.severity is not Severity.INFO and finding.confidence is not Confidence.LOW


def _deciding(findings: Sequence[Finding]) -> str:
    """The most telling finding in one sentence: confirmed by both kinds of evidence first."""
    first = min(findings, key=lambda f: (-f.severity.rank, not _has(f, Verdict.CONFIRMED)))
    more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
    if first.judgement is None:
        return f"{first.slug} is measured ({_where(first)}): {first.message}{more}"
    return f"{first.slug} is confirmed ({_where(first)}): {first.judgement.reason}{more}"


def _where(finding: Finding) -> str:
    return f"{finding.location.shown_path}:{finding.location.shown_line}"


def _why_no_training(seen: Observations) -> str:
    """Why the script showed no backward pass, in one clause."""
    if seen.stopped == "crashed":
        return f"the script raised before its first training step: {seen.error}"
    if seen.stopped == "exited":
        return "the script exited before its first training step"
    if seen.stopped == "budget":
        spent = f"{seen.seconds:.0f} s"
        return f"the script had not begun to train when its {spent} were used up; raise --budget"
    return "the script ended without a training step"


def _all_clear(seen: Observations, refuted: int) -> str:
    convergence = seen.convergence
    dismissed = f", and {refuted} findings from the source were refuted" if refuted else ""
    dismissed = dismissed.replace(
        "1 findings from the source were", "1 finding from the source was"
    )
    if convergence is None or convergence.first is None or convergence.last is None:
        return f"nothing was found over {seen.steps} steps{dismissed}"
    if has_moving_objective(seen):
        return (
            f"nothing was found over {seen.steps} steps{dismissed}; the loss goes from "
            f"{convergence.first:.3g} to {convergence.last:.3g}, which says little: its goal moves"
        )
    # Of a loss at its floor "stalled" would be no reason to go.
    kind = f" ({convergence.kind})" if convergence.kind in ("converging", "slow") else ""
    return (
        f"the loss goes from {convergence.first:.3g} to {convergence.last:.3g} in "
        f"{convergence.steps} steps{kind}{dismissed}"
    )
