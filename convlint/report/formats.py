"""The formats ``check`` writes for programs and services, by name; a module each, read when used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from convlint.errors import UserError
    from convlint.findings import Finding

MODULES = {
    "json": "json",
    "json-lines": "json_lines",
    "sarif": "sarif",
    "github": "github",
    "gitlab": "gitlab",
    "junit": "junit",
    "rdjson": "rdjson",
    "pylint": "pylint",
    "azure": "azure",
}
"""Format to the module of this package whose ``render`` writes it."""


class Report(msgspec.Struct, frozen=True):
    """What is written: findings in order of place, what could not be done, and source by path."""

    findings: Sequence[Finding]
    problems: Sequence[UserError]
    texts: Mapping[str, str]


def render(name: str, report: Report) -> bytes:
    """``report`` in the format ``name``, one of ``MODULES``, as UTF-8."""
    module = importlib.import_module(f"convlint.report.{MODULES[name]}")
    text: bytes = module.render(report)
    return text


def encoded(text: str) -> bytes:
    """UTF-8; bytes of file names that are no text are written as escapes."""
    return text.encode(errors="backslashreplace")


def json_document(value: Any) -> bytes:
    """``value`` as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(_encodable(value)), indent=2) + b"\n"


def _encodable(value: Any) -> Any:
    """``value`` with every string such that it can be encoded."""
    if isinstance(value, str):
        return encoded(value).decode()
    if isinstance(value, dict):
        return {key: _encodable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encodable(entry) for entry in value]
    return value
