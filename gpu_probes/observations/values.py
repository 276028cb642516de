"""What every observation is made of: numbers with their uncertainty, and lines of code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A line of the user's code: absolute ``path``, ``line`` from 1, enclosing ``function``."""

    path: str
    line: int
    function: str = ""


@dataclass(frozen=True)
class Measurement:
    """A measured number with its uncertainty.

    ``ci`` is a 95 % confidence (or certified) interval, ``n`` the number of samples behind the
    value, ``converged`` false when an iteration stopped at its budget.
    """

    value: float | None
    unit: str = ""
    n: int = 0
    ci: tuple[float, float] | None = None
    converged: bool = True
    note: str = ""


@dataclass(frozen=True)
class Skipped:
    """A measurement that was not made, and why."""

    measurement: str
    reason: str
