"""Both torch-facing backends against the NumPy definition, and the norms a step can afford."""

from __future__ import annotations

import math

import pytest
import torch

from convlint.gpu_probes.backends import (
    backend_for,
    backend_name,
    multi_tensor_statistics,
    numpy_reference,
    torch_foreach,
)
from convlint.gpu_probes.backends.statistics import (
    COUNT,
    DIFFERENCE_SUM_OF_SQUARES,
    DOT,
    INFINITIES,
    MAX_ABS,
    MIN_POSITIVE,
    NANS,
    OTHER_SUM_OF_SQUARES,
    SUBNORMALS,
    SUM,
    SUM_OF_SQUARES,
    ZEROS,
)

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def awkward_tensors(dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    tiny = torch.finfo(dtype).smallest_normal
    special = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, tiny, -tiny / 4, 3.0])
    return [
        torch.randn(70_001, generator=generator).to(dtype),
        torch.randn(3, 5, 7, generator=generator).to(dtype).transpose(0, 2),
        torch.randn(2, 3, 4, 5, generator=generator)
        .to(dtype)
        .contiguous(memory_format=torch.channels_last),
        special.double().to(dtype),
        torch.zeros(4, dtype=dtype),
        torch.empty(0, dtype=dtype),
        torch.tensor(2.5, dtype=dtype),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_backend_equals_the_reference(dtype: torch.dtype) -> None:
    tensors = awkward_tensors(dtype)
    others = [tensor.flip(0) if tensor.dim() else tensor + 1 for tensor in tensors]
    measured = torch_foreach.multi_tensor_statistics(tensors, others).table
    expected = numpy_reference.multi_tensor_statistics(tensors, others).table
    # Both accumulate in float64; only the order of the additions differs.
    torch.testing.assert_close(measured, expected, rtol=1e-12, atol=1e-9, equal_nan=True)


def test_special_values_are_counted_apart_from_the_sums() -> None:
    tensor = torch.tensor([1.0, -2.0, 0.0, math.nan, math.inf, 1e-40])
    row = multi_tensor_statistics([tensor]).table[0]
    assert row[COUNT] == 6
    assert row[SUM] == pytest.approx(-1.0)
    assert row[SUM_OF_SQUARES] == pytest.approx(5.0)
    assert row[MAX_ABS] == 2
    assert row[MIN_POSITIVE] == pytest.approx(1e-40, rel=1e-4)
    assert (row[ZEROS], row[SUBNORMALS], row[NANS], row[INFINITIES]) == (1, 1, 1, 1)
    assert row[DOT].isnan()


def test_pairs_give_dot_products_and_squared_differences() -> None:
    left, right = torch.tensor([1.0, 2.0, math.nan]), torch.tensor([3.0, -1.0, 5.0])
    row = multi_tensor_statistics([left], [right]).table[0]
    assert row[DOT] == 1
    assert row[OTHER_SUM_OF_SQUARES] == 10
    assert row[DIFFERENCE_SUM_OF_SQUARES] == 13


def test_rms_runs_over_the_finite_elements() -> None:
    rms = multi_tensor_statistics([torch.tensor([3.0, -3.0, math.inf])]).rms()
    assert rms.item() == pytest.approx(3.0)


@pytest.mark.parametrize("scale", [1.0, 1e-24, 1e22])
@pytest.mark.parametrize("size", [7, 300_001])
def test_norms_only_is_right_at_every_scale_and_size(scale: float, size: int) -> None:
    generator = torch.Generator().manual_seed(1)
    new = torch.randn(size, generator=generator) * scale
    old = torch.randn(size, generator=generator) * scale
    row = multi_tensor_statistics([new], [old], norms_only=True).table[0]
    # float32 rows of 4096 lose 1e-7; squares outside float32 are repeated in float64.
    assert row[SUM_OF_SQUARES].item() == pytest.approx(new.double().square().sum().item(), rel=1e-6)
    assert row[OTHER_SUM_OF_SQUARES].item() == pytest.approx(
        old.double().square().sum().item(), rel=1e-6
    )
    assert row[DIFFERENCE_SUM_OF_SQUARES].item() == pytest.approx(
        (new - old).double().square().sum().item(), rel=1e-6
    )


def test_norms_only_lets_nan_through() -> None:
    norms = multi_tensor_statistics(
        [torch.tensor([math.nan, 1.0]), torch.ones(4)], norms_only=True
    ).norms()
    assert norms[0].isnan()
    assert norms[1] == 2


def test_sparse_gradients_give_their_stored_values() -> None:
    places, values = torch.tensor([[1, 1, 4]]), torch.tensor([1.0, 2.0, 4.0])
    sparse = torch.sparse_coo_tensor(places, values, (9,), check_invariants=True)
    row = multi_tensor_statistics([sparse]).table[0]
    assert row[COUNT] == 2
    assert row[SUM_OF_SQUARES] == 25


def test_no_tensors_give_an_empty_table() -> None:
    assert multi_tensor_statistics([]).on_host() == []


def test_tensors_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="partner 0: shape"):
        multi_tensor_statistics([torch.ones(2)], [torch.ones(3)])
    with pytest.raises(ValueError, match="2 tensors but 1 partners"):
        multi_tensor_statistics([torch.ones(2), torch.ones(2)], [torch.ones(2)])


def test_the_graph_and_the_values_stay_untouched() -> None:
    weight = torch.randn(5, 5, requires_grad=True)
    before = weight.detach().clone()
    table = multi_tensor_statistics([weight], [weight * 2]).table
    assert not table.requires_grad
    assert weight.grad is None
    assert torch.equal(weight, before)


def test_the_cpu_is_measured_by_torch() -> None:
    assert backend_for(torch.device("cpu")) is torch_foreach.multi_tensor_statistics
    assert backend_name(torch.device("cpu")) == "torch"
