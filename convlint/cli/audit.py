"""``convlint audit``: judge the source, run it for a short horizon, and join the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from convlint.cli.check_options import FIXES
from convlint.cli.run_options import run_options
from convlint.cli.sections import SectionedCommand, option

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "audit",
    cls=SectionedCommand,
    short_help="Check and probe a script, join both, and say go or no-go.",
)
@run_options
@option(
    "--interactive",
    section=FIXES,
    is_flag=True,
    help="Walk through the findings: show each with its evidence and its fix, ask whether to apply,"
    " skip or ignore it, then measure again and tell what changed.",
)
def command(
    words: tuple[str, ...],
    module: str | None,
    python: str | None,
    output_format: str,
    report: tuple[Path, ...],
    price_per_hour: float | None,
    quiet: bool,
    interactive: bool,
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
      convlint audit train.py --interactive
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
    from convlint.cli.auditing import audit_of
    from convlint.cli.streams import complain, failing_in_report, write_bytes, write_report
    from convlint.cli.walking import make, measured_again, require_terminal, tell_difference, walk
    from convlint.report.run import require_writable, write_run

    with failing_in_report(output_format):
        for file in report:
            require_writable(file)
        if interactive:
            require_terminal(output_format)
        audited = audit_of(words, module, python, price_per_hour, quiet=quiet, **options)
    for fault in audited.outcome.faults:
        complain(str(fault))
    if interactive and audited.outcome.findings:
        settled = make(walk(audited), audited.judge_source)
        if settled:
            click.echo(measured_again(audited, settled))
            before = audited
            audited = audit_of(words, module, python, price_per_hour, quiet=quiet, **options)
            tell_difference(before, audited)
        write_report(audited.lines("concise"))
    elif output_format == "json":
        write_bytes(audited.as_json())
    else:
        write_report(audited.lines(output_format, quiet=quiet))
    for file in report:
        write_run(file, audited.report())
    return audited.exit_code()
