"""What the whole run will cost, from the time of the steps that were run and its planned length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from convlint.program.facts import Branch, Event, EventKind, Loop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from convlint.gpu_probes.observations import Observations
    from convlint.program.facts import Node, TrainingProgram

FEWEST_STEPS = 3
"""Without the first step, which compiles and allocates, there must be some left."""

SAME_SHARE = 0.02
"""Numbers of steps that differ by less mean the same run: last batches, warm-up calls."""

SECONDS_PER_HOUR = 3600.0
BYTES_PER_GIB = 2**30
STEPS = (EventKind.STEP, EventKind.SCALER_STEP)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of the planned run and of the probe.

    ``step_seconds`` is the median time of a real step without the probe's own work,
    ``planned_steps`` the optimizer steps of the whole run, ``plan`` the words for where that number
    comes from. ``run_seconds`` is their product: training steps alone, on the machine that was
    probed; validation, checkpoints and start-up come on top. ``probe_seconds`` is what the probe
    took. ``peak_host_bytes`` and ``peak_device_bytes`` hold what the probe itself kept as well.
    ``run_price`` and ``probe_price`` are in the currency of --price-per-hour, null without it.
    ``unknown`` says in one clause why there is no ``run_seconds``, empty when there is.
    """

    step_seconds: float | None
    planned_steps: int | None
    plan: str
    run_seconds: float | None
    probe_seconds: float
    peak_host_bytes: int | None
    peak_device_bytes: int | None
    run_price: float | None
    probe_price: float | None
    unknown: str


def cost_of(
    seen: Observations,
    programs: Sequence[TrainingProgram] = (),
    *,
    price_per_hour: float | None = None,
) -> Cost:
    """The cost of the run that ``seen`` is the beginning of.

    The number of epochs is that of the running script's own variables, else of the loops in
    ``programs``, the facts of its source.
    """
    times = sorted(seconds for seconds in seen.series.seconds[1:] if seconds > 0)
    step_seconds = times[len(times) // 2] if len(times) >= FEWEST_STEPS else None
    steps, plan = _planned(seen, programs)
    unknown = ""
    if step_seconds is None:
        unknown = "too few real steps were run to time one"
    elif steps is None:
        unknown = plan
    run_seconds = None if step_seconds is None or steps is None else steps * step_seconds

    def price(seconds: float | None) -> float | None:
        if seconds is None or price_per_hour is None:
            return None
        return seconds / SECONDS_PER_HOUR * price_per_hour

    return Cost(
        step_seconds=step_seconds,
        planned_steps=steps,
        plan="" if steps is None else plan,
        run_seconds=run_seconds,
        probe_seconds=seen.seconds,
        peak_host_bytes=seen.peak_memory.host,
        peak_device_bytes=seen.peak_memory.device,
        run_price=price(run_seconds),
        probe_price=price(seen.seconds),
        unknown=unknown,
    )


def _planned(seen: Observations, programs: Iterable[TrainingProgram]) -> tuple[int | None, str]:
    """Optimizer steps of the whole run and where the number comes from, or None and why not."""
    plan = seen.plan
    if seen.stopped == "finished":
        return seen.steps, "the script ended by itself"
    epochs, source = plan.epochs, "the script's variables"
    if epochs is None:
        epochs, source = _epochs_in_source(programs), "the loop in the source"
    batches = plan.batches_per_epoch
    if epochs and batches:
        accumulation = max(
            (use.accumulation or 1.0 for use in seen.optimizers if use.steps), default=1.0
        )
        steps = max(1, round(epochs * batches / max(accumulation, 1.0)))
        if plan.steps and abs(plan.steps - steps) > SAME_SHARE * steps:
            return None, f"{epochs} epochs would be {steps} steps, but a variable says {plan.steps}"
        size = seen.batches.size if seen.batches is not None else None
        each = f" of {size}" if size else ""
        shared = f" / {accumulation:.3g} batches a step" if accumulation > 1.0 else ""
        return steps, f"{epochs} epochs ({source}) × {batches} batches{each}{shared}"
    if plan.steps:
        return plan.steps, "the script's variables"
    if not epochs:
        return None, "the number of epochs or steps is not known"
    return None, f"{epochs} epochs, but the batches of one are not known"


def _epochs_in_source(programs: Iterable[TrainingProgram]) -> int | None:
    """The iterations of the one loop around loops that step an optimizer; None when not one."""
    found = {
        loop.trips.number
        for program in programs
        for entry in program.entries
        for loop in _epoch_loops(entry.body)
    }
    number = found.pop() if len(found) == 1 else None
    return int(number) if number is not None and number >= 1 and number == int(number) else None


def _epoch_loops(nodes: Iterable[Node]) -> list[Loop]:
    loops: list[Loop] = []
    for node in nodes:
        if isinstance(node, Branch):
            loops += [loop for arm in node.arms for loop in _epoch_loops(arm.body)]
        elif isinstance(node, Loop):
            inner = [n for n in _flat(node.body) if isinstance(n, Loop)]
            loops += [node] if any(_steps(n) for n in inner) else []
    return loops


def _flat(nodes: Iterable[Node]) -> list[Node]:
    """The nodes, with those of the arms of branches in place of the branches."""
    flat: list[Node] = []
    for node in nodes:
        if isinstance(node, Branch):
            flat += [n for arm in node.arms for n in _flat(arm.body)]
        else:
            flat.append(node)
    return flat


def _steps(loop: Loop) -> bool:
    return any(
        (isinstance(n, Event) and n.kind in STEPS) or (isinstance(n, Loop) and _steps(n))
        for n in _flat(loop.body)
    )
