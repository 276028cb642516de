"""``convlint compare``: what became better or worse from one run to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from convlint.cli.options import color_option
from convlint.cli.sections import SectionedCommand

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.comparison import Difference
    from convlint.report.json import Output
    from convlint.report.text import Line


@click.command(
    "compare", cls=SectionedCommand, short_help="Tell what changed between two probes or audits."
)
@click.argument("before", type=click.Path(path_type=Path), metavar="BEFORE.json")
@click.argument("after", type=click.Path(path_type=Path), metavar="AFTER.json")
@click.option(
    "--output-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="text: a line for each quantity; json: for programs.",
)
@color_option
def command(before: Path, after: Path, output_format: str) -> int:
    """Compare two outputs of `convlint probe` or `audit --output-format json`.

    Better and worse are said only beyond noise: of the batches for the loss, of the confidence
    interval for what has one, of run-to-run variation for time and memory. Other seeds may vary more
    than the batches of one run do. Losses are compared after equally many steps of the same loss.

    \b
    Examples:
      convlint compare before.json after.json
      convlint compare before.json after.json --output-format json

    \b
    Exit codes:
      0  nothing became worse
      1  something became worse
      2  a file cannot be read or is no such output
    """
    import msgspec

    from convlint.cli import EXIT_CLEAN, EXIT_FINDINGS
    from convlint.cli.streams import write_bytes, write_report
    from convlint.comparison import Change, compare

    differences = compare(_read(before), _read(after))
    if output_format == "json":
        write_bytes(msgspec.json.format(msgspec.json.encode(differences), indent=2) + b"\n")
    else:
        write_report(_lines(differences))
    worse = any(difference.change is Change.WORSE for difference in differences)
    return EXIT_FINDINGS if worse else EXIT_CLEAN


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


def _lines(differences: Sequence[Difference]) -> Iterator[Line]:
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
