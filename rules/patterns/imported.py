"""Which libraries a program uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convlint.program.facts import TrainingProgram


def uses_library(program: TrainingProgram, *packages: str) -> bool:
    """Whether the program imports, or calls something of, one of these packages or modules."""
    prefixes = tuple(f"{package}." for package in packages)
    return any(
        f"{name}.".startswith(prefixes)
        for name in (*program.imports, *(call.name for call in program.calls))
    )
