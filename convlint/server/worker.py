"""The worker process of the language server: requests on standard input, replies on its output."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from convlint import sources
from convlint.errors import UserError
from convlint.findings import Location
from convlint.server.messages import (
    Check,
    Explain,
    FixAll,
    Problem,
    Reply,
    decode_request,
    encode,
    path_of_cell,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from convlint.documents import Document
    from convlint.findings import Finding
    from convlint.outcome import Outcome
    from convlint.server.messages import Request
    from convlint.settings import Settings


def main() -> None:
    """Answer one request after the other until the server goes away."""
    replies = os.fdopen(os.dup(1), "wb")
    # What rules of the project print must not come between the replies.
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        try:
            replies.write(encode(answer(decode_request(line))))
            replies.flush()
        except BrokenPipeError:
            return


def answer(request: Request) -> Reply:
    """What is to be said; a failure becomes a line of the reply."""
    try:
        if isinstance(request, Explain):
            return _explain(request)
        settings = _settings(request)
        if settings.excludes(Path(request.path)):
            return Reply(rule_files=_rule_files())
        return _fix(request) if isinstance(request, FixAll) else _check(request)
    except UserError as error:
        return Reply(complaint=str(error), rule_files=_rule_files())
    except Exception as error:
        return Reply(faults=(f"{type(error).__name__}: {error} (a fault of convlint)",))


def _check(request: Check) -> Reply:
    shown = sources.display_path(Path(request.path))
    outcome = _outcome(request, _replaced(request.texts))
    problem = next(
        filter(None, (_problem(said, shown, request) for said in outcome.problems)), None
    )
    findings = tuple(map(_with_absolute_paths, outcome.findings))
    slugs = dict.fromkeys(finding.slug for finding in findings)
    return Reply(
        findings=findings,
        problem=problem,
        faults=tuple(str(fault) for fault in outcome.faults),
        pages=_pages(slugs),
        rule_files=_rule_files(),
    )


def _fix(request: Check) -> Reply:
    from convlint.documents import open_document
    from convlint.fixes import fix_until_settled

    replaced = _replaced(request.texts)
    shown = sources.display_path(Path(request.path))

    def opened(path: str) -> Document:
        return open_document(path, replaced[path])

    run = fix_until_settled(lambda changed: _outcome(request, {**replaced, **changed}), opened)
    return Reply(fixed=run.changes.get(shown))


def _explain(request: Explain) -> Reply:
    pages = _pages((request.name,))
    if not pages:
        # Perhaps a rule of the project: known once its settings have been read.
        _settings(request)
        pages = _pages((request.name,))
    return Reply(pages=pages)


def _pages(names: Iterable[str]) -> dict[str, str]:
    from convlint.report.rules import explanation
    from convlint.rules import find_rule

    found = filter(None, map(find_rule, names))
    return {rule.slug: explanation(rule, fenced=True) for rule in found}


def _outcome(request: Check, replaced: Mapping[str, bytes]) -> Outcome:
    from convlint.engine import STDIN, check_paths

    shown = sources.display_path(Path(request.path))
    return check_paths(
        (STDIN,),
        request.options.overrides(),
        stdin=replaced.get(shown, b""),
        stdin_name=request.path,
        replaced=replaced,
    )


def _settings(request: Check | Explain) -> Settings:
    from convlint.config import SettingsFinder

    return SettingsFinder(request.options.overrides()).for_file(Path(request.path))


def _replaced(texts: Mapping[str, str]) -> dict[str, bytes]:
    """The open documents as bytes on the disk would be; those Python cannot read are left out."""
    replaced = {}
    for path, text in texts.items():
        shown = sources.display_path(Path(path))
        data = text.encode()
        if shown.endswith(sources.NOTEBOOK_SUFFIX):
            replaced[shown] = data
            continue
        try:
            encoding, _ = sources.declared_encoding(data, shown)
            replaced[shown] = text.encode(encoding, errors="replace")
            sources.decode(replaced[shown], shown)
        except UserError:
            replaced[shown] = b""
    return replaced


def _problem(said: UserError, shown: str, request: Check) -> Problem | None:
    """What is said of the document, or of a cell of it (``train.ipynb:cell 3``)."""
    cell = re.fullmatch(rf"{re.escape(shown)}(?::cell ([0-9]+))?", said.path)
    if cell is None:
        return None
    path = request.path if cell[1] is None else path_of_cell(request.path, int(cell[1]))
    return Problem(path, said.message, said.line, said.column)


def _with_absolute_paths(finding: Finding) -> Finding:
    def absolute(location: Location) -> Location:
        path = os.path.abspath(location.path)  # noqa: PTH100
        return Location(
            path_of_cell(path, location.cell) if location.cell else path,
            location.shown_line,
            location.column,
            location.shown_end_line,
            location.end_column,
        )

    replace = msgspec.structs.replace
    fix = finding.fix
    return replace(
        finding,
        location=absolute(finding.location),
        related=tuple(
            replace(related, location=absolute(related.location)) for related in finding.related
        ),
        fix=fix
        and replace(
            fix,
            edits=tuple(replace(edit, location=absolute(edit.location)) for edit in fix.edits),
        ),
    )


def _rule_files() -> tuple[str, ...]:
    from convlint.custom_rules import files_of_projects

    return files_of_projects()


if __name__ == "__main__":
    main()
