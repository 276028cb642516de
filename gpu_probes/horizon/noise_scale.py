"""The gradient noise scale on recorded batches, all replayed at the initial parameters (M6)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.curvature.operator import CurvatureUnavailable, RetainedGraphHessian
from convlint.gpu_probes.observations import GradientNoise, Measurement
from convlint.gpu_probes.quantities.gradient_noise import GradientStack, NoiseEstimate
from convlint.gpu_probes.quantities.uncertainty import student_t
from convlint.gpu_probes.tape import Change, TapeUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from convlint.gpu_probes.observations import Place
    from convlint.gpu_probes.tape import Tape
    from convlint.gpu_probes.tape.trajectory import Start

__all__ = ["Steps", "gradient_noise"]

FEWEST_BATCHES = 4
PRODUCTS = 8
"""Hessian-vector products, each with the Hessian of another batch."""
_SHARE_FOR_GRADIENTS = 0.7
"""Of the time there is; the products get the rest."""


@dataclass(frozen=True)
class Steps:
    """How the script steps: which ``optimizer`` of class ``cls`` at which rate, over how much.

    ``batch_size`` is the number of samples in one recorded batch, None where not known, and
    ``batches`` how many of them make one step. ``rate`` is None for adaptive optimizers.
    """

    optimizer: int
    cls: str
    adaptive: bool
    rate: float | None
    batch_size: int | None
    batches: float = 1.0
    place: Place | None = None


def gradient_noise(
    start: Start, tapes: Sequence[Tape], steps: Steps, *, deadline: float
) -> GradientNoise | None:
    """The noise scale of ``tapes`` at ``start``; None where time was short of a few batches.

    Batches that occur twice count once. ``deadline`` is an instant of ``time.monotonic``.

    Raises:
        TapeUnavailable: a tape cannot be replayed, or all batches are the same.
        MemoryError: the gradients are too large to be compared.
    """
    gathered = _gather(start, tapes, deadline)
    if gathered is None:
        return None
    stack, used = gathered
    if stack.count < FEWEST_BATCHES:
        raise TapeUnavailable(f"only {stack.count} different batches were recorded")
    estimate = stack.estimate()
    preconditioned = stack.estimate_preconditioned() if steps.adaptive else None
    products = _Products()
    note = ""
    if stack.whole:
        try:
            products = _products(start, used, stack, deadline)
        except (CurvatureUnavailable, TapeUnavailable) as refused:
            note = refused.reason
    size = steps.batch_size
    return GradientNoise(
        scale=_scale(estimate, size, note),
        at_least=estimate.at_least,
        batch_size=size,
        step_size=None if size is None else round(size * steps.batches),
        gradients=estimate.gradients,
        optimizer=steps.optimizer,
        cls=steps.cls,
        preconditioned=None if preconditioned is None else _scale(preconditioned, size),
        curvature_scale=products.noise(size),
        largest_rate=products.largest_rate(estimate),
        best_rate=products.best_rate(estimate, steps.batches),
        rate_in_use=None if steps.adaptive else steps.rate,
        products=len(products.own),
        place=steps.place,
    )


def _scale(estimate: NoiseEstimate, size: int | None, note: str = "") -> Measurement:
    """In samples; where only a lower bound is known, that."""
    factor, unit = (1.0, "batches") if size is None else (float(size), "samples")
    value = estimate.lower if estimate.at_least else estimate.value
    interval = estimate.ci
    return Measurement(
        None if value is None else factor * value,
        unit=unit,
        n=estimate.gradients,
        ci=None if interval is None else (factor * interval[0], factor * interval[1]),
        converged=not estimate.at_least,
        note="; ".join(filter(None, ["at least" if estimate.at_least else "", note])),
    )


def _gather(
    start: Start, tapes: Sequence[Tape], deadline: float
) -> tuple[GradientStack, list[Tape]] | None:
    """The gradients of as many batches as there is time for, and the tapes they are from."""
    ends = time.monotonic() + _SHARE_FOR_GRADIENTS * (deadline - time.monotonic())
    trained = [leaf for leaf in start.parameters if leaf.requires_grad]
    elements = sum(leaf.numel() for leaf in trained)
    stack = GradientStack(elements, len(tapes), trained[0].device)
    seen: set[tuple[float, float]] = set()
    used: list[Tape] = []
    for tape in tapes:
        if stack.count >= FEWEST_BATCHES and time.monotonic() > ends:
            break
        if time.monotonic() > deadline:
            return None
        loss, gradient = _gradient(start, tape, trained)
        # The same batch again would be taken for one without noise.
        identity = loss, float(gradient.double().sum())
        if identity in seen:
            continue
        if not math.isfinite(loss) or not bool(torch.isfinite(gradient).all()):
            raise TapeUnavailable("the gradients are not finite")
        seen.add(identity)
        stack.add(gradient)
        used.append(tape)
    return stack, used


def _gradient(
    start: Start, tape: Tape, trained: Sequence[torch.Tensor]
) -> tuple[float, torch.Tensor]:
    loss, gradients = tape.gradients(_leaves(start, tape))
    by_leaf = {
        id(leaf): gradient.to_dense()
        for leaf, gradient in zip(_leaves(start, tape), gradients, strict=True)
        if gradient is not None
    }
    flat = [
        by_leaf[id(leaf)].reshape(-1).to(device=trained[0].device, dtype=torch.float32)
        if id(leaf) in by_leaf
        else torch.zeros(leaf.numel(), device=trained[0].device)
        for leaf in trained
    ]
    return float(loss.sum()), torch.cat(flat)


def _leaves(start: Start, tape: Tape) -> list[torch.Tensor]:
    """The tape's parameters as they were at the start."""
    at_start = {id(o): leaf for o, leaf in zip(start.originals, start.parameters, strict=True)}
    found = [at_start.get(id(parameter)) for parameter in tape.parameters]
    leaves = [leaf for leaf in found if leaf is not None]
    if len(leaves) < len(found):
        raise TapeUnavailable("a recorded batch uses parameters made after the first one")
    return leaves


