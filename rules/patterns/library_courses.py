"""Closed forms of the schedules of transformers and timm, relative to the optimizer's rate."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING

from convlint.rules.patterns.course_arguments import Unfolded

if TYPE_CHECKING:
    from convlint.rules.patterns.course_arguments import CourseArguments

__all__ = ["LIBRARY_FACTORS"]

Factor = Callable[[int], float]
Formula = Callable[["CourseArguments", float | None], Factor]


def _warmed(arguments: CourseArguments, body: Callable[[float], float]) -> Factor:
    """A linear warm-up, then ``body`` of the share of the remaining run that has passed."""
    warmup = arguments.number("num_warmup_steps", 0.0)
    total = arguments.positive("num_training_steps")
    remaining = max(1.0, total - warmup)

    def factor(t: int) -> float:
        if t < warmup:
            return t / max(1.0, warmup)
        return body((t - warmup) / remaining)

    return factor


def _linear(arguments: CourseArguments, base: float | None) -> Factor:
    return _warmed(arguments, lambda share: max(0.0, 1.0 - share))


def _cosine(arguments: CourseArguments, base: float | None) -> Factor:
    cycles = arguments.number("num_cycles", 0.5)
    return _warmed(
        arguments,
        lambda share: max(0.0, (1.0 + math.cos(math.pi * cycles * 2.0 * share)) / 2.0),
    )


def _hard_restarts(arguments: CourseArguments, base: float | None) -> Factor:
    cycles = arguments.number("num_cycles", 1.0)
    return _warmed(
        arguments,
        lambda share: (
            0.0 if share >= 1.0 else (1.0 + math.cos(math.pi * (cycles * share % 1.0))) / 2.0
        ),
    )


def _polynomial(arguments: CourseArguments, base: float | None) -> Factor:
    power, end = arguments.number("power", 1.0), arguments.number("lr_end", 1e-7)
    if base is None or base <= end:
        raise Unfolded
    low = end / base
    return _warmed(
        arguments, lambda share: low if share > 1 else low + (1 - low) * float((1 - share) ** power)
    )


def _constant(arguments: CourseArguments, base: float | None) -> Factor:
    warmup = arguments.number("num_warmup_steps", 0.0)
    return lambda t: t / max(1.0, warmup) if t < warmup else 1.0


def _inverse_root(arguments: CourseArguments, base: float | None) -> Factor:
    warmup = arguments.number("num_warmup_steps", 0.0)
    scale = arguments.number("timescale") if arguments.given("timescale") else warmup or 10_000.0
    return lambda t: t / max(1.0, warmup) if t < warmup else (1 + (t - warmup) / scale) ** -0.5


_BY_NAME: dict[str, Formula] = {
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _hard_restarts,
    "polynomial": _polynomial,
    "constant": lambda arguments, base: lambda t: 1.0,
    "constant_with_warmup": _constant,
    "inverse_sqrt": _inverse_root,
}


def _by_name(arguments: CourseArguments, base: float | None) -> Factor:
    formula = _BY_NAME.get(arguments.text("name", ""))
    if formula is None or arguments.given("scheduler_specific_kwargs"):
        raise Unfolded
    return formula(arguments, base)


def _timm(arguments: CourseArguments, base: float | None, body: Factor) -> Factor:
    """timm's warm-up (linear, from ``warmup_lr_init``) before ``body``."""
    warmup = arguments.number("warmup_t", 0.0)
    if not warmup:
        return body
    if base is None:
        raise Unfolded
    first = arguments.number("warmup_lr_init", 0.0) / base
    shift = int(warmup) if arguments.flag("warmup_prefix") else 0
    return lambda t: first + (1 - first) * t / warmup if t < warmup else body(t - shift)


def _timm_cosine(arguments: CourseArguments, base: float | None) -> Factor:
    horizon = arguments.positive("t_initial")
    low = arguments.number("lr_min", 0.0)
    if arguments.number("cycle_mul", 1.0) != 1 or arguments.number("cycle_decay", 1.0) != 1:
        raise Unfolded
    cycles = arguments.number("cycle_limit", 1.0)
    if low and base is None:
        raise Unfolded
    floor = low / base if base else 0.0

    def body(t: int) -> float:
        if cycles and t >= horizon * cycles:
            return floor
        return floor + (1 - floor) * (1 + math.cos(math.pi * (t % horizon) / horizon)) / 2

    return _timm(arguments, base, body)


def _timm_step(arguments: CourseArguments, base: float | None) -> Factor:
    every, rate = arguments.positive("decay_t"), arguments.number("decay_rate", 1.0)
    return _timm(arguments, base, lambda t: float(rate ** (t // every)))


def _timm_multi_step(arguments: CourseArguments, base: float | None) -> Factor:
    milestones, rate = sorted(arguments.numbers("decay_t")), arguments.number("decay_rate", 1.0)
    return _timm(arguments, base, lambda t: float(rate ** bisect_right(milestones, t + 1)))


LIBRARY_FACTORS: dict[str, Formula] = {
    "transformers.get_constant_schedule": _BY_NAME["constant"],
    "transformers.get_constant_schedule_with_warmup": _constant,
    "transformers.get_linear_schedule_with_warmup": _linear,
    "transformers.get_cosine_schedule_with_warmup": _cosine,
    "transformers.get_cosine_with_hard_restarts_schedule_with_warmup": _hard_restarts,
    "transformers.get_polynomial_decay_schedule_with_warmup": _polynomial,
    "transformers.get_inverse_sqrt_schedule": _inverse_root,
    "transformers.get_scheduler": _by_name,
    "timm.scheduler.CosineLRScheduler": _timm_cosine,
    "timm.scheduler.StepLRScheduler": _timm_step,
    "timm.scheduler.MultiStepLRScheduler": _timm_multi_step,
}
"""By qualified name: what the schedule multiplies the optimizer's rate by after t steps."""
