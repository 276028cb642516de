"""Learning-rate schedules as functions of time: the closed form of every scheduler.

Every scheduler of torch.optim.lr_scheduler, transformers and timm whose course is decided by its
arguments becomes a *course*: a function from the number of scheduler steps taken to the learning
rate. The formulas are the closed forms of the documentation of PyTorch.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING

from convlint.rules.patterns.course_arguments import CourseArguments, Unfolded
from convlint.rules.patterns.library_courses import LIBRARY_FACTORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from convlint.program.facts import Object

__all__ = ["Course", "course_of", "scheduler_class", "short_name"]

Course = Callable[[int], float | None]
"""Learning rate after t scheduler steps; None past the end the scheduler accepts."""

_PREFIX = "torch.optim."


def scheduler_class(scheduler: Object) -> str:
    """The short class name of a torch scheduler, or "" for any other."""
    return short_name(scheduler) if scheduler.cls.startswith(_PREFIX) else ""


def short_name(scheduler: Object) -> str:
    """The class or function a scheduler was made by, without its package."""
    return scheduler.cls.rpartition(".")[2]


def course_of(scheduler: Object, objects: Mapping[int, Object]) -> Course | None:
    """The course of ``scheduler``, or None when an argument it depends on is not known.

    Rates are absolute when the optimizer's learning rate is known; otherwise the first rate is
    taken as 1, and a schedule that mixes in an absolute rate (``eta_min``) has no course.
    """
    try:
        return _build(scheduler, objects)
    except Unfolded:
        return None


def _base_rate(scheduler: Object, objects: Mapping[int, Object]) -> float | None:
    """The learning rate of the scheduler's optimizer, when it is one known number."""
    value = scheduler.args.get("optimizer")
    optimizer = objects.get(value.object) if value and value.object is not None else None
    rate = optimizer.args.get("lr") if optimizer is not None else None
    return rate.number if rate is not None else None


def _build(scheduler: Object, objects: Mapping[int, Object]) -> Course:
    name = scheduler_class(scheduler)
    arguments = CourseArguments(scheduler.args)
    base = _base_rate(scheduler, objects)
    if arguments.given("last_epoch") and arguments.number("last_epoch") != -1:
        raise Unfolded  # resumed: the course does not start at its beginning
    if name in _MULTIPLICATIVE:
        factor = _MULTIPLICATIVE[name](arguments)
        start = 1.0 if base is None else base
        return lambda t: start * factor(t)
    if name in _ABSOLUTE:
        return _ABSOLUTE[name](arguments, base)
    if name == "SequentialLR":
        return _sequential(arguments, objects)
    if name == "ChainedScheduler":
        return _chained(arguments, base, objects)
    if name in ("LambdaLR", "MultiplicativeLR"):
        factors = [_FUNCTIONAL[name](table) for table in arguments.tables("lr_lambda")]
        return _tabulated(1.0 if base is None else base, factors)
    library = LIBRARY_FACTORS.get(scheduler.cls)
    if library is not None:
        scaled = library(arguments, base)
        start = 1.0 if base is None else base
        return lambda t: start * scaled(t)
    raise Unfolded


Factor = Callable[[int], float]


