"""What the curves of one probed run say: its loss, where it stands, its schedule, its noise floor."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from convlint.curves.classify import convergence
from convlint.curves.schedule import noise_floor, robbins_monro
from convlint.curves.stationary import Standing, standing
from convlint.gpu_probes.observations import Measurement

if TYPE_CHECKING:
    from convlint.gpu_probes.observations import Observations, ScheduleAhead

NEVER_NEGATIVE = {
    "cross_entropy",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
}
"""Loss functions that cannot fall below zero; a sum with other terms may."""

FLOOR_NOTE = "by the gradient noise and curvature at the initial parameters; an upper bound"


def with_curves(seen: Observations) -> Observations:
    """``seen`` with the class of its loss series and what follows from its schedules."""
    schedules = tuple(map(judged_schedule, seen.schedules))
    seen = replace(seen, schedules=schedules)
    losses = _seen_losses(seen)
    if not losses:
        return seen
    whole = len(losses) == len(seen.series.loss)
    known = {loss.function for loss in seen.losses if loss.back_propagated}
    baseline = seen.baseline.value if seen.baseline is not None else None
    planned = [s.calls for s in seen.schedules if s.planned and s.per == "step"]
    course = convergence(
        losses,
        lower_bound=0.0 if known and known <= NEVER_NEGATIVE else None,
        baseline=baseline,
        planned_steps=planned[0] if planned else None,
        gradient_norms=seen.series.gradient_norm if whole else None,
    )
    return replace(
        seen,
        convergence=replace(
            course, standing=_standing(seen, baseline).value, noise_floor=_floor(seen)
        ),
    )


def _seen_losses(seen: Observations) -> tuple[float | None, ...]:
    """The loss step by step, None where it was not finite.

    In a run without any NaN or infinity None says that the loss of the step was not seen: it is left
    out, and nothing is returned where that leaves less than half of the steps.
    """
    if seen.non_finite:
        return seen.series.loss
    known = tuple(loss for loss in seen.series.loss if loss is not None and math.isfinite(loss))
    return known if 2 * len(known) >= len(seen.series.loss) else ()


def judged_schedule(schedule: ScheduleAhead) -> ScheduleAhead:
    """``schedule`` with what its rates say by Robbins and Monro, were it carried on as it goes.

    The rates are evenly spaced samples, which leaves a power law its exponent and a geometric
    decay its kind.
    """
    rates = schedule.learning_rates
    if not rates or not all(math.isfinite(rate) and rate >= 0.0 for rate in rates):
        return schedule
    judged = robbins_monro(rates)
    return replace(schedule, course=judged.kind, robbins_monro=judged.satisfied)


def _standing(seen: Observations, baseline: float | None) -> Standing:
    """Moving unless every loss is known: a gap would shift the steps of the other series."""
    losses = [v for v in seen.series.loss if v is not None and math.isfinite(v)]
    if len(losses) != len(seen.series.loss):
        return Standing.MOVING
    lowest = [
        c.smallest.value
        for c in seen.curvature
        if c.phase == "end" and c.smallest.converged and c.smallest.value is not None
    ]
    return standing(
        losses,
        gradient_norms=_complete(seen.series.gradient_norm, len(losses)),
        learning_rates=_complete(seen.series.learning_rate, len(losses)),
        lowest_eigenvalue=lowest[0] if lowest else None,
        baseline=baseline,
    )


def _complete(series: tuple[float | None, ...], steps: int) -> list[float] | None:
    known = [v for v in series if v is not None and math.isfinite(v)]
    return known if len(known) == steps else None


def _floor(seen: Observations) -> Measurement | None:
    """The excess loss at which SGD at a constant rate stays, from the noise of its gradients.

    With B = tr Σ/|G|² the noise scale, one batch of b samples has the squared norm
    |g|² = |G|² (1 + B/b), so that the noise of a step over s samples is |g|² (B/s) / (1 + B/b).
    """
    noise = seen.gradient_noise
    start = [c for c in seen.curvature if c.phase == "start"]
    if noise is None or noise.at_least or not start or start[0].gradient_norm is None:
        return None
    scale, batch, step = noise.scale.value, noise.batch_size, noise.step_size
    largest = start[0].largest.value
    uses = [use for use in seen.optimizers if use.cls.rpartition(".")[2] == "SGD"]
    if len(seen.optimizers) != 1 or len(uses) != 1 or len(uses[0].groups) != 1:
        return None
    group = uses[0].groups[0]
    rate, momentum = group.learning_rate, group.options.get("momentum", 0.0)
    constant = len({r for r in seen.series.learning_rate if r is not None}) == 1
    usable = scale and batch and step and largest and largest > 0.0 and rate and constant
    if not usable or not isinstance(momentum, (int, float)) or group.options.get("nesterov"):
        return None
    assert scale and batch and step and largest and rate
    variance = start[0].gradient_norm ** 2 * (scale / step) / (1.0 + scale / batch)
    floor = noise_floor(rate, variance, largest, momentum=float(momentum))
    if not math.isfinite(floor):
        return None
    return Measurement(floor, unit="loss", n=noise.gradients, note=FLOOR_NOTE)
