"""``convlint probe``: run a training script for a short horizon and judge what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convlint.cli.overrides import take_overrides
from convlint.cli.run_options import run_options
from convlint.cli.running import (
    cost_of_run,
    exit_code,
    observe_or_explain,
    why_not_measured,
    write_reports,
)
from convlint.cli.sections import SectionedCommand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.cost import Cost
    from convlint.engine import Outcome
    from convlint.gpu_probes.observations import Observations
    from convlint.report.text import Line


@click.command(
    "probe",
    cls=SectionedCommand,
    short_help="Run a script for a short horizon and judge what is measured.",
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
    """Run a training script, unmodified, for a few steps and judge what is measured.

    SCRIPT is a Python file, a notebook (its code cells in order), or, after --, the whole command
    line that starts the training with python, torchrun or accelerate launch.

    This EXECUTES the script. The files it writes are held back unless --allow-writes, and
    it reaches no other machine once training has begun, unless --allow-network. It is stopped after --steps optimizer steps or
    --budget seconds, whichever comes first.

    Measured: scale of the inputs, dead and saturated units, gradient flow through depth, initial
    loss against the best constant prediction, size of the updates, curvature and the largest
    stable learning rate, how the loss runs; and, on recorded steps once the script has stopped,
    which learning rates make progress and whether the model can learn one batch by heart. With
    --remedies also which change would have helped: a ranked table of changes, each with its
    predicted effect, its measured effect with an interval, and the code to write.

    \b
    Examples:
      convlint probe train.py
      convlint probe train.py --tier quick
      convlint probe train.py --remedies
      convlint probe train.py --report report.html
      convlint probe train.py --steps 200 --budget 120 -- --batch-size 64
      convlint probe train.py --device cpu --output-format json > probe.json
      convlint probe -m project.train -- --lr 0.1
      convlint probe experiment.ipynb
      convlint probe -- torchrun --nproc-per-node 2 train.py

    \b
    Exit codes:
      0    nothing found at or above --fail-on
      1    something found, or the script crashed after its first step
      2    the script could not be run, or crashed or ended before a step
      130  interrupted
    """
    from convlint.cli.streams import complain, failing_in_report, write_bytes, write_report
    from convlint.config import SettingsFinder
    from convlint.engine import Outcome, keep_wanted, run_measured_rules
    from convlint.remedies import fitting
    from convlint.report.run import require_writable
    from convlint.targets import target_of

    outcome = Outcome()
    with failing_in_report(output_format):
        for file in report:
            require_writable(file)
        target = target_of(words, module=module, python=python)
        finder = SettingsFinder(take_overrides(options))
        settings = finder.for_file(Path(target.script))
        seen, measured_at = observe_or_explain(target, outcome, quiet=quiet, **options)
        if seen is not None:
            measured = run_measured_rules(settings.rules, seen, outcome)
            keep_wanted(measured, finder, outcome)
            seen = fitting(seen, measured)
        cost = cost_of_run(seen, target, price_per_hour)
    for fault in outcome.faults:
        complain(str(fault))
    if output_format == "json":
        from convlint.report.json import to_json

        problems = (*outcome.problems, *outcome.faults)
        write_bytes(
            to_json(
                outcome.findings,
                problems=problems,
                observations=seen,
                cost=cost,
                measured_at=measured_at,
            )
        )
    elif seen is not None and (outcome.findings or why_not_measured(seen) is None):
        write_report(_lines(outcome, seen, cost, measured_at, output_format, quiet))
    write_reports(report, target, outcome, seen, None, cost, measured_at)
    return exit_code(seen, outcome)


def _lines(
    outcome: Outcome,
    seen: Observations,
    cost: Cost | None,
    measured_at: float | None,
    output_format: str,
    quiet: bool,
) -> Iterator[Line]:
    from convlint.report import text
    from convlint.report.measured import measured_summary
    from convlint.report.remedies import remedy_lines

    if output_format == "concise":
        yield from text.concise(outcome.findings)
    else:
        yield from text.full(outcome.findings, outcome.sources)
        if not quiet:
            yield from measured_summary(seen, cost, measured_at)
            if seen.remedies is not None:
                yield from remedy_lines(seen.remedies)
    if not quiet:
        yield from text.summary(outcome.findings, files=None, hidden=outcome.hidden)
