"""Findings as text for people: one block each, with the source, a caret and what to do.

Everything is first laid out as *lines* of styled pieces; ``write_lines`` then prints them plainly,
or through rich when the stream shows colour.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from convlint.errors import UserError
from convlint.findings import Evidence, Finding, Judgement, Location, Severity, Verdict
from convlint.fixes import is_fixable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Line = tuple[tuple[str, str], ...]
"""Pieces of one line of text, each with its style (empty for none)."""

GUTTER = "blue"
STRONG = "bold"
FAINT = "dim"
SEVERITY_STYLE = {
    Severity.ERROR: "bold red",
    Severity.WARNING: "bold yellow",
    Severity.INFO: "bold cyan",
}
VERDICT_STYLE = {
    Verdict.CONFIRMED: "bold red",
    Verdict.REFUTED: "bold green",
    Verdict.UNMEASURED: "dim",
}

SAME_OPENING = 4
"""Sentences with this many first words in common, the number among them, say the same."""

LONGEST_PLAIN = 100_000
"""Larger numbers are shown with an exponent."""

IN_ASCII = {
    **dict(zip("▁▂▃▄▅▆▇█", "_.-=+*%#", strict=True)),
    "×": "x",
    "±": "+-",
    "…": "...",
    "→": "->",
    "−": "-",
    "≥": ">=",
    "≤": "<=",
    "λ": "lambda",
    "²": "^2",
    "·": "*",
}
"""What stands for the letters of a report that a terminal without UTF-8 cannot show."""

EXCERPT_WIDTH = 120
"""Longer source lines are cut around the place a finding points to."""


def shows_colour(stream: TextIO) -> bool:
    """Whether to colour: on a terminal, unless NO_COLOR; FORCE_COLOR colours anywhere."""
    if os.environ.get("NO_COLOR"):
        return False
    forced = os.environ.get("FORCE_COLOR", "")
    if forced and forced != "0":
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def write_lines(lines: Iterable[Line], stream: TextIO) -> None:
    """Print ``lines``; in colour where the stream shows it, and on a terminal wrapped to fit.

    Where the stream's encoding has no bars and mathematical signs, ASCII stands for them.
    """
    if not _encodes(stream, "".join(IN_ASCII)):
        table = str.maketrans(IN_ASCII)
        lines = (tuple((text.translate(table), style) for text, style in line) for line in lines)
    if not shows_colour(stream):
        stream.writelines("".join(text for text, _ in line) + "\n" for line in lines)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, force_terminal=True, highlight=False, soft_wrap=True)
    width = console.width if stream.isatty() else None
    for line in lines:
        for row in (line,) if width is None else wrapped(line, width):
            console.print(Text.assemble(*row))


def _encodes(stream: TextIO, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def wrapped(line: Line, width: int) -> Iterator[Line]:
    """``line`` broken between words into rows of ``width`` columns, below where its text begins.

    Source is left as it is: a terminal that cuts it says more than one broken at a space.
    """
    whole = "".join(text for text, _ in line)
    if (
        sum(map(_columns, whole)) <= width
        or not line
        or (line[0][1] == GUTTER and "|" in line[0][0])
    ):
        yield line
        return
    begins = line[0][1] in ("", GUTTER) and len(line[0][0]) < width // 2
    indent = len(line[0][0]) if begins else 0
    row: list[tuple[str, str]] = list(line[:1]) if begins else []
    used = indent
    for text, style in line[1:] if begins else line:
        for word in re.findall(r"\s*\S+|\s+$", text):
            if used > indent and used + sum(map(_columns, word.rstrip())) > width:
                yield tuple(row)
                row, used = [(" " * indent, "")], indent
                word = word.lstrip()
            if row and row[-1][1] == style and not (begins and len(row) == 1):
                row[-1] = (row[-1][0] + word, style)
            else:
                row.append((word, style))
            used += sum(map(_columns, word))
    yield tuple(row)


def full(
    findings: Sequence[Finding], texts: Mapping[str, str], *, unsafe_fixes: bool = False
) -> Iterator[Line]:
    """Each finding as a block, an empty line after it.

    ``texts`` has the source of checked files by path; other files are read from disk. ``[*]``
    marks what ``--fix`` would fix, unsafe fixes among it where they are allowed.
    """
    excerpts = Excerpts(texts)
    for finding in findings:
        yield _headline(finding, unsafe_fixes)
        yield (("  ", ""), (one_line(finding.message), STRONG))
        width = len(str(finding.location.shown_line))
        yield from excerpts.lines(finding.location, width, SEVERITY_STYLE[finding.severity])
        for related in finding.related:
            place = related.location
            yield _note(width, f"{place.shown_path}:{place.shown_line}", "", related.message)
            yield from excerpts.lines(place, width, GUTTER, only_line=True)
        judgement = finding.judgement
        for evidence in finding.evidence:
            if judgement is None or not said_by(evidence, judgement):
                yield _note(width, evidence.source, "", evidence_text(evidence))
        if judgement is not None:
            yield _note(
                width, judgement.verdict.value, VERDICT_STYLE[judgement.verdict], judgement.reason
            )
        if finding.help:
            yield _note(width, "what to do", "bold green", finding.help)
        if finding.fix is not None:
            options = "--fix" if finding.fix.applicability == "safe" else "--fix --unsafe-fixes"
            label = f"{finding.fix.applicability.value} fix"
            yield _note(width, label, "bold green", f"{finding.fix.message} ({options})")
        yield ()


def concise(findings: Sequence[Finding], *, unsafe_fixes: bool = False) -> Iterator[Line]:
    """Each finding on one line."""
    for finding in findings:
        judged = finding.judgement
        tail = f" [{judged.verdict.value}]" if judged is not None else ""
        yield (
            *_headline(finding, unsafe_fixes),
            (f" {one_line(finding.message)}", ""),
            (tail, FAINT),
        )


def summary(
    findings: Sequence[Finding],
    *,
    files: int | None,
    unread: int = 0,
    hidden: int = 0,
    fixed: int = 0,
) -> Iterator[Line]:
    """The last line: how much was found where.

    ``files`` is how many were checked, None when a script was run; ``unread`` counts those that
    could not be, ``hidden`` the info findings held back, ``fixed`` the findings that are gone.
    """
    kept_back = (
        f" ({count(hidden, 'info finding')} not shown; --show-info shows them)" if hidden else ""
    )
    scope = "" if files is None else f" in {count(files, 'file')}"
    failed = f" {count(unread, 'path')} could not be checked." if unread else ""
    if files == 0 and not findings:
        yield ((failed.strip() or "No Python files found.", "bold red"),)
        return
    if fixed:
        found = f"Found {count(len(findings) + fixed, 'problem')}"
        rest = f" ({fixed} fixed, {len(findings)} remaining){scope}."
        yield ((found + rest, STRONG), (failed, "bold red"), (kept_back, FAINT))
        return
    if not findings:
        style = STRONG if unread else "bold green"
        yield ((f"Nothing found{scope}.", style), (failed, "bold red"), (kept_back, FAINT))
        return
    by_severity = [
        (sum(finding.severity is severity for finding in findings), severity.value)
        for severity in (Severity.ERROR, Severity.WARNING, Severity.INFO)
    ]
    parts = [
        f"{number} info" if name == "info" else count(number, name)
        for number, name in by_severity
        if number
    ]
    found = f"Found {count(len(findings), 'problem')}{scope}: {', '.join(parts)}."
    yield ((found, STRONG), (failed, "bold red"), (kept_back, FAINT))


def one_line(text: str) -> str:
    """``text`` on one line, with control characters made visible."""
    return visible(" ".join(text.split()))


class Excerpts:
    """Lines of source around the places findings point to."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self._lines: dict[str, list[str]] = {}

    def lines(
        self, location: Location, width: int, style: str, *, only_line: bool = False
    ) -> Iterator[Line]:
        """The source line of ``location`` with its number, and a caret line below it.

        Nothing when the line is empty, or the file cannot be read or is shorter (it changed since). ``width`` is that
        of the line-number gutter; ``only_line`` leaves out the frame around the line.
        """
        text = self._line(location.path, location.line)
        if not text:
            return
        start = min(max(location.column - 1, 0), len(text))
        end = location.end_column - 1 if location.end_line == location.line else len(text)
        end = max(min(end, len(text)), start + 1)
        text, start, end = _crop(text.rstrip(), start, end)
        if location.column <= 1 and location.end_column <= 1:
            start = len(text) - len(text.lstrip())
            end = max(len(text), start + 1)
        margin = " " * width
        if not only_line:
            yield ((f"{margin} |", GUTTER),)
        yield ((f"{location.shown_line:>{width}} | ", GUTTER), (visible(text), ""))
        indent = "".join("\t" if c == "\t" else " " * _columns(c) for c in text[:start])
        carets = "^" * max(sum(_columns(c) for c in text[start:end].rstrip()), 1)
        yield ((f"{margin} | ", GUTTER), (indent, ""), (carets, style))

    def _line(self, path: str, number: int) -> str | None:
        lines = self._lines.get(path)
        if lines is None:
            lines = source_lines(self._texts.get(path), path)
            self._lines[path] = lines
        return lines[number - 1] if 1 <= number <= len(lines) else None


