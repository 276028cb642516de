"""Numbers with their uncertainty: comparing them with a threshold and putting them into words."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from convlint.findings import Evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.observations import Measurement

__all__ = [
    "figure",
    "finite",
    "interval",
    "measured_evidence",
    "middle",
    "names",
    "share",
    "surely_above",
    "surely_below",
]

NAMES_SHOWN = 3
"""A message names this many layers or parameters and counts the rest."""


def surely_above(measurement: Measurement | None, bound: float) -> bool:
    """Whether the whole interval lies above ``bound``; false when not measured or not converged."""
    if measurement is None or measurement.value is None or not measurement.converged:
        return False
    low = measurement.value if measurement.ci is None else measurement.ci[0]
    return min(low, measurement.value) > bound


def surely_below(measurement: Measurement | None, bound: float) -> bool:
    """Whether the whole interval lies below ``bound``; false when not measured or not converged."""
    if measurement is None or measurement.value is None or not measurement.converged:
        return False
    high = measurement.value if measurement.ci is None else measurement.ci[1]
    return max(high, measurement.value) < bound


def finite(series: Sequence[float | None]) -> list[float]:
    """The entries that were measured and finite, in order."""
    return [value for value in series if value is not None]


def middle(values: Sequence[float]) -> float:
    """The median; ``values`` must not be empty."""
    return float(median(values))


def figure(value: float | None) -> str:
    """Three significant digits, as a message shows a number."""
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def share(fraction: float) -> str:
    """A fraction in per cent, in the form ``42 %``."""
    return f"{fraction:.0%}".replace("%", " %")


def interval(measurement: Measurement) -> str:
    """The value with its 95 % interval when there is one."""
    if measurement.ci is None:
        return figure(measurement.value)
    low, high = measurement.ci
    return f"{figure(measurement.value)} (95 % interval {figure(low)} to {figure(high)})"


def names(items: Sequence[str]) -> str:
    """The first few names in words, and how many more there are."""
    if len(items) <= NAMES_SHOWN:
        return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]])) if items else ""
    return f"{', '.join(items[:NAMES_SHOWN])} and {len(items) - NAMES_SHOWN} more"


def measured_evidence(
    statement: str,
    *,
    quantity: str,
    value: float | None,
    unit: str = "",
    expected: str = "",
) -> tuple[Evidence, ...]:
    """One measured fact, in the form a finding carries its evidence."""
    return (
        Evidence(
            source="measured",
            statement=statement,
            quantity=quantity,
            value=value,
            unit=unit,
            expected=expected,
        ),
    )
