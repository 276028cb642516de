"""Which of the changes a probe tried belong into the report, and which are worth making."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity, Verdict
from convlint.gpu_probes.observations.remedies import BETTER, Remedies, Remedy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convlint.gpu_probes.observations import Observations

MOST_VALUABLE = 3


def fitting(seen: Observations, findings: Iterable[Finding]) -> Observations:
    """The observations with the remedies that belong to ``findings``.

    A change of hyperparameters can be tried on any run. One of the code is an answer to something
    found: where nothing was beyond an info, or the measurement refuted it, the code is meant to be
    as it is (a frozen part, inputs in their own units), and the change is left out.
    """
    if seen.remedies is None:
        return seen
    found = {
        finding.slug
        for finding in findings
        if finding.severity is not Severity.INFO
        and (finding.judgement is None or finding.judgement.verdict is not Verdict.REFUTED)
    }
    kept = tuple(
        remedy for remedy in seen.remedies.tried if not remedy.answers or found & {*remedy.answers}
    )
    return replace(seen, remedies=replace(seen.remedies, tried=kept))


def most_valuable(remedies: Remedies) -> list[Remedy]:
    """The changes that are better than the run as it is, the best first, at most three.

    Of several learning rates, clips, initialisations only the best: they exclude each other.
    """
    by_kind: dict[str, Remedy] = {}
    for remedy in remedies.tried:
        if remedy.outcome == BETTER:
            key = remedy.change if remedy.kind == "code" else remedy.kind
            by_kind.setdefault(key, remedy)
    return list(by_kind.values())[:MOST_VALUABLE]
