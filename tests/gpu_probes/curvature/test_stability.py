"""Stability limits against runs of the real optimizers on quadratics."""

from __future__ import annotations

import time

import pytest
import torch

from convlint.gpu_probes.curvature.measure import measure_curvature
from convlint.gpu_probes.curvature.stability import critical_product, critical_product_of_average

SPECTRUM = torch.tensor([0.1, 0.7, 2.5], dtype=torch.float64)


def loss_at(theta, spectrum=SPECTRUM):
    return 0.5 * (spectrum * theta**2).sum()


def start():
    return torch.ones(3, dtype=torch.float64, requires_grad=True)


def limit_of(optimizer, loss, parameters):
    seen = measure_curvature(
        loss, parameters, [optimizer], phase="start", deadline=time.monotonic() + 60
    )
    (limit,) = seen.limits
    return limit


def shrinks(make_optimizer, learning_rate, steps=4000):
    """Whether the iterates shrink in the long run, starting from ones."""
    theta = start()
    optimizer = make_optimizer([theta], learning_rate)
    sizes = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss_at(theta).backward()
        optimizer.step()
        size = float(theta.detach().norm())
        sizes.append(size)
        if not 1e-12 < size < 1e12:
            break
    # Unstable iterates grow by about 1 % of a power of the step count; stable ones decay.
    return sizes[-1] < 1e-3


SGD = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "Nesterov": {"momentum": 0.9, "nesterov": True},
    "dampening": {"momentum": 0.9, "dampening": 0.5},
    "weight decay": {"momentum": 0.5, "weight_decay": 0.3},
}


@pytest.mark.parametrize("options", SGD.values(), ids=SGD)
def test_sgd_converges_just_below_the_limit_and_diverges_just_above(options):
    def make(parameters, learning_rate):
        return torch.optim.SGD(parameters, lr=learning_rate, **options)

    theta = start()
    seen = limit_of(make([theta], 0.01), loss_at(theta), [theta])
    limit = seen.limit.value
    assert seen.headroom.value == pytest.approx(limit / 0.01)
    assert not seen.preconditioned
    assert shrinks(make, 0.99 * limit)
    assert not shrinks(make, 1.01 * limit)


@pytest.mark.parametrize(
    ("momentum", "dampening", "nesterov", "expected"),
    [
        (0.0, 0.0, False, 2.0),
        (0.5, 0.0, False, 3.0),
        (0.9, 0.0, False, 3.8),
        (0.9, 0.9, False, 38.0),
        (0.9, 0.5, False, 7.6),
        (0.5, 0.0, True, 1.5),
        (0.9, 0.0, True, 3.8 / 2.8),
    ],
)
def test_critical_products(momentum, dampening, nesterov, expected):
    assert critical_product(momentum, dampening, nesterov) == pytest.approx(expected)


def test_critical_product_of_adam_with_frozen_second_moments():
    assert critical_product_of_average(0.9) == pytest.approx(38.0)


@pytest.mark.parametrize(("lookahead", "beta"), [(0.0, 0.9), (0.9, 0.9), (0.5, 0.9), (0.8, 0.7)])
def test_critical_product_of_an_average_is_where_the_iteration_matrix_leaves_the_circle(
    lookahead, beta
):
    def radius(product):
        along = (1 - lookahead) + lookahead * (1 - beta) if lookahead else 1 - beta
        weight = lookahead if lookahead else 1.0
        matrix = torch.tensor(
            [[1 - product * along, -weight * beta], [product * (1 - beta), beta]],
            dtype=torch.float64,
        )
        return float(torch.linalg.eigvals(matrix).abs().max())

    critical = critical_product_of_average(beta, lookahead)
    assert radius(0.999 * critical) < 1.0 < radius(1.001 * critical)


def frozen_adam(theta, learning_rate, second_moment, cls=torch.optim.Adam, **options):
    """Adam long after its start, when the bias corrections are 1."""
    optimizer = cls([theta], lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, **options)
    optimizer.state[theta] = {
        "step": torch.tensor(1e5),
        "exp_avg": torch.zeros_like(theta),
        "exp_avg_sq": second_moment.clone(),
    }
    return optimizer


