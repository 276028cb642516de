"""Critical products against the iteration matrices that the optimizers of torch really have."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import pytest
import torch

from convlint.gpu_probes.curvature.measure import measure_curvature
from convlint.gpu_probes.curvature.stability import (
    critical_product,
    critical_product_of_average,
    critical_product_of_delay,
)

Step = Callable[[torch.Tensor, float], torch.Tensor]
"""From a state and a learning rate to the next state, along one direction of curvature 1."""

LARGEST_RATE = 1e3


def sgd(weight_decay: float = 0.0, **options: object) -> Step:
    """One step of torch's own SGD from a parameter and, if there is one, its momentum buffer."""

    def step(state: torch.Tensor, rate: float) -> torch.Tensor:
        theta = state[:1].clone().requires_grad_()
        optimizer = torch.optim.SGD([theta], lr=rate, weight_decay=weight_decay, **options)
        if len(state) > 1:
            optimizer.state[theta]["momentum_buffer"] = state[1:].clone()
        theta.grad = theta.detach().clone()
        optimizer.step()
        kept = [optimizer.state[theta]["momentum_buffer"]] if len(state) > 1 else []
        return torch.cat([theta.detach(), *kept])

    return step


def adam(beta: float) -> Step:
    """One step of torch's own Adam whose second moment comes out as 1, long after its start."""

    def step(state: torch.Tensor, rate: float) -> torch.Tensor:
        theta = state[:1].clone().requires_grad_()
        optimizer = torch.optim.Adam([theta], lr=rate, betas=(beta, 0.999), eps=0.0)
        theta.grad = theta.detach().clone()
        frozen = (1.0 - 0.001 * theta.grad.square()) / 0.999
        optimizer.state[theta] = {
            "step": torch.tensor(1e6),
            "exp_avg": state[1:].clone(),
            "exp_avg_sq": frozen,
        }
        optimizer.step()
        return torch.cat([theta.detach(), optimizer.state[theta]["exp_avg"]])

    return step


def delayed(delay: int) -> Step:
    """One step of torch's own plain descent along the gradient of ``delay`` steps ago."""

    def step(state: torch.Tensor, rate: float) -> torch.Tensor:
        theta = state[:1].clone().requires_grad_()
        theta.grad = state[delay:].clone()
        torch.optim.SGD([theta], lr=rate).step()
        return torch.cat([theta.detach(), state[:delay]])

    return step


def critical_rate(step: Step, size: int) -> float:
    """Where the spectral radius of the iteration matrix passes 1, by bisection."""

    def radius(rate: float) -> float:
        columns = [step(unit, rate) for unit in torch.eye(size, dtype=torch.float64)]
        return float(torch.linalg.eigvals(torch.stack(columns, dim=1)).abs().max())

    stable, unstable = 0.0, LARGEST_RATE
    while unstable - stable > 1e-7:
        middle = (stable + unstable) / 2.0
        stable, unstable = (middle, unstable) if radius(middle) < 1.0 else (stable, middle)
    return stable


TABLE = {
    "plain": ({}, 2.0),
    "momentum .5": ({"momentum": 0.5}, 3.0),
    "momentum .9": ({"momentum": 0.9}, 3.8),
    "momentum .99": ({"momentum": 0.99}, 3.98),
    "Nesterov .5": ({"momentum": 0.5, "nesterov": True}, 1.5),
    "Nesterov .9": ({"momentum": 0.9, "nesterov": True}, 1.3571429),
    "dampening .9": ({"momentum": 0.9, "dampening": 0.9}, 38.0),
    "dampening .5": ({"momentum": 0.9, "dampening": 0.5}, 7.6),
    "decay .3": ({"weight_decay": 0.3}, 2.0 / 1.3),
    "decay .3, momentum .5": ({"momentum": 0.5, "weight_decay": 0.3}, 3.0 / 1.3),
}


@pytest.mark.parametrize(("options", "expected"), TABLE.values(), ids=TABLE)
def test_the_limit_of_sgd_is_where_its_iteration_matrix_leaves_the_unit_circle(options, expected):
    measured = critical_rate(sgd(**options), 2 if "momentum" in options else 1)
    assert measured == pytest.approx(expected, abs=1e-6)
    hyperparameters = dict(options)
    decay = hyperparameters.pop("weight_decay", 0.0)
    assert critical_product(**hyperparameters) / (1.0 + decay) == pytest.approx(measured, abs=1e-6)
    # And what a probe says on a quadratic whose largest curvature is 1.
    assert limit_on_a_quadratic(
        lambda theta: torch.optim.SGD([theta], lr=0.1, **options)
    ) == pytest.approx(measured, rel=1e-6)


