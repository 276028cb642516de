"""The cost of a run in the words of every report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.cost import BYTES_PER_GIB, SECONDS_PER_HOUR
from convlint.report.text import format_number

if TYPE_CHECKING:
    from convlint.cost import Cost

MINUTE = 60.0
DAY = 24 * SECONDS_PER_HOUR


def run_cost(cost: Cost) -> str:
    """``about 3.2 h: 4690 steps (10 epochs × 469 batches of 128) × 2.5 s``, or why it is unknown."""
    if cost.run_seconds is None or cost.step_seconds is None:
        timed = "" if cost.step_seconds is None else f"; a step takes {duration(cost.step_seconds)}"
        return f"unknown: {cost.unknown}{timed}"
    price = "" if cost.run_price is None else f", {money(cost.run_price)}"
    return (
        f"about {duration(cost.run_seconds)}{price}: {cost.planned_steps} steps ({cost.plan}) ×"
        f" {duration(cost.step_seconds)}, training steps alone"
    )


def memory_cost(cost: Cost) -> str:
    """Peak memory; empty when it is not known."""
    parts = [
        f"{size / BYTES_PER_GIB:.2f} GiB {where}"
        for size, where in (
            (cost.peak_device_bytes, "on the GPU"),
            (cost.peak_host_bytes, "of the process"),
        )
        if size is not None
    ]
    return f"{', '.join(parts)} at the peak, the probe's own included" if parts else ""


def probe_cost(cost: Cost) -> str:
    """What the probe took, and which share of the run that is."""
    price = "" if cost.probe_price is None else f", {money(cost.probe_price)}"
    share = ""
    if cost.run_seconds:
        share = f" ({format_number(100 * cost.probe_seconds / cost.run_seconds)} % of the run)"
    return f"{duration(cost.probe_seconds)}{price}{share}"


def duration(seconds: float) -> str:
    """``12 ms``, ``3.4 s``, ``12 min``, ``5.1 h``, ``2.3 days``."""
    for unit, size, least in (
        ("days", DAY, 2 * DAY),
        ("h", SECONDS_PER_HOUR, 1.5 * SECONDS_PER_HOUR),
        ("min", MINUTE, 1.5 * MINUTE),
        ("s", 1.0, 1.0),
    ):
        if seconds >= least:
            return f"{format_number(seconds / size)} {unit}"
    return f"{format_number(1000 * seconds)} ms"


def money(price: float) -> str:
    """Two decimals, more where they would be zero."""
    return f"{price:.2f}" if price >= 1 or price == 0 else f"{price:.2g}"