@pytest.mark.parametrize("cls", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_with_frozen_moments_is_preconditioned(cls):
    moment = torch.tensor([1e-4, 4.0, 0.25], dtype=torch.float64)
    theta = start()
    decay = 0.01 if cls is torch.optim.AdamW else 0.0
    optimizer = frozen_adam(theta, 1e-3, moment, cls, weight_decay=decay)
    seen = limit_of(optimizer, loss_at(theta), [theta])
    preconditioner = moment.sqrt() + 1e-8
    top = float((SPECTRUM / preconditioner).max())
    assert seen.preconditioned
    assert seen.limit.value == pytest.approx(1.0 / (top / 38.0 + decay / 2.0), rel=1e-6)


def test_adam_without_state_takes_the_present_gradient_and_says_so():
    theta = start()
    seen = limit_of(torch.optim.Adam([theta], lr=1e-3, eps=0.0), loss_at(theta), [theta])
    # With ν̂ = g² and g = λθ = λ, the preconditioned curvature is 1/(1 - β₁) everywhere.
    assert seen.limit.value == pytest.approx(38.0 * 0.1, rel=1e-6)
    assert "no state yet" in seen.limit.note


def test_each_group_enters_with_its_own_learning_rate():
    steep = torch.ones(1, dtype=torch.float64, requires_grad=True)
    flat = torch.ones(1, dtype=torch.float64, requires_grad=True)
    loss = 0.5 * (10.0 * steep**2 + 0.1 * flat**2).sum()
    optimizer = torch.optim.SGD([{"params": [steep], "lr": 0.001}, {"params": [flat], "lr": 1.0}])
    seen = limit_of(optimizer, loss, [steep, flat])
    # η·D^{1/2}HD^{1/2} has eigenvalues 0.01 and 0.1, so both rates may grow by 2 / 0.1.
    assert seen.headroom.value == pytest.approx(20.0, rel=1e-6)
    assert seen.learning_rate == 1.0


def test_several_optimizers_are_limited_by_their_own_parameters():
    steep = torch.ones(1, dtype=torch.float64, requires_grad=True)
    flat = torch.ones(1, dtype=torch.float64, requires_grad=True)
    loss = 0.5 * (10.0 * steep**2 + 0.1 * flat**2).sum()
    optimizers = [torch.optim.SGD([steep], lr=0.1), torch.optim.RMSprop([flat], lr=0.1, eps=1.0)]
    seen = measure_curvature(
        loss, [steep, flat], optimizers, phase="end", deadline=time.monotonic() + 60
    )
    assert [limit.optimizer for limit in seen.limits] == [0, 1]
    assert seen.limits[0].limit.value == pytest.approx(0.2, rel=1e-6)
    denominator = 1.0 + (0.01 * 0.1**2) ** 0.5
    assert seen.limits[1].limit.value == pytest.approx(2.0 * denominator / 0.1, rel=1e-6)


def test_zero_learning_rate_at_the_start_of_a_warm_up_has_a_limit_but_no_headroom():
    theta = start()
    seen = limit_of(torch.optim.SGD([theta], lr=0.0), loss_at(theta), [theta])
    assert seen.limit.value == pytest.approx(2.0 / 2.5)
    assert seen.headroom.value is None


def test_optimizers_outside_the_table_have_no_limit():
    class Sign(torch.optim.SGD):
        def step(self, closure=None):
            return None

    theta = start()
    seen = measure_curvature(
        loss_at(theta),
        [theta],
        [torch.optim.LBFGS([theta]), Sign([theta], lr=0.1)],
        phase="start",
        deadline=time.monotonic() + 60,
    )
    assert seen.limits == ()
    assert seen.largest.value == pytest.approx(2.5)


@pytest.mark.parametrize(
    "name", ["NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta", "Adam", "AdamW"]
)
def test_every_adaptive_optimizer_has_a_limit_before_and_after_its_first_steps(name):
    theta = start()
    optimizer = getattr(torch.optim, name)([theta], lr=1e-3)
    before = limit_of(optimizer, loss_at(theta), [theta])
    for _ in range(10):
        optimizer.zero_grad()
        loss_at(theta).backward()
        optimizer.step()
    after = limit_of(optimizer, loss_at(theta), [theta])
    assert before.limit.value > 0.0 and after.limit.value > 0.0
    assert "no state yet" in before.limit.note
    assert "no state yet" not in after.limit.note


def test_maximizing_optimizer_is_limited_by_the_negative_end():
    theta = start()
    optimizer = torch.optim.SGD([theta], lr=0.1, maximize=True)
    seen = limit_of(optimizer, -loss_at(theta), [theta])
    assert seen.limit.value == pytest.approx(0.8)
