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
    own_seconds=(0.04, 0.041, 0.04, 0.042),
    timed_steps=30,
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


def test_the_slowest_rank_is_named_with_what_the_others_wait() -> None:
    slow = replace(TOGETHER, own_seconds=(0.04, 0.04, 0.09, 0.04))
    (finding,) = found(Straggler(), healthy(ranks=slow))
    assert "rank 2 takes at least 90 ms" in finding.message
    assert "wait for it 50 % of every step" in finding.message


@pytest.mark.parametrize(
    "fine",
    [
        {"own_seconds": (0.04, 0.04, 0.075, 0.04)},
        {"own_seconds": (0.01, 0.01, 0.025, 0.01)},
        {"own_seconds": (0.04, None, 0.09, 0.04)},
        {"timed_steps": 4},
        {"answered": 3},
        {"own_seconds": ()},
    ],
    ids=["not twice", "little of a step", "one unknown", "few steps", "one missing", "not timed"],
)
def test_a_rank_that_is_not_surely_slow_is_left_alone(fine: dict[str, object]) -> None:
    slow = replace(TOGETHER, own_seconds=(0.04, 0.04, 0.09, 0.04))
    assert severities(Straggler(), healthy(ranks=replace(slow, **fine))) == []
