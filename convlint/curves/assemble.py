"""Rows of a log to curves: which column is what, which axis they share, which belong together."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from convlint.curves import recorder
from convlint.curves.comparison import compare
from convlint.curves.course import course
from convlint.curves.facts import Curves
from convlint.curves.naming import STEP_NAMES, Role, is_step, role_of
from convlint.curves.phases import phases, restarts
from convlint.curves.range_tests import range_test
from convlint.curves.recorder import RecordedCurve, Recorder
from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from convlint.curves.facts import Curve, Pair
    from convlint.curves.readers import Log

REPEATED_SHARE = 0.1
"""A counter that stands still or goes back for more than this share of the rows counts something
else (the epoch of a batch): then the rows themselves are counted."""

KEPT_SHARE = 0.7
"""A counter that goes back several times and has fewer distinct values than this share of the rows
counts anew in every epoch; resumed runs repeat less."""

LAST_ROUNDS = 5
"""Rounds of boosting whose median is the end of a curve."""

EPISODE = "episode"

EPOCHS = ("epoch", "epochs")

ROWS = "rows"
"""The axis of such a curve."""

MOST_CURVES = 2_000
"""Columns beyond this many are left out; a log of so many is no table of curves."""


def assemble(
    log: Log,
    path: str,
    *,
    roles: Mapping[str, str] | None = None,
    baseline: float | None = None,
    planned_steps: float | None = None,
) -> Curves:
    """Read all rows of ``log`` and say what they hold.

    ``roles`` maps names of columns to ``train`` or ``validation``, for what the names do not tell.

    Raises:
        UserError: the log cannot be read to its end, or holds no curve.
    """
    recorders, columns = _recorded(log)
    known, ignored = [], []
    given = roles or {}
    missing = [name for name in given if name not in recorders]
    if missing:
        raise UserError(
            f"no column is called {missing[0]!r}; there are: {', '.join(sorted(recorders)[:20])}",
            path=path,
        )
    for name, (record, axis) in recorders.items():
        role = role_of(name)
        if name in given:
            quantity = role.quantity if role.quantity != "other" else "loss"
            role = Role(quantity, given[name], False, "given")
        if role.quantity == "other":
            ignored.append(name)
            continue
        if record.total > 2 and record.decreasing > (1.0 - REPEATED_SHARE) * (record.total - 1):
            raise UserError(
                f"the {axis} of {name} goes down from row to row: whether the newest rows come first"
                f" cannot be told; sort the rows by {axis}",
                path=path,
            )
        known.append(_series(name, role, record, axis))
    known = _split_by_context(known)
    if not any(series.role.quantity in ("loss", "score") for series in known):
        raise UserError(_nothing_found(columns), path=path)
    planned = planned_steps if planned_steps is not None else log.planned_steps
    rate = [s for s in known if s.role.quantity == "learning rate"]
    found = phases(rate[0].steps, rate[0].values) if rate else ()
    swept = range_test(rate[0], _training_losses(known)) if rate else None
    present = (rate[0].axis, found[-1].start) if len(found) > 1 else None
    curves = tuple(
        course(
            series,
            planned_steps=planned,
            baseline=baseline,
            since=present[1] if present and series.axis == present[0] else None,
            swept=swept is not None,
        )
        for series in known
    )
    return Curves(
        path=path,
        format=log.format,
        curves=curves,
        pairs=tuple(_pairs(known, curves)),
        phases=found,
        restarts=restarts(found),
        range_test=swept,
        planned_steps=planned,
        baseline=baseline,
        ignored=(*ignored, *(name for name in columns if name.strip().lower() == EPISODE)),
        remarks=(*log.remarks, *_remarks(known), *_taking_turns(curves)),
    )


def _recorded(log: Log) -> tuple[dict[str, tuple[Recorder, str]], list[str]]:
    """A recorder for each column that does not count, with the name of what counts for it."""
    recorders: dict[str, tuple[Recorder, str]] = {}
    counters: dict[str, str | None] = {}
    evaluated: set[str] = set()
    seen: dict[str, tuple[float, float, float | None]] = {}
    order = {name: position for position, name in enumerate(STEP_NAMES)}
    row = 0
    for line, values in log.rows:
        row += 1
        best, counts = "", {"": float(row)}
        for name in values:
            if name not in counters:
                counters[name] = name.strip().lower() if is_step(name) else None
                if role_of(name).split == "validation":
                    evaluated.add(name)
            counter = counters[name]
            if counter is None or not math.isfinite(values[name]):
                continue
            counts[counter] = values[name]
            if not best or order[counter] < order[best]:
                best = counter
        epoch = counts.get("epoch", counts.get("epochs"))
        for name, value in values.items():
            if counters[name] is not None:
                continue
            before = seen.get(name)
            axis = best if name not in recorders else recorders[name][1]
            # Without its counter a value belongs to the step before it.
            count = counts.get(axis, before[0] if before is not None else float(row))
            # A progress bar shows the last evaluation again and again.
            if before is not None and name in evaluated and _same(before[:2], (count, value)):
                continue
            seen[name] = (count, value, epoch)
            kept = recorders.get(name)
            if kept is not None and before is not None and count <= before[0]:
                kept[0].nested |= _later(epoch, before[2])
            if kept is None:
                if len(recorders) >= MOST_CURVES:
                    continue
                kept = recorders[name] = (Recorder(), best)
            kept[0].add(count, line, value)
    return recorders, list(counters)


def _same(before: tuple[float, float], now: tuple[float, float]) -> bool:
    both_lost = math.isnan(before[1]) and math.isnan(now[1])
    return before[0] == now[0] and (before[1] == now[1] or both_lost)


def _later(epoch: float | None, before: float | None) -> bool:
    return epoch is not None and before is not None and epoch > before


def _series(name: str, role: Role, record: Recorder, axis: str) -> RecordedCurve:
    blocks = record.blocks()
    again = record.repeated + record.decreasing
    distinct = np.unique(blocks[:, recorder.STEP]).size if record.decreasing > 1 else len(blocks)
    if (
        again > REPEATED_SHARE * record.total
        or (record.nested and axis not in EPOCHS)
        or distinct < KEPT_SHARE * len(blocks)
    ):
        counted = blocks.copy()
        counted[:, recorder.STEP] = np.cumsum(blocks[:, recorder.COUNT])
        return RecordedCurve(name, role, counted, ROWS, 0, 0)
    if record.repeated or record.decreasing:
        # Of a step that comes twice the later row holds: the run was resumed before it.
        backwards = blocks[::-1]
        _, first = np.unique(backwards[:, recorder.STEP], return_index=True)
        blocks = backwards[first]
    return RecordedCurve(name, role, blocks, axis, record.repeated, record.decreasing)


def _split_by_context(known: list[RecordedCurve]) -> list[RecordedCurve]:
    """A loss called just ``loss`` is that of training; beside a validation loss, certainly."""
    first = _first_evaluation_sets(known)
    return [
        replace(s, role=Role(s.role.quantity, "train", s.role.part, s.role.stem))
        if s.role.quantity in ("loss", "score") and (not s.role.split or s.name in first)
        else s
        for s in known
    ]


def _first_evaluation_sets(series: list[RecordedCurve]) -> set[str]:
    """Curves of XGBoost's ``validation_0`` that are those of training.

    Its scikit-learn interface numbers the evaluation sets it is given; where there are several, the
    data trained on come first by custom, and have the better end then.
    """
    named = {s.name: s for s in series}
    found = set()
    for name, zeroth in named.items():
        second = named.get(name.replace("validation_0", "validation_1"))
        if second is None or second is zeroth or zeroth.role.quantity not in ("loss", "score"):
            continue
        known = [s.values[np.isfinite(s.values)][-LAST_ROUNDS:] for s in (zeroth, second)]
        if any(not values.size for values in known):
            continue
        trained, other = (float(np.median(values)) for values in known)
        if trained < other if zeroth.role.quantity == "loss" else trained > other:
            found.add(name)
    return found


def _training_losses(known: list[RecordedCurve]) -> list[RecordedCurve]:
    return [
        s
        for s in known
        if s.role.quantity == "loss" and s.role.split == "train" and not s.role.part
    ]


def _pairs(known: list[RecordedCurve], curves: tuple[Curve, ...]) -> list[Pair]:
    """Training and validation losses of one stem, with the validation score beside them."""
    named = {curve.name: curve for curve in curves}
    scores = [s for s in known if s.role.quantity == "score" and s.role.split == "validation"]
    score = scores[0] if scores else None
    pairs = []
    for validation in known:
        role = validation.role
        if role.quantity != "loss" or role.split != "validation" or role.part:
            continue
        partners = [s for s in _training_losses(known) if s.role.stem == role.stem]
        if not partners:
            continue
        # Of a loss per step and one per epoch the latter is measured as validation is.
        training = min(
            partners, key=lambda s: (abs(len(s.blocks) - len(validation.blocks)), s.name)
        )
        pair = compare(training, validation, named[validation.name], score)
        if pair is not None:
            pairs.append(pair)
    return pairs


def _remarks(known: list[RecordedCurve]) -> list[str]:
    back = max((s.decreasing for s in known), default=0)
    repeated = max((s.repeated for s in known), default=0)
    lost = sum(int(s.blocks[:, recorder.LOST].sum()) for s in known)
    remarks = []
    if back:
        times = "once" if back == 1 else f"{back} times"
        remarks.append(f"steps go back {times} (a resumed run?); the later rows hold")
    if repeated:
        steps = "one step comes" if repeated == 1 else f"{repeated} steps come"
        remarks.append(f"{steps} twice; the later row holds")
    if any(s.axis == ROWS for s in known):
        remarks.append("steps stand still or go back too often; the rows are counted instead")
    if lost:
        remarks.append("one value is not finite" if lost == 1 else f"{lost} values are not finite")
    return remarks


def _taking_turns(curves: tuple[Curve, ...]) -> list[str]:
    return [
        f"{curve.name} takes turns between {curve.turns} levels: losses of several things under one"
        " name are to be logged apart; of one loss, too long steps would look the same"
        for curve in curves
        if curve.turns
    ]


def _nothing_found(columns: list[str]) -> str:
    if not columns:
        return "the log holds no number"
    shown = ", ".join(columns[:8]) + (", …" if len(columns) > 8 else "")
    return f"no column is known as a loss or a score ({shown}); name one with --train"
