"""A file of findings that are accepted for now, so that only new ones count.

Each entry is the fingerprint of a finding, which stays when lines move, with the path, the rule
and the message for readers. An entry whose finding is gone is reported, and dropped on update.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from convlint.errors import UserError
from convlint.fingerprints import fingerprints, portable_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from convlint.findings import Finding

VERSION = 1


class Entry(msgspec.Struct, frozen=True, order=True):
    """One accepted finding; ``path`` is relative to the folder of the baseline."""

    path: str
    rule: str
    fingerprint: str
    message: str


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    findings: tuple[Entry, ...]


class Baseline:
    """The accepted findings of one file."""

    def __init__(self, file: Path, entries: Iterable[Entry] = ()) -> None:
        self.file = file
        self.entries = tuple(sorted(entries))
        self._accepted = {entry.fingerprint for entry in self.entries}

    @classmethod
    def read(cls, file: Path, *, missing_ok: bool = False) -> Baseline:
        """The baseline in ``file``; with ``missing_ok`` an empty one when there is none.

        Raises:
            UserError: it cannot be read, or is no baseline.
        """
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            if missing_ok:
                return cls(file)
            raise UserError(
                "no such baseline; --update-baseline writes it", path=str(file)
            ) from None
        except OSError as error:
            raise UserError(f"cannot read: {error.strerror or error}", path=str(file)) from None
        try:
            content = msgspec.json.decode(data, type=_Content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UserError(f"no baseline of convlint: {error}", path=str(file)) from None
        if content.version != VERSION:
            raise UserError(
                f"a baseline of version {content.version}; this convlint reads {VERSION}",
                path=str(file),
            )
        return cls(file, content.findings)

    def split(
        self, findings: Iterable[Finding], texts: Mapping[str, str]
    ) -> tuple[list[Finding], list[Finding]]:
        """The findings that are new, and those that are accepted."""
        new: list[Finding] = []
        accepted: list[Finding] = []
        for finding, fingerprint in fingerprints(findings, texts, self._root):
            (accepted if fingerprint in self._accepted else new).append(finding)
        return new, accepted

    def gone(
        self, findings: Iterable[Finding], texts: Mapping[str, str], paths: Iterable[str]
    ) -> tuple[Entry, ...]:
        """The entries of files among ``paths`` (or below them) that are no finding any more."""
        found = {fingerprint for _, fingerprint in fingerprints(findings, texts, self._root)}
        checked = [os.path.abspath(path) for path in paths]  # noqa: PTH100
        return tuple(
            entry
            for entry in self.entries
            if entry.fingerprint not in found and self._is_below(entry, checked)
        )

    def updated(
        self, findings: Iterable[Finding], texts: Mapping[str, str], paths: Iterable[str]
    ) -> Baseline:
        """A baseline of ``findings``; entries of files that were not among ``paths`` stay."""
        checked = [os.path.abspath(path) for path in paths]  # noqa: PTH100
        kept = [entry for entry in self.entries if not self._is_below(entry, checked)]
        new = [
            Entry(
                _encodable(portable_path(finding.location.path, self._root)),
                finding.slug,
                fingerprint,
                _encodable(finding.message),
            )
            for finding, fingerprint in fingerprints(findings, texts, self._root)
        ]
        return Baseline(self.file, {entry.fingerprint: entry for entry in (*kept, *new)}.values())

    def write(self) -> None:
        """Write the file, as a whole.

        Raises:
            UserError: it cannot be written.
        """
        content = msgspec.json.encode(_Content(VERSION, self.entries))
        partial = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        try:
            partial.write_bytes(msgspec.json.format(content, indent=2) + b"\n")
            partial.replace(self.file)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise UserError(
                f"cannot write: {error.strerror or error}", path=str(self.file)
            ) from None

    @property
    def _root(self) -> str:
        return os.path.dirname(os.path.abspath(self.file))  # noqa: PTH100, PTH120

    def _is_below(self, entry: Entry, checked: list[str]) -> bool:
        absolute = os.path.normpath(os.path.join(self._root, entry.path))  # noqa: PTH118
        return any(
            absolute == path or absolute.startswith(path.rstrip(os.sep) + os.sep)
            for path in checked
        )


def _encodable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
