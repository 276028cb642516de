"""How noisy the gradients of a script are (PROBES.md M6)."""

from __future__ import annotations

from dataclasses import dataclass

from convlint.gpu_probes.observations.values import Measurement, Place


@dataclass(frozen=True)
class GradientNoise:
    """The gradient noise scale at the initial parameters (McCandlish et al. 2018).

    ``scale`` is B_simple = tr Σ / |G|², in samples where ``batch_size`` is known, else in batches:
    with so many in a batch, signal and noise are equally strong. With ``at_least`` its value is
    the lower end of what it can be. ``preconditioned`` is the same in the norm of an adaptive
    optimizer, by the root of the gradient's mean square. ``batch_size`` counts the samples of one
    recorded batch, ``step_size`` those behind one step (accumulated batches, all ranks).

    From products with the Hessian: ``curvature_scale`` is B_noise = tr(HΣ) / GᵀHG, ``largest_rate``
    the learning rate ε_max = |G|² / GᵀHG of the best step along G, ``best_rate`` that of the best
    step with batches of ``step_size``, ε_max / (1 + B_noise / B). ``rate_in_use`` is the plain
    gradient descent's rate that moves as far: lr / (1 - momentum), None for adaptive optimizers.
    """

    scale: Measurement
    at_least: bool
    batch_size: int | None
    step_size: int | None
    gradients: int
    optimizer: int
    cls: str
    preconditioned: Measurement | None = None
    curvature_scale: Measurement | None = None
    largest_rate: Measurement | None = None
    best_rate: Measurement | None = None
    rate_in_use: float | None = None
    products: int = 0
    place: Place | None = None
