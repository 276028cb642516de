"""``convlint compare``: what became better or worse from one run to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convlint.cli.options import OUTPUT, color_option
from convlint.cli.run_options import RUN, device_option
from convlint.cli.sections import SectionedCommand, option
from convlint.gpu_probes.measurements import STANDARD, TIERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.comparison import Difference
    from convlint.report.json import Output
    from convlint.report.text import Line


@click.command(
    "compare",
    cls=SectionedCommand,
    short_help="Tell what changed between two runs, or two Git revisions of a script.",
)
@click.argument(
    "words",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="BEFORE.json AFTER.json | REVISION..REVISION SCRIPT [-- ARGS]...",
)
@option(
    "--tier",
    section=RUN,
    type=click.Choice(list(TIERS)),
    default=STANDARD,
    show_default=True,
    help="Of two revisions: how thoroughly to measure, as for audit.",
)
@option(
    "--steps",
    section=RUN,
    type=click.IntRange(min=1),
    help="Of two revisions: real optimizer steps to run.",
)
@option(
    "--budget",
    section=RUN,
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Of two revisions: seconds for each.",
)
@device_option
@option(
    "--python",
    section=RUN,
    metavar="PATH",
    help="Of two revisions: the interpreter that runs the script.",
)
@option(
    "--output-format",
    section=OUTPUT,
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="text: a line for each quantity; json: for programs.",
)
@color_option
def command(words: tuple[str, ...], output_format: str, **run: Any) -> int:
    """Compare two outputs of `convlint probe` or `audit --output-format json`, or a script at two
    Git revisions.

    Better and worse are said only beyond noise: of the batches for the loss, of the confidence
    interval for what has one, of run-to-run variation for time and memory. Other seeds may vary more
    than the batches of one run do. Losses are compared after equally many steps of the same loss.

    Revisions are given as MAIN..BRANCH, or as two words before the script. Each is checked out into
    a temporary worktree and audited there, which EXECUTES the script; your files and index are left
    alone. What Git ignores, such as data, is there too; what is not committed is not.

    \b
    Examples:
      convlint compare before.json after.json
      convlint compare before.json after.json --output-format json
      convlint compare main..HEAD train.py --tier quick
      convlint compare v1.0 v1.1 -- train.py --batch-size 64

    \b
    Exit codes:
      0  nothing became worse
      1  something became worse
      2  a file cannot be read or is no such output, there is no such revision, or the script
         could not be measured at one of them
    """
    import msgspec

    from convlint.cli import EXIT_CLEAN, EXIT_FINDINGS
    from convlint.cli.streams import write_bytes, write_report
    from convlint.comparison import Change, compare

    before, after = _outputs(words, run)
    differences = compare(before, after)
    if output_format == "json":
        write_bytes(msgspec.json.format(msgspec.json.encode(differences), indent=2) + b"\n")
    else:
        write_report(difference_lines(differences))
    worse = any(difference.change is Change.WORSE for difference in differences)
    return EXIT_FINDINGS if worse else EXIT_CLEAN


def _outputs(words: tuple[str, ...], run: dict[str, Any]) -> tuple[Output, Output]:
    """The two outputs to compare, read from files or made now."""
    revisions = _revisions(words)
    if revisions is None:
        if len(words) != 2:
            raise click.UsageError(
                "give two JSON outputs, or two revisions and a script: main..HEAD train.py"
            )
        return _read(Path(words[0])), _read(Path(words[1]))
    from convlint.cli.streams import complain
    from convlint.revisions import audit_at, commit_of

    one, other, script = revisions
    if not script:
        raise click.UsageError(f"give the script to audit at {one} and {other}")
    named = [(revision, commit_of(revision)) for revision in (one, other)]
    options = [
        word
        for name, value in run.items()
        if value is not None
        for word in (f"--{name}", str(value))
    ]
    outputs = []
    for revision, commit in named:
        complain(f"auditing {script[0]} at {revision} ({commit[:10]})")
        outputs.append(audit_at(revision, script, options))
    return outputs[0], outputs[1]


def _revisions(words: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]] | None:
    """The two revisions and the script with its arguments; None when files are meant."""
    if words and ".." in words[0] and not Path(words[0]).exists():
        one, _, other = words[0].replace("...", "..").partition("..")
        return one or "HEAD", other or "HEAD", words[1:]
    if len(words) > 2:
        return words[0], words[1], words[2:]
    return None


def _read(file: Path) -> Output:
    import msgspec

    from convlint.errors import UserError
    from convlint.report.json import Output

    try:
        output = msgspec.json.decode(file.read_bytes(), type=Output)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot be read: {reason}", path=str(file)) from None
    except msgspec.DecodeError as error:
        raise UserError(
            f"is no output of convlint probe or audit --output-format json: {error}",
            path=str(file),
        ) from None
    if output.observations is None:
        raise UserError(
            "has no measurements; give it the JSON of convlint probe or audit", path=str(file)
        )
    return output


def difference_lines(differences: Sequence[Difference]) -> Iterator[Line]:
    """Each difference on a line, and how many became better and worse."""
    from convlint.comparison import Change
    from convlint.report.text import FAINT, STRONG, one_line

    styles = {
        Change.BETTER: "bold green",
        Change.WORSE: "bold red",
        Change.SAME: FAINT,
        Change.DIFFERENT: "bold yellow",
        Change.UNKNOWN: FAINT,
    }
    width = max((len(difference.quantity) for difference in differences), default=0)
    for difference in differences:
        yield (
            (f"{difference.change.value:<14}", styles[difference.change]),
            (f"  {difference.quantity:<{width}}", STRONG),
            (f"  {one_line(difference.text)}", ""),
        )
    counts = [
        f"{sum(d.change is change for d in differences)} {change.value}"
        for change in (Change.BETTER, Change.WORSE, Change.SAME)
    ]
    yield ((f"{', '.join(counts)}.", STRONG),)
