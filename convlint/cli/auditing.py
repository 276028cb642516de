"""One audit: the source judged, the script run, both joined; and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from convlint.audit import Decision, RunVerdict, join
from convlint.cli.overrides import take_overrides
from convlint.cli.running import cost_of_run, exit_code, observe_or_explain
from convlint.config import SettingsFinder
from convlint.engine import check_paths, keep_wanted, run_measured_rules
from convlint.errors import UserError
from convlint.findings import Confidence
from convlint.remedies import fitting
from convlint.report.json import to_json
from convlint.report.run import RunReport
from convlint.report_store import cache_directory
from convlint.sources import without_working_directory
from convlint.targets import Target, target_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from convlint.cost import Cost
    from convlint.engine import Outcome
    from convlint.gpu_probes.observations import Observations
    from convlint.report.text import Line
    from convlint.settings import Overrides


def audit_of(
    words: Sequence[str],
    module: str | None,
    python: str | None,
    price_per_hour: float | None,
    *,
    quiet: bool,
    **options: Any,
) -> Audited:
    """Audit what ``words`` start; ``options`` are those of ``convlint.cli.run_options``.

    Raises:
        UserError: there is no such script, it cannot be read or parsed, or the configuration has a
            mistake. A script that could not be run is a problem of the outcome instead.
    """
    target = target_of(words, module=module, python=python)
    target.require()
    if not Path(target.script).is_file():
        raise UserError(
            f"no source of {target.shown} below this directory; give its file or use probe"
        )
    wanted = take_overrides(options)
    finder = SettingsFinder(wanted)
    settings = finder.for_file(Path(target.script))
    cache = None if options["no_cache"] else cache_directory(options["cache_dir"])
    outcome = check_paths((target.script,), _everything(wanted), cache=cache)
    static, outcome.findings, outcome.failing = outcome.findings, [], 0
    if outcome.problems:
        raise outcome.problems[0]
    seen, measured_at = observe_or_explain(target, outcome, quiet=quiet, **options)
    sound = settings.rules
    if seen is not None:
        run_measured_rules(sound, seen, outcome)
        sound = tuple(rule for rule in sound if rule.slug not in outcome.failed_rules)
    judged = [finding for finding in static if finding.slug not in outcome.failed_rules]
    joined, verdict = join(judged, seen, sound)
    left = [finding for finding in static if finding.slug in outcome.failed_rules]
    keep_wanted([*joined, *left], finder, outcome, shown_by_source=static)
    seen = None if seen is None else fitting(seen, [*joined, *left])
    cost = cost_of_run(seen, target, price_per_hour)
    return Audited(target, outcome, seen, verdict, cost, measured_at, wanted)


def _everything(wanted: Overrides) -> Overrides:
    """What the source alone leaves in doubt may be confirmed: the run decides what is shown."""
    return msgspec.structs.replace(wanted, min_confidence=Confidence.LOW, show_info=True)


@dataclass(frozen=True)
class Audited:
    """What came of it; ``measured_at`` is when a run was made that was kept from then (seconds
    since 1970)."""

    target: Target
    outcome: Outcome
    seen: Observations | None
    verdict: RunVerdict
    cost: Cost | None
    measured_at: float | None
    wanted: Overrides

    def judge_source(self, replaced: Mapping[str, bytes]) -> Outcome:
        """The findings from the source alone, with new bytes for some files."""
        return check_paths((self.target.script,), _everything(self.wanted), replaced=replaced)

    def exit_code(self) -> int:
        """As ``convlint audit --help`` tells."""
        from convlint.cli import EXIT_CLEAN, EXIT_FINDINGS

        code = exit_code(self.seen, self.outcome)
        no_go = self.verdict.decision is Decision.NO_GO
        return EXIT_FINDINGS if code == EXIT_CLEAN and no_go else code

    def as_json(self) -> bytes:
        """The output for programs."""
        return to_json(
            self.outcome.findings,
            problems=(*self.outcome.problems, *self.outcome.faults),
            observations=self.seen,
            verdict=(self.verdict.decision.value, without_working_directory(self.verdict.reason)),
            cost=self.cost,
            measured_at=self.measured_at,
        )

    def report(self) -> RunReport:
        """What a page or a comment is made from."""
        return RunReport(
            shown=self.target.shown,
            findings=self.outcome.findings,
            problems=(*self.outcome.problems, *self.outcome.faults),
            texts=self.outcome.sources,
            seen=self.seen,
            verdict=self.verdict,
            hidden=self.outcome.hidden,
            cost=self.cost,
            measured_at=self.measured_at,
        )

    def lines(self, output_format: str = "full", *, quiet: bool = False) -> Iterator[Line]:
        """The report for people: the verdict, the findings, what was measured."""
        from convlint.report import text
        from convlint.report.measured import measured_summary, verdict_line
        from convlint.report.remedies import remedy_lines, valuable_lines

        outcome = self.outcome
        remedies = None if self.seen is None else self.seen.remedies
        yield verdict_line(self.verdict)
        if remedies is not None:
            yield from valuable_lines(remedies)
        if output_format == "concise":
            yield from text.concise(outcome.findings)
        else:
            yield ()
            yield from text.full(outcome.findings, outcome.sources)
            if not quiet and self.seen is not None:
                yield from measured_summary(self.seen, self.cost, self.measured_at)
                if remedies is not None:
                    yield from remedy_lines(remedies)
        if not quiet:
            yield from text.summary(outcome.findings, files=None, hidden=outcome.hidden)
