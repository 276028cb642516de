"""Records training steps as tapes while the script runs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode

from convlint.gpu_probes.attach.optimizer_watch import any_gradient
from convlint.gpu_probes.measurements import Need
from convlint.gpu_probes.tape.operations import TapeUnavailable
from convlint.gpu_probes.tape.recorder import TapeRecorder
from convlint.gpu_probes.tape.trajectory import SOUND, Clipping, Handling, RecordedStep, Start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.attach.observer import Observer
    from convlint.gpu_probes.attach.optimizer_watch import OptimizerRecord
    from convlint.gpu_probes.tape.tape import Tape

# Forward passes without a backward pass after which a recording is dropped: an evaluation that
# forgot `no_grad`.
_FORWARDS_AWAITING = 64
# Micro-batches whose tapes are kept for one step.
_TAPES_PER_STEP = 64
# Recordings that tell what one takes: the fastest of them.
_RECORDINGS_TIMED = 3
# Copies of batches, buffers and everything else constant that all tapes together may hold.
_CONSTANT_BYTES = 512 * 2**20


@dataclass
class _Pending:
    """What is known of the step to come."""

    tapes: list[Tape] = field(default_factory=list)
    clippings: list[Clipping] = field(default_factory=list)
    scale: float = 1.0
    unscaled: bool = False


class TapeWatch:
    """The recording in progress, and the tapes of the steps so far.

    ``held`` are the tapes of batches seen at the initial parameters, ``steps`` those of the first
    real steps of the first optimizer, beginning at ``start``.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._recorder: TapeRecorder | None = None
        self._left: list[TapeRecorder] = []
        self._forwards = 0
        self._bytes = 0
        self._pending = _Pending()
        self._recorded = 0.0
        self._kept = False
        """Whether the recording in progress is kept for what follows the run."""
        self._took: deque[float] = deque(maxlen=_RECORDINGS_TIMED)
        """Seconds that recording took, of the last recorded steps."""
        self.current: Tape | None = None
        """The tape of the loss being back-propagated, when it was recorded."""
        self.held: list[Tape] = []
        self.steps: list[RecordedStep] = []
        self.start: Start | None = None
        self.refusal = ""
        """Why the last step could not be recorded."""
        self._ended = False
        """Whether the sequence of recorded steps is over: it must have no gap."""

    def begin(self) -> None:
        """An outermost forward pass with gradients is about to run."""
        self._leave()
        if self._recorder is not None:
            self._forwards += 1
            if self._forwards > _FORWARDS_AWAITING:
                self.drop("forward passes are not followed by a backward pass")
            return
        if not self.wanted():
            return
        if self._observer.optimizers.sharding():
            self._refuse("the parameters are sharded over processes")
            return
        measuring = self._observer.measuring
        self._kept = self._worth_keeping()
        self._observer.taped.recording_begins()
        self._recorder = TapeRecorder(
            ignore=lambda: not measuring.idle, where=self._observer.forward.where
        )
        self._forwards = 1
        self._recorder.__enter__()  # type: ignore[no-untyped-call]  # untyped in torch

    def back_propagating(self, loss: torch.Tensor, scale: float) -> None:
        """``loss`` is about to be back-propagated: the recording ends here."""
        self.current = None
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        self._exit(recorder)
        with self._observer.measuring.section("tape"):
            try:
                if loss.numel() != 1:
                    raise TapeUnavailable("the back-propagated tensor is not a scalar")
                self._took.append(recorder.seconds)
                tape = recorder.finish(loss)
            except TapeUnavailable as refused:
                self._refuse(refused.reason)
                return
            self.current = tape
            self._observer.taped.recorded(tape, recorder)
            if not self._kept:
                return
            self._bytes += tape.constant_bytes
            self._pending.tapes.append(tape)
            self._pending.scale = scale

    def clipped(
        self, parameters: Sequence[torch.Tensor], threshold: object, norm_type: float | None
    ) -> None:
        """The script clipped gradients between backward and step."""
        if self._ended or not self._pending.tapes:
            return
        limit = float(threshold) if isinstance(threshold, (int, float, torch.Tensor)) else None
        if limit is None:
            self._end("the clipping threshold is not a number")
            return
        pending = self._pending
        scaled = pending.scale != 1.0 and not pending.unscaled
        pending.clippings.append(Clipping(limit, norm_type, tuple(parameters), scaled))

    def unscaled(self) -> None:
        """A GradScaler took its factor out of the gradients."""
        self._pending.unscaled = True

    def before_step(self, record: OptimizerRecord, withheld: bool, closure: bool) -> None:
        """An optimizer is about to step, or would be were it not withheld."""
        pending, self._pending = self._pending, _Pending()
        if withheld:
            self.held.extend(pending.tapes)
            return
        if self._ended:
            return
        obstacle = self._obstacle(record, pending, closure)
        if obstacle:
            self._end(obstacle)
            return
        with self._observer.measuring.section("tape"):
            try:
                if self.start is None:
                    self.start = Start(record.optimizer, pending.tapes[0].parameters)
            except TapeUnavailable as refused:
                self._ended, self.refusal = True, refused.reason
            if self._ended:
                return
            self.steps.append(
                RecordedStep(
                    tapes=tuple(pending.tapes),
                    options=tuple(_options(group) for group in record.optimizer.param_groups),
                    clippings=tuple(pending.clippings),
                    loss_scale=pending.scale,
                    handling=_handling(record, pending),
                )
            )

    def drop(self, reason: str) -> None:
        """Give the recording in progress up."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.give_up(reason)
            self._exit(recorder)
        self._refuse(reason)

    def wanted(self) -> bool:
        """Whether the coming forward pass is to be recorded."""
        # One that was interrupted, on a busy machine, says nothing of what recording takes.
        takes = min(self._took) if len(self._took) > 1 else 0.0
        return self._worth_keeping() or self._observer.taped.wants_recording(takes)

    @property
    def seconds(self) -> float:
        """The processor time that recording took so far."""
        current = 0.0 if self._recorder is None else self._recorder.seconds
        return self._recorded + current

    def recording(self) -> TapeRecorder | None:
        """The recording in progress."""
        return self._recorder

    def _worth_keeping(self) -> bool:
        observer = self._observer
        if self._bytes > _CONSTANT_BYTES:
            return False
        if observer.phase == "hold":
            return observer.plan.needs(Need.TAPES)
        return observer.curvature.awaited() is not None or (
            not self._ended and len(self.steps) < observer.plan.recorded_steps
        )

    def _obstacle(self, record: OptimizerRecord, pending: _Pending, closure: bool) -> str:
        """Why the coming step cannot follow the recorded ones, or nothing."""
        if closure:
            return "the optimizer evaluates the loss itself in a closure"
        if len(self._observer.optimizers.stepping) > 1:
            return "several optimizers step"
        if not pending.tapes:
            return self.refusal or "a step was not recorded"
        if len(pending.tapes) > _TAPES_PER_STEP or len(pending.tapes) != len(record.pending):
            return "not every backward pass of a step was recorded"
        return ""

    def _refuse(self, reason: str) -> None:
        self.refusal = reason

    def _end(self, reason: str) -> None:
        self._ended = True
        self.refusal = self.refusal or reason

    def _exit(self, recorder: TapeRecorder) -> None:
        self._recorded += recorder.seconds
        if _get_current_dispatch_mode() is recorder:
            recorder.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        else:
            # A mode of the script's own lies above it; it must be left in order.
            recorder.give_up("the script has a dispatch mode of its own active")
            self._left.append(recorder)

    def _leave(self) -> None:
        while self._left and _get_current_dispatch_mode() is self._left[-1]:
            self._left.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]


def _handling(record: OptimizerRecord, pending: _Pending) -> Handling:
    """What was done to the gradients that the optimizer is about to use."""
    found = SOUND
    if record.carries:
        found |= Handling.CARRIED
    if not any_gradient(record.parameters()):
        found |= Handling.CLEARED
    if any(clipping.scaled for clipping in pending.clippings):
        found |= Handling.CLIPPED_SCALED
    return found


def _options(group: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a group, tensors among them as they are now."""
    return {
        key: value.detach().clone() if isinstance(value, torch.Tensor) else value
        for key, value in group.items()
        if key != "params"
    }
