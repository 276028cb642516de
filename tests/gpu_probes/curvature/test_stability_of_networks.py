"""The predicted largest stable rate of a real network against runs of the real optimizers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn.datasets")

FILE = Path(__file__).parents[3] / "bench" / "stability_limits.py"
spec = importlib.util.spec_from_file_location("bench_stability_limits", FILE)
assert spec is not None and spec.loader is not None
bench = importlib.util.module_from_spec(spec)
# Its dataclasses look their module up.
sys.modules[spec.name] = bench
spec.loader.exec_module(bench)


@pytest.mark.parametrize("optimizer", bench.OPTIMIZERS)
def test_the_predicted_limit_is_where_full_batch_training_stops_being_stable(
    optimizer, monkeypatch
):
    # 2.6 % of the rate is left after five halvings of what lies between 2/3 and 3/2 of it.
    monkeypatch.setattr(bench, "FACTOR", 1.5)
    monkeypatch.setattr(bench, "BISECTIONS", 5)
    seen = bench.compare(bench.mlp(), optimizer)
    # The network keeps learning a little while the rates are tried, which moves its sharpness.
    assert seen.predicted == pytest.approx(seen.measured, rel=bench.TOLERANCE)
    assert seen.gradient_norm < 0.01
