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
ALWAYS = 0.8
"""Share of the steps in which the same rank is so slow. What other work on the machine or long
sequences add falls on one rank now and on another then; what a straggler does it does every step."""
WAITED = 0.2
"""Share of a step lost to waiting; less is not worth a word."""
LEAST_WAITED = 0.002
"""Seconds lost to waiting in a step. The hooks of a probe and cold caches cost ranks unevenly by
about one millisecond, which is much of a step of five and nothing of one that takes long."""
STEPS = 5
"""The first steps allocate and compile; with so many most are ordinary ones."""


class Straggler(Rule):
    """One rank takes much longer than the others, which wait for it in every step.

    ## What it does
    Compares, step by step, the time every rank takes for its batch and its forward pass, before
    the backward pass in which data-parallel ranks wait for each other.

    ## Why it hurts
    A synchronous step is as slow as its slowest rank: all others idle.

    ## Example
        if rank == 0:
            evaluate(model, loader)

    ## Use instead
        if rank == 0 and step % 1000 == 0:
            evaluate(model, loader)

    ## When it is fine
    A machine busy with other work slows ranks down at random. On Linux the time in which others
    had the processor is taken off; what is left of it falls on one rank now and on another then,
    as does the time for sequences of different length, and is not reported.

    ## Measured
    At least five steps; in four of five of them one rank takes more than twice as long as the
    median of the others, and the difference is more than a fifth of a step and 2 ms. The probe's
    own work is not counted, nor what a rank waits for others before its backward pass. Work that
    falls on few steps is not found; on a GPU, neither is work that only the device or only the
    process is busy with.

    ## References
    - PyTorch, `torch.nn.parallel.DistributedDataParallel`, on work that is not evenly divided
    """

    code, slug, severity = "RNK003", "straggler", Severity.WARNING
    prediction = Prediction("time of the slowest rank over the others", "above", SLOWER)
    measurements = ("comparison of ranks", "steps")

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """One finding for the slowest rank."""
        ranks = seen.ranks
        if ranks is None or ranks.count < 2 or ranks.answered < ranks.count:
            return
        own = ranks.own_seconds
        steps = min(map(len, own), default=0)
        if len(own) < ranks.count or steps < STEPS:
            return
        typical = [median(seconds[:steps]) for seconds in own]
        slowest = max(range(len(own)), key=typical.__getitem__)
        step = ranks.step_seconds[slowest]
        if step is None or step <= 0:
            return
        others = [
            median(seconds[number] for rank, seconds in enumerate(own) if rank != slowest)
            for number in range(steps)
        ]
        pairs = list(zip(own[slowest], others, strict=False))
        slow = sum(mine > SLOWER * theirs for mine, theirs in pairs)
        waited = median(mine - theirs for mine, theirs in pairs)
        if slow < ALWAYS * steps or waited <= max(WAITED * step, LEAST_WAITED):
            return
        ratios = [mine / theirs for mine, theirs in pairs if theirs > 0]
        yield self.finding(
            place_to_location(first_place(use.place for use in seen.optimizers), seen),
            f"rank {slowest} takes {figure(1e3 * typical[slowest])} ms for its batch and forward "
            f"pass, the others {figure(1e3 * median(others))} ms, and so in {slow} of {steps} "
            f"steps: they wait for it {share(waited / step)} of a step",
            help=f"look for work that only rank {slowest} does (evaluation, logging, saving), for "
            "unevenly divided data, or for a slow device",
            evidence=measured_evidence(
                f"median of {steps} steps, rank {slowest} over the median of the others",
                quantity="time of the slowest rank over the others",
                value=median(ratios) if ratios else None,
                expected="below 2",
            ),
        )
