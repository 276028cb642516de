"""Findings as JSON, one object on each line (https://jsonlines.org)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from convlint.report.json import finding_output

if TYPE_CHECKING:
    from convlint.report.formats import Report


def render(report: Report) -> bytes:
    """A line for each finding, as in ``findings`` of the JSON format. What could not be done is
    said on standard error alone."""
    return msgspec.json.Encoder().encode_lines([finding_output(f) for f in report.findings])
