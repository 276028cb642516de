"""Curvature of the training loss at one moment of the script, within a deadline."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from convlint.gpu_probes.curvature.choice import DIFFERENTIABLE_KERNELS, usable_hessian
from convlint.gpu_probes.curvature.density import (
    Density,
    EigenPair,
    combined,
    converged_pairs,
    density_of_one,
    spectral_density,
)
from convlint.gpu_probes.curvature.differences import (
    DifferencedHessian,
    difference_from_finite_differences,
)
from convlint.gpu_probes.curvature.forecast import quadratic_forecast
from convlint.gpu_probes.curvature.lanczos import RitzValues, TorchVectors, lanczos
from convlint.gpu_probes.curvature.operator import (
    CurvatureUnavailable,
    HessianOperator,
    RescaledHessian,
    preserved_random_state,
)
from convlint.gpu_probes.curvature.stability import (
    rescaled_spectrum,
    stability_limit,
    update_rule,
)
from convlint.gpu_probes.curvature.surface import loss_surface
from convlint.gpu_probes.curvature.trace import hutchinson
from convlint.gpu_probes.observations import BlockTrace, Curvature, Measurement, StabilityLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from convlint.gpu_probes.observations import Place

EXTREMES_SHARE = 0.6
"""Share of the time spent on the Hessian itself where an optimizer needs a run of its own."""

MEMORY_SHARE = 0.5
"""Share of the free memory the Lanczos basis may take; the rest stays the script's."""

GRADIENT_SHARE = 0.2
"""Length of the gradient's part of a mixed start beside the random one. Between 0.1 and 0.4 the
products hardly change; more delays telling apart the directions that the gradient mixes."""

LEAST_BLOCK = 0.1
"""Least root mean square of a block of a mixed start, as a share of the whole gradient's."""

FEW_ELEMENTS = 16
"""Blocks smaller than this have their random part turned to the gradient's side. For larger ones
that would only add to the gradient's share."""

FEWEST_ITERATIONS = 4
"""Fewer Lanczos steps than this say too little of the spectrum to report."""


