"""The order of training events as the probe recorded it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Evidence

if TYPE_CHECKING:
    from convlint.gpu_probes.observations import Observations, OptimizerUse

STEP_EVENTS = frozenset({"step", "scaler_step"})


def judged_orders(seen: Observations) -> list[OptimizerUse]:
    """The optimizers whose recorded events hold a backward and a step, closures left aside."""
    return [
        use
        for use in seen.optimizers
        if not use.uses_closure
        and "backward" in use.events
        and any(event in STEP_EVENTS for event in use.events)
    ]


def before_each_step(use: OptimizerUse) -> list[tuple[str, ...]]:
    """For every recorded step that a backward preceded: what happened from that backward on.

    Starts with the last ``backward`` before the step and stops short of the step.
    """
    segments: list[tuple[str, ...]] = []
    start: int | None = None
    for index, event in enumerate(use.events):
        if event == "backward":
            start = index
        elif event in STEP_EVENTS:
            if start is not None:
                segments.append(use.events[start:index])
            start = None
    return segments


def after_each_step(use: OptimizerUse) -> list[tuple[str, ...]]:
    """For every recorded step: what happened until the next backward (or the end)."""
    segments: list[tuple[str, ...]] = []
    start: int | None = None
    for index, event in enumerate(use.events):
        if event in STEP_EVENTS:
            start = index + 1
        elif event == "backward" and start is not None:
            segments.append(use.events[start:index])
            start = None
    if start is not None:
        segments.append(use.events[start:])
    return segments


def order_evidence(use: OptimizerUse, expected: str) -> tuple[Evidence, ...]:
    """The recorded order of one optimizer as evidence."""
    shown = " → ".join(use.events[:12])
    return (
        Evidence(
            source="measured",
            statement=f"events of {use.cls} in the first steps: {shown}",
            quantity="order of events",
            expected=expected,
        ),
    )


def order_reading(seen: Observations) -> str | None:
    """The recorded order of every optimizer in one sentence, or None when there is none."""
    uses = judged_orders(seen)
    if not uses:
        return None
    return "; ".join(f"{use.cls} was driven as {' → '.join(use.events[:8])}" for use in uses)
