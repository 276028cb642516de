"""The first NaN or infinity."""

from __future__ import annotations

import math

import pytest
import torch

from convlint.gpu_probes.observations import NonFinite, Place
from convlint.gpu_probes.quantities import non_finite
from convlint.gpu_probes.quantities.non_finite import NonFiniteDetector

GOOD = torch.tensor([1.0, -2.0])
NAN = torch.tensor([1.0, math.nan])
PLUS = torch.tensor([1.0, math.inf])
MINUS = torch.tensor([1.0, -math.inf])


def test_only_the_first_of_each_kind_is_kept() -> None:
    place = Place("train.py", 7)
    detector = NonFiniteDetector()
    detector.check("activation", "fc1", GOOD, "hold", 0)
    detector.check("activation", "fc2", PLUS, "hold", 1, place)
    detector.check("activation", "fc3", NAN, "hold", 1)
    detector.check("loss", "loss", NAN, "run", 2)
    assert detector.found
    assert detector.results() == (
        NonFinite("activation", "fc2", "hold", 1, "inf", place),
        NonFinite("loss", "loss", "run", 2, "nan"),
    )


def test_finite_tensors_find_nothing() -> None:
    detector = NonFiniteDetector()
    for what in ("input", "activation", "loss", "gradient", "weight"):
        detector.check(what, "x", GOOD, "hold", 0)
    assert not detector.found
    assert detector.results() == ()


@pytest.mark.parametrize(
    ("what", "found"), [("input", 0), ("activation", 0), ("gradient", 1), ("loss", 1)]
)
def test_minus_infinity_beside_numbers_is_a_mask_in_signals_only(what: str, found: int) -> None:
    detector = NonFiniteDetector()
    detector.check(what, "x", MINUS, "hold", 0)
    assert len(detector.results()) == found


def test_a_signal_of_minus_infinity_alone_is_found() -> None:
    detector = NonFiniteDetector()
    detector.check("activation", "x", torch.full((3,), -math.inf), "hold", 0)
    assert detector.found


def test_integers_empty_and_lazy_tensors_are_passed_over() -> None:
    detector = NonFiniteDetector()
    detector.check("input", "ids", torch.arange(3), "hold", 0)
    detector.check("input", "empty", torch.empty(0), "hold", 0)
    detector.check("weight", "lazy", torch.nn.LazyLinear(2).weight, "hold", 0)
    assert not detector.found


def test_the_queue_is_read_before_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(non_finite, "PENDING_CHECKS", 4)
    detector = NonFiniteDetector()
    for step in range(10):
        detector.check("gradient", "w", NAN if step == 6 else GOOD, "run", step)
    assert detector.results() == (NonFinite("gradient", "w", "run", 6, "nan"),)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_type_is_watched(dtype: torch.dtype) -> None:
    detector = NonFiniteDetector()
    detector.check_all("gradient", [("w", NAN.to(dtype), None)], "run", 0)
    assert detector.found


def test_large_float64_values_are_finite() -> None:
    detector = NonFiniteDetector()
    detector.check("weight", "w", torch.tensor([1e300], dtype=torch.float64), "run", 0)
    assert not detector.found
