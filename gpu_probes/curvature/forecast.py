"""What plain gradient steps at every learning rate would do to the loss, from one Lanczos run.

Lanczos from the gradient g gives nodes θ_j and weights w_j (summing to 1) with gᵀ p(H) g =
|g|² Σ w_j p(θ_j) for polynomials p up to degree 2m − 1. On the quadratic model, K steps of gradient
descent at rate η lower the loss by gᵀ p(H) g with p(θ) = [1 − (1 − ηθ)^{2K}] / (2θ), of degree
2K − 1: for K <= m the sum is exact, for every η at once and without another product.

The model is that of one point. ``checked`` asks the real loss: one and five steps are really taken,
at a twentieth, a quarter, a half and the whole of 1/λmax, and the forecast holds up to the last rate at
which both decreases were foretold to 10 %.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from convlint.gpu_probes.curvature.operator import CurvatureUnavailable
from convlint.gpu_probes.observations import ForecastCheck, QuadraticForecast

if TYPE_CHECKING:
    from convlint.gpu_probes.curvature.differences import DifferencedHessian
    from convlint.gpu_probes.curvature.lanczos import RitzValues

SHARES = (0.05, 0.25, 0.5, 1.0)
"""Rates that are tried, in units of 1/λmax; the model diverges from 2."""

STEPS = (1, 5)
AGREEMENT = 0.1
"""Largest error of a foretold decrease, as a share of the measured one."""

RATES = 25
LOWEST_SHARE = 0.01


def foretold_decrease(
    from_gradient: RitzValues, gradient_norm: float, rate: float, steps: int
) -> float:
    """L(θ) − L(θ after ``steps`` steps of gradient descent at ``rate``) on the quadratic model.

    Exact for a quadratic while ``steps`` is at most the number of Lanczos steps.
    """
    theta = from_gradient.values
    factor = 1.0 - rate * theta
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        gained = (1.0 - factor ** (2 * steps)) / (2.0 * theta)
    # The limit at θ = 0, where the loss is linear along the direction.
    flat = np.abs(rate * theta) < 1e-12
    gained = np.where(flat, rate * steps, gained)
    return float(gradient_norm**2 * (from_gradient.weights @ gained))


def quadratic_forecast(
    from_gradient: RitzValues,
    largest: float,
    start: float,
    descent: DifferencedHessian,
    *,
    deadline: float,
) -> QuadraticForecast | None:
    """Forecast and check, from loss ``start``; ``descent`` evaluates loss and gradient elsewhere.

    None where there is no positive curvature or gradient to speak of, or the first check had to be
    left out: without it nothing would say whether the model holds.
    """
    norm = float(descent.gradient.double().norm())
    if largest <= 0.0 or norm == 0.0:
        return None
    # An exhausted Krylov space has the gradient's whole measure: exact for any number of steps.
    exact = STEPS[-1] if from_gradient.exhausted else from_gradient.steps
    horizon = min(STEPS[-1], exact)
    checks: list[ForecastCheck] = []
    valid: float | None = None
    for share in SHARES:
        if time.monotonic() >= deadline:
            break
        rate = share / largest
        try:
            losses = descent.descent(rate, horizon)
        except CurvatureUnavailable:
            break
        made = [
            ForecastCheck(
                rate=rate,
                steps=steps,
                predicted=start - foretold_decrease(from_gradient, norm, rate, steps),
                measured=losses[steps - 1],
            )
            for steps in dict.fromkeys(min(k, horizon) for k in STEPS)
        ]
        if not all(math.isfinite(c.measured) and math.isfinite(c.predicted) for c in made):
            break
        checks += made
        if not all(_agrees(check, start) for check in made):
            break
        valid = rate
    if not checks:
        return None
    rates = np.geomspace(LOWEST_SHARE / largest, 2.0 / largest, RATES)
    foretold = [start - foretold_decrease(from_gradient, norm, float(r), horizon) for r in rates]
    return QuadraticForecast(
        loss=start,
        steps=horizon,
        rates=tuple(float(rate) for rate in rates),
        predicted=tuple(value if np.isfinite(value) else None for value in foretold),
        checks=tuple(checks),
        valid_up_to=valid,
    )


def _agrees(check: ForecastCheck, start: float) -> bool:
    decrease = start - check.measured
    return abs(check.measured - check.predicted) <= AGREEMENT * abs(decrease)
