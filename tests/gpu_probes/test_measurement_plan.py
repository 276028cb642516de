"""Which measurements a tier makes, and what the budget refuses."""

from __future__ import annotations

import itertools

import pytest

from convlint.gpu_probes.measurements import (
    CURVATURE,
    DEEP,
    MEASUREMENTS,
    QUICK,
    REMEDIES,
    REMEDY_STEPS,
    STANDARD,
    TIERS,
    Need,
    Plan,
)


def made(tier: str) -> set[str]:
    plan = Plan(tier, 60.0)
    return {name for name in MEASUREMENTS if plan.wanted(name)}


def test_a_dearer_tier_makes_every_measurement_of_a_cheaper_one() -> None:
    assert made(QUICK) < made(STANDARD) <= made(DEEP) == set(MEASUREMENTS)


def test_quick_makes_no_curvature_and_no_experiment_and_records_no_steps() -> None:
    assert not made(QUICK) & {*CURVATURE, "learning-rate range", "overfit one batch"}
    assert not Plan(QUICK, 60.0).needs(Need.TAPES)
    assert Plan(STANDARD, 60.0).needs(Need.TAPES)


def test_every_measurement_left_out_is_told_with_the_tier_that_makes_it() -> None:
    left_out = Plan(QUICK, 60.0).left_out()
    assert set(left_out) == set(MEASUREMENTS) - made(QUICK) - {REMEDIES}
    assert "--tier standard" in left_out["overfit one batch"]


def test_remedies_are_tried_at_tier_deep_or_on_request_and_record_more_steps() -> None:
    assert Plan(DEEP, 60.0).wanted(REMEDIES)
    assert not Plan(STANDARD, 60.0).wanted(REMEDIES)
    asked = Plan(QUICK, 60.0, also=frozenset({REMEDIES}))
    assert asked.wanted(REMEDIES)
    assert asked.needs(Need.TAPES)
    assert asked.recorded_steps == REMEDY_STEPS
    assert Plan(STANDARD, 60.0).recorded_steps == TIERS[STANDARD].recorded_steps


def test_what_is_switched_off_is_told_so() -> None:
    left_out = Plan(DEEP, 60.0, frozenset(CURVATURE)).left_out()
    assert left_out == dict.fromkeys(CURVATURE, "switched off")


@pytest.mark.parametrize(
    ("evaluation", "spent", "affordable"),
    [(0.01, 10.0, True), (5.0, 10.0, False), (0.01, 60.0, False), (0.0, 59.0, True)],
)
def test_what_the_budget_cannot_pay_is_refused(
    evaluation: float, spent: float, affordable: bool
) -> None:
    refusal = Plan(STANDARD, 60.0).refusal("overfit one batch", spent, evaluation)
    assert (refusal is None) == affordable


def test_a_refusal_gives_both_sides_of_the_sum() -> None:
    refusal = Plan(STANDARD, 60.0).refusal("overfit one batch", 10.0, 5.0)
    assert refusal == (
        "takes at least 250 s (50 gradient evaluations of 5 s) and has 9 s of the --budget of 60 s"
    )


def test_a_measurement_gets_its_share_but_no_more_than_is_left() -> None:
    plan = Plan(STANDARD, 60.0)
    assert plan.seconds_for("learning-rate range", 10.0) == pytest.approx(6.0)
    assert plan.seconds_for("learning-rate range", 58.0) == pytest.approx(2.0)


def test_what_a_measurement_may_take_at_all_its_smallest_part_needs_less() -> None:
    for declared in MEASUREMENTS.values():
        assert 0.0 <= declared.least <= declared.cost
        assert declared.needs


def test_tiers_grow_in_every_number() -> None:
    sizes = list(TIERS.values())
    for smaller, larger in itertools.pairwise(sizes):
        assert smaller.steps < larger.steps
        assert smaller.budget < larger.budget
        assert smaller.recorded_steps < larger.recorded_steps
