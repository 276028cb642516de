"""RNK001 to RNK003: what the comparison of ranks proves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from measurements import found, healthy, severities

from convlint.findings import Severity
from convlint.gpu_probes.observations import Ranks
from convlint.rules import Rule
from convlint.rules.distributed.ranks_diverge import RanksDiverge
from convlint.rules.distributed.ranks_see_same_data import RanksSeeSameData
from convlint.rules.distributed.straggler import Straggler

TOGETHER = Ranks(
    count=4,
    answered=4,
    compared=6,
    sharded=0,
    parameters_differ=(),
    gradients_differ=(),
    same_batches=False,
    step_seconds=(0.1, 0.1, 0.1, 0.1),
    batches_compared=8,
    own_seconds=((0.04,) * 30, (0.041,) * 30, (0.04,) * 30, (0.042,) * 30),
)
ALL = (RanksSeeSameData(), RanksDiverge(), Straggler())


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.slug)
def test_ranks_that_work_together_and_single_processes_are_left_alone(rule: Rule) -> None:
    assert severities(rule, healthy(ranks=TOGETHER)) == []
    assert severities(rule, healthy(ranks=None)) == []


def test_the_same_batches_everywhere_are_one_finding() -> None:
    (finding,) = found(RanksSeeSameData(), healthy(ranks=replace(TOGETHER, same_batches=True)))
    assert finding.message == (
        "all 4 ranks train on the same batches: the first 8 are equal to the bit"
    )


@pytest.mark.parametrize(
    "fine",
    [
        {"batches_compared": 1},
        {"sharded": 6},
        {"compared": 0},
        {"same_batches": None},
    ],
    ids=lambda fine: next(iter(fine)),
)
def test_shared_batches_that_may_be_meant_are_left_alone(fine: dict[str, object]) -> None:
    ranks = replace(TOGETHER, **{"same_batches": True, **fine})
    assert severities(RanksSeeSameData(), healthy(ranks=ranks)) == []


def test_training_on_the_whole_data_in_every_step_is_left_alone() -> None:
    ranks = replace(TOGETHER, same_batches=True)
    seen = healthy(ranks=ranks, recognised=("full batch",))
    assert severities(RanksSeeSameData(), seen) == []


def test_gradients_that_differ_are_never_averaged() -> None:
    apart = replace(TOGETHER, parameters_differ=("a", "b"), gradients_differ=("a", "b"))
    (finding,) = found(RanksDiverge(), healthy(ranks=apart))
    assert finding.severity is Severity.ERROR
    assert "(a and b); their gradients differ already" in finding.message
    assert "DistributedDataParallel" in finding.help


def test_equal_gradients_on_other_parameters_began_apart() -> None:
    (finding,) = found(RanksDiverge(), healthy(ranks=replace(TOGETHER, parameters_differ=("a",))))
    assert "they began apart" in finding.message
    assert "broadcast the parameters" in finding.help


def timed(*ranks: list[float]) -> Ranks:
    """Four ranks that take so long before their backward passes, some not given like the first."""
    given = [tuple(seconds) for seconds in ranks]
    return replace(TOGETHER, own_seconds=(*given, *given[:1] * (4 - len(given))))


def test_the_slowest_rank_is_named_with_what_the_others_wait() -> None:
    (finding,) = found(Straggler(), healthy(ranks=timed([0.04] * 30, [0.09] * 30)))
    assert "rank 1 takes 90 ms for its batch and forward pass, the others 40 ms" in finding.message
    assert "in 30 of 30 steps: they wait for it 50 % of a step" in finding.message


def test_a_straggler_is_found_though_other_work_disturbs_some_steps() -> None:
    disturbed = [0.04 if step % 7 else 0.3 for step in range(30)]
    assert severities(Straggler(), healthy(ranks=timed(disturbed, [0.12] * 30))) != []


def test_two_ranks_of_which_one_never_works_before_its_backward_pass() -> None:
    ranks = replace(
        TOGETHER,
        count=2,
        answered=2,
        step_seconds=(0.1, 0.1),
        own_seconds=((0.0,) * 9, (0.05,) * 9),
    )
    (finding,) = found(Straggler(), healthy(ranks=ranks))
    assert "rank 1 takes 50 ms" in finding.message


@pytest.mark.parametrize(
    "ranks",
    [
        timed([0.04] * 30, [0.075] * 30),
        timed([0.01] * 30, [0.025] * 30),
        # Slow in most steps and not in all: other work on the machine, or long sequences.
        timed([0.04] * 30, [0.04] * 10 + [0.2] * 20),
        # Each rank is slow in turn.
        timed([0.04, 0.2] * 15, [0.2, 0.04] * 15),
        # The quickest step of one rank is twice that of another, an ordinary one is not.
        timed([0.02] + [0.05] * 29, [0.05] * 30),
        timed([0.04] * 4, [0.09] * 4),
        timed([0.04] * 30, [0.09] * 4),
        replace(timed([0.04] * 30, [0.09] * 30), answered=3),
        replace(timed([0.04] * 30, [0.09] * 30), step_seconds=(0.1, None, 0.1, 0.1)),
        # One and a half of five milliseconds.
        replace(timed([0.0005] * 30, [0.002] * 30), step_seconds=(0.005,) * 4),
        replace(TOGETHER, own_seconds=()),
        replace(TOGETHER, count=1, answered=1, step_seconds=(0.1,), own_seconds=((0.04,) * 30,)),
    ],
    ids=[
        "not twice",
        "little of a step",
        "not in every step",
        "in turn",
        "one quick step",
        "few steps",
        "few of them",
        "one missing",
        "no step",
        "next to nothing",
        "not timed",
        "alone",
    ],
)
def test_a_rank_that_is_not_surely_slow_is_left_alone(ranks: Ranks) -> None:
    assert severities(Straggler(), healthy(ranks=ranks)) == []