def limit_on_a_quadratic(make: Callable[[torch.Tensor], torch.optim.Optimizer]) -> float:
    theta = torch.tensor([0.5, 1.0, -2.0], dtype=torch.float64, requires_grad=True)
    loss = 0.5 * (torch.tensor([0.05, 0.3, 1.0], dtype=torch.float64) * theta**2).sum()
    seen = measure_curvature(
        loss, [theta], [make(theta)], phase="start", deadline=time.monotonic() + 60
    )
    return seen.limits[0].limit.value


@pytest.mark.parametrize(("beta", "expected"), [(0.0, 2.0), (0.5, 6.0), (0.9, 38.0), (0.95, 78.0)])
def test_the_limit_of_adam_with_frozen_moments_is_that_of_an_average(beta, expected):
    measured = critical_rate(adam(beta), 2)
    assert measured == pytest.approx(expected, abs=1e-5)
    assert critical_product_of_average(beta) == pytest.approx(measured, abs=1e-5)

    def settled(theta: torch.Tensor) -> torch.optim.Optimizer:
        optimizer = torch.optim.Adam([theta], betas=(beta, 0.999), eps=0.0)
        optimizer.state[theta] = {
            "step": torch.tensor(1e6),
            "exp_avg": torch.zeros_like(theta),
            "exp_avg_sq": torch.ones_like(theta),
        }
        return optimizer

    assert limit_on_a_quadratic(settled) == pytest.approx(measured, rel=1e-6)


@pytest.mark.parametrize(
    ("delay", "decimals"), [(0, 2.0), (1, 1.0), (2, 0.6180), (4, 0.3473), (8, 0.1846)]
)
def test_the_limit_of_delayed_gradients_is_where_the_recurrence_stops_shrinking(delay, decimals):
    measured = critical_rate(delayed(delay), delay + 1)
    # The table has four decimals, of which it rounds some up.
    assert measured == pytest.approx(decimals, abs=1e-4)
    assert critical_product_of_delay(delay) == pytest.approx(measured, abs=1e-6)


def test_a_long_delay_costs_its_own_length():
    assert critical_product_of_delay(50) == pytest.approx(math.pi / 101, rel=1e-3)


def test_gradients_from_the_future_are_refused():
    with pytest.raises(ValueError, match="-1 steps"):
        critical_product_of_delay(-1)


LATE = torch.tensor(1e6)
"""A step at which bias corrections are 1 and the averages of NAdam and RAdam have settled."""

State = dict[str, torch.Tensor]


def averaged(moment: float, weight: float, gradient: torch.Tensor) -> torch.Tensor:
    """What to begin a step with so that the average of squares comes out as ``moment``."""
    return (moment - (1.0 - weight) * gradient.square()) / weight


def adam_like(gradient: torch.Tensor, **more: torch.Tensor) -> State:
    return {"step": LATE.clone(), "exp_avg_sq": averaged(4.0, 0.999, gradient), **more}


ADAPTIVE: dict[str, tuple[str, dict[str, object], Callable[[torch.Tensor], State], str, float]] = {
    # Name in torch, options, second moments before a step with this gradient, first moment, limit.
    "RMSprop": (
        "RMSprop",
        {"eps": 0.0},
        lambda g: {"step": LATE.clone(), "square_avg": averaged(4.0, 0.99, g)},
        "",
        2.0 * 2.0,
    ),
    "RMSprop, momentum .9": (
        "RMSprop",
        {"eps": 0.0, "momentum": 0.9},
        lambda g: {"step": LATE.clone(), "square_avg": averaged(4.0, 0.99, g)},
        "momentum_buffer",
        2.0 * 3.8,
    ),
    "Adagrad": (
        "Adagrad",
        {"eps": 0.0},
        lambda g: {"step": LATE.clone(), "sum": 4.0 - g.square()},
        "",
        2.0 * 2.0,
    ),
    "Adadelta": (
        "Adadelta",
        {"eps": 0.0},
        lambda g: {
            "step": LATE.clone(),
            "square_avg": averaged(4.0, 0.9, g),
            "acc_delta": torch.ones_like(g),
        },
        "",
        2.0 * 2.0,
    ),
    "Adam": ("Adam", {"eps": 0.0}, adam_like, "exp_avg", 2.0 * 38.0),
    "Adam, eps 1": ("Adam", {"eps": 1.0}, adam_like, "exp_avg", 3.0 * 38.0),
    "Adam, L2 decay .3": (
        "Adam",
        {"eps": 0.0, "weight_decay": 0.3},
        # The decay is part of the gradient that is squared.
        lambda g: adam_like(1.3 * g),
        "exp_avg",
        2.0 * 38.0 / 1.3,
    ),
    "AMSGrad": (
        "Adam",
        {"eps": 0.0, "amsgrad": True},
        lambda g: adam_like(g, max_exp_avg_sq=torch.full_like(g, 9.0)),
        "exp_avg",
        3.0 * 38.0,
    ),
    "AdamW, decay .3": (
        "AdamW",
        {"eps": 0.0, "weight_decay": 0.3},
        adam_like,
        "exp_avg",
        1.0 / (1.0 / 76.0 + 0.15),
    ),
    "NAdam": (
        "NAdam",
        {"eps": 0.0},
        lambda g: adam_like(g, mu_product=torch.zeros(())),
        "exp_avg",
        2.0 * 3.8 / (1.9 - 2.0 * 0.81),
    ),
    "RAdam": ("RAdam", {"eps": 0.0}, adam_like, "exp_avg", 2.0 * 38.0),
    "Adamax": (
        "Adamax",
        {"eps": 0.0},
        lambda g: {"step": LATE.clone(), "exp_inf": torch.full_like(g, 2.0 / 0.999)},
        "exp_avg",
        2.0 * 38.0,
    ),
}


