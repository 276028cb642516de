"""Where the loss of the short run goes."""

from __future__ import annotations

from dataclasses import dataclass

from convlint.gpu_probes.observations.values import Measurement


@dataclass(frozen=True)
class Series:
    """Per-step telemetry of the real steps, aligned: entry i belongs to step i.

    ``loss`` is the back-propagated loss (unscaled, accumulation summed), ``gradient_norm`` the
    global norm just before the step, ``seconds`` wall time of the step without the probe's own.
    """

    loss: tuple[float | None, ...] = ()
    gradient_norm: tuple[float | None, ...] = ()
    learning_rate: tuple[float | None, ...] = ()
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Convergence:
    """What the loss series of the short run says (M8), filled in by ``convlint.curves``.

    ``kind`` is ``diverging``, ``oscillating``, ``stalled``, ``slow``, ``converging`` or
    ``undetermined``; ``rate`` the fitted rate: ``linear`` with its factor per step, ``sublinear``
    with its exponent. ``noise`` is the standard deviation of the step-to-step noise.
    """

    kind: str
    rate_class: str
    rate: Measurement | None
    noise: float | None
    first: float | None
    last: float | None
    limit: Measurement | None = None
    steps: int = 0
    note: str = ""
    standing: str = ""
    """What kind of standing still the end is: ``moving``, ``at a trivial predictor``, ``at a
    saddle``, ``stopped by the learning rate``, ``converged`` or ``on a plateau``."""
    noise_floor: Measurement | None = None
    """Excess loss at which SGD at its constant rate stays, from the gradient noise: at most."""
