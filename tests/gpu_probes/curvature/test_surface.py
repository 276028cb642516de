"""A plane of the loss surface, the trace and its blocks, against losses known in closed form."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlint.gpu_probes.curvature.differences import DifferencedHessian
from convlint.gpu_probes.curvature.measure import measure_curvature
from convlint.gpu_probes.curvature.operator import RetainedGraphHessian
from convlint.gpu_probes.curvature.surface import filter_normalised, loss_surface
from convlint.gpu_probes.curvature.trace import hutchinson


def quadratic(theta):
    return 0.5 * (8.0 * theta[0] ** 2 + theta[1] ** 2 + 0.5 * theta[2] ** 2)


def test_the_plane_of_a_quadratic_is_the_quadratic():
    theta = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64, requires_grad=True)
    evaluator = DifferencedHessian(lambda: quadratic(theta), [theta])
    top = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64)
    seen = loss_surface(evaluator, top, 8.0, deadline=float("inf"))
    assert (seen.x_axis, seen.y_axis) == ("gradient", "top eigenvector")
    assert len(seen.x) == len(seen.y) == 11
    # Curvature 8 raises the loss by itself, 1.5, at sqrt(3 / 8).
    assert seen.x[-1] == pytest.approx(math.sqrt(2.0 * 1.5 / 8.0))
    ahead = -torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64) / math.sqrt(2.0)
    across = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    for j, y in enumerate(seen.y):
        for i, x in enumerate(seen.x):
            expected = float(quadratic(theta.detach() + x * ahead + y * across))
            assert seen.losses[j][i] == pytest.approx(expected, rel=1e-10)
    assert seen.losses[5][5] == pytest.approx(1.5)
    assert torch.equal(theta.detach(), torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64))


def test_a_gradient_along_the_top_eigenvector_takes_a_random_second_direction():
    theta = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    evaluator = DifferencedHessian(lambda: quadratic(theta), [theta])
    top = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    seen = loss_surface(evaluator, top, 8.0, deadline=float("inf"))
    assert seen.y_axis == "random"


def test_without_time_there_is_no_plane():
    theta = torch.ones(3, dtype=torch.float64, requires_grad=True)
    evaluator = DifferencedHessian(lambda: quadratic(theta), [theta])
    assert loss_surface(evaluator, None, 8.0, deadline=time.monotonic()) is None


def test_random_filters_are_as_long_as_those_of_the_network():
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, 3)
    parameters = list(convolution.parameters())
    like = torch.zeros(sum(p.numel() for p in parameters))
    drawn = filter_normalised(parameters, like, seed=1)
    weight = drawn[: convolution.weight.numel()].view_as(convolution.weight)
    torch.testing.assert_close(
        weight.flatten(1).norm(dim=1), convolution.weight.detach().flatten(1).norm(dim=1)
    )
    assert not drawn[convolution.weight.numel() :].any()


def small_network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    x, y = torch.randn(40, 4, dtype=torch.float64), torch.randint(0, 3, (40,))
    return network, lambda: F.cross_entropy(network(x), y)


def test_trace_and_its_blocks_lie_within_their_standard_errors():
    network, loss = small_network()
    parameters = list(network.parameters())
    hessian = RetainedGraphHessian(loss(), parameters)
    dense = torch.stack([hessian(row) for row in torch.eye(hessian.dimension).double()])
    whole, blocks = hutchinson(hessian, probes=200, seed=3)
    error = whole.ci[1] - whole.value
    assert whole.n == 200
    # Variance 2 (‖H‖² − Σ h_ii²) / n; the sample's own estimate of it is good to some 10 %.
    spread = 2.0 * float(dense.square().sum() - dense.diagonal().square().sum())
    assert error == pytest.approx(math.sqrt(spread / 200.0), rel=0.3)
    assert abs(whole.value - float(dense.trace())) < 4.0 * error
    diagonals = torch.split(dense.diagonal(), [p.numel() for p in parameters])
    for block, diagonal in zip(blocks, diagonals, strict=True):
        assert abs(block.value - float(diagonal.sum())) < 4.0 * (block.ci[1] - block.value) + 1e-12
    assert sum(block.value for block in blocks) == pytest.approx(whole.value, rel=1e-10)


def test_one_probe_of_the_trace_has_the_variance_of_its_formula():
    """2 (‖H‖² − Σ h_ii²), and with it the standard error of the mean of m of them."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    matrix = matrix + matrix.T
    theta = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    hessian = RetainedGraphHessian(0.5 * theta @ matrix @ theta, [theta])
    variance = 2.0 * float(matrix.square().sum() - matrix.diagonal().square().sum())
    probes = 6000
    whole, _ = hutchinson(hessian, probes=probes)
    # Of 6,000 numbers that are about normal, the deviation is known to 1 %.
    assert whole.ci[1] - whole.value == pytest.approx((variance / probes) ** 0.5, rel=0.04)
    assert whole.value == pytest.approx(float(matrix.trace()), abs=4.0 * (variance / probes) ** 0.5)


