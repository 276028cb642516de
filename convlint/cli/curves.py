"""``convlint curves``: judge a training run by its log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convlint.cli.check_options import report_options
from convlint.cli.options import RULES, selection_options
from convlint.cli.overrides import take_overrides
from convlint.cli.sections import SectionedCommand, option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.cli.reporting import Reporting
    from convlint.curves.facts import Curves
    from convlint.findings import Finding
    from convlint.outcome import Outcome
    from convlint.report.text import Line

LOG = "The log"
FORMATS = ("csv", "json-lines", "json", "tensorboard", "text")
EXTRA = "logs"


@click.command("curves", cls=SectionedCommand, short_help="Judge a run by its training log.")
@click.argument("logs", nargs=-1, required=True, metavar="LOG...")
@option(
    "--input-format",
    section=LOG,
    type=click.Choice(FORMATS),
    help="The format of the logs, when neither name nor content tells it.",
)
@option(
    "--pattern",
    section=LOG,
    metavar="REGEX",
    help="Take numbers from lines of text: named groups are the columns, such as"
    " 'it (?P<step>\\d+) .* obj (?P<loss>\\S+)'.",
)
@option(
    "--train",
    section=LOG,
    metavar="NAME",
    help="The column that holds the training loss, when its name does not say so.",
)
@option(
    "--validation",
    section=LOG,
    metavar="NAME",
    help="The column that holds the validation loss.",
)
@option(
    "--total-steps",
    section=LOG,
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="The planned end of the run, in the steps (or epochs) the log counts.",
)
@option(
    "--baseline",
    section=LOG,
    type=float,
    metavar="LOSS",
    help="The loss of the best constant prediction, such as 2.303 (ln 10) for ten classes.",
)
@option(
    "--plot/--no-plot",
    section="Output",
    default=None,
    help="Draw the losses.  [default: on a terminal]",
)
@option(
    "--show-facts",
    section=RULES,
    is_flag=True,
    help="Print what was read of each log as JSON, and run no rule.",
)
@selection_options
@report_options
def command(logs: tuple[str, ...], **options: Any) -> int:
    """Judge training runs by what they logged. Nothing is executed.

    A LOG is a CSV file (Keras' CSVLogger, Lightning's metrics.csv, an export), JSON lines, a
    trainer_state.json of Hugging Face, a Keras history as JSON, results of XGBoost, LightGBM or
    CatBoost, a metric MLflow keeps, a TensorBoard event file or directory (pip install
    'convlint[logs]'), or text a training loop printed; - reads standard input. Training and
    validation losses are found by their names.

    Each log is called healthy, diverged, overfitting, underfitting, oscillating, spiky, too slow,
    plateaued, range test or undetermined. A loss whose noise hides what it does is undetermined.

    \b
    Examples:
      convlint curves runs/version_0/metrics.csv
      convlint curves trainer_state.json --output-format json
      convlint curves runs/exp1 runs/exp2 --total-steps 100000
      python train.py | tee train.log | convlint curves -

    \b
    Exit codes:
      0  no log has a finding at or above --fail-on
      1  something was found
      2  a log could not be read (the others are still judged); the options have a mistake
    """
    from convlint.cli import EXIT_CANNOT, EXIT_CLEAN, EXIT_FINDINGS
    from convlint.cli.fixing import Fixing
    from convlint.cli.reporting import Reporting
    from convlint.cli.streams import complain, failing_in_report, write_bytes
    from convlint.config import SettingsFinder
    from convlint.outcome import Outcome

    nothing_to_fix = Fixing(
        fix=False, unsafe=False, only=False, diff=False, interactive=False, exit_non_zero=False
    )
    show_facts, plot = options.pop("show_facts"), options.pop("plot")
    reporting = Reporting.taken_from(options)
    reading = {name: options.pop(name) for name in READING_OPTIONS}
    outcome = Outcome()
    read: list[Curves] = []
    found: dict[str, list[Finding]] = {}
    with failing_in_report(reporting.output_format):
        finder = SettingsFinder(take_overrides(options))
        for path in logs:
            curves = _read_or_explain(path, outcome, reading)
            if curves is None:
                continue
            read.append(curves)
            if not show_facts:
                found[path] = _judged(curves, path, finder, outcome)
    for problem in (*outcome.problems, *outcome.faults):
        complain(str(problem))
    if show_facts:
        import msgspec

        from convlint.report.formats import json_document

        write_bytes(json_document(msgspec.to_builtins(read)))
        return EXIT_CANNOT if outcome.problems else EXIT_CLEAN
    problems = (*outcome.problems, *outcome.faults)
    if reporting.output_format == "json" and not reporting.statistics:
        from convlint.report.json import to_json

        data = to_json(outcome.findings, problems=problems, curves=read)
        reporting.write_data(data)
    elif (
        reporting.output_format == "full"
        and not reporting.statistics
        and reporting.output_file is None
    ):
        from convlint.cli.streams import write_report

        write_report(_lines(read, found, outcome, reporting, plot))
    else:
        reporting.write(outcome, problems, nothing_to_fix)
    if problems:
        return EXIT_CANNOT
    return EXIT_FINDINGS if outcome.failing else EXIT_CLEAN


READING_OPTIONS = (
    "input_format", "pattern", "train", "validation", "total_steps", "baseline",
)  # fmt: skip


def _read_or_explain(path: str, outcome: Outcome, reading: dict[str, Any]) -> Curves | None:
    """What the log holds; None when it cannot be read, which becomes a problem."""
    from convlint.errors import UserError

    try:
        from convlint.curves.assemble import assemble
        from convlint.curves.readers import open_log
    except ImportError as error:
        raise UserError(
            f"logs are judged with {error.name}: pip install 'convlint[{EXTRA}]'"
        ) from None
    roles = {
        reading[name]: role
        for name, role in (("train", "train"), ("validation", "validation"))
        if reading[name] is not None
    }
    try:
        log = open_log(path, format=reading["input_format"], pattern=reading["pattern"])
        return assemble(
            log,
            path,
            roles=roles,
            baseline=reading["baseline"],
            planned_steps=reading["total_steps"],
        )
    except UserError as problem:
        outcome.problems.append(problem)
        return None


def _judged(curves: Curves, path: str, finder: Any, outcome: Outcome) -> list[Finding]:
    """All findings of the selected rules; those to be shown join ``outcome``."""
    from convlint.judging import run_logged_rules
    from convlint.outcome import keep_wanted

    # Nothing of a log is quoted, and it holds no comment.
    outcome.sources[path] = ""
    outcome.files += 1
    settings = finder.for_file(Path(path))
    findings = run_logged_rules(settings.rules, curves, outcome)
    keep_wanted(findings, finder, outcome, suppressions={path: ()})
    return findings


def _lines(
    read: Sequence[Curves],
    found: dict[str, list[Finding]],
    outcome: Outcome,
    reporting: Reporting,
    plot: bool | None,
) -> Iterator[Line]:
    import sys

    from convlint.report import text
    from convlint.report.logged import log_summary, plotted

    yield from text.full(outcome.findings, outcome.sources)
    if reporting.quiet:
        return
    drawn = plot if plot is not None else sys.stdout.isatty()
    for curves in read:
        yield from log_summary(curves, found[curves.path])
        if drawn:
            yield from plotted(curves)
    yield ()
    yield from text.summary(
        outcome.findings, files=None, unread=len(outcome.problems), hidden=outcome.hidden
    )
