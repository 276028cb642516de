"""Expectation maximisation never lowers the likelihood (Dempster, Laird, Rubin 1977)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convlint.gpu_probes.classical.monotone import Violation, first_fall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

TOLERANCE = {"float64": 1e-9, "float32": 1e-5}
"""Fall of the log-likelihood that rounding explains, as a share of its size."""

COLLAPSED = 1e-6
"""A component whose smallest variance is below this share of the data's sits on single points,
where the likelihood has no bound."""


@dataclass(frozen=True)
class EmCheck:
    """``violation`` is the first iteration that lowered the likelihood, a bug in a step; ``gained``
    what the last iteration brought; ``collapsed`` the components without spread."""

    violation: Violation | None
    gained: float | None
    collapsed: tuple[int, ...] = ()


def check_em(
    log_likelihoods: Sequence[float],
    *,
    covariances: ArrayLike | None = None,
    data_variance: float | None = None,
    dtype: str = "float64",
) -> EmCheck:
    """Check the total log-likelihood after each iteration.

    ``covariances`` are those of the components at the end, (k, d, d) or variances (k, d) or (k,);
    with ``data_variance``, the smallest variance of the data along an axis, collapsed components
    are told.

    Raises:
        ValueError: the dtype has no tolerance, or covariances have another number of dimensions.
    """
    if dtype not in TOLERANCE:
        raise ValueError(f"dtype is float64 or float32, not {dtype!r}")
    values = [float(value) for value in log_likelihoods]
    return EmCheck(
        violation=first_fall(values, TOLERANCE[dtype]),
        gained=values[-1] - values[-2] if len(values) > 1 else None,
        collapsed=()
        if covariances is None or data_variance is None
        else _collapsed(np.asarray(covariances, dtype=np.float64), data_variance),
    )


def _collapsed(covariances: np.ndarray, data_variance: float) -> tuple[int, ...]:
    if covariances.ndim == 3:
        smallest = np.linalg.eigvalsh(covariances)[:, 0]
    elif covariances.ndim in (1, 2):
        smallest = covariances.reshape(len(covariances), -1).min(axis=1)
    else:
        raise ValueError(f"covariances are (k, d, d), (k, d) or (k,), not {covariances.shape}")
    return tuple(int(k) for k in np.nonzero(smallest < COLLAPSED * data_variance)[0])
