"""``convlint audit``: judge the source, run it for a short horizon, and join the two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convlint.cli.overrides import take_overrides
from convlint.cli.running import (
    cost_of_run,
    exit_code,
    observe_or_explain,
    run_options,
    write_reports,
)
from convlint.cli.sections import SectionedCommand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.audit import RunVerdict
    from convlint.cost import Cost
    from convlint.engine import Outcome
    from convlint.gpu_probes.observations import Observations
    from convlint.report.text import Line


@click.command(
    "audit",
    cls=SectionedCommand,
    short_help="Check and probe a script, join both, and say go or no-go.",
)
@run_options
def command(
    words: tuple[str, ...],
    module: str | None,
    python: str | None,
    output_format: str,
    report: tuple[Path, ...],
    price_per_hour: float | None,
    quiet: bool,
    **options: Any,
) -> int:
    """Judge a training script by its source and by a short run, and say whether to start it.

    This EXECUTES the script, like `convlint probe`. Every finding made from the source is then
    confirmed, refuted or left unmeasured by what was measured, and the first line gives the
    verdict: go, go with care or no-go. With --remedies (part of --tier deep) the most valuable
    changes follow it: those that trained the recorded steps better than the script does.

    A script is not run again while its sources, arguments, libraries, the files it reads through
    Python, the machine and these options are what they were: the kept run answers, and the report
    says when it was made. What it gets over the network is not compared; --no-cache measures again.

    \b
    Examples:
      convlint audit train.py
      convlint audit train.py --budget 120 -- --config base.yaml
      convlint audit train.py --remedies
      convlint audit train.py --output-format json > audit.json
      convlint audit train.py --report report.html --report summary.md
      convlint audit -- torchrun --nproc-per-node 2 train.py

    \b
    Exit codes:
      0    nothing found at or above --fail-on that was not refuted, and no no-go
      1    something found, or no-go, or the script crashed after its first step
      2    the script could not be read or run, or crashed or ended before a step
      130  interrupted
    """
    import msgspec

    from convlint.audit import Decision, join
    from convlint.cli import EXIT_CLEAN, EXIT_FINDINGS
    from convlint.cli.streams import complain, failing_in_report, write_bytes, write_report
    from convlint.config import SettingsFinder
    from convlint.engine import check_paths, keep_wanted, run_measured_rules
    from convlint.errors import UserError
    from convlint.findings import Confidence
    from convlint.remedies import fitting
    from convlint.report.json import to_json
    from convlint.report.run import require_writable
    from convlint.report_store import cache_directory
    from convlint.sources import without_working_directory
    from convlint.targets import target_of

    with failing_in_report(output_format):
        for file in report:
            require_writable(file)
        target = target_of(words, module=module, python=python)
        target.require()
        if not Path(target.script).is_file():
            raise UserError(
                f"no source of {target.shown} below this directory; give its file or use probe"
            )
        wanted = take_overrides(options)
        finder = SettingsFinder(wanted)
        settings = finder.for_file(Path(target.script))
        # What the source alone leaves in doubt may be confirmed: the run decides what is shown.
        everything = msgspec.structs.replace(wanted, min_confidence=Confidence.LOW, show_info=True)
        cache = None if options["no_cache"] else cache_directory(options["cache_dir"])
        outcome = check_paths((target.script,), everything, cache=cache)
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
    for fault in outcome.faults:
        complain(str(fault))
    if output_format == "json":
        stated = (verdict.decision.value, without_working_directory(verdict.reason))
        problems = (*outcome.problems, *outcome.faults)
        write_bytes(
            to_json(
                outcome.findings,
                problems=problems,
                observations=seen,
                verdict=stated,
                cost=cost,
                measured_at=measured_at,
            )
        )
    else:
        write_report(_lines(outcome, seen, verdict, cost, measured_at, output_format, quiet))
    write_reports(report, target, outcome, seen, verdict, cost, measured_at)
    code = exit_code(seen, outcome)
    return EXIT_FINDINGS if code == EXIT_CLEAN and verdict.decision is Decision.NO_GO else code


def _lines(
    outcome: Outcome,
    seen: Observations | None,
    verdict: RunVerdict,
    cost: Cost | None,
    measured_at: float | None,
    output_format: str,
    quiet: bool,
) -> Iterator[Line]:
    from convlint.report import text
    from convlint.report.measured import measured_summary, verdict_line
    from convlint.report.remedies import remedy_lines, valuable_lines

    yield verdict_line(verdict)
    if seen is not None and seen.remedies is not None:
        yield from valuable_lines(seen.remedies)
    if output_format == "concise":
        yield from text.concise(outcome.findings)
    else:
        yield ()
        yield from text.full(outcome.findings, outcome.sources)
        if not quiet and seen is not None:
            yield from measured_summary(seen, cost, measured_at)
            if seen.remedies is not None:
                yield from remedy_lines(seen.remedies)
    if not quiet:
        yield from text.summary(outcome.findings, files=None, hidden=outcome.hidden)
