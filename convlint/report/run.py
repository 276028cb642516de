"""What a report on one run is made from, and the report by the ending of the file's name."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from convlint.audit import RunVerdict
    from convlint.cost import Cost
    from convlint.findings import Finding
    from convlint.gpu_probes.observations import Observations

FORMATS = {".html": "html", ".htm": "html", ".md": "markdown"}
"""Ending of a report's name to the module of this package whose ``render_run`` writes it."""


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """One run of ``probe`` or ``audit``.

    ``shown`` is the script as the user named it; ``seen`` is None when it could not be probed,
    ``verdict`` None for ``probe``. ``hidden`` counts the info findings kept back, ``texts`` has
    source by path; ``cost`` is that of the whole run;
    ``measured_at`` when the run was made that was kept from then, in seconds since 1970.
    """

    shown: str
    findings: Sequence[Finding]
    problems: Sequence[UserError]
    texts: Mapping[str, str]
    seen: Observations | None
    verdict: RunVerdict | None
    hidden: int = 0
    cost: Cost | None = None
    measured_at: float | None = None


def require_writable(path: Path) -> None:
    """Find out before the run whether a report can be written to ``path``.

    Raises:
        UserError: its ending names no format, its directory is missing or cannot be written, or
            the library that writes the format is not installed.
    """
    format_ = FORMATS.get(path.suffix.lower())
    if format_ is None:
        endings = ", ".join(FORMATS)
        raise UserError(
            f"a report's name ends in one of {endings}; give --report another", path=str(path)
        )
    if path.is_dir() or not path.parent.is_dir():
        what = "is a directory" if path.is_dir() else "its directory does not exist"
        raise UserError(f"cannot write the report: {what}", path=str(path))
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError("cannot write the report: no permission", path=str(path))
    if format_ == "html" and importlib.util.find_spec("jinja2") is None:
        raise UserError(
            "the HTML report needs jinja2: pip install 'convlint[report]'", path=str(path)
        )


def write_run(path: Path, run: RunReport) -> None:
    """Write the report on ``run`` to ``path``, in the format its ending names.

    Raises:
        UserError: it cannot be written.
    """
    module = importlib.import_module(f"convlint.report.{FORMATS[path.suffix.lower()]}")
    data: bytes = module.render_run(run)
    try:
        path.write_bytes(data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write the report: {reason}", path=str(path)) from None
