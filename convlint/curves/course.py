"""How one curve runs: class, levels, swings, spikes, where it became flat, where it will be."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from convlint.curves import recorder
from convlint.curves.alternation import bounces, turns_of
from convlint.curves.classify import convergence
from convlint.curves.facts import Curve, Cycle, Gap, Plateau
from convlint.curves.forecast import AHEAD, forecast
from convlint.curves.spikes import spikes
from convlint.curves.trend import noise_level, oscillation, trend

if TYPE_CHECKING:
    from convlint.curves.recorder import RecordedCurve
    from convlint.curves.trend import Series as Values

MOST_POINTS = 400
"""Statistics are those of at most so many medians of blocks: pairwise slopes cost the square."""

FEWEST_POINTS = 10

SHAPE_POINTS = 60

PLATEAU_SHARES = (0.8, 0.65, 0.5, 0.35, 0.25)
"""Ends of the series tried for a plateau, longest first."""

FLAT_OF_PROGRESS = 0.01
FLAT_OF_NOISE = 2.0
"""Flat: the fall over the end, with its error, is below 1 % of the progress made, or below two
standard errors of the mean of the end."""

FLAT_OF_LEVEL = 0.05
"""And below this share of its level: an error that goes on shrinking, however small, is not flat."""

ONE_SIDED_95 = 1.645

TURNS_MISTAKEN = ("oscillating", "diverging", "stalled", "slow")
"""What losses that take turns in one column are taken for."""


def course(
    series: RecordedCurve,
    *,
    planned_steps: float | None,
    baseline: float | None,
    since: float | None = None,
    swept: bool = False,
) -> Curve:
    """Everything known of one series; ``since`` is the step of the last drop of the learning rate,
    before which nothing says how it converges now, ``swept`` whether the rate is that of a range
    test, under which no loss converges."""
    blocks = series.blocks
    finite = np.isfinite(series.values)
    values, steps, lines = series.values[finite], series.steps[finite], series.lines[finite]
    lost_from, lost_line = _lost_from(series)
    curve = Curve(
        name=series.name,
        quantity=series.role.quantity,
        split=series.role.split,
        part=series.role.part,
        points=int(blocks[:, recorder.COUNT].sum()),
        first_step=float(series.steps[0]),
        last_step=float(series.steps[-1]),
        first_line=int(series.lines[0]),
        last_line=int(series.lines[-1]),
        lowest=float(np.nanmin(blocks[:, recorder.LOW])) if values.size else None,
        highest=float(np.nanmax(blocks[:, recorder.HIGH])) if values.size else None,
        lost=int(blocks[:, recorder.LOST].sum()),
        lost_from=lost_from,
        lost_line=lost_line,
    )
    if not values.size:
        return curve
    thin, at, line = thinned(values, steps, lines)
    width = max(3, thin.size // 10)
    changes: dict[str, object] = {
        "first": float(np.median(thin[:width])),
        "last": float(np.median(thin[-width:])),
        "noise": noise_level(thin) if thin.size >= 4 else None,
        "shape": tuple(float(v) for v in _evenly(thin, SHAPE_POINTS)),
    }
    if series.role.quantity == "score":
        changes["gap"] = _gap(values, steps, lines, higher=True)
    if series.role.quantity == "loss" and not swept:
        if series.role.split == "validation":
            changes["gap"] = _gap(values, steps, lines, higher=False)
        start = 0 if since is None else int(np.searchsorted(at, since))
        changes.update(_of_loss(series, values, thin, at, line, planned_steps, baseline, start))
    return msgspec.structs.replace(curve, **changes)


def _of_loss(
    series: RecordedCurve,
    raw: Values,
    thin: Values,
    at: Values,
    line: Values,
    planned_steps: float | None,
    baseline: float | None,
    start: int,
) -> dict[str, object]:
    bound = 0.0 if float(thin.min()) >= 0.0 else None
    planned = None
    if planned_steps is not None and series.steps[-1] > 0:
        planned = max(thin.size, round(thin.size * planned_steps / float(series.steps[-1])))
    seen = convergence(
        [float(v) for v in thin], lower_bound=bound, baseline=baseline, planned_steps=planned
    )
    cycle = oscillation(thin)
    kind, note = seen.kind, seen.note
    turns = turns_of(raw) if kind in TURNS_MISTAKEN else ()
    if turns and not bounces(raw, turns):
        kinds = {convergence([float(v) for v in part], lower_bound=bound).kind for part in turns}
        if kinds == {"converging"}:
            return {"kind": "converging", "turns": len(turns)}
        if kinds != {"diverging"}:
            return {"kind": "undetermined", "turns": len(turns)}
    if start:
        # A convergence rate is that of one learning rate: the whole says only whether all is well.
        seen = convergence([float(v) for v in thin[start:]], lower_bound=bound)
    rate = seen.rate.value if seen.rate is not None else None
    # What came before the part that one rate describes says nothing of what is to come.
    one_course = seen.rate.n if seen.rate is not None else thin.size - start
    per_point = float(at[-1] - at[0]) / max(at.size - 1, 1)
    return {
        "kind": kind,
        "note": note,
        "rate_class": seen.rate_class,
        "rate": rate ** (1.0 / per_point)
        if rate is not None and seen.rate_class == "linear" and per_point > 0
        else rate,
        "cycle": None
        if cycle is None
        else Cycle(cycle.amplitude, cycle.period * per_point, cycle.p_value, cycle.sustained),
        "spikes": spikes(series.blocks),
        "plateau": plateau(thin, at, line),
        "forecast": forecast(
            thin[-one_course:],
            at[-one_course:],
            float(at[0]) + AHEAD * float(at[-1] - at[0])
            if planned_steps is None
            else planned_steps,
            bound,
        )
        if kind in ("converging", "slow") and one_course
        else None,
    }


def thinned(values: Values, steps: Values, lines: Values) -> tuple[Values, Values, Values]:
    """Medians of blocks, and the last step and first line of each; at most ``MOST_POINTS``."""
    per = -(-values.size // MOST_POINTS)
    if per == 1:
        return values, steps, lines
    whole = values.size - values.size % per
    return (
        np.median(values[:whole].reshape(-1, per), axis=1),
        steps[:whole].reshape(-1, per)[:, -1],
        lines[:whole].reshape(-1, per)[:, 0],
    )


def plateau(values: Values, steps: Values, lines: Values) -> Plateau | None:
    """The longest end without a fall that counts; None when the end still falls, or is short."""
    n = values.size
    progress = max(float(values[: max(3, n // 10)].max() - values.min()), 0.0)
    for share in PLATEAU_SHARES:
        start = n - int(share * n)
        end = values[start:]
        if end.size < FEWEST_POINTS:
            return None
        line = trend(end)
        fall = (-line.slope + ONE_SIDED_95 * line.error) * end.size
        noise = noise_level(end)
        # The same fall, had the noise alone made it: two errors of the mean of the end.
        level = abs(float(np.median(end)))
        allowed = max(
            min(FLAT_OF_PROGRESS * progress, FLAT_OF_LEVEL * level),
            FLAT_OF_NOISE * noise / end.size**0.5,
        )
        moves = line.p_falling < 0.01 or line.p_rising < 0.01
        if fall < allowed or (not moves and fall < 2.0 * allowed):
            return Plateau(
                float(steps[start]),
                int(lines[start]),
                float(np.median(end)),
                share,
                max(float(fall), 0.0),
            )
    return None


def _gap(values: Values, steps: Values, lines: Values, *, higher: bool) -> Gap | None:
    """The longest wait for a new best that ended in one."""
    better = values if higher else -values
    best, at = better[0], 0
    longest: Gap | None = None
    for index in range(1, better.size):
        if better[index] > best:
            waited = index - at
            if longest is None or waited > longest.evaluations:
                longest = Gap(
                    waited,
                    float(steps[at]),
                    float(steps[index]),
                    int(lines[index]),
                    float(better[index:].max() - best),
                )
            best, at = better[index], index
    return longest


def _lost_from(series: RecordedCurve) -> tuple[float | None, int]:
    """Where the values that are not finite begin that last to the end."""
    finite = np.nonzero(np.isfinite(series.values))[0]
    start = int(finite[-1]) + 1 if finite.size else 0
    if start >= series.values.size:
        return None, 1
    return float(series.steps[start]), int(series.lines[start])


def _evenly(values: Values, count: int) -> Values:
    if values.size <= count:
        return values
    cuts = np.linspace(0, values.size, count + 1).astype(int)
    return np.array([np.median(values[a:b]) for a, b in itertools.pairwise(cuts)])
