"""What is tried on the recorded steps once the script has stopped."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from convlint.gpu_probes.attach.remedy_trials import try_remedies
from convlint.gpu_probes.horizon.learning_rate_range import learning_rate_range
from convlint.gpu_probes.horizon.loss_floor import ignorant_loss, scaled_floor, smallest_loss
from convlint.gpu_probes.horizon.noise_scale import Steps, gradient_noise
from convlint.gpu_probes.horizon.overfit import overfit_one_batch
from convlint.gpu_probes.measurements import REMEDIES
from convlint.gpu_probes.quantities.step_length import is_adaptive, plain_rate
from convlint.gpu_probes.tape import TapeUnavailable
from convlint.gpu_probes.tape.trajectory import RecordedStep, Start

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.gpu_probes.attach.observer import Observer
    from convlint.gpu_probes.attach.optimizer_watch import OptimizerRecord
    from convlint.gpu_probes.observations import (
        GradientNoise,
        LearningRateRange,
        LossFunction,
        OverfitOneBatch,
        Remedies,
        ScheduleAhead,
    )

OVERFIT, RANGE, NOISE = "overfit one batch", "learning-rate range", "gradient noise"
_ALL = (NOISE, RANGE, OVERFIT, REMEDIES)
# Batches a range test evaluates on without training on them.
_HELD_OUT = 3
_FEWEST_BATCHES = 2
_ENDED = {
    "budget": "the --budget was used up before all steps were run",
    "no-training": "the script did not train",
    "captured": "the training step is captured as a CUDA graph",
    "crashed": "the script crashed",
    "exited": "the script called exit",
}


class Experiments:
    """Gradient noise, overfit-one-batch, learning-rate range and remedies, on one probe's tapes."""

    def __init__(self, observer: Observer, schedules: tuple[ScheduleAhead, ...] = ()) -> None:
        self._observer = observer
        self._schedules = schedules
        self.overfit: OverfitOneBatch | None = None
        self.learning_rate_range: LearningRateRange | None = None
        self.gradient_noise: GradientNoise | None = None
        self.remedies: Remedies | None = None

    def run(
        self,
        losses: tuple[LossFunction, ...],
        comparable: LossFunction | None,
        constant: float | None = None,
    ) -> None:
        """Make the experiments there is time and ground for; say why the others are missing.

        ``comparable`` is the one loss function whose value is the back-propagated loss, ``constant``
        that of the best constant prediction.
        """
        observer = self._observer
        start, steps = observer.tapes.start, observer.tapes.steps
        if not any(map(observer.plan.wanted, _ALL)):
            return
        if start is None or not steps:
            for name in filter(observer.plan.wanted, _ALL):
                observer.measuring.skip(name, observer.tapes.refusal or "no step was recorded")
            return
        record = next(r for r in observer.optimizers.stepping)
        self._guarded(NOISE, lambda: self._noise(start, steps, record))
        obstacle = self._obstacle(steps[0], record, losses)
        if obstacle:
            for name in filter(observer.plan.wanted, (OVERFIT, RANGE)):
                observer.measuring.skip(name, obstacle)
        else:
            self._guarded(RANGE, lambda: self._range(start, steps, record))
            self._guarded(
                OVERFIT, lambda: self._overfit(start, steps[0], record, losses, comparable)
            )
        self._guarded(REMEDIES, lambda: self._remedies(start, steps, record, constant))

    def _obstacle(
        self, step: RecordedStep, record: OptimizerRecord, losses: tuple[LossFunction, ...]
    ) -> str:
        """Why steps of ``record`` alone do not show how this loss is trained, or nothing."""
        if not losses:
            return "no known loss function was back-propagated"
        own = set(map(id, record.parameters()))
        reached = {id(p): p for tape in step.tapes for p in tape.parameters}
        others = self._observer.optimizers.holding(reached.keys() - own)
        if any(other.steps_seen for other in others if other is not record):
            return "several optimizers train the parameters of this loss"
        return ""

    def leave_out(self, stopped: str) -> None:
        """Say that nothing is tried, because the run ended as ``Observations.stopped`` has it."""
        for name in filter(self._observer.plan.wanted, _ALL):
            self._observer.measuring.skip(name, _ENDED.get(stopped, "the run was cut short"))

    def _guarded(self, name: str, experiment: Callable[[], None]) -> None:
        measuring = self._observer.measuring
        if not self._observer.pace.admits(name):
            return
        with measuring.section(name, gradients=True):
            try:
                experiment()
            except TapeUnavailable as refused:
                measuring.skip(name, refused.reason)
            except MemoryError as error:
                measuring.skip(name, f"not enough memory for {error}")

    def _overfit(
        self,
        start: Start,
        step: RecordedStep,
        record: OptimizerRecord,
        losses: tuple[LossFunction, ...],
        comparable: LossFunction | None,
    ) -> None:
        known = [loss for loss in losses if loss.back_propagated]
        loss = comparable or (known[0] if len(known) == 1 else None)
        floor, ignorance = None, 0.0
        if loss is not None:
            if comparable is not None:
                floor = smallest_loss(comparable, record.accumulation or 1.0)
                ignorance = ignorant_loss(comparable, record.accumulation or 1.0)
            # Sums, and means over all micro-batches of a step, are on a scale of their own.
            floor = scaled_floor(loss, step.tapes) if floor is None else floor
        if loss is None or floor is None:
            self._observer.measuring.skip(
                OVERFIT, "the smallest value the loss can take is not known"
            )
            return
        result = overfit_one_batch(
            start,
            step,
            floor=floor,
            deadline=self._observer.pace.deadline(OVERFIT),
            steps=self._observer.plan.size.overfit_steps,
            learning_rate=self._rate_in_use(record) or None,
            name=type(record.optimizer).__name__,
            inputs=self._observer.taped.input_numbers(),
            ignorance=ignorance,
        )
        if result is None:
            self._observer.measuring.skip(OVERFIT, "the budget was used up")
            return
        self.overfit = replace(
            result,
            parameters=sum(p.numel() for p in start.originals if p.requires_grad),
            targets=math.prod(loss.target_shape),
        )

    def _noise(self, start: Start, steps: list[RecordedStep], record: OptimizerRecord) -> None:
        observer = self._observer
        batches = observer.forward.inputs.batches()
        ranks = observer.ranks.count
        found = gradient_noise(
            start,
            [*observer.tapes.held, *(tape for step in steps for tape in step.tapes)],
            Steps(
                optimizer=record.number,
                cls=type(record.optimizer).__name__,
                adaptive=is_adaptive(record.optimizer),
                rate=plain_rate(record.optimizer),
                batch_size=None if batches is None else batches.size,
                batches=(record.accumulation or 1.0) * ranks,
                place=observer.optimizers.place(record),
            ),
            deadline=observer.pace.deadline(NOISE),
        )
        if found is None:
            observer.measuring.skip(NOISE, "the budget was used up")
        self.gradient_noise = found

    def _rate_in_use(self, record: OptimizerRecord) -> float:
        """The first group's rate, of a warm-up the highest that the steps came to or that is due.

        A warm-up that begins at zero says nothing of the rate that the run is made at.
        """
        first = float(record.groups[0].learning_rate or 0.0) if record.groups else 0.0
        seen = [rate for rate in self._observer.series.learning_rates() if rate is not None]
        ahead = [
            r for s in self._schedules if s.optimizer == record.number for r in s.learning_rates
        ]
        return max([first, *seen], default=0.0) or max(ahead, default=0.0)

    def _range(self, start: Start, steps: list[RecordedStep], record: OptimizerRecord) -> None:
        held = [
            RecordedStep((tape,), steps[0].options, steps[0].clippings, steps[0].loss_scale)
            for tape in self._observer.tapes.held
        ]
        batches = held if len(held) >= _FEWEST_BATCHES else steps
        if len(batches) < _FEWEST_BATCHES:
            self._observer.measuring.skip(RANGE, "only one batch was recorded")
            return
        rate = self._rate_in_use(record)
        if rate <= 0.0:
            self._observer.measuring.skip(RANGE, "the learning rate in use is 0")
            return
        kept = min(_HELD_OUT, len(batches) - 1)
        result = learning_rate_range(
            start,
            batches[:-kept],
            batches[-kept:],
            in_use=rate,
            deadline=self._observer.pace.deadline(RANGE),
            rates=self._observer.plan.size.rates,
        )
        if result is None:
            self._observer.measuring.skip(RANGE, "the budget was used up")
        self.learning_rate_range = result

    def _remedies(
        self,
        start: Start,
        steps: list[RecordedStep],
        record: OptimizerRecord,
        constant: float | None,
    ) -> None:
        self.remedies = try_remedies(
            self._observer, start, steps, record, self.learning_rate_range, constant
        )
