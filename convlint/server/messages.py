"""What the server and its worker say to each other: one line of JSON each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from convlint.findings import Confidence, Finding

if TYPE_CHECKING:
    from convlint.settings import Overrides


class Options(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What an editor may set, as ``initializationOptions`` or in its section ``convlint``."""

    isolated: bool = False
    """Read no configuration file, and so run no rule of the project's own."""
    configuration: str | None = None
    """This configuration file instead of the nearest one."""
    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    min_confidence: Confidence | None = None
    show_info: bool = False
    run: str = "onType"
    """``onType`` or ``onSave``."""
    debounce: int = 200
    """Milliseconds without typing before a check starts."""

    def __post_init__(self) -> None:
        if self.run not in ("onType", "onSave"):
            raise ValueError("run: must be onType or onSave")

    def overrides(self) -> Overrides:
        """The same, as the command line would say it."""
        from pathlib import Path

        from convlint.selection import RuleChoice
        from convlint.settings import Overrides

        choice = RuleChoice(
            select=self.select, extend_select=self.extend_select, ignore=self.ignore
        )
        return Overrides(
            rules=choice,
            min_confidence=self.min_confidence,
            show_info=self.show_info,
            file=None if self.configuration is None else Path(self.configuration),
            isolated=self.isolated,
        )


class Check(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Judge the document at ``path``; ``texts`` has every open document by its absolute path."""

    path: str
    texts: dict[str, str]
    options: Options


class FixAll(Check, frozen=True, kw_only=True, tag=True):
    """Make every safe fix in the document."""


class Explain(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Describe the rule ``name``, as known where the document at ``path`` is."""

    name: str
    path: str
    options: Options


Request = Check | FixAll | Explain


class Problem(msgspec.Struct, frozen=True):
    """Why the document at ``path`` could not be judged, with the place if there is one, from 1."""

    path: str
    message: str
    line: int | None = None
    column: int | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request.

    Paths are absolute; those in a notebook name the cell, as ``path_of_cell`` does, and lines are
    those of the cell.
    """

    findings: tuple[Finding, ...] = ()
    problem: Problem | None = None
    complaint: str = ""
    """A mistake in the configuration or in a rule of the project: one line."""
    faults: tuple[str, ...] = ()
    """What convlint itself failed at."""
    pages: dict[str, str] = {}
    """The documentation, in Markdown, of every rule found (or asked for), by slug."""
    rule_files: tuple[str, ...] = ()
    """Files with rules of the project that this worker has loaded."""
    fixed: str | None = None
    """The document with all fixes made; None when it stays as it is."""


def path_of_cell(path: str, number: int) -> str:
    """What stands for the path of a cell of the notebook at ``path``; cells count from 1."""
    return f"{path}#{number}"


def encode(message: Any) -> bytes:
    """One line."""
    return msgspec.json.encode(message) + b"\n"


decode_request = msgspec.json.Decoder(Request).decode
decode_reply = msgspec.json.Decoder(Reply).decode
