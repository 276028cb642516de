"""``%load_ext convlint``: ``%audit train.py`` and ``%%audit`` in IPython and notebooks.

Both take the options of ``convlint audit``. ``%%audit`` audits the code of its cell, which it does
not run in the session: the code runs in a process of its own, after the earlier cells of the session
that define the names it uses, in the order in which they ran. The session's variables stay as they
are. A cell that only changes what another has defined is not run again.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convlint.errors import UserError
from convlint.needed_cells import with_definitions

if TYPE_CHECKING:
    from convlint.cli.auditing import Audited

CELLS = ".convlint-cells.ipynb"
"""Beside the notebook while its cells are audited, so that they import what lies there."""


class AuditReport:
    """What ``%audit`` gives back: text in a terminal, the page in a notebook."""

    def __init__(self, audited: Audited) -> None:
        from convlint.report.notebook import page_in_frame

        self.decision = audited.verdict.decision.value
        """``go``, ``go with care`` or ``no-go``."""
        self.findings = tuple(audited.outcome.findings)
        lines = ("".join(text for text, _ in line) for line in audited.lines())
        self._text = "\n".join(lines)
        self._page = page_in_frame(audited.report())

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str | None:
        """The page in a frame of its own; None, for the text, without jinja2."""
        return self._page


def load(ipython: Any) -> None:
    """Register ``%audit`` and ``%%audit``."""

    def audit(line: str, cell: str | None = None) -> AuditReport | None:
        try:
            if cell is None:
                return _audit(shlex.split(line))
            with _Cells(ipython, cell) as file:
                return _audit([*_before_arguments(shlex.split(line), file)])
        except (UserError, click.ClickException) as error:
            message = error.format_message() if isinstance(error, click.ClickException) else error
            print(f"convlint: {message}")  # noqa: T201 - a notebook shows what is printed
        except ValueError as error:
            print(f"convlint: %audit {line}: {error}")  # noqa: T201
        return None

    ipython.register_magic_function(audit, magic_kind="line_cell", magic_name="audit")


def _audit(words: list[str]) -> AuditReport:
    from convlint.cli.audit import command
    from convlint.cli.auditing import audit_of

    options = dict(command.make_context("%audit", words).params)
    for name in ("output_format", "report", "interactive"):
        options.pop(name)
    return AuditReport(audit_of(**options))


def _before_arguments(words: list[str], file: str) -> list[str]:
    """The file goes behind the options and before the arguments of the script."""
    at = words.index("--") if "--" in words else len(words)
    return [*words[:at], file, *words[at:]]


class _Cells:
    """A notebook of the cells to run, which exists within the ``with`` block.

    Each has the number it has in the session, as ``In [5]``.
    """

    def __init__(self, ipython: Any, cell: str) -> None:
        self._file = Path(CELLS)
        history = list(ipython.history_manager.input_hist_raw)
        # Nothing comes before In [1]; the cell being run is there already, with its magic.
        history = history[1 : ipython.execution_count + 1]
        self._sources = with_definitions(history, cell)

    def __enter__(self) -> str:
        cells = [
            {"cell_type": "code", "source": text, "metadata": {}, "outputs": []}
            if text
            else {"cell_type": "markdown", "source": "", "metadata": {}}
            for text in self._sources
        ]
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        try:
            self._file.write_text(json.dumps(notebook), encoding="utf-8")
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(f"cannot write the cells here: {reason}", path=CELLS) from None
        return str(self._file)

    def __exit__(self, *_: object) -> None:
        self._file.unlink(missing_ok=True)
