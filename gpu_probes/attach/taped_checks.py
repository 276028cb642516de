"""What is asked of the tape of a step: where NaN came from, and what the output depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.attach.autograd_graph import tensors_in
from convlint.gpu_probes.attach.places import place_of
from convlint.gpu_probes.backends.statistics import plain
from convlint.gpu_probes.observations import NonFiniteOrigin, SampleDependence
from convlint.gpu_probes.quantities.non_finite_origin import backward_origin, forward_origin
from convlint.gpu_probes.quantities.wiring import input_response, sample_dependence
from convlint.gpu_probes.tape import TapeUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.attach.forward_watch import ForwardPass
    from convlint.gpu_probes.attach.observer import Observer
    from convlint.gpu_probes.quantities.non_finite_origin import Origin
    from convlint.gpu_probes.tape import Tape
    from convlint.gpu_probes.tape.recorder import TapeRecorder

ORIGIN, DEPENDENCE = "origin of non-finite values", "sample dependence"
# Every step is recorded, for the case that it makes a NaN, while that costs no more than this share
# of it or these seconds.
_RECORDING_SHARE = 0.08
_RECORDING_SECONDS = 0.005


@dataclass
class _Recorded:
    """One forward pass on a tape, by the numbers of its values."""

    forward: ForwardPass
    inputs: dict[str, int]
    outputs: tuple[int, ...]
    batch_statistics: str
    tape: Tape | None = None
    result: SampleDependence | None = None


class TapedChecks:
    """Follows the recordings; asks the tape at hand when something is not finite."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.origin: NonFiniteOrigin | None = None
        self._awaiting: list[_Recorded] = []
        self._recorded: dict[str, _Recorded] = {}
        self._unmeasured: list[tuple[_Recorded, Tape]] = []
        self._sought = False
        self._unsettled: Tape | None = None
        """The step whose gradients are there and not known to be finite yet."""
        self._versions: list[int] = []
        self._clipped = False
        self._at_once = False
        """Whether the script changes gradients itself, so that they are looked at before it does."""

    def wants_recording(self, takes: float) -> bool:
        """Whether the coming step is recorded although no tape of it is kept.

        ``takes`` is the seconds that recording a step takes.
        """
        observer = self._observer
        if observer.phase == "hold":
            last = observer.held >= observer.settings.hold - 1
            return last and observer.plan.wanted(DEPENDENCE)
        if self._sought or not observer.plan.wanted(ORIGIN):
            return False
        return takes <= max(_RECORDING_SECONDS, _RECORDING_SHARE * observer.pace.evaluation)

    def recording_begins(self) -> None:
        """Values are numbered anew: those of a recording that came to nothing mean others now."""
        self._awaiting = []

    def forwarded(self, forward: ForwardPass, output: object) -> None:
        """An outermost forward pass is over, on a recording or not."""
        recorder = self._observer.tapes.recording()
        if recorder is None or forward.model.name in self._recorded:
            return
        with self._observer.measuring.section(DEPENDENCE):
            given = {name: recorder.value_of(tensor) for name, tensor in forward.given}
            values = [recorder.value_of(tensor) for tensor in tensors_in(output)]
            self._awaiting.append(
                _Recorded(
                    forward,
                    {name: number for name, number in given.items() if number is not None},
                    tuple(number for number in values if number is not None),
                    forward.mixing,
                )
            )

    def recorded(self, tape: Tape, recorder: TapeRecorder) -> None:
        """The recording is finished: ``tape`` is what the loss depends on."""
        awaiting, self._awaiting = self._awaiting, []
        for one in awaiting:
            one.inputs = {name: n for name, n in one.inputs.items() if tape.has_constant(n)}
            if one.inputs and one.outputs and one.forward.model.name not in self._recorded:
                one.tape = tape
                self._recorded[one.forward.model.name] = one
                self._unmeasured.append((one, tape))

    def before_backward(self, loss: torch.Tensor) -> None:
        """The parameters are still those the loss was computed with."""
        tape = self._observer.tapes.current
        if tape is None or self._sought:
            return
        with self._observer.measuring.section(ORIGIN):
            if not bool(torch.isfinite(loss.detach()).all()):
                self._seek(tape, backward=False)

    def after_backward(self) -> None:
        """The gradients are there, and the parameters have not moved yet.

        Where an optimizer will read them, its norm tells whether they are finite, and they need not
        be read twice.
        """
        observer = self._observer
        # By now the script's backward pass has let go of its activations: replays find room.
        unmeasured, self._unmeasured = self._unmeasured, []
        for one, recorded in unmeasured:
            self._measure(one, recorded)
        tape = observer.tapes.current
        if tape is None or self._sought or observer.scaled:
            return
        self._unsettled, self._clipped, self._versions = tape, False, _versions(tape)
        records = observer.optimizers.records
        if self._at_once or not observer.optimizers.stepping or any(r.in_step for r in records):
            self.settle()

    def clipping(self, by_value: bool) -> None:
        """The script is about to clip gradients, by value of which infinite ones become finite."""
        if by_value:
            self.settle()
        self._clipped = True

    def before_update(self, parameters: Sequence[torch.Tensor], norm: torch.Tensor | None) -> None:
        """An optimizer is about to move ``parameters``; ``norm`` is that of all their gradients."""
        tape = self._unsettled
        if tape is None:
            return
        with self._observer.measuring.section(ORIGIN):
            if not self._clipped and _versions(tape) != self._versions:
                self._at_once = True
            moved = {id(parameter) for parameter in parameters}
            if norm is not None and all(id(parameter) in moved for parameter in tape.parameters):
                self._unsettled = None
                if not bool(torch.isfinite(norm)):
                    self._seek(tape, backward=True)
        self.settle()

    def settle(self) -> None:
        """Look whether the gradients of the last loss are finite, if nobody has: they may go."""
        tape, self._unsettled = self._unsettled, None
        if tape is None:
            return
        with self._observer.measuring.section(ORIGIN):
            gradients = [plain(p.grad) for p in tape.parameters if p.grad is not None]
            norms = torch._foreach_norm(gradients) if gradients else ()
            if norms and not bool(torch.isfinite(torch.stack(list(norms))).all()):
                self._seek(tape, backward=True)

    def sample_dependence(self) -> tuple[SampleDependence, ...]:
        """What the outputs of each recorded model depend on.

        An output that did not follow its input at the initial parameters is asked again at the
        parameters there are now: a last layer may start at zero.
        """
        observer = self._observer
        found = []
        for one in self._recorded.values():
            if one.result is None or one.tape is None:
                continue
            response = one.result.input_response
            if response.value == 0.0 and _finite(one.tape):
                with observer.measuring.section(DEPENDENCE):
                    response = input_response(one.tape, one.inputs, one.outputs)
            found.append(replace(one.result, input_response=response))
        if not self._recorded and observer.plan.wanted(DEPENDENCE):
            reason = observer.tapes.refusal or "no forward pass was recorded"
            observer.measuring.skip(DEPENDENCE, reason)
        return tuple(found)

    def input_numbers(self) -> list[int]:
        """The numbers that the models' inputs have on a tape of a step."""
        return [number for one in self._recorded.values() for number in one.inputs.values()]

    def _measure(self, one: _Recorded, tape: Tape) -> None:
        observer = self._observer
        if not observer.pace.admits(DEPENDENCE):
            return
        with observer.measuring.section(DEPENDENCE):
            try:
                one.result = sample_dependence(
                    tape,
                    one.forward.model.name,
                    one.inputs,
                    one.outputs,
                    batch_size=observer.loader_batch,
                    batch_statistics=one.batch_statistics,
                    place=observer.models.place(one.forward.model.root, one.forward.model),
                )
            except TapeUnavailable as refused:
                observer.measuring.skip(DEPENDENCE, refused.reason)

    def _seek(self, tape: Tape, *, backward: bool) -> None:
        self._sought = True
        if not self._observer.pace.admits(ORIGIN):
            return
        try:
            origin = backward_origin(tape) if backward else forward_origin(tape)
        except TapeUnavailable as refused:
            self._observer.measuring.skip(ORIGIN, refused.reason)
            return
        if origin is not None:
            self.origin = self._described(origin)

    def _described(self, origin: Origin) -> NonFiniteOrigin:
        observer = self._observer
        operation = origin.operation
        module, code, line = (None, None, 0) if operation is None else operation.source
        name = ""
        for model in observer.models.models:
            if module is not None and any(module is part for part in model.root.modules()):
                name = model.module_name(module)
        return NonFiniteOrigin(
            operation="" if operation is None else operation.name[6:],
            module=name,
            cls="" if module is None else type(module).__name__,
            backward=origin.backward,
            cause=origin.cause,
            phase=observer.phase,
            step=observer.steps if observer.phase == "run" else observer.held,
            dtype=str(operation.dtype).removeprefix("torch.") if operation is not None else "",
            place=None if code is None else place_of(code.co_filename, line, code.co_name),
        )


def _versions(tape: Tape) -> list[int]:
    """How often each gradient was written: it counts on when somebody changes one."""
    return [p.grad._version for p in tape.parameters if p.grad is not None]


def _finite(tape: Tape) -> bool:
    return all(bool(torch.isfinite(parameter).all()) for parameter in tape.parameters)