@pytest.mark.parametrize(
    ("name", "options", "moments", "first", "expected"), ADAPTIVE.values(), ids=ADAPTIVE
)
def test_the_limit_of_adaptive_optimizers_is_where_torchs_own_step_stops_shrinking(
    name, options, moments, first, expected
):
    cls = getattr(torch.optim, name)

    def step(state: torch.Tensor, rate: float) -> torch.Tensor:
        theta = state[:1].clone().requires_grad_()
        optimizer = cls([theta], lr=rate, **options)
        theta.grad = theta.detach().clone()
        optimizer.state[theta] = {
            **moments(theta.grad.clone()),
            **({first: state[1:].clone()} if first else {}),
        }
        optimizer.step()
        return torch.cat([theta.detach(), *([optimizer.state[theta][first]] if first else [])])

    def settled(theta: torch.Tensor) -> torch.optim.Optimizer:
        # The moments as a step leaves them, here one that goes nowhere.
        still = torch.zeros_like(theta).requires_grad_()
        still.grad = torch.zeros_like(theta)
        replica = cls([still], **options)
        replica.state[still] = {
            **moments(still.grad),
            **({first: torch.zeros_like(theta)} if first else {}),
        }
        replica.step()
        optimizer = cls([theta], **options)
        optimizer.state[theta] = replica.state[still]
        if name == "Adadelta":
            # Of its two averages a step uses that of the updates as it was before.
            optimizer.state[theta]["acc_delta"] = torch.ones_like(theta)
        return optimizer

    measured = critical_rate(step, 2 if first else 1)
    assert measured == pytest.approx(expected, rel=1e-6)
    assert limit_on_a_quadratic(settled) == pytest.approx(measured, rel=1e-6)


def test_preconditioned_sharpness_of_adam_in_its_first_steps():
    """λmax(P^{-1/2} H P^{-1/2}), P = (1 − β₁ᵗ)(√(ν / (1 − β₂ᵗ)) + ε), with rates of two groups."""
    first, second, epsilon = 0.9, 0.99, 1e-3
    curvatures = torch.tensor([2.0, 0.3, 5.0], dtype=torch.float64)
    wide = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    narrow = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam(
        [{"params": [wide], "lr": 1e-2}, {"params": [narrow], "lr": 2e-3}],
        betas=(first, second),
        eps=epsilon,
    )

    def loss() -> torch.Tensor:
        # Off the diagonal as well, so that the square roots on either side matter.
        theta = torch.cat([wide, narrow])
        return 0.5 * (curvatures * theta**2).sum() + theta[0] * theta[2]

    moment = torch.zeros(3, dtype=torch.float64)
    for _ in range(3):
        optimizer.zero_grad()
        loss().backward()
        moment = second * moment + (1 - second) * torch.cat([wide.grad, narrow.grad]).square()
        optimizer.step()
    preconditioner = (1 - first**3) * ((moment / (1 - second**3)).sqrt() + epsilon)
    rates = torch.tensor([1e-2, 1e-2, 2e-3], dtype=torch.float64)
    hessian = torch.diag(curvatures)
    hessian[0, 2] = hessian[2, 0] = 1.0
    root = (rates / preconditioner).sqrt()
    sharpness = float(torch.linalg.eigvalsh(root[:, None] * hessian * root)[-1])
    seen = measure_curvature(
        loss(), [wide, narrow], [optimizer], phase="end", deadline=time.monotonic() + 60
    )
    (limit,) = seen.limits
    assert limit.headroom.value == pytest.approx(
        (2 + 2 * first) / (1 - first) / sharpness, rel=1e-8
    )
    assert limit.learning_rate == 1e-2
