"""What training logs say: curves, how they run, and how training and validation compare.

Facts only: thresholds and sentences are those of the rules (``convlint.rules.logged``). Every
number can be None: it is not known then, and a rule that needs it stays silent.
"""

from __future__ import annotations

import msgspec

SCHEMA_VERSION = 1


class Spike(msgspec.Struct, frozen=True):
    """A sudden rise that the steps before do not explain.

    ``share`` is its height over what the loss had gained until then, None when that was nothing;
    ``recovery`` the number of steps until the loss is back, None when it never is.
    """

    step: float
    line: int
    height: float
    share: float | None
    recovery: float | None


class Cycle(msgspec.Struct, frozen=True):
    """The strongest lasting periodic component: amplitude of the sinusoid, period in steps."""

    amplitude: float
    period: float
    p_value: float
    sustained: bool


class Plateau(msgspec.Struct, frozen=True):
    """The longest end of a series that holds no trend worth its noise.

    ``share`` is its part of the steps, ``most`` the largest fall over it that the data allow
    (95 %), in units of the series.
    """

    start: float
    line: int
    level: float
    share: float
    most: float


class Forecast(msgspec.Struct, frozen=True):
    """Where the series will be at ``step``, with an 80 % interval.

    ``covered`` is the share of the last third that the same method, shown the first two thirds,
    put inside its interval. Published only where that is 0.65 or more.
    """

    step: float
    value: float
    low: float
    high: float
    covered: float


class Gap(msgspec.Struct, frozen=True):
    """The longest stretch of evaluations without a new best that ended in one after all."""

    evaluations: int
    start: float
    end: float
    line: int
    gained: float
    """How much better the later best is, in units of the metric."""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One series of numbers by step.

    ``quantity`` is ``loss``, ``score`` (higher is better), ``learning rate``, ``gradient norm`` or
    ``other``; ``split`` is ``train``, ``validation`` or empty; ``part`` whether it is only a part
    of what is optimised (one of several losses, an adversarial loss). ``kind``, ``note``,
    ``rate_class`` and ``rate`` are those of ``convlint.curves.convergence``.
    """

    name: str
    quantity: str
    split: str
    part: bool = False
    points: int = 0
    first_step: float = 0.0
    last_step: float = 0.0
    first_line: int = 1
    last_line: int = 1
    first: float | None = None
    """Median of the first tenth (three values at least); ``last`` that of the last tenth."""
    last: float | None = None
    lowest: float | None = None
    highest: float | None = None
    noise: float | None = None
    lost: int = 0
    """Values that are not finite."""
    lost_from: float | None = None
    """The step from which on none is finite, to the end."""
    lost_line: int = 1
    kind: str = ""
    note: str = ""
    rate_class: str = ""
    rate: float | None = None
    turns: int = 0
    """How many losses take turns under this name, each judged on its own; 0 where it is one."""
    cycle: Cycle | None = None
    spikes: tuple[Spike, ...] = ()
    plateau: Plateau | None = None
    gap: Gap | None = None
    forecast: Forecast | None = None
    shape: tuple[float, ...] = ()
    """At most 60 values, evenly spaced, for a plot."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A training loss and the validation loss of the same kind.

    ``generalisation_loss`` has Prechelt's GL = 100 (E / E_best − 1) of every evaluation from the
    best one on, ``progress_quotient`` his PQ = GL / P_5 of the same (None where training made no
    progress over the strip of five evaluations); ``rise`` how far validation rose above its best at
    the end, ``validation_noise`` its standard deviation from evaluation to evaluation, ``p_rising``
    the one-sided Mann-Kendall p-value of validation rising since its best, ``training_fell`` how far
    training fell over the same steps (None where it has fewer than two values there).
    """

    training: str
    validation: str
    evaluations: int
    best: float
    best_step: float
    best_line: int
    generalisation_loss: tuple[float, ...] = ()
    progress_quotient: tuple[float | None, ...] = ()
    rise: float = 0.0
    validation_noise: float | None = None
    p_rising: float = 1.0
    training_fell: float | None = None
    score: str = ""
    """A validation score of the same log, if there is one; ``score_best_step`` where it was best."""
    score_best_step: float | None = None


class Phase(msgspec.Struct, frozen=True):
    """Steps at one learning rate, or along one smooth schedule (``first`` and ``last`` differ)."""

    start: float
    end: float
    first: float
    last: float


class RangeTest(msgspec.Struct, frozen=True, kw_only=True):
    """A learning rate raised exponentially from ``first`` to ``last``, to the end of the log.

    By the smoothed ``loss``, ``steepest`` is the rate at which it falls fastest, ``lowest`` where
    its median is lowest (both None when it never falls), ``leaves`` where the rise begins that
    carries it off for good (None when it stays), ``suggested`` a third of the smaller of the two.
    """

    loss: str
    line: int
    first: float
    last: float
    steepest: float | None
    lowest: float | None
    leaves: float | None
    suggested: float | None


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """One log."""

    path: str
    format: str
    curves: tuple[Curve, ...] = ()
    pairs: tuple[Pair, ...] = ()
    phases: tuple[Phase, ...] = ()
    """Of the learning rate, in order; empty when the log has none."""
    restarts: int = 0
    """How often the learning rate rose again after it had fallen."""
    range_test: RangeTest | None = None
    """Where the learning rate is swept: such a log is an experiment and no training run."""
    planned_steps: float | None = None
    baseline: float | None = None
    """Loss of a constant prediction, when the user gave it."""
    ignored: tuple[str, ...] = ()
    """Columns that are no curve known here, and a counter of episodes."""
    remarks: tuple[str, ...] = ()
    """What was odd about the log itself: duplicate steps, rows left out."""
    schema_version: int = SCHEMA_VERSION

    def judged_losses(self, split: str) -> tuple[Curve, ...]:
        """The whole losses of a split."""
        return tuple(
            curve
            for curve in self.curves
            if curve.quantity == "loss" and curve.split == split and not curve.part
        )
