"""Generalisation loss and training progress of Prechelt (Early Stopping — but when?, 1998).

Two of his criteria for overfitting: GL, how far validation stands above its best, and PQ, that
over what training still gains: a small loss counts where training has all but ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from convlint.curves.trend import Series

STRIP = 5
"""Evaluations in a training strip, Prechelt's k."""


def generalisation_loss(validation: Series) -> Series:
    """GL(t) = 100·(E_va(t) / E_opt(t) − 1) in percent, with E_opt(t) the least error up to t.

    Errors are positive; with a least error of zero or below GL has no meaning, and NaN is returned.
    """
    least = np.minimum.accumulate(validation)
    return np.where(
        least > 0.0, 100.0 * (validation / np.where(least > 0.0, least, 1.0) - 1.0), np.nan
    )


def training_progress(strip: Series) -> float:
    """P_k = 1000·(mean(E_tr) / min(E_tr) − 1) of one training strip, in per mille.

    Zero for a strip that stands still; NaN for errors that are not positive.
    """
    least = float(strip.min())
    return 1000.0 * (float(strip.mean()) / least - 1.0) if least > 0.0 else float("nan")


def progress_quotient(loss: float, progress: float) -> float | None:
    """PQ = GL / P_k; None where training made no progress, or either is not known."""
    return loss / progress if np.isfinite(loss) and progress > 0.0 else None