def test_signs_have_the_trace_of_a_diagonal_hessian_exactly():
    theta = torch.ones(5, dtype=torch.float64, requires_grad=True)
    spectrum = torch.arange(1.0, 6.0, dtype=torch.float64)
    hessian = RetainedGraphHessian(0.5 * (spectrum * theta**2).sum(), [theta])
    whole, (block,) = hutchinson(hessian, probes=4)
    assert whole.value == pytest.approx(15.0)
    assert block.ci == (pytest.approx(15.0), pytest.approx(15.0))


def test_two_probes_are_too_few_for_a_standard_error():
    theta = torch.ones(5, dtype=torch.float64, requires_grad=True)
    hessian = RetainedGraphHessian((theta**4).sum(), [theta])
    assert hutchinson(hessian, probes=2) is None


def test_the_measurement_names_blocks_and_holds_forecast_and_plane():
    network, loss = small_network()
    names = {id(p): name for name, p in network.named_parameters()}
    before = [p.detach().clone() for p in network.parameters()]
    seen = measure_curvature(
        loss(),
        list(network.parameters()),
        [torch.optim.SGD(network.parameters(), lr=0.1)],
        phase="end",
        deadline=time.monotonic() + 60.0,
        closure=loss,
        name_of=lambda tensor: names[id(tensor)],
        surface_seconds=60.0,
    )
    assert [block.name for block in seen.blocks] == list(names.values())
    assert seen.trace.n == 10
    assert seen.forecast.loss == pytest.approx(loss().item())
    assert seen.surface.losses[5][5] == pytest.approx(loss().item())
    assert all(map(torch.equal, before, (p.detach() for p in network.parameters())))


def test_half_precision_units_of_the_loss_are_divided_out_of_forecast_and_plane():
    network, loss = small_network()
    seen = measure_curvature(
        1024.0 * loss(),
        list(network.parameters()),
        [],
        phase="end",
        deadline=time.monotonic() + 60.0,
        closure=lambda: 1024.0 * loss(),
        loss_scale=1024.0,
        surface_seconds=60.0,
    )
    assert seen.forecast.loss == pytest.approx(loss().item())
    assert seen.forecast.valid_up_to is not None
    assert seen.surface.losses[5][5] == pytest.approx(loss().item())


def test_per_layer_curvature_is_that_of_the_block():
    network, loss = small_network()
    parameters = list(network.parameters())
    whole = RetainedGraphHessian(loss(), parameters)
    dense = torch.stack([whole(row) for row in torch.eye(whole.dimension).double()])
    offset = 0
    for layer in (network[0], network[2]):
        block = RetainedGraphHessian(loss(), list(layer.parameters()))
        inside = slice(offset, offset + block.dimension)
        found = torch.stack([block(row) for row in torch.eye(block.dimension).double()])
        torch.testing.assert_close(found, dense[inside, inside], rtol=1e-10, atol=1e-12)
        offset = inside.stop
    assert offset == whole.dimension
