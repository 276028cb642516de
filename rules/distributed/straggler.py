"""RNK003: one rank makes the others wait."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from convlint.findings import Finding, Severity
from convlint.predictions import Prediction
from convlint.rules import Rule
from convlint.rules.patterns.figures import figure, measured_evidence, share
from convlint.rules.patterns.places import first_place, place_to_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.observations import Observations

SLOWER = 2.0
"""Time of a rank over the median of the others: what caches and the scheduler do to equal work
stays below."""
WAITED = 0.2
"""Share of a step lost to waiting; less is not worth a word."""
STEPS = 5
"""The first steps allocate and compile; with so many each rank has a quiet one."""


class Straggler(Rule):
    """One rank takes much longer than the others, which wait for it in every step.

    ## What it does
    Compares the time every rank takes for its batch and its forward pass, before the backward
    pass in which data-parallel ranks wait for each other.

    ## Why it hurts
    A synchronous step is as slow as its slowest rank: all others idle.

    ## Example
        if rank == 0:
            evaluate(model, loader)

    ## Use instead
        if rank == 0 and step % 1000 == 0:
            evaluate(model, loader)

    ## When it is fine
    Ranks that share a machine with other work are slow today and not tomorrow.

    ## Measured
    The quickest of at least five steps takes twice as long as that of the other ranks, and the
    difference is more than a fifth of a step. Work that falls on few steps is not found.

    ## References
    - PyTorch, `torch.nn.parallel.DistributedDataParallel`, on work that is not evenly divided
    """

    code, slug, severity = "RNK003", "straggler", Severity.WARNING
    prediction = Prediction("time of the slowest rank over the others", "above", SLOWER)
    measurements = ("comparison of ranks", "steps")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the slowest rank."""
        ranks = seen.ranks
        if ranks is None or ranks.answered < ranks.count or ranks.timed_steps < STEPS:
            return
        own = [seconds for seconds in ranks.own_seconds if seconds is not None]
        steps = [seconds for seconds in ranks.step_seconds if seconds is not None]
        if len(own) < ranks.count or len(own) < 2 or len(steps) < ranks.count:
            return
        slowest = max(range(len(own)), key=own.__getitem__)
        others = median(seconds for rank, seconds in enumerate(own) if rank != slowest)
        waited = own[slowest] - others
        step = max(steps)
        if own[slowest] <= SLOWER * others or step <= 0 or waited <= WAITED * step:
            return
        yield self.finding(
            place_to_location(first_place(use.place for use in seen.optimizers), seen),
            f"rank {slowest} takes at least {figure(1e3 * own[slowest])} ms for its batch and forward pass, "
            f"the others {figure(1e3 * others)} ms: they wait for it {share(waited / step)} of "
            "every step",
            help=f"look for work that only rank {slowest} does (evaluation, logging, saving), for "
            "unevenly divided data, or for a slow device",
            evidence=measured_evidence(
                f"quickest of {ranks.timed_steps} steps, rank {slowest} over the median of the others",
                quantity="time of the slowest rank over the others",
                value=own[slowest] / others if others > 0 else None,
                expected="below 2",
            ),
        )