def measure_curvature(
    loss: torch.Tensor,
    parameters: Sequence[torch.Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
    *,
    phase: str,
    deadline: float,
    iterations: int = 20,
    seed: int = 0,
    loss_scale: float = 1.0,
    closure: Callable[[], torch.Tensor] | None = None,
    differentiable: Callable[[], torch.Tensor] | None = None,
    rerun: str = DIFFERENTIABLE_KERNELS,
    buffers: Sequence[torch.Tensor] = (),
    identify: Callable[[torch.optim.Optimizer], tuple[int, Place | None]] | None = None,
    name_of: Callable[[torch.Tensor], str] | None = None,
    surface_seconds: float | None = None,
    density_vectors: int = 3,
) -> Curvature:
    """Extreme Hessian eigenvalues of ``loss`` and the stability limit of each optimizer.

    Call it where the graph of ``loss`` (a scalar) is at hand, before the script's own backward,
    which afterwards gives the same bits as without. Gradients, parameters, buffers, random state
    and version counters of the script stay as they are.

    ``phase`` is ``start`` or ``end``; ``deadline`` is a ``time.monotonic`` instant, checked
    between products (the first product of each run is always made). ``loss_scale`` is the factor
    by which ``loss`` exceeds the loss the optimizer minimizes: GradScaler's scale, 1/k for one of
    k accumulated micro-batches. ``closure`` evaluates the loss again on the same batch with
    the same random draws, at whatever the parameters hold; it serves the consistency check and the
    fall-backs for graphs without second derivatives; ``differentiable`` does so by operations that
    have them, where that is known how, ``rerun`` says which; ``buffers`` are put back after each
    call.
    ``identify`` gives the number and place of an optimizer; by default its position. ``name_of``
    gives the name of a parameter, for the traces of their blocks. With a closure, the forecast is
    checked and, for ``surface_seconds`` after ``deadline`` or the rest is done, a plane of the loss
    surface is evaluated. The spectral density is that of up to ``density_vectors`` random vectors,
    as many as there is time for, and of one where there is none.

    Raises ``CurvatureUnavailable`` with the reason when nothing can be measured.
    """
    started = time.monotonic()
    with preserved_random_state():
        hessian = usable_hessian(
            loss, parameters, loss_scale, closure, differentiable or closure, buffers, rerun
        )
        steps = _affordable_iterations(hessian, iterations)
        rules = [(o, update_rule(o, hessian.parameters, hessian.gradient)) for o in optimizers]
        own_run = any(rule is not None and not rule.uniform for _, rule in rules)
        until = started + EXTREMES_SHARE * (deadline - started) if own_run else deadline
        by_gradient, by_random = _two_spectra(hessian, steps, seed, started, until)
        spectra = [s for s in (by_gradient, by_random) if s is not None]
        if not spectra:
            raise CurvatureUnavailable("Hessian-vector products are not finite")
        steepest = max(spectra, key=lambda s: s.seen.largest)
        upper, top = steepest.seen, steepest.top
        lower = min((s.seen for s in spectra), key=lambda s: s.smallest)
        from_gradient = None if by_gradient is None else by_gradient.seen

        limits: list[StabilityLimit] = []
        for index, (optimizer, rule) in enumerate(rules):
            if rule is None:
                continue
            number, place = identify(optimizer) if identify else (index, None)
            if rule.uniform:
                spectrum: RitzValues | None = rescaled_spectrum(
                    rule, lower if rule.sign < 0 else upper
                )
            else:
                rescaled = RescaledHessian(hessian, rule.scale, rule.shift, rule.sign)
                start = mixed_start(rescaled.gradient, rescaled.parameters, seed)
                spectrum = lanczos(
                    rescaled,
                    start,
                    TorchVectors(start.dtype),
                    iterations=steps,
                    deadline=deadline,
                    lower_end=False,
                )
            if spectrum is None:
                continue
            name = type(optimizer).__name__
            limits.append(stability_limit(rule, spectrum, optimizer=number, cls=name, place=place))
        # Differences share nothing with the graph but the parameters: the loss elsewhere.
        elsewhere = _elsewhere(hessian, closure, buffers, loss_scale, deadline)
        consistency = forecast = surface = None
        if elsewhere is not None:
            if elsewhere is not hessian:
                consistency = difference_from_finite_differences(hessian, elsewhere)
            if from_gradient is not None:
                forecast = quadratic_forecast(
                    from_gradient, upper.largest, elsewhere.loss, elsewhere, deadline=deadline
                )
        traces = hutchinson(hessian, seed=seed, deadline=deadline)
        density = _density(hessian, by_random, density_vectors, seed, deadline)
        if elsewhere is not None and surface_seconds is not None:
            until = time.monotonic() + surface_seconds
            surface = loss_surface(elsewhere, top, upper.largest, deadline=until, seed=seed)
    return Curvature(
        phase=phase,
        method=hessian.method,
        parameters=hessian.dimension,
        largest=_measured_end(upper, -1),
        smallest=_measured_end(lower, 0),
        gradient_condition=gradient_condition(from_gradient) if from_gradient else None,
        gradient_norm=float(hessian.gradient.double().norm()),
        consistency=consistency,
        products=hessian.products,
        limits=tuple(limits),
        density=density.nodes if density else (),
        density_runs=density.runs if density else (),
        moments=density.moments if density else (),
        forecast=forecast,
        surface=surface,
        trace=None if traces is None else traces[0],
        blocks=_blocks(hessian, traces, name_of),
    )


def gradient_condition(from_gradient: RitzValues) -> Measurement | None:
    """κ_g: largest Ritz value over the weighted median of the positive ones.

    ``from_gradient`` is a Lanczos run started at the gradient: its weights are the shares of the
    squared gradient that lie along each Ritz value, so κ_g says how much faster the steepest
    direction moves than the one the median of the gradient needs. (λmax/λmin means nothing for a
    network, whose spectrum crosses zero.) None when no Ritz value is positive.
    """
    positive = from_gradient.values > 0.0
    if not positive.any():
        return None
    values = from_gradient.values[positive]
    weights = from_gradient.weights[positive]
    share = np.cumsum(weights) / weights.sum()
    median = float(values[int(np.searchsorted(share, 0.5))])
    return Measurement(
        float(values[-1]) / median,
        unit="ratio",
        n=from_gradient.steps,
        converged=from_gradient.upper_converged,
    )


def _affordable_iterations(hessian: HessianOperator, iterations: int) -> int:
    """As many Lanczos steps as the memory for their basis allows."""
    vector_bytes = hessian.gradient.numel() * hessian.gradient.element_size()
    affordable = int(MEMORY_SHARE * _free_memory(hessian.gradient.device) / vector_bytes)
    # Products, the residual and its chunks take a few more vectors than the basis itself.
    steps = min(iterations, affordable - 3)
    if steps < min(iterations, FEWEST_ITERATIONS):
        raise CurvatureUnavailable("not enough memory for the Lanczos basis")
    return steps


def _free_memory(device: torch.device) -> float:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # Memory that torch holds and nothing uses is free, too.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(free + held)
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return float("inf")


class Spectrum(NamedTuple):
    """A Lanczos run, the eigenvector of its largest Ritz value, and the eigenpairs it has found."""

    seen: RitzValues
    top: torch.Tensor
    pairs: list[EigenPair]


def _two_spectra(
    hessian: HessianOperator, iterations: int, seed: int, started: float, deadline: float
) -> tuple[Spectrum | None, Spectrum | None]:
    """Lanczos from the gradient and from a random vector.

    The gradient overlaps with the directions training moves in and weighs κ_g, but can be blind
    to the top eigenvector (symmetric models, a minimum); a random start is blind to nothing.
    """
    half = started + 0.5 * (deadline - started)
    from_gradient = _spectrum(hessian, hessian.gradient, iterations, half)
    random = _random_vector(hessian.gradient, seed)
    return from_gradient, _spectrum(hessian, random, iterations, deadline, keep_pairs=True)


def _spectrum(
    hessian: HessianOperator,
    start: torch.Tensor,
    iterations: int,
    deadline: float,
    *,
    keep_pairs: bool = False,
) -> Spectrum | None:
    basis: list[torch.Tensor] = []
    space = TorchVectors(start.dtype)
    seen = lanczos(hessian, start, space, iterations=iterations, deadline=deadline, basis=basis)
    if seen is None:
        return None
    # Summed up here, so that no two bases are held at once.
    pairs = converged_pairs(seen, basis) if keep_pairs else []
    return Spectrum(seen, combined(seen.top.tolist(), basis), pairs)


def _density(
    hessian: HessianOperator,
    by_random: Spectrum | None,
    vectors: int,
    seed: int,
    deadline: float,
) -> Density | None:
    """From several vectors while there is time, else from the one that found the extremes."""
    if by_random is None:
        return None
    # Other numbers than those of the first run, whose eigenpairs were chosen by them.
    several = spectral_density(
        hessian, by_random.pairs, vectors=vectors, seed=seed + 1, deadline=deadline
    )
    return several or density_of_one(by_random.seen)


def _random_vector(like: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator(device=like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def mixed_start(
    gradient: torch.Tensor, parameters: Sequence[torch.Tensor], seed: int
) -> torch.Tensor:
    """A random vector, each parameter's block as large as its gradient, and some of the gradient.

    The steep directions lie where the gradients are large, so that sizing the blocks so spares the
    first products of a plain random start, most of which lies in flat directions. The gradient
    itself overlaps with the steepest of them (Gur-Ari et al., "Gradient Descent Happens in a Tiny
    Subspace", 2018), but with many at once, which a start all of gradient has to tell apart. No
    block is left out, however small its gradient.
    """
    random = _random_vector(gradient, seed)
    length = float(gradient.double().norm())
    if length == 0.0:
        return random
    least = LEAST_BLOCK * length / math.sqrt(gradient.numel())
    sizes = [p.numel() for p in parameters]
    blocks = zip(torch.split(random, sizes), torch.split(gradient, sizes), strict=True)
    for part, of_gradient in blocks:
        size = float(of_gradient.double().norm()) / math.sqrt(max(of_gradient.numel(), 1))
        # In a block of a few elements the two may cancel; on the gradient's side they do not.
        few = of_gradient.numel() < FEW_ELEMENTS
        side = -1.0 if few and float(torch.dot(part, of_gradient)) < 0.0 else 1.0
        part.mul_(side * max(size, least))
    random.div_(float(random.double().norm()))
    return random.add_(gradient, alpha=GRADIENT_SHARE / length)


def _measured_end(spectrum: RitzValues, end: int) -> Measurement:
    value, residual = float(spectrum.values[end]), float(spectrum.residuals[end])
    return Measurement(
        value,
        unit="loss per squared parameter",
        n=spectrum.steps,
        ci=(value - residual, value + residual),
        converged=spectrum.upper_converged if end else spectrum.converged,
    )


def _elsewhere(
    hessian: HessianOperator,
    closure: Callable[[], torch.Tensor] | None,
    buffers: Sequence[torch.Tensor],
    loss_scale: float,
    deadline: float,
) -> DifferencedHessian | None:
    """What evaluates the loss away from the present parameters; None without closure or time."""
    if isinstance(hessian, DifferencedHessian):
        return hessian
    if closure is None or time.monotonic() >= deadline:
        return None
    try:
        found = DifferencedHessian(
            closure, hessian.parameters, buffers=buffers, loss_scale=loss_scale
        )
    except CurvatureUnavailable:
        return None
    same = [id(p) for p in found.parameters] == [id(p) for p in hessian.parameters]
    return found if same else None


def _blocks(
    hessian: HessianOperator,
    traces: tuple[Measurement, tuple[Measurement, ...]] | None,
    name_of: Callable[[torch.Tensor], str] | None,
) -> tuple[BlockTrace, ...]:
    if traces is None or name_of is None:
        return ()
    return tuple(
        BlockTrace(name_of(parameter), parameter.numel(), trace)
        for parameter, trace in zip(hessian.parameters, traces[1], strict=True)
    )
