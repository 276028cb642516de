"""``convlint audit``: judge the source, run it for a short horizon, and join the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from convlint.cli.options import take_overrides
from convlint.cli.running import exit_code, observe_or_explain, run_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.audit import RunVerdict
    from convlint.engine import Outcome
    from convlint.gpu_probes.observations import Observations
    from convlint.report.text import Line


@click.command("audit", short_help="Check and probe a script, join both, and say go or no-go.")
@run_options
def command(
    script: str, args: tuple[str, ...], output_format: str, quiet: bool, **options: Any
) -> int:
    """Judge a training script by its source and by a short run, and say whether to start it.

    This EXECUTES the script, like `convlint probe`. Every finding made from the source is then
    confirmed, refuted or left unmeasured by what was measured, and the last line gives the
    verdict: go, go with care or no-go.

    \b
    Examples:
      convlint audit train.py
      convlint audit train.py --budget 120 -- --config base.yaml
      convlint audit train.py --output-format json > audit.json

    \b
    Exit codes:
      0    nothing found at or above --fail-on that was not refuted, and no no-go
      1    something found, or no-go, or the script crashed after its first step
      2    the script could not be read or run, or crashed or ended before a step
      130  interrupted
    """
    from convlint.audit import join
    from convlint.cli import EXIT_CANNOT, EXIT_CLEAN, EXIT_FINDINGS
    from convlint.cli.streams import complain, write_bytes, write_report
    from convlint.config import SettingsFinder
    from convlint.engine import Outcome, check_paths, keep_wanted
    from convlint.report.json import to_json

    wanted = take_overrides(options)
    finder = SettingsFinder(wanted)
    read = check_paths((script,), wanted, with_info=True)
    for fault in read.faults:
        complain(str(fault))
    if read.problems:
        if output_format == "json":
            write_bytes(to_json(()))
        raise read.problems[0]
    seen, failure = observe_or_explain(script, args, output_format, quiet=quiet, **options)
    joined, verdict = join(read.findings, seen)
    outcome = Outcome(sources=read.sources)
    keep_wanted(joined, finder, outcome)
    if output_format == "json":
        stated = None if failure else (str(verdict.decision), verdict.reason)
        write_bytes(to_json(outcome.findings, observations=seen, verdict=stated))
    elif failure is None:
        write_report(_lines(outcome, seen, verdict, output_format, quiet))
    else:
        write_report(_lines(outcome, None, None, output_format, quiet))
    if read.faults:
        return EXIT_CANNOT
    code = exit_code(seen, outcome)
    return EXIT_FINDINGS if code == EXIT_CLEAN and verdict.decision == "no-go" else code


def _lines(
    outcome: Outcome,
    seen: Observations | None,
    verdict: RunVerdict | None,
    output_format: str,
    quiet: bool,
) -> Iterator[Line]:
    from convlint.report import text
    from convlint.report.measured import measured_summary, verdict_line

    if output_format == "concise":
        yield from text.concise(outcome.findings)
    else:
        yield from text.full(outcome.findings, outcome.sources)
        if not quiet and seen is not None:
            yield from measured_summary(seen)
    if not quiet:
        yield from text.summary(outcome.findings, files=None, hidden=outcome.hidden)
    if verdict is not None:
        yield verdict_line(str(verdict.decision), verdict.reason)
