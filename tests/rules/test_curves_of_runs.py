"""What the curves of a probed run say, on observations whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from observed import observations

from convlint.curves.run import judged_schedule, with_curves
from convlint.gpu_probes.observations import (
    Curvature,
    GradientNoise,
    Measurement,
    NonFinite,
    OptimizerUse,
    ParameterGroup,
    ScheduleAhead,
    Series,
)
from convlint.report.measured import schedule_text, standing_text
from convlint.rules.convergence.premature_convergence import PrematureConvergence

STEPS = np.arange(200.0)


def test_losses_that_were_not_seen_are_no_divergence():
    unseen = with_curves(observations(series=Series(loss=(None,) * 30)))
    assert unseen.convergence is None
    halved = [None if step % 2 else 2.0 * 0.9**step for step in range(80)]
    assert with_curves(observations(series=Series(loss=tuple(halved)))).convergence.kind == (
        "converging"
    )


def test_losses_that_were_not_finite_are_divergence():
    lost = (2.0, 3.0, 8.0, *(None,) * 27)
    nan = NonFinite("loss", "loss", "run", 4, "NaN")
    seen = with_curves(observations(series=Series(loss=lost), non_finite=(nan,)))
    assert seen.convergence.kind == "diverging"


def schedule(rates):
    return judged_schedule(ScheduleAhead("LambdaLR", 0, len(rates), True, "step", tuple(rates)))


@pytest.mark.parametrize(
    ("rates", "kind", "holds"),
    [
        (0.1 / (1.0 + STEPS), "power", True),
        (0.1 / (1.0 + STEPS) ** 0.3, "power", False),
        (0.1 * 0.97**STEPS, "geometric", False),
        (np.full(200, 0.1), "constant", False),
        (0.05 * (1.0 + np.cos(np.pi * STEPS / 199.0)).clip(0.0) * (STEPS < 199), "ends", False),
    ],
)
def test_the_schedule_ahead_is_judged_by_robbins_and_monro(rates, kind, holds):
    seen = schedule(rates.tolist())
    assert (seen.course, seen.robbins_monro) == (kind, holds)
    assert schedule_text(seen).startswith("LambdaLR ")


def test_samples_of_a_schedule_are_judged_like_the_whole():
    whole = 0.1 / (1.0 + np.arange(10000.0))
    assert schedule(whole[::50].tolist()).course == "power"


def run_of(loss, rate, norm):
    noise = np.random.default_rng(0).normal(size=(3, 200))
    series = Series(
        loss=tuple((loss + 0.01 * noise[0]).tolist()),
        learning_rate=tuple(np.broadcast_to(rate, 200).tolist()),
        gradient_norm=tuple((norm * (1.0 + 0.05 * noise[1])).tolist()),
    )
    return with_curves(observations(series=series, steps=200))


def halted(**changes):
    parts = {
        "loss": 1.0 + 1.3 * 0.8**STEPS,
        "rate": 0.1 * np.maximum(0.85**STEPS, 1e-4),
        "norm": np.full(200, 0.8),
    }
    return run_of(**{**parts, **changes})


def found(seen):
    return list(PrematureConvergence().measured(seen))


def test_a_rate_that_ran_out_is_told_from_convergence():
    seen = halted()
    assert seen.convergence.standing == "stopped by the learning rate"
    (finding,) = found(seen)
    assert "gradient norm is still" in finding.message


@pytest.mark.parametrize(
    "changes",
    [
        {"rate": 0.1},
        {"norm": 0.8 * 0.9**STEPS + 1e-3},
        {"loss": 1.0 + 1.3 * 0.99**STEPS},
        # A cosine: flat and slow at its end only.
        {"rate": 0.05 * (1.0 + np.cos(np.pi * STEPS / 200.0))},
    ],
    ids=["the rate is still there", "the gradient has gone", "the loss still falls", "cosine"],
)
def test_what_else_stands_still_or_falls_is_no_premature_convergence(changes):
    assert not found(halted(**changes))


def test_without_gradient_norms_nothing_is_said():
    seen = halted()
    series = replace(seen.series, gradient_norm=())
    assert not found(with_curves(replace(seen, series=series)))
    gap = replace(seen.series, learning_rate=(None, *seen.series.learning_rate[1:]))
    assert not found(with_curves(replace(seen, series=gap)))


def noisy_run(**options):
    return observations(
        series=Series(loss=(1.0,) * 20, learning_rate=(0.1,) * 20, gradient_norm=(1.0,) * 20),
        optimizers=(
            OptimizerUse(
                0, "torch.optim.SGD", (ParameterGroup(0.1, 1, 10, options),),
                20, 1.0, 0, 0, False, False, (),
            ),
        ),
        curvature=(
            Curvature(
                "start", "exact", 10, Measurement(4.0), Measurement(0.0), None, 2.0, None, 20
            ),
        ),
        gradient_noise=GradientNoise(
            Measurement(48.0), False, batch_size=16, step_size=16, gradients=8, optimizer=0, cls="SGD"
        ),
    )  # fmt: skip


def test_the_noise_floor_is_that_of_the_stationary_recursion():
    floor = with_curves(noisy_run()).convergence.noise_floor
    # tr Σ/16 = 4 · 3 / (1 + 3) = 3, and η σ² / (2 (2 − η λ)) = 0.3 / 3.2.
    assert floor.value == pytest.approx(0.3 / 3.2)
    assert "above the lowest" in standing_text(with_curves(noisy_run()).convergence)


def test_momentum_raises_the_floor_and_unknown_parts_leave_it_out():
    assert with_curves(noisy_run(momentum=0.9)).convergence.noise_floor.value > 0.5
    assert with_curves(noisy_run(nesterov=True)).convergence.noise_floor is None
    assert with_curves(replace(noisy_run(), gradient_noise=None)).convergence.noise_floor is None
    too_fast = replace(noisy_run().curvature[0], largest=Measurement(25.0))
    assert with_curves(replace(noisy_run(), curvature=(too_fast,))).convergence.noise_floor is None
