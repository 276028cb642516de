"""Code actions: the fix of a finding, all safe fixes, silencing, and the page of the rule."""

from __future__ import annotations

import difflib
import re
import tokenize
from typing import TYPE_CHECKING

from lsprotocol import types

from convlint.errors import UserError
from convlint.findings import Applicability, Edit
from convlint.ignores import with_ignores
from convlint.server.positions import Text, overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from convlint.findings import Finding

EXPLAIN = "convlint.explainRule"
"""The command behind *explain*; its argument is the slug."""

FIX_ALL = "source.fixAll.convlint"

KINDS = (types.CodeActionKind.QuickFix, types.CodeActionKind.SourceFixAll, FIX_ALL)

_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def wanted(kind: str, only: Iterable[str] | None) -> bool:
    """Whether an editor that asks for these kinds ``only`` wants actions of ``kind``."""
    return only is None or any(kind == asked or kind.startswith(f"{asked}.") for asked in only)


def quick_fixes(
    findings: Iterable[Finding],
    diagnostics: Iterable[types.Diagnostic],
    place: types.Range,
    text: Text,
    workspace_edit: Callable[[list[Edit]], types.WorkspaceEdit | None],
    replacing: Callable[[list[types.TextEdit]], types.WorkspaceEdit],
) -> Iterator[types.CodeAction]:
    """What can be done about the findings that touch ``place``.

    ``diagnostics`` are those the editor shows there. ``workspace_edit`` turns edits of any file into
    the protocol's, or into None when not all are of this one; ``replacing`` those of this one.
    """
    here = [finding for finding in findings if overlap(text.range(finding.location), place)]
    shown = {
        finding.slug: [said for said in diagnostics if said.code == finding.slug] or None
        for finding in here
    }
    for finding in here:
        fix = finding.fix
        edit = None if fix is None else workspace_edit(list(fix.edits))
        if fix is None or edit is None:
            continue
        safe = fix.applicability is Applicability.SAFE
        yield types.CodeAction(
            title=f"convlint: {fix.message}" + ("" if safe else " (check the result)"),
            kind=types.CodeActionKind.QuickFix,
            diagnostics=shown[finding.slug],
            is_preferred=safe,
            edit=edit,
        )
    for finding in here:
        silenced = _silenced(text.text, finding)
        if silenced is not None:
            yield types.CodeAction(
                title=f"convlint: ignore {finding.slug} here",
                kind=types.CodeActionKind.QuickFix,
                diagnostics=shown[finding.slug],
                edit=replacing(changes(text, silenced)),
            )
    for slug in shown:
        title = f"convlint: explain {slug}"
        yield types.CodeAction(
            title=title,
            kind=types.CodeActionKind.QuickFix,
            diagnostics=shown[slug],
            command=types.Command(title, EXPLAIN, arguments=[slug]),
        )


def changes(before: Text, after: str) -> list[types.TextEdit]:
    """The lines that differ, as edits: what did not change keeps its marks and folds."""
    old, new = _LINES.findall(before.text), _LINES.findall(after)
    edits = []
    for tag, start, end, new_start, new_end in difflib.SequenceMatcher(
        None, old, new, autojunk=False
    ).get_opcodes():
        if tag != "equal":
            place = types.Range(_line_start(before, start), _line_start(before, end))
            edits.append(types.TextEdit(place, "".join(new[new_start:new_end])))
    return edits


def _silenced(text: str, finding: Finding) -> str | None:
    """``text`` with a comment that silences ``finding``; None where no comment can."""
    try:
        changed = with_ignores(text, [finding])
    except (UserError, SyntaxError, tokenize.TokenError):
        return None
    return None if changed == text else changed


def _line_start(text: Text, line: int) -> types.Position:
    return types.Position(line, 0) if line < len(text.lines) else text.whole().end
