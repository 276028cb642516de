"""Moments of every feature of a stream of batches, in float64, on the batches' device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch

CHUNK: Final = 1 << 22
"""Elements widened to float64 at a time (32 MiB of scratch)."""

LARGEST_COVARIANCE: Final = 512
"""Features up to which the second-moment matrix is kept: 2 MiB and cheap to accumulate."""


@dataclass
class FeatureMoments:
    """Count, mean, sum of squared deviations, minimum and maximum of F features; shape (F,) each.

    Batches merge by the pairwise update of Chan, Golub and LeVeque (1983), so a large offset costs
    no digits of the variance. ``second`` is the (F, F) sum of outer products about the origin, or
    None above `LARGEST_COVARIANCE` features.
    """

    count: int
    mean: torch.Tensor
    deviations: torch.Tensor
    minimum: torch.Tensor
    maximum: torch.Tensor
    second: torch.Tensor | None

    @classmethod
    def of(cls, rows: torch.Tensor) -> FeatureMoments:
        """Moments of ``rows``, shape (N, F) with N and F at least one, in chunks of float64."""
        step = max(1, CHUNK // rows.shape[1])
        total: FeatureMoments | None = None
        for start in range(0, rows.shape[0], step):
            part = cls._of_chunk(rows[start : start + step].double())
            total = part if total is None else total.merged(part)
        if total is None:
            raise ValueError("no rows")
        return total

    @classmethod
    def _of_chunk(cls, rows: torch.Tensor) -> FeatureMoments:
        mean = rows.mean(dim=0)
        keep = rows.shape[1] <= LARGEST_COVARIANCE
        return cls(
            count=rows.shape[0],
            mean=mean,
            deviations=(rows - mean).square().sum(dim=0),
            minimum=rows.amin(dim=0),
            maximum=rows.amax(dim=0),
            second=rows.T @ rows if keep else None,
        )

    def merged(self, other: FeatureMoments) -> FeatureMoments:
        """The moments of both streams together; their features must agree in number."""
        count = self.count + other.count
        device = self.mean.device
        shift = other.mean.to(device) - self.mean
        second = None
        if self.second is not None and other.second is not None:
            second = self.second + other.second.to(device)
        return FeatureMoments(
            count=count,
            mean=self.mean + shift * (other.count / count),
            deviations=self.deviations
            + other.deviations.to(device)
            + shift.square() * (self.count * other.count / count),
            minimum=torch.minimum(self.minimum, other.minimum.to(device)),
            maximum=torch.maximum(self.maximum, other.maximum.to(device)),
            second=second,
        )

    def pooled(self) -> FeatureMoments:
        """All features taken as one."""
        features = self.mean.numel()
        mean = self.mean.mean(dim=0, keepdim=True)
        deviations = self.deviations.sum() + self.count * (self.mean - mean).square().sum()
        return FeatureMoments(
            count=self.count * features,
            mean=mean,
            deviations=deviations.reshape(1),
            minimum=self.minimum.amin(dim=0, keepdim=True),
            maximum=self.maximum.amax(dim=0, keepdim=True),
            second=None,
        )

    def std(self) -> torch.Tensor:
        """Standard deviation of each feature (divided by N)."""
        return (self.deviations / self.count).sqrt()

    def constant(self) -> torch.Tensor:
        """Which features took a single value."""
        return self.minimum == self.maximum


def condition_number(moments: FeatureMoments) -> tuple[float | None, str]:
    """Condition number of the features' second-moment matrix about the origin, and a note.

    Features that are always zero reach no weight and are left out. None, with the reason, when
    there are too many features, fewer samples than features, or exact linear dependence.
    """
    if moments.second is None:
        return None, f"more than {LARGEST_COVARIANCE} features"
    second = moments.second.cpu() / moments.count
    if not bool(second.isfinite().all()):
        return None, "not finite"
    live = second.diagonal() > 0
    second = second[live][:, live]
    features = second.shape[0]
    if features == 0:
        return None, "every feature is zero"
    if moments.count < features:
        return None, f"{moments.count} samples of {features} features"
    eigenvalues = torch.linalg.eigvalsh(second)
    largest, smallest = float(eigenvalues[-1]), float(eigenvalues[0])
    # Below this an eigenvalue is the rounding of the largest one.
    if smallest <= features * torch.finfo(torch.float64).eps * largest:
        return None, "features depend linearly on each other"
    condition = largest / smallest
    return (condition, "") if math.isfinite(condition) else (None, "not finite")
