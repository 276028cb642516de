"""Gradient noise scale from the gradients of several batches at the same parameters (M6).

McCandlish et al., "An Empirical Model of Large-Batch Training", 2018, appendix A.1, with single
batches as B_small and pairs of them as B_big: the unbiased |G|² of one pair is then g_i·g_j, so
that all pairs together give

    |G|² = mean over i ≠ j of g_i·g_j        tr Σ / B = mean |g_i|² - |G|²

and B_simple / B is the ratio of these means, never a mean of ratios. Intervals are by the jackknife
over batches, on the logarithm of the ratio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.quantities.uncertainty import student_t

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ENOUGH_PAIRS", "GradientStack", "NoiseEstimate", "noise_estimate"]

ENOUGH_PAIRS = 8 * math.comb(8, 2)
"""Pairs of batches behind an estimate that may be called one. Eight steps of eight micro-batches
have as many: on linear regression (true 26) 90 % of the estimates then lie in 20 to 35, those of
eight batches in 15 to 70, which only a lower bound can speak for."""

WIDEST = 10.0
"""An interval that reaches further than this factor from the estimate holds a signal that may as
well be zero: then only the lower bound is told."""

FEWEST_GROUPS = 4
"""With fewer the jackknife has less than three degrees of freedom."""

STACK_BYTES = 2 * 2**30
"""Memory the gradients may take together."""

_COLUMNS = 2**20


@dataclass(frozen=True)
class NoiseEstimate:
    """B_simple in batches, with what it is made of.

    ``value`` is None where the signal is not told from zero, and ``ci`` where the jackknife fails.
    ``lower`` is the least it can be (95 %). ``signal`` is |G|² with its standard error, ``power``
    the mean |g_i|².
    """

    value: float | None
    ci: tuple[float, float] | None
    lower: float | None
    signal: float
    signal_error: float
    power: float
    gradients: int

    @property
    def at_least(self) -> bool:
        """Whether only ``lower`` is known."""
        few = math.comb(self.gradients, 2) < ENOUGH_PAIRS
        return few or self.value is None or self.ci is None


class GradientStack:
    """Flat gradients, one row per batch; rows are sums of several where memory is short.

    ``expected`` is how many will come, ``elements`` the length of each.

    Raises:
        MemoryError: not even the sums of four groups fit into ``most_bytes``.
    """

    def __init__(
        self,
        elements: int,
        expected: int,
        device: torch.device,
        most_bytes: int = STACK_BYTES,
    ) -> None:
        rows = min(expected, most_bytes // (4 * max(1, elements)))
        if rows < min(expected, FEWEST_GROUPS):
            raise MemoryError(f"gradients of {elements:,} elements of {expected} batches")
        self.rows = torch.zeros(rows, elements, device=device)
        self.members = [0] * rows
        self._squares = [0.0] * rows
        self.count = 0

    @property
    def whole(self) -> bool:
        """Whether every gradient has a row of its own."""
        return self.count <= len(self.members)

    def add(self, gradient: torch.Tensor) -> None:
        """One more flat gradient."""
        row = self.count % len(self.members)
        self.rows[row] += gradient
        self.members[row] += 1
        self._squares[row] += float(gradient.double().square().sum())
        self.count += 1

    def estimate(self) -> NoiseEstimate:
        """The noise scale in the Euclidean norm."""
        filled = min(self.count, len(self.members))
        gram = self._gram(lambda columns: columns)
        return noise_estimate(gram, self._squares[:filled], self.members[:filled])

    def estimate_preconditioned(self) -> NoiseEstimate | None:
        """In the norm Σ g² / √(mean g²), an adaptive optimizer's; None where rows are sums."""
        if not self.whole:
            return None

        def weighted(columns: torch.Tensor) -> torch.Tensor:
            root = columns.square().mean(dim=0).sqrt()
            # The fourth root goes into each factor of the product.
            return columns / root.sqrt().where(root > 0, 1.0)

        gram = self._gram(weighted)
        return noise_estimate(gram, gram.diagonal().tolist(), self.members[: len(gram)])

    def _gram(self, weigh: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        filled = min(self.count, len(self.members))
        gram = torch.zeros(filled, filled, dtype=torch.float64)
        for start in range(0, self.rows.shape[1], _COLUMNS):
            columns = weigh(self.rows[:filled, start : start + _COLUMNS].double())
            gram += (columns @ columns.T).cpu()
        return gram


def noise_estimate(
    gram: torch.Tensor, squares: Sequence[float], members: Sequence[int]
) -> NoiseEstimate:
    """The estimate from the scalar products of the rows.

    ``squares`` is the sum of the |g_i|² of every row's ``members``.
    """
    count, groups = sum(members), len(members)
    total, inside = float(gram.sum()), sum(squares)
    by_row = gram.sum(dim=1).tolist()
    own = gram.diagonal().tolist()

    def parts(without: int | None) -> tuple[float, float]:
        """|G|² and mean |g_i|², of all rows but one."""
        n, both, power = count, total, inside
        if without is not None:
            n -= members[without]
            both -= 2.0 * by_row[without] - own[without]
            power -= squares[without]
        signal = (both - power) / (n * (n - 1)) if n > 1 else math.nan
        return signal, power / n if n else math.nan

    signal, power = parts(None)
    left_out = [parts(row) for row in range(groups)]
    quantile = student_t(groups - 1)
    error = _jackknife([s for s, _ in left_out])
    value = power / signal - 1.0 if signal > 0 else None
    interval = None
    if value is not None and value > 0 and groups >= FEWEST_GROUPS:
        ratios = [p / s - 1.0 if s > 0 else 0.0 for s, p in left_out]
        if min(ratios) > 0:
            half = quantile * _jackknife([math.log(ratio) for ratio in ratios])
            if half < math.log(WIDEST):
                interval = value * math.exp(-half), value * math.exp(half)
    lower = None if interval is None else interval[0]
    if lower is None and groups > 1 and math.isfinite(error):
        largest = signal + quantile * error
        lower = max(0.0, power / largest - 1.0) if largest > 0 else None
    if value is not None and value <= 0:
        value, lower = 0.0, 0.0
    return NoiseEstimate(value, interval, lower, signal, error, power, count)


def _jackknife(left_out: Sequence[float]) -> float:
    """Standard error from the values with one group left out each (Efron 1982)."""
    n = len(left_out)
    if n < 2:
        return math.inf
    mean = sum(left_out) / n
    return math.sqrt((n - 1) / n * sum((value - mean) ** 2 for value in left_out))
