"""The table of remedies: what was measured of each candidate, tested and put in order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convlint.gpu_probes.horizon.paired_test import holm, mean_and_error, paired_tail
from convlint.gpu_probes.observations.remedies import (
    BETTER,
    DROPPED,
    KEEP,
    SAME,
    SLIGHT,
    WORSE,
    Remedy,
)
from convlint.gpu_probes.quantities.uncertainty import measured_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.horizon.counterfactuals import Candidate

LEVEL = 0.05
SIGMAS = 3.0
"""Standard errors an effect must exceed, beside the test."""

WORTH = 0.25
"""Share of the way from an untrained model to the lowest loss reached that an effect must make up.
Within a few hundred steps most healthy runs go faster at three or ten times their rate, by up to a
fifth of the way on networks for digits; faults cost half of it and more."""
WORTH_AS_ANSWER = 0.1
"""The same for a change that answers a finding: there the fault is known, and only what it costs is
in question. Nor need its lead last: a run that limps arrives in the end."""

SHRINKING = 0.9
"""An effect that falls below this share of itself from the last checkpoint but one to the last is a
head start, not a remedy: the run as it is catches up."""
LARGE = 1 / 3
"""Share of the way from which on an effect counts even so: the run as it is has hardly begun."""

TIED = 0.05
"""Losses within this share of the same way are equally good; the change nearer to the cause goes
first."""

_NEAREST_FIRST = (
    "code",
    "learning rate",
    "schedule",
    "clipping",
    "warm-up",
    "momentum",
    "initial scale",
    "weight decay",
    "optimizer",
)


@dataclass
class Trials:
    """The held-out losses at each of ``checkpoints``, by candidate and order of the batches."""

    checkpoints: tuple[int, ...]
    _losses: dict[int, dict[int, tuple[float, ...]]] = field(default_factory=dict)
    _sketches: dict[int, tuple[float, ...]] = field(default_factory=dict)

    def note(self, candidate: Candidate, order: int, losses: tuple[float, ...]) -> None:
        """One replay over the whole horizon."""
        self._losses.setdefault(id(candidate), {})[order] = losses

    def forget(self, order: int) -> None:
        """Drop an order that not every candidate completed."""
        for by_order in self._losses.values():
            by_order.pop(order, None)

    def note_sketch(self, candidate: Candidate, losses: tuple[float, ...]) -> None:
        """One replay over half the horizon."""
        self._sketches[id(candidate)] = losses

    def sketch(self, candidate: Candidate) -> float:
        """The last loss over half the horizon."""
        return self._sketches[id(candidate)][-1]

    def orders(self, candidate: Candidate) -> int:
        """In how many orders the candidate was followed over the whole horizon."""
        return len(self._losses.get(id(candidate), {}))

    def of(self, candidate: Candidate) -> dict[int, tuple[float, ...]]:
        """The losses by order."""
        return self._losses.get(id(candidate), {})

    def mean(self, candidate: Candidate) -> float:
        """The mean last loss."""
        losses = [course[-1] for course in self.of(candidate).values()]
        return sum(losses) / len(losses)

    def course(self, candidate: Candidate) -> tuple[float | None, ...]:
        """The mean loss at each checkpoint, over half the horizon where that is all there is."""
        known = list(self.of(candidate).values()) or [self._sketches[id(candidate)]]
        means = [sum(point) / len(known) for point in zip(*known, strict=True)]
        return tuple(mean if math.isfinite(mean) else None for mean in means)


def ranked(
    trials: Trials, candidates: Sequence[Candidate], untrained: float, *, effective: int
) -> list[Remedy]:
    """Every candidate as a remedy, the best first.

    The first of ``candidates`` is the run as it is. ``untrained`` is the loss of a model that has
    learnt nothing; ``effective`` the number of tests to correct for, those given up included.
    """
    keep, *others = candidates
    finalists = [c for c in others if trials.orders(c) >= trials.orders(keep)]
    differences = {
        id(c): [
            [trials.of(keep)[order][k] - trials.of(c)[order][k] for order in trials.of(keep)]
            for k in (-2, -1)
        ]
        for c in finalists
    }
    tails = [paired_tail(differences[id(c)][-1]) for c in finalists]
    corrected = holm([*tails, *[1.0] * (effective - len(tails))])
    by_id = {id(c): p for c, p in zip(finalists, corrected, strict=False)}
    way = untrained - min(trials.mean(c) for c in (keep, *finalists))
    remedies = [
        _given_up(c, trials)
        if id(c) not in by_id
        else _compared(c, trials, differences[id(c)], by_id[id(c)], way)
        for c in others
    ]
    as_it_is = Remedy(
        kind=KEEP,
        change=keep.change,
        code="",
        predicted="",
        outcome="",
        effect=None,
        share=None,
        p=None,
        loss=trials.mean(keep),
        course=trials.course(keep),
        orders=trials.orders(keep),
    )
    return _in_order(remedies, as_it_is, untrained)


def _compared(
    candidate: Candidate,
    trials: Trials,
    differences: list[list[float]],
    p: float,
    way: float,
) -> Remedy:
    before, effect = (sum(d) / len(d) for d in differences)
    _, error = mean_and_error(differences[-1])
    loss = trials.mean(candidate)
    share = effect / way if way > 0.0 else math.copysign(math.inf, effect)
    if candidate.answers:
        lasting, worth = before > 0.0, WORTH_AS_ANSWER
    else:
        lasting = before > 0.0 and (effect >= SHRINKING * before or share >= LARGE)
        worth = WORTH
    if p < LEVEL and effect > SIGMAS * error:
        outcome = BETTER if lasting and share >= worth else SLIGHT
    elif effect < -SIGMAS * error:
        outcome = WORSE
    else:
        outcome = SAME
    return Remedy(
        kind=candidate.kind,
        change=candidate.change,
        code=candidate.code,
        predicted=candidate.predicted,
        outcome=outcome,
        effect=measured_mean(effect, error, len(differences[-1]), unit="loss"),
        share=share if math.isfinite(share) else None,
        p=p,
        loss=loss,
        course=trials.course(candidate),
        orders=trials.orders(candidate),
        answers=candidate.answers,
        place=candidate.place,
        value=candidate.value,
    )


def _given_up(candidate: Candidate, trials: Trials) -> Remedy:
    return Remedy(
        kind=candidate.kind,
        change=candidate.change,
        code=candidate.code,
        predicted=candidate.predicted,
        outcome=DROPPED,
        effect=None,
        share=None,
        p=None,
        loss=trials.mean(candidate) if trials.orders(candidate) else None,
        course=trials.course(candidate),
        orders=trials.orders(candidate),
        answers=candidate.answers,
        place=candidate.place,
        value=candidate.value,
    )


def _in_order(remedies: list[Remedy], keep: Remedy, untrained: float) -> list[Remedy]:
    better = [r for r in remedies if r.outcome == BETTER]
    lowest = min((r.loss for r in better if r.loss is not None), default=0.0)
    tie = lowest + TIED * max(untrained - lowest, 0.0)

    def place(remedy: Remedy) -> tuple[bool, int, float]:
        loss = math.inf if remedy.loss is None else remedy.loss
        tied = loss <= tie
        nearness = _NEAREST_FIRST.index(remedy.kind) if remedy.kind in _NEAREST_FIRST else 0
        return not tied, nearness if tied else 0, loss

    def loss_of(remedy: Remedy) -> float:
        last = remedy.course[-1] if remedy.course else None
        return math.inf if last is None else last

    rest = [
        sorted((r for r in remedies if r.outcome == outcome), key=loss_of)
        for outcome in (SLIGHT, SAME, DROPPED, WORSE)
    ]
    return [*sorted(better, key=place), keep, *(r for part in rest for r in part)]
