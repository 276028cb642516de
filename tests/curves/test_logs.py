"""What is computed of a log: verdicts on known ones, forecasts, phases, bounded memory."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from convlint.curves import recorder
from convlint.curves.assemble import assemble
from convlint.curves.forecast import forecast
from convlint.curves.phases import phases, restarts
from convlint.curves.readers import open_log
from convlint.curves.recorder import MOST_BLOCKS, Recorder

FILE = Path(__file__).parents[2] / "bench" / "curve_verdicts.py"
spec = importlib.util.spec_from_file_location("bench_curve_verdicts", FILE)
assert spec is not None and spec.loader is not None
bench = importlib.util.module_from_spec(spec)
# It stands beside the logs it judges.
sys.path.insert(0, str(FILE.parent))
spec.loader.exec_module(bench)


@pytest.mark.parametrize("name", bench.BY_FORMULA)
def test_verdicts_on_known_logs(name, tmp_path):
    truth, maker, known = bench.BY_FORMULA[name]
    index = list(bench.BY_FORMULA).index(name)
    table = maker(np.random.default_rng([index, 0]))
    said = bench.judged(bench.written(table, index % 5, tmp_path), known)
    allowed = {truth, bench.UNDETERMINED}
    if truth in (bench.HEALTHY, bench.UNDETERMINED):
        allowed |= {bench.HEALTHY, "plateaued"}
    assert said in allowed
    assert said not in bench.SICK or said == truth


def test_a_forecast_covers_what_comes():
    steps = np.arange(100.0)
    covered = shown = 0
    for seed in range(12):
        noise = 0.02 * np.random.default_rng(seed).normal(size=200)
        whole = 0.5 + 2.0 * 0.97 ** np.arange(200.0) + noise
        seen = forecast(whole[:100], steps, 199.0, 0.0)
        if seen is not None:
            shown += 1
            covered += seen.low <= whole[199] <= seen.high
            assert seen.covered >= 0.65
    assert shown >= 6
    # An interval of 80 %, of a dozen draws.
    assert covered >= 0.5 * shown


def test_a_forecast_of_a_loss_above_zero_stays_there():
    noise = 0.15 * np.random.default_rng(3).normal(size=60)
    losses = np.abs(3.0 * 0.9 ** np.arange(60.0) + noise)
    seen = forecast(losses, np.arange(60.0), 118.0, 0.0)
    assert seen is not None
    assert 0.0 <= seen.low <= seen.value <= seen.high


ADAM = [
    4.281, 4.113, 3.950, 3.793, 3.650, 3.509, 3.367, 3.225, 3.089, 2.946, 2.800, 2.661, 2.526, 2.390,
    2.263, 2.136, 2.012, 1.895, 1.780, 1.660, 1.547, 1.443, 1.344, 1.247, 1.148, 1.052, 0.960, 0.874,
    0.800, 0.734, 0.674, 0.622, 0.578, 0.539, 0.504, 0.473, 0.447, 0.424, 0.403, 0.386, 0.372, 0.361,
    0.354, 0.348, 0.341, 0.336, 0.331, 0.327, 0.323, 0.321, 0.321, 0.322, 0.321,
]  # fmt: skip
"""A regression with noise, a small network: straight down, then level at the variance of the noise."""


def test_a_forecast_does_not_go_by_what_came_before_the_present_course(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("epoch,val_loss\n" + "".join(f"{k},{v}\n" for k, v in enumerate(ADAM)))
    seen = assemble(open_log(str(file)), str(file)).curves[0].forecast
    assert seen is None or seen.low <= ADAM[-1] <= seen.high


def test_no_forecast_where_the_back_test_fails():
    steps = np.arange(120.0)
    broken = np.where(steps < 80, 2.0 * 0.99**steps, 5.0)
    assert forecast(broken, steps, 240.0, 0.0) is None


def test_no_forecast_of_what_is_over_or_short():
    steps = np.arange(60.0)
    assert forecast(0.9**steps, steps, 59.0, 0.0) is None
    assert forecast(0.9 ** steps[:10], steps[:10], 20.0, 0.0) is None


def test_phases_of_a_step_schedule():
    k = np.arange(90.0)
    rates = np.where(k < 30, 0.1, np.where(k < 60, 0.01, 0.001))
    seen = phases(k, rates)
    assert [(phase.start, phase.first) for phase in seen] == [(0, 0.1), (30, 0.01), (60, 0.001)]
    assert restarts(seen) == 0


def test_a_smooth_schedule_is_one_phase_and_warm_up_no_restart():
    k = np.arange(1.0, 200.0)
    cosine = 0.5 * (1 + np.cos(np.pi * k / 200))
    assert len(phases(k, cosine)) == 1
    warmed = np.where(k < 20, k / 20, cosine)
    assert restarts(phases(k, warmed)) == 0


def test_warm_restarts_are_counted():
    k = np.arange(300.0)
    rates = 0.05 * (1 + np.cos(np.pi * (k % 100) / 100)) + 1e-4
    assert restarts(phases(k, rates)) == 2


def test_a_long_series_is_kept_in_bounded_blocks():
    record, n = Recorder(), 300_000
    for k in range(n):
        record.add(float(k), k + 1, float("nan") if k == 123_456 else 1.0 + (k == 200_000))
    blocks = record.blocks()
    assert MOST_BLOCKS / 2 < len(blocks) <= MOST_BLOCKS
    assert blocks[:, recorder.COUNT].sum() == n
    assert blocks[:, recorder.LOST].sum() == 1
    assert blocks[-1, recorder.STEP] == n - 1
    assert np.nanmax(blocks[:, recorder.HIGH]) == 2.0
    finite = blocks[:, recorder.COUNT] - blocks[:, recorder.LOST]
    mean = (blocks[:, recorder.MEAN] * finite).sum() / finite.sum()
    assert mean == pytest.approx(1.0 + 1.0 / (n - 1))
    assert (np.diff(blocks[:, recorder.STEP]) > 0).all()


def test_a_short_series_is_kept_as_it_is():
    record = Recorder()
    for k in range(1000):
        record.add(2.0 * k, k, float(k % 7))
    blocks = record.blocks()
    assert len(blocks) == 1000
    assert (blocks[:, recorder.MEAN] == blocks[:, recorder.HIGH]).all()
