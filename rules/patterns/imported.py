"""Which libraries a program uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.rules.patterns.once import once_per_program

if TYPE_CHECKING:
    from convlint.program.facts import TrainingProgram


def uses_library(program: TrainingProgram, *packages: str) -> bool:
    """Whether the program imports, or calls something of, one of these packages or modules."""
    prefixes = tuple(f"{package}." for package in packages)
    return any(name.startswith(prefixes) for name in _used_names(program))


@once_per_program
def _used_names(program: TrainingProgram) -> frozenset[str]:
    names = (*program.imports, *(call.name for call in program.calls))
    return frozenset(f"{name}." for name in names)
