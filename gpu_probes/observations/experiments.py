"""Experiments on the recorded steps: one batch by heart, and rising rates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OverfitAttempt:
    """One try at learning a single batch by heart (PROBES.md M9).

    ``excess`` is the share of the first loss's distance to the smallest possible one (or of that of
    a model that knows nothing, where the first is smaller) that was left at the lowest loss;
    ``falling`` whether the loss was still going down at the end.
    ``curve`` pairs steps (from 0) with the loss before them, thinned.
    """

    optimizer: str
    learning_rate: float | None
    steps: int
    first: float | None
    lowest: float | None
    excess: float
    falling: bool
    finite: bool
    curve: tuple[tuple[int, float | None], ...] = ()


@dataclass(frozen=True)
class OverfitOneBatch:
    """Training on one batch alone (M9): the script's own optimizer first, then Adam.

    ``outcome`` is ``fits``, ``fits with another optimizer``, ``does not fit`` or
    ``undetermined`` (cut short, or still falling). ``floor`` is the smallest value the loss can
    take, of samples with equal inputs and different targets too; ``parameters`` the trainable
    elements and ``targets`` the elements to be learnt. ``without_inputs`` is the lowest loss of a
    batch that fits, trained on again with its inputs at zero, and ``constant`` the smallest loss
    one answer for all its samples can have; None where that was not tried or is not known.
    """

    attempts: tuple[OverfitAttempt, ...]
    floor: float
    planned: int
    outcome: str
    parameters: int | None = None
    targets: int | None = None
    without_inputs: float | None = None
    constant: float | None = None


@dataclass(frozen=True)
class LearningRateRange:
    """The learning-rate range test on recorded batches (M10), from the initial parameters.

    Entry k of ``one_step`` is the held-out loss after one step at ``rates[k]``, of ``sweep`` the
    loss when the rising rate reached it; both may end early. ``initial`` is the held-out loss at
    the start, ``bound`` the loss above which a sweep has left. ``best`` lowers the held-out loss
    most in one step, None when none does or not all rates were tried. ``steepest`` is where the
    smoothed sweep falls fastest, None when it never falls. ``diverges`` is the smaller of where the
    rise begins that carries the sweep over the bound, and of where a single step begins to raise
    the held-out loss. ``suggested`` is a third of where the sweep is lowest (by a median of five
    rates), or diverges if that comes first.
    """

    in_use: float
    rates: tuple[float, ...]
    initial: float
    bound: float
    one_step: tuple[float | None, ...]
    sweep: tuple[float | None, ...]
    best: float | None
    steepest: float | None
    diverges: float | None
    suggested: float | None = None
