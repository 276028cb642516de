"""Plateau, divergence, oscillation, slowness and phases at the limits of their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from convlint.curves import convergence
from convlint.curves.assemble import assemble
from convlint.curves.course import plateau
from convlint.curves.levels import levels_of
from convlint.curves.readers import open_log
from convlint.curves.setbacks import rising
from convlint.curves.stalls import forecast_misses
from convlint.curves.trend import trend

K = np.arange(200.0)


def kinked(fall):
    """A straight fall by one to one, and over the second half by ``fall``."""
    return np.where(K < 100, 2.0 - 0.01 * K, 1.0 - fall * (K - 100) / 100)


def test_theil_sen_ignores_a_quarter_of_outliers():
    line = 3.0 - 0.02 * K
    line[::5] += 50.0
    assert trend(line).slope == pytest.approx(-0.02, rel=0.05)


@pytest.mark.parametrize(("fall", "flat"), [(0.005, True), (0.02, False)])
def test_a_plateau_falls_by_less_than_a_percent_of_the_progress(fall, flat):
    # The limit is 0.01 of the progress of one.
    seen = plateau(kinked(fall), K, K)
    assert (seen is not None and seen.share >= 0.5) is flat


def test_a_plateau_under_noise_is_as_flat_as_its_mean_is_known():
    noise = 0.1 * np.random.default_rng(0).normal(size=200)
    seen = plateau(kinked(0.0) + noise, K, K)
    # Twice two errors of the mean of its values, the noise known to a fifth.
    assert seen is not None and seen.most < 2.0 * 2.0 * 0.12 / (200 * seen.share) ** 0.5
    assert plateau(2.0 - 0.01 * K + noise, K, K) is None


def test_mann_kendall_decides_on_a_rise():
    noise = 0.05 * np.random.default_rng(1).normal(size=200)
    steady = 1.0 + noise
    assert trend(steady).p_rising > 0.01
    assert rising(steady, levels_of(steady, 0.0), 0.0) == ""
    # Four deviations of the noise over the whole, all of it on the way up.
    climbing = 1.0 + 0.3 * K / 200 + noise
    assert trend(climbing).p_rising < 0.01
    assert "rose" in rising(climbing, levels_of(climbing, 0.0), 0.0)


def test_alternation_is_oscillating_and_its_decay_is_not():
    swing = 0.5 * (-1.0) ** K
    assert convergence(1.0 + swing).kind == "oscillating"
    assert convergence((1.0 + swing) * 0.97**K).kind == "converging"


def test_a_loss_that_lost_nine_tenths_swings_on_its_way():
    falling = 2.0 * 0.96**K
    falling[[60, 110, 150]] += 1.0
    assert convergence(falling).kind == "converging"


def test_too_slow_is_longer_than_planned_to_half_the_excess():
    series = 2.0 * 0.999**K
    levels = levels_of(series, 0.0)
    progress = levels.first - levels.last
    # ln 2 / -ln 0.999 is 693 steps; medians of the first and last tenth are 180 steps apart.
    needed = 693.0 * 200 / 180
    assert forecast_misses(levels, progress, 200, round(0.9 * needed))
    assert not forecast_misses(levels, progress, 200, round(1.1 * needed))


@pytest.fixture
def dropped(tmp_path):
    """A log of two learning rates: down to one, then to 0.2 at a factor of 0.9."""
    k = np.arange(60.0)
    loss = np.concatenate([1.0 + 2.0 * 0.8**k, 0.2 + 0.8 * 0.9**k])
    rate = np.where(np.arange(120) < 60, 0.1, 0.01)
    rows = "".join(f"{i},{x:.8f},{r}\n" for i, (x, r) in enumerate(zip(loss, rate, strict=True)))

    def written(columns):
        file = tmp_path / "log.csv"
        file.write_text(columns + "\n" + rows)
        return assemble(open_log(str(file)), str(file))

    return written


def test_the_rate_is_that_of_the_last_learning_rate(dropped):
    seen = dropped("epoch,loss,lr")
    assert [phase.start for phase in seen.phases] == [0.0, 60.0]
    loss = seen.curves[0]
    assert (loss.kind, loss.rate_class) == ("converging", "linear")
    assert loss.rate == pytest.approx(0.9, rel=1e-3)
    assert loss.forecast is None or loss.forecast.low <= 0.2 + 0.8 * 0.9**178 <= loss.forecast.high


def test_a_drop_that_the_log_does_not_tell_is_no_rate_of_its_own(dropped):
    loss = dropped("epoch,loss,other").curves[0]
    assert loss.kind == "converging"
    assert loss.rate_class in ("undetermined", "linear")
    if loss.rate_class == "linear":
        assert loss.rate == pytest.approx(0.9, rel=0.05)
