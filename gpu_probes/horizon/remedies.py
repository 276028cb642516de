"""Which change would have helped this run, and by how much? (PROBES.md R2)

Every candidate replays the recorded steps from the same start, on the same batches in the same
orders, with the same random draws, and is judged on the same held-out batches; what differs is the
change alone. Candidates that do worst in the first orders are given up (successive halving), the
others compared with the run as it is by a paired test in several orders.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.horizon.ranking import Trials, ranked
from convlint.gpu_probes.observations.remedies import KEEP, Remedies
from convlint.gpu_probes.tape import Change, TapeUnavailable
from convlint.gpu_probes.tape.trajectory import RecordedStep, replay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from convlint.gpu_probes.horizon.counterfactuals import Candidate, Rewrite
    from convlint.gpu_probes.tape.trajectory import Start

CHECKPOINTS = 4
FEWEST_ORDERS = 4
SECOND_ROUND_ORDERS = 2

LADDER = 10.0
LONGEST_LADDER = 8
"""Rungs added at most: from a rate of 1e-11 to one of 1e-3."""

TIMED_STEPS = 5
COMPARED_STEPS = 10
REPRODUCED = 0.02
"""Share of the loss by which a replay may miss the run: rounding on a GPU grows from step to step,
a fault in the replay shows in the first steps."""

LEFT = 2.0
"""A loss that has left counts as this many times the initial one, or the differences between runs
that diverge would outweigh everything."""


@dataclass(frozen=True)
class Effort:
    """Steps a candidate is followed, and how many of them in how many orders at the end.

    Below 100 steps the ranking says little about the end of a run, and favours learning rates that
    are too small. With four degrees of freedom one of twenty candidates needs an effect of six
    standard errors after Holm's correction, with three one of eight.
    """

    horizon: int
    orders: int
    finalists: int

    def steps(self, candidates: int) -> float:
        """Steps taken in all."""
        halved = max(0, candidates // 3 - self.finalists)
        later = SECOND_ROUND_ORDERS * halved + self.orders * (self.finalists + 1)
        return self.horizon * (candidates / 2 + later)


EFFORTS = (Effort(200, 5, 4), Effort(200, 4, 3), Effort(150, 4, 3), Effort(100, 4, 3))
"""The most there is time for."""

_WITHOUT_DROPOUT = Change(dropout=False)


class OutOfTime(Exception):
    """The deadline came before there was anything to say."""


@dataclass
class Comparison:
    """Candidates compared on the steps of one run.

    ``steps`` are trained on, the tapes of ``held_out`` evaluated, each carrying ``scale`` times its
    loss. ``deadline`` is a ``time.monotonic`` instant. ``constant`` is the loss of the best
    constant prediction where it is known; ``rung`` makes the candidate of another learning rate;
    ``progress`` is told the steps taken and about to be taken in all.
    """

    start: Start
    steps: Sequence[RecordedStep]
    held_out: Sequence[RecordedStep]
    deadline: float
    constant: float | None = None
    rung: Callable[[float], Candidate] | None = None
    progress: Callable[[int, int], None] | None = None
    effort: Effort = EFFORTS[0]
    _taken: int = field(default=0, init=False)
    _total: int = field(default=0, init=False)
    _limit: float = field(default=math.inf, init=False)
    _judged_by: tuple[Rewrite, ...] = field(default=(), init=False)
    _evaluated: dict[int, list[RecordedStep]] = field(default_factory=dict, init=False)
    _trained: dict[int, list[RecordedStep]] = field(default_factory=dict, init=False)

    def run(self, candidates: Sequence[Candidate]) -> Remedies:
        """Compare ``candidates``, the first of which is the run as it is.

        Raises:
            TapeUnavailable: the run itself cannot be replayed.
            OutOfTime: too little time for a horizon that says anything.
        """
        began = time.monotonic()
        correcting = [c for c in candidates if c.corrects]
        self._judged_by = tuple(c.rewrite for c in correcting if c.rewrite is not None)
        field_ = [c for c in candidates if self._replayable(c)]
        keep = field_[0]
        initial = self._loss(keep, {id(o): p for o, p in self._started()})
        if not math.isfinite(initial):
            raise TapeUnavailable("the loss is not finite at the start")
        self._limit = initial + (LEFT - 1.0) * max(abs(initial), 1e-6)
        self.effort = self._affordable(keep, len(field_))
        self._total = round(self.effort.steps(len(field_)))
        trials = Trials(checkpoints=self._checkpoints())
        field_ = self._first_round(field_, trials)
        tried = len(field_)
        self._second_round(field_, trials)
        return Remedies(
            tried=tuple(ranked(trials, field_, self._untrained(initial), effective=max(tried, 1))),
            initial=initial,
            untrained=self._untrained(initial),
            horizon=self.effort.horizon,
            checkpoints=trials.checkpoints,
            batches=len(self.steps),
            held_out=len(self.held_out),
            orders=trials.orders(keep),
            measure="; ".join(c.corrects for c in correcting),
            limit=self._limit,
            seconds=time.monotonic() - began,
        )

    def _started(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(zip(self.start.originals, self.start.parameters, strict=True))

    def _untrained(self, initial: float) -> float:
        return initial if self.constant is None else min(initial, self.constant)

    def _replayable(self, candidate: Candidate) -> bool:
        """Rewrite the steps as the candidate has it; False where they cannot all be."""
        own = () if candidate.rewrite is None else (candidate.rewrite,)
        judged = (*own, *(r for r in self._judged_by if r not in own))
        try:
            self._trained[id(candidate)] = [_rewritten(step, own) for step in self.steps]
            self._evaluated[id(candidate)] = [_rewritten(step, judged) for step in self.held_out]
        except TapeUnavailable:
            if candidate.kind == KEEP:
                raise
            return False
        return True

    def _affordable(self, keep: Candidate, count: int) -> Effort:
        """The most there is time for."""
        began = time.monotonic()
        self._follow(keep, 0, TIMED_STEPS, TIMED_STEPS, (TIMED_STEPS,))
        step = (time.monotonic() - began) / TIMED_STEPS
        left = self.deadline - time.monotonic()
        for effort in EFFORTS:
            if step * effort.steps(count) <= left:
                return effort
        least = EFFORTS[-1]
        raise OutOfTime(
            f"{least.horizon} steps of {count} changes take about"
            f" {step * least.steps(count):.0f} s and there are {max(0.0, left):.0f} s"
        )

    def _checkpoints(self) -> tuple[int, ...]:
        return tuple(self.effort.horizon * k // CHECKPOINTS for k in range(1, CHECKPOINTS + 1))

    def _first_round(self, field_: list[Candidate], trials: Trials) -> list[Candidate]:
        """Every candidate in one order over half the horizon; the learning rates' ladder grows."""
        for candidate in field_:
            self._sketch(candidate, trials)
        rungs = [c for c in field_ if c.factor is not None]
        while self.rung is not None and rungs and len(rungs) < len(field_) + LONGEST_LADDER:
            by_factor = sorted([field_[0], *rungs], key=lambda c: c.factor or 1.0)
            best = min(by_factor, key=lambda c: trials.sketch(c))
            if best is field_[0] or best not in (by_factor[0], by_factor[-1]):
                break
            assert best.factor is not None
            step = LADDER if best.factor > 1.0 else 1.0 / LADDER
            if best.factor * step > LADDER**LONGEST_LADDER or best.factor * step < 1e-6:
                break
            added = self.rung(best.factor * step)
            if not self._replayable(added):
                break
            self._sketch(added, trials)
            rungs.append(added)
        return [*(c for c in field_ if c.factor is None), *rungs]

    def _sketch(self, candidate: Candidate, trials: Trials) -> None:
        half = self.effort.horizon // 2
        points = tuple(point for point in trials.checkpoints if point <= half)
        trials.note_sketch(candidate, self._follow(candidate, 0, half, self.effort.horizon, points))

    def _second_round(self, field_: list[Candidate], trials: Trials) -> None:
        """A third of them in two orders over the whole horizon, the best in all orders."""
        keep, *others = field_
        others.sort(key=lambda c: (not c.answers, trials.sketch(c)))
        certain = sum(bool(c.answers) for c in others)
        others = others[: max(certain, self.effort.finalists, len(field_) // 3)]
        for order in range(self.effort.orders):
            if order == SECOND_ROUND_ORDERS:
                others.sort(key=lambda c: trials.mean(c))
                others = others[: self.effort.finalists]
            try:
                for candidate in (keep, *others):
                    losses = self._follow(
                        candidate,
                        order,
                        self.effort.horizon,
                        self.effort.horizon,
                        trials.checkpoints,
                    )
                    trials.note(candidate, order, losses)
            except OutOfTime:
                if order < FEWEST_ORDERS:
                    raise
                trials.forget(order)
                return

    def _follow(
        self,
        candidate: Candidate,
        order: int,
        steps: int,
        horizon: int,
        checkpoints: tuple[int, ...],
    ) -> tuple[float, ...]:
        """The held-out loss at each checkpoint of one replay, cut off at the limit."""
        found: list[float] = []

        def taken(count: int, leaves: dict[int, torch.Tensor]) -> None:
            if count in checkpoints:
                found.append(self._loss(candidate, leaves))

        def until(_number: int, _loss: float) -> bool:
            if time.monotonic() >= self.deadline:
                raise OutOfTime("the budget was used up")
            return False

        sequence = _in_order(self._trained[id(candidate)], order, steps)
        replay(self.start, sequence, candidate.course(order, horizon), until=until, taken=taken)
        self._taken += steps
        if self.progress is not None and self._total:
            self.progress(min(self._taken, self._total), self._total)
        found += [math.inf] * (len(checkpoints) - len(found))
        return tuple(min(x, self._limit) if x == x else self._limit for x in found)

    def _loss(self, candidate: Candidate, values: dict[int, torch.Tensor]) -> float:
        total = 0.0
        with torch.no_grad():
            for step in self._evaluated[id(candidate)]:
                for tape in step.tapes:
                    given = [values.get(id(p), p) for p in tape.parameters]
                    loss = tape.loss(given, change=_WITHOUT_DROPOUT)
                    total += float(loss.sum()) / step.loss_scale
        return total / len(self.held_out)


def departs(start: Start, steps: Sequence[RecordedStep], losses: Sequence[float | None]) -> str:
    """Where a replay of the run as it was leaves it, in one clause; nothing when it does not.

    ``losses`` are those of the run at ``steps``.

    Raises:
        TapeUnavailable: a step cannot be replayed.
    """
    from convlint.gpu_probes.horizon.counterfactuals import AS_IT_IS

    seen = replay(start, steps[:COMPARED_STEPS], AS_IT_IS).losses
    for number, (again, loss) in enumerate(zip(seen, losses, strict=False)):
        if loss is None or not math.isfinite(again):
            return ""
        if abs(again - loss) > REPRODUCED * max(abs(loss), 1e-3):
            return f"replayed, step {number + 1} has a loss of {again:.4g} instead of {loss:.4g}"
    return ""


def _rewritten(step: RecordedStep, rewrites: Sequence[Rewrite]) -> RecordedStep:
    if not rewrites:
        return step
    tapes = []
    for tape in step.tapes:
        for rewrite in rewrites:
            tape = rewrite(tape)
        tapes.append(tape)
    return replace(step, tapes=tuple(tapes))


def _in_order(steps: Sequence[RecordedStep], order: int, count: int) -> list[RecordedStep]:
    """``count`` steps over the recorded batches, again and again, the first time as recorded.

    In all orders but the first the batches come as a random permutation. What belongs to the
    number of a step (rates, clips, how gradients are handled) stays with it; that of the last one
    goes on beyond the recording.
    """
    draw = random.Random(order)
    sequence: list[int] = []
    while len(sequence) < count:
        epoch = list(range(len(steps)))
        if order or sequence:
            draw.shuffle(epoch)
        sequence += epoch
    return [
        replace(
            steps[min(number, len(steps) - 1)],
            tapes=steps[batch].tapes,
            loss_scale=steps[batch].loss_scale,
        )
        for number, batch in enumerate(sequence[:count])
    ]