def source_lines(text: str | None, path: str) -> list[str]:
    """The lines of ``text``, or of the file when it is None; none when that cannot be read."""
    if text is None:
        from convlint.sources import decode, read_file

        try:
            text = decode(read_file(Path(path)), path)
        except UserError:
            return []
    # Not str.splitlines, which also breaks at form feeds and other characters inside a line.
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _crop(text: str, start: int, end: int) -> tuple[str, int, int]:
    if len(text) <= EXCERPT_WIDTH:
        return text, start, end
    first = max(0, min(start - EXCERPT_WIDTH // 3, len(text) - EXCERPT_WIDTH))
    cut = text[first : first + EXCERPT_WIDTH]
    if first:
        cut = "…" + cut[1:]
    if first + EXCERPT_WIDTH < len(text):
        cut = cut[:-1] + "…"
    return cut, start - first, max(min(end - first, EXCERPT_WIDTH), start - first + 1)


def columns(text: str) -> int:
    """Columns of letters of one width that ``text`` takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def visible(text: str) -> str:
    """``text`` with control characters made visible."""
    if text.isprintable():
        return text
    return "".join(c if c == "\t" or c.isprintable() else "�" for c in text)


def _headline(finding: Finding, unsafe_fixes: bool) -> Line:
    place = finding.location
    mark = " [*]" if is_fixable(finding, unsafe=unsafe_fixes) else ""
    return (
        (f"{visible(place.shown_path)}:{place.shown_line}:{place.column}: ", STRONG),
        (finding.severity.value, SEVERITY_STYLE[finding.severity]),
        (f" {finding.slug} ({finding.code}){mark}", ""),
    )


def _note(width: int, label: str, style: str, text: str) -> Line:
    return (
        (" " * width + " = ", GUTTER),
        (f"{label}: ", style or STRONG),
        (one_line(text), ""),
    )


def said_by(evidence: Evidence, judgement: Judgement) -> bool:
    """Whether the verdict rests on this measurement and gives it in nearly the same words."""
    opening = " ".join(evidence.statement.split()[:SAME_OPENING])
    return evidence.source == "measured" and opening in judgement.reason


def evidence_text(evidence: Evidence) -> str:
    """The fact with its number and what a healthy run shows."""
    text = evidence.statement.rstrip(".")
    if evidence.value is not None and format_number(evidence.value) not in text:
        unit = f" {evidence.unit}" if evidence.unit else ""
        name = f"{evidence.quantity} = " if evidence.quantity else ""
        text += f" ({name}{format_number(evidence.value)}{unit})"
    if evidence.expected:
        text += f"; healthy: {evidence.expected}"
    return text


def format_number(value: float) -> str:
    """Three significant digits; no exponent below a hundred thousand."""
    shown = f"{value:z.3g}"
    return f"{float(shown):.0f}" if 1000 <= abs(value) < LONGEST_PLAIN else shown


def count(number: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
