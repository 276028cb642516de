"""The curvature of the loss, and what follows for the learning rate."""

from __future__ import annotations

from dataclasses import dataclass

from convlint.gpu_probes.observations.values import Measurement, Place


@dataclass(frozen=True)
class StabilityLimit:
    """The largest stable learning rate of one optimizer at the measured curvature (M7).

    ``limit`` is in units of the learning rate; ``headroom`` is limit / learning rate in use
    (below 1 the quadratic model diverges).
    """

    optimizer: int
    cls: str
    learning_rate: float | None
    preconditioned: bool
    limit: Measurement
    headroom: Measurement
    place: Place | None = None


@dataclass(frozen=True)
class ForecastCheck:
    """A foretold loss after ``steps`` plain gradient steps at ``rate``, and the real one."""

    rate: float
    steps: int
    predicted: float
    measured: float


@dataclass(frozen=True)
class QuadraticForecast:
    """The loss after ``steps`` plain gradient steps on one batch, foretold by its curvature (M7).

    Entry k of ``predicted`` belongs to ``rates[k]`` (None where it overflows); ``loss`` is where
    the steps begin. ``checks`` are steps really taken; the forecast holds up to the rate
    ``valid_up_to``, at which one and several steps lowered the loss as foretold to 10 %, None where
    it failed at the first.
    """

    loss: float
    steps: int
    rates: tuple[float, ...]
    predicted: tuple[float | None, ...]
    checks: tuple[ForecastCheck, ...]
    valid_up_to: float | None


@dataclass(frozen=True)
class LossSurface:
    """The loss of one batch over a plane through the present parameters (M7).

    ``losses[j][i]`` is the loss at θ + x[i]·u + y[j]·v for orthonormal directions u (``x_axis``)
    and v (``y_axis``): distances in parameter space, beside the ``norm`` of all parameters. None
    where the loss is not finite or the time was used up. ``gradient`` is the negative gradient,
    ``top eigenvector`` that of the Hessian, ``random`` one that is filter-normalised.
    """

    x_axis: str
    y_axis: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    losses: tuple[tuple[float | None, ...], ...]
    norm: float


@dataclass(frozen=True)
class BlockTrace:
    """Trace of the Hessian's diagonal block of one parameter tensor, over ``parameters`` elements."""

    name: str
    parameters: int
    trace: Measurement


@dataclass(frozen=True)
class Curvature:
    """Extreme curvature of the training loss on one held batch (M7).

    ``phase`` is ``start`` or ``end`` (of the run). ``largest`` and ``smallest`` are Hessian
    eigenvalues with their Ritz residual intervals; ``gradient_condition`` the gradient-weighted
    condition number; ``products`` the Hessian-vector products spent; ``consistency`` the relative
    difference from a finite-difference product, or, where the step has a backward of its own, from
    differences of the loss (above 1e-2 the Hessian is not to be trusted).
    """

    phase: str
    method: str
    parameters: int
    largest: Measurement
    smallest: Measurement
    gradient_condition: Measurement | None
    gradient_norm: float | None
    consistency: float | None
    products: int
    limits: tuple[StabilityLimit, ...] = ()
    density: tuple[tuple[float, float], ...] = ()
    """Spectral density: pairs of an eigenvalue and the share of all eigenvalues it stands for; the
    shares add up to one. Eigenvalues known one by one come first, then the nodes of a stochastic
    Lanczos quadrature, one random vector after the other."""
    density_runs: tuple[int, ...] = ()
    """How many nodes of ``density`` each random vector has, in their order."""
    moments: tuple[Measurement, ...] = ()
    """Means of the first four powers of an eigenvalue, each with its standard error over the random
    vectors as interval; none for a single vector."""
    forecast: QuadraticForecast | None = None
    surface: LossSurface | None = None
    trace: Measurement | None = None
    """Sum of all eigenvalues (Hutchinson) with its standard error as interval."""
    blocks: tuple[BlockTrace, ...] = ()