class _Products:
    """Products with the Hessians of single batches.

    ``own`` holds g_j·H_t g_j, ``others`` the mean over i of g_i·H_t g_j, with i, j and t different
    batches: the first averages GᵀHG + tr(HΣ) / B, the second GᵀHG.
    """

    def __init__(self) -> None:
        self.own: list[float] = []
        self.others: list[float] = []

    def noise(self, size: int | None) -> Measurement | None:
        """B_noise = tr(HΣ) / GᵀHG."""
        factor, unit = (1.0, "batches") if size is None else (float(size), "samples")
        return self._ratio(
            lambda own, others: factor * (own - others) / others if others > 0 else math.nan,
            unit,
            0.0,
        )

    def largest_rate(self, estimate: NoiseEstimate) -> Measurement | None:
        """ε_max = |G|² / GᵀHG."""
        return self._ratio(
            lambda own, others: estimate.signal / others if others > 0 else math.nan,
            "learning rate",
            _relative_error(estimate),
        )

    def best_rate(self, estimate: NoiseEstimate, batches: float) -> Measurement | None:
        """ε_max / (1 + B_noise / B) = |G|² / (GᵀHG + tr(HΣ) / B), B of so many ``batches``."""

        def rate(own: float, others: float) -> float:
            expected = others + (own - others) / batches if batches != 1.0 else own
            return estimate.signal / expected if expected > 0 else math.nan

        return self._ratio(rate, "learning rate", _relative_error(estimate))

    def _ratio(
        self, formula: Callable[[float, float], float], unit: str, other_error: float
    ) -> Measurement | None:
        """The formula of the means, its interval by the jackknife over products on the log scale;
        ``other_error`` is the relative error of what else is in it."""
        n = len(self.own)
        if n < FEWEST_BATCHES or not math.isfinite(other_error):
            return None
        own, others = sum(self.own), sum(self.others)
        value = formula(own / n, others / n)
        left_out = [
            formula((own - a) / (n - 1), (others - b) / (n - 1))
            for a, b in zip(self.own, self.others, strict=True)
        ]
        if not value > 0:
            return None
        interval = None
        if all(v > 0 for v in left_out):
            logs = [math.log(v) for v in left_out]
            mean = sum(logs) / n
            variance = (n - 1) / n * sum((log - mean) ** 2 for log in logs)
            half = student_t(n - 1) * math.sqrt(variance + other_error**2)
            interval = (value * math.exp(-half), value * math.exp(half))
        return Measurement(value, unit=unit, n=n, ci=interval, converged=interval is not None)


def _relative_error(estimate: NoiseEstimate) -> float:
    """Of |G|²; infinite where it is not told from zero."""
    if estimate.signal <= 0:
        return math.inf
    return estimate.signal_error / estimate.signal


def _products(
    start: Start, tapes: Sequence[Tape], stack: GradientStack, deadline: float
) -> _Products:
    """One product with the Hessian of each of a few batches, along another batch's gradient."""
    products = _Products()
    trained = [leaf for leaf in start.parameters if leaf.requires_grad]
    for number, tape in enumerate(tapes[:PRODUCTS]):
        if time.monotonic() > deadline:
            break
        other = (number + 1) % len(tapes)
        loss = tape.loss(_leaves(start, tape), change=Change(twice_differentiable=True))
        hessian = RetainedGraphHessian(loss.reshape(()), trained)
        rows = _columns(stack, trained, hessian)
        product = hessian(rows[other].to(hessian.gradient)).to(rows)
        along = (rows @ product).tolist()
        products.own.append(along[other])
        rest = [along[i] for i in range(len(along)) if i not in (number, other)]
        products.others.append(sum(rest) / len(rest))
    return products


def _columns(
    stack: GradientStack, trained: Sequence[torch.Tensor], hessian: RetainedGraphHessian
) -> torch.Tensor:
    """The gradients over the parameters that the Hessian is over."""
    reached = {id(parameter) for parameter in hessian.parameters}
    if all(id(leaf) in reached for leaf in trained):
        return stack.rows[: stack.count]
    blocks = torch.split(stack.rows[: stack.count], [leaf.numel() for leaf in trained], dim=1)
    return torch.cat(
        [block for block, leaf in zip(blocks, trained, strict=True) if id(leaf) in reached], dim=1
    )
