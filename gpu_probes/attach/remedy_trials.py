"""Which changes can be tried on what was recorded, and the comparison of them."""

from __future__ import annotations

import statistics
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from convlint.gpu_probes.attach.code_changes import code_changes, kernels
from convlint.gpu_probes.horizon.counterfactuals import (
    Setting,
    counterfactuals,
    keep,
    rate_times,
)
from convlint.gpu_probes.horizon.remedies import Comparison, OutOfTime, departs
from convlint.gpu_probes.measurements import REMEDIES
from convlint.gpu_probes.tape.trajectory import RecordedStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.attach.observer import Observer
    from convlint.gpu_probes.attach.optimizer_watch import OptimizerRecord
    from convlint.gpu_probes.observations import LearningRateRange, Remedies
    from convlint.gpu_probes.tape import Tape
    from convlint.gpu_probes.tape.trajectory import Start

_HELD_OUT = 6
"""Batches candidates are judged on."""
_FEWEST_BATCHES = 4


def try_remedies(
    observer: Observer,
    start: Start,
    steps: list[RecordedStep],
    record: OptimizerRecord,
    rates: LearningRateRange | None,
    constant: float | None,
) -> Remedies | None:
    """Compare every change that can be made to the recorded run; None where it says why not.

    ``constant`` is the loss of the best constant prediction on the scale of one step.

    Raises:
        TapeUnavailable: the run cannot be replayed.
    """
    training, held_out = _shared_out(steps, observer.tapes.held)
    if len(training) < _FEWEST_BATCHES or not held_out:
        observer.measuring.skip(REMEDIES, f"only {len(steps)} steps were recorded")
        return None
    series = observer.series.results()
    departure = departs(start, steps, series.loss)
    if departure:
        observer.measuring.skip(REMEDIES, f"the recorded steps are not the run: {departure}")
        return None
    norms = [norm for norm in series.gradient_norm if norm is not None]
    setting = Setting(
        optimizer=type(record.optimizer).__name__,
        options=steps[0].options,
        later_rates=tuple(float(step.options[0].get("lr") or 0.0) for step in steps),
        clippings=steps[0].clippings,
        gradient_norm=statistics.median(norms) if norms else None,
        weights=tuple(kernels(observer).values()),
        place=observer.optimizers.place(record),
        rates=rates,
    )
    candidates = [keep(), *code_changes(observer, start, training, held_out, setting)]
    candidates += counterfactuals(setting)
    comparison = Comparison(
        start,
        training,
        held_out,
        deadline=observer.pace.deadline(REMEDIES),
        constant=None if constant is None else constant / len(steps[0].tapes),
        rung=lambda factor: rate_times(factor, setting),
        progress=partial(observer.probe.channel.progress, REMEDIES),
    )
    try:
        return comparison.run(candidates)
    except OutOfTime as short:
        observer.measuring.skip(REMEDIES, f"{short}; give more with --budget")
        return None


def _shared_out(
    steps: list[RecordedStep], held: Sequence[Tape]
) -> tuple[list[RecordedStep], list[RecordedStep]]:
    """The steps to train on, and others to judge by: the held batches, else the last steps."""
    if len(held) >= 2:
        first = steps[0]
        return steps, [
            replace(first, tapes=(tape,), loss_scale=first.loss_scale) for tape in held[-_HELD_OUT:]
        ]
    count = min(_HELD_OUT, len(steps) // 3)
    one_by_one = [
        replace(step, tapes=(tape,)) for step in steps[len(steps) - count :] for tape in step.tapes
    ]
    return steps[: len(steps) - count], one_by_one[:_HELD_OUT]