def _step(arguments: CourseArguments) -> Factor:
    size, gamma = arguments.positive("step_size"), arguments.number("gamma", 0.1)
    return lambda t: gamma ** (t // size)


def _multi_step(arguments: CourseArguments) -> Factor:
    milestones = sorted(arguments.numbers("milestones"))
    gamma = arguments.number("gamma", 0.1)
    return lambda t: gamma ** bisect_right(milestones, t)


def _constant(arguments: CourseArguments) -> Factor:
    factor, total = arguments.number("factor", 1 / 3), arguments.number("total_iters", 5)
    return lambda t: factor if t < total else 1.0


def _linear(arguments: CourseArguments) -> Factor:
    start = arguments.number("start_factor", 1 / 3)
    end = arguments.number("end_factor", 1.0)
    total = arguments.positive("total_iters", 5)
    return lambda t: start + (end - start) * min(t, total) / total


def _exponential(arguments: CourseArguments) -> Factor:
    gamma = arguments.number("gamma")
    return lambda t: gamma**t


def _polynomial(arguments: CourseArguments) -> Factor:
    total = arguments.positive("total_iters", 5)
    power = arguments.number("power", 1.0)
    return lambda t: float((1 - min(t, total) / total) ** power)


_MULTIPLICATIVE: dict[str, Callable[[CourseArguments], Factor]] = {
    "StepLR": _step,
    "MultiStepLR": _multi_step,
    "ConstantLR": _constant,
    "LinearLR": _linear,
    "ExponentialLR": _exponential,
    "PolynomialLR": _polynomial,
}
"""Schedulers that scale the rate they find, whatever it is."""


PartialFactor = Callable[[int], float | None]


def _tabulated(start: float, factors: list[PartialFactor]) -> Course:
    """The course of the parameter group that keeps the highest rate."""

    def course(t: int) -> float | None:
        values = [factor(t) for factor in factors]
        known = [value for value in values if value is not None]
        return start * max(known) if len(known) == len(values) else None

    return course


def _looked_up(table: dict[int, float]) -> PartialFactor:
    """Entries of a table; where it is sparse, on the line between its neighbours."""
    steps = sorted(table)

    def factor(t: int) -> float | None:
        position = bisect_right(steps, t)
        if not position or (position == len(steps) and steps[-1] != t):
            return None
        before = steps[position - 1]
        if before == t:
            return table[t]
        after = steps[position]
        share = (t - before) / (after - before)
        return table[before] + share * (table[after] - table[before])

    return factor


def _accumulated(table: dict[int, float]) -> PartialFactor:
    """Products of the entries 1 to t of a table without gaps, or of one constant entry."""
    steps = sorted(table)
    if len({table[t] for t in steps[1:]}) == 1:
        constant = table[steps[1]]
        return lambda t: float(constant**t) if t <= steps[-1] else None
    products = [1.0]
    for expected, step in enumerate(steps[1:], start=1):
        if step != expected:
            break
        products.append(products[-1] * table[step])
    return lambda t: products[t] if t < len(products) else None


_FUNCTIONAL: dict[str, Callable[[dict[int, float]], PartialFactor]] = {
    "LambdaLR": _looked_up,
    "MultiplicativeLR": _accumulated,
}


def _annealed(high: float, low: float, share: float) -> float:
    """Half a cosine from ``high`` (share 0) to ``low`` (share 1)."""
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


def _ends(arguments: CourseArguments, base: float | None) -> tuple[float, float]:
    """The highest and lowest rate of a cosine schedule."""
    low = arguments.number("eta_min", 0.0)
    if base is None:
        if low != 0.0:
            raise Unfolded
        return 1.0, 0.0
    return base, low


def _cosine(arguments: CourseArguments, base: float | None) -> Course:
    high, low = _ends(arguments, base)
    horizon = arguments.positive("T_max")
    return lambda t: _annealed(high, low, t / horizon)


def _warm_restarts(arguments: CourseArguments, base: float | None) -> Course:
    high, low = _ends(arguments, base)
    first, multiplier = arguments.positive("T_0"), arguments.positive("T_mult", 1)
    if multiplier < 1:
        raise Unfolded

    def course(t: int) -> float:
        since, period = float(t), first
        if multiplier == 1:
            since %= period
        while since >= period:
            since, period = since - period, period * multiplier
        return _annealed(high, low, since / period)

    return course


def _cyclic(arguments: CourseArguments, base: float | None) -> Course:
    low, high = arguments.number("base_lr"), arguments.number("max_lr")
    up = arguments.positive("step_size_up", 2000)
    down = arguments.positive("step_size_down") if arguments.given("step_size_down") else up
    mode, gamma = arguments.text("mode", "triangular"), arguments.number("gamma", 1.0)
    if arguments.given("scale_fn") or mode not in ("triangular", "triangular2", "exp_range"):
        raise Unfolded

    def course(t: int) -> float:
        cycle, place = divmod(t, up + down)
        height = place / up if place <= up else (up + down - place) / down
        if mode == "triangular2":
            height /= 2**cycle
        elif mode == "exp_range":
            height *= gamma**t
        return low + (high - low) * height

    return course


def _one_cycle(arguments: CourseArguments, base: float | None) -> Course:
    if arguments.given("total_steps"):
        total = arguments.positive("total_steps")
    else:
        total = arguments.positive("epochs") * arguments.positive("steps_per_epoch")
    peak = arguments.number("max_lr")
    first = peak / arguments.positive("div_factor", 25.0)
    last = first / arguments.positive("final_div_factor", 1e4)
    rise = arguments.number("pct_start", 0.3)
    linear = arguments.text("anneal_strategy", "cos") == "linear"
    if arguments.flag("three_phase"):
        turns = [(rise * total - 1, first, peak), (2 * rise * total - 2, peak, first)]
        turns.append((total - 1, first, last))
    else:
        turns = [(rise * total - 1, first, peak), (total - 1, peak, last)]

    def course(t: int) -> float | None:
        if t > total:
            return None  # PyTorch raises
        begin = 0.0
        for end, start_rate, end_rate in turns[:-1]:
            if t <= end:
                return between(begin, end, start_rate, end_rate, t)
            begin = end
        return between(begin, *turns[-1], t)

    def between(begin: float, end: float, start_rate: float, end_rate: float, t: int) -> float:
        share = (t - begin) / (end - begin) if end != begin else 1.0
        if linear:
            return start_rate + (end_rate - start_rate) * share
        return _annealed(start_rate, end_rate, share)

    return course


_ABSOLUTE: dict[str, Callable[[CourseArguments, float | None], Course]] = {
    "CosineAnnealingLR": _cosine,
    "CosineAnnealingWarmRestarts": _warm_restarts,
    "CyclicLR": _cyclic,
    "OneCycleLR": _one_cycle,
}
"""Schedulers whose rate does not only scale the optimizer's."""


def _sequential(arguments: CourseArguments, objects: Mapping[int, Object]) -> Course:
    courses = [_build(child, objects) for child in arguments.children(objects)]
    milestones = arguments.numbers("milestones")
    if len(courses) != len(milestones) + 1:
        raise Unfolded

    def course(t: int) -> float | None:
        position = bisect_right(milestones, t)
        since = t - (int(milestones[position - 1]) if position else 0)
        return courses[position](since)

    return course


def _chained(
    arguments: CourseArguments, base: float | None, objects: Mapping[int, Object]
) -> Course:
    """All children scale the same rate at every step; those that set it cannot be chained."""
    factors: list[Factor] = []
    limit = math.inf
    for child in arguments.children(objects):
        base = base if base is not None else _base_rate(child, objects)
        own = CourseArguments(child.args)
        name = scheduler_class(child)
        if name in _MULTIPLICATIVE:
            factors.append(_MULTIPLICATIVE[name](own))
        elif name == "CosineAnnealingLR" and own.number("eta_min", 0.0) == 0.0:
            # Past its horizon the recursive form restarts from the base rate: no factor any more.
            limit = min(limit, own.positive("T_max"))
            factors.append(_cosine_factor(own))
        else:
            raise Unfolded
    start = 1.0 if base is None else base
    return lambda t: start * math.prod(factor(t) for factor in factors) if t <= limit else None


def _cosine_factor(arguments: CourseArguments) -> Factor:
    horizon = arguments.positive("T_max")
    return lambda t: _annealed(1.0, 0.0, t / horizon)
