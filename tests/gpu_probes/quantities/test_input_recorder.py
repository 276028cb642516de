"""What the root module is fed, against closed forms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from convlint.gpu_probes.quantities.inputs import InputRecorder, input_kind

if TYPE_CHECKING:
    from convlint.gpu_probes.observations import InputTensor


def seen(*batches: torch.Tensor) -> InputTensor:
    recorder = InputRecorder()
    for batch in batches:
        recorder.observe("model", "x", batch, None)
    (result,) = recorder.results()
    return result


def columns(*tensors: torch.Tensor) -> torch.Tensor:
    return torch.stack(tensors, dim=1)


def test_columns_of_different_units_give_their_scale_ratio_and_offset() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 2, generator=generator, dtype=torch.float64)
    z = (z - z.mean(0)) / z.std(0, correction=0)
    table = columns(z[:, 0], 1000 * z[:, 1] + 5000)
    result = seen(*table.split(500))
    assert result.kind == "tabular"
    assert result.samples == 4000
    assert result.features == 2
    assert result.scale_ratio is not None
    assert result.scale_ratio.value == pytest.approx(1000, rel=1e-9)
    assert result.offset is not None
    assert result.offset.value == pytest.approx(5, rel=1e-9)


def test_the_condition_number_is_about_the_origin() -> None:
    # Second moments of {(+-1, c), ...}: diag(1, c^2) when the first column is symmetric.
    table = columns(torch.tensor([1.0, -1.0] * 8), torch.full((16,), 10.0))
    result = seen(table.double())
    assert result.covariance_condition is not None
    assert result.covariance_condition.value == pytest.approx(100.0, rel=1e-12)
    assert result.constant_features == 1


def test_an_offset_costs_no_digits_of_the_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    column = torch.randn(1000, 1, generator=generator, dtype=torch.float64) + 1e9
    result = seen(*column.split(100))
    assert result.std == pytest.approx(column.std(correction=0).item(), rel=1e-6)


def test_dependent_columns_have_no_condition_number() -> None:
    column = torch.arange(10.0)
    result = seen(columns(column, 2 * column))
    assert result.covariance_condition is not None
    assert result.covariance_condition.value is None
    assert "depend" in result.covariance_condition.note


def test_more_features_than_samples_or_than_512_have_no_condition_number() -> None:
    few = seen(torch.randn(3, 10)).covariance_condition
    wide = seen(torch.randn(600, 513)).covariance_condition
    assert few is not None
    assert few.value is None
    assert few.note == "3 samples of 10 features"
    assert wide is not None
    assert wide.value is None
    assert wide.note == "more than 512 features"


def test_constant_columns_are_counted_and_do_not_enter_the_ratio() -> None:
    result = seen(columns(torch.arange(8.0), torch.zeros(8), torch.full((8,), 3.0)))
    assert result.constant_features == 2
    assert result.scale_ratio is not None
    assert result.scale_ratio.value == pytest.approx(1.0)


def test_channels_are_the_features_of_images_in_either_order() -> None:
    channels = torch.tensor([1.0, 10.0, 100.0]).view(3, 1, 1)
    images = torch.randn(6, 3, 9, 9) * channels
    first, last = seen(images), seen(images.permute(0, 2, 3, 1))
    assert first.kind == last.kind == "image"
    assert first.features == last.features == 3
    assert first.samples == 6 * 81
    assert first.scale_ratio is not None
    assert last.scale_ratio is not None
    assert first.scale_ratio.value == pytest.approx(last.scale_ratio.value)


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.zeros(2, 3, 4, 4), "image"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), "image"),
        (torch.zeros(2, 4), "tabular"),
        (torch.zeros(2, 4, 4), "sequence"),
        (torch.zeros(2, 4, dtype=torch.int64), "tokens"),
        (torch.zeros(2), "other"),
    ],
)
def test_kinds(tensor: torch.Tensor, kind: str) -> None:
    assert input_kind(tensor) == kind


def test_tokens_have_a_range_but_no_scale() -> None:
    result = seen(torch.tensor([[3, 7], [0, 5]]))
    assert (result.minimum, result.maximum) == (0, 7)
    assert result.mean is None
    assert result.scale_ratio is None
    assert result.samples == 2


def test_identical_batches_are_counted_in_pairs_over_all_inputs() -> None:
    recorder = InputRecorder()
    batches = [torch.randn(5, 2) for _ in range(3)]
    for index in (0, 1, 0, 2, 0):
        recorder.observe("model", "x", batches[index], None)
        recorder.observe("model", "y", torch.ones(5), None)
    counted = recorder.batches()
    assert counted is not None
    assert (counted.count, counted.size) == (5, 5)
    assert (counted.identical, counted.compared) == (3, 10)


def test_batches_that_differ_in_one_input_are_not_identical() -> None:
    recorder = InputRecorder()
    for shift in range(3):
        recorder.observe("model", "x", torch.ones(4, 2), None)
        recorder.observe("model", "y", torch.ones(4) + shift, None)
    counted = recorder.batches()
    assert counted is not None
    assert counted.identical == 0


def test_calls_of_one_batch_are_compared_together() -> None:
    recorder = InputRecorder()
    real = torch.ones(4, 2)
    for batch in range(3):
        recorder.observe("critic", "x", real, None, batch=batch)
        recorder.observe("critic", "x", torch.randn(4, 2), None, batch=batch)
    counted = recorder.batches()
    assert counted is not None
    assert (counted.count, counted.identical) == (3, 0)


def test_nothing_seen_is_no_batches() -> None:
    assert InputRecorder().batches() is None


def test_nan_is_counted_and_an_attention_mask_is_not() -> None:
    assert seen(torch.tensor([[1.0, math.nan], [math.inf, 2.0]])).non_finite == 2
    mask = torch.zeros(4, 4).masked_fill(torch.ones(4, 4).triu(1).bool(), -math.inf)
    assert seen(mask).non_finite == 0


def test_varying_lengths_still_give_the_pooled_scale() -> None:
    result = seen(torch.ones(2, 5), 3 * torch.ones(2, 10))
    assert result.features == 0
    assert result.scale_ratio is None
    assert result.mean == pytest.approx(7 / 3)


def test_half_precision_is_accumulated_in_float64() -> None:
    halves = torch.full((5000, 2), 300.0, dtype=torch.float16)
    halves[::2] = 100.0
    assert seen(halves).std == pytest.approx(100.0, rel=1e-12)
