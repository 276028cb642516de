"""When the curvature of the training loss is measured: at the start and at the end of the run."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.attach.measuring import kept_random_state
from convlint.gpu_probes.attach.optimizer_watch import is_sharded
from convlint.gpu_probes.measurements import SURFACE
from convlint.gpu_probes.tape import Change, TapeUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.gpu_probes.attach.observer import Observer
    from convlint.gpu_probes.observations import Curvature, Place
    from convlint.gpu_probes.tape import Tape

# Budget spent after which the end is measured early, so that it is measured at all.
_LATE = 0.7
_STEPS_BEFORE_LATE = 5


class CurvaturePoints:
    """Decides at each backward pass, and keeps the results."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._tried: set[str] = set()
        self.seconds = 0.0
        """Wall time spent on curvature so far."""
        self.results: list[Curvature] = []

    def awaited(self) -> str | None:
        """The phase that the coming backward pass is to be measured for, if any."""
        phase = self._due()
        if phase is None or phase in self._tried:
            return None
        return phase if self._observer.plan.wanted(f"curvature at the {phase}") else None

    def consider(
        self,
        loss: torch.Tensor,
        scale: float,
        leaves: dict[int, torch.Tensor],
        tape: Tape | None,
    ) -> None:
        """Measure now when this is the batch for it; the graph of ``loss`` is still whole.

        ``tape`` is the recording the loss came from, where there is one.
        """
        observer = self._observer
        phase = self.awaited()
        if phase is None:
            return
        if loss.dim() != 0 and loss.numel() != 1:
            observer.measuring.skip("curvature", "the back-propagated tensor is not a scalar")
            return
        if any(map(is_sharded, leaves.values())):
            observer.measuring.skip("curvature", "the parameters are sharded over processes")
            return
        self._tried.add(phase)
        if not observer.pace.admits(f"curvature at the {phase}"):
            return
        observer.probe.channel.progress("curvature", 0, 1)
        # Differentiating the graph again must not count as gradient flow.
        started = time.monotonic()
        flows = observer.forward.flows.values()
        for flow in flows:
            flow.active = False
        with (
            kept_random_state(),
            observer.measuring.section(f"curvature at the {phase}"),
        ):
            self._measure(loss, scale, leaves, phase, _exact(tape, loss))
        if loss.is_cuda:
            # Second derivatives take many times the memory of a step, which is not to stay taken.
            torch.cuda.empty_cache()
        for flow in flows:
            flow.active = observer.window_open
        self.seconds += time.monotonic() - started
        observer.probe.channel.progress("curvature", 1, 1)

    def last_backward_coming(self) -> bool:
        """Whether the next backward pass belongs to the last step of the run."""
        observer = self._observer
        return observer.phase == "run" and observer.steps >= observer.settings.steps - 1

    def _due(self) -> str | None:
        observer = self._observer
        if observer.steps == 0:
            # On the last batch at the initial parameters: the cheaper measurements go first, and
            # after a withheld step the accumulation is known.
            waiting = observer.phase == "hold" and (
                observer.held < observer.settings.hold - 1
                or (observer.steps_seen() == 0 and observer.settings.hold > 1)
            )
            return None if waiting else "start"
        late = observer.probe.seconds() > _LATE * observer.settings.budget
        if self.last_backward_coming() or (late and observer.steps >= _STEPS_BEFORE_LATE):
            return "end"
        return None

    def _measure(
        self,
        loss: torch.Tensor,
        scale: float,
        leaves: dict[int, torch.Tensor],
        phase: str,
        tape: Tape | None,
    ) -> None:
        from convlint.gpu_probes.attach.taped_hessian import SETTLED, off_the_loss
        from convlint.gpu_probes.curvature.choice import DIFFERENTIABLE_KERNELS
        from convlint.gpu_probes.curvature.measure import measure_curvature
        from convlint.gpu_probes.curvature.operator import DOUBLE_BACKWARD, CurvatureUnavailable

        observer = self._observer
        # The gradients of a step with a backward of its own are not those of its tape.
        replayed = None if tape is None or tape.own_backward else tape
        records = observer.optimizers.holding(leaves)
        held = {id(p) for record in records for p in record.parameters()}
        parameters = [leaf for key, leaf in leaves.items() if key in held or not held]
        # One of k accumulated micro-batches carries a k-th of the loss the step minimises.
        accumulated = max((record.accumulation or 1.0 for record in records), default=1.0)
        numbers = {id(record.optimizer): record for record in records}
        deadline = observer.pace.deadline(f"curvature at the {phase}")

        def identify(optimizer: torch.optim.Optimizer) -> tuple[int, Place | None]:
            record = numbers[id(optimizer)]
            return record.number, observer.optimizers.place(record)

        with torch.enable_grad():
            try:
                result = measure_curvature(
                    loss.reshape(()),
                    parameters,
                    [record.optimizer for record in records],
                    phase=phase,
                    deadline=deadline,
                    iterations=observer.plan.size.lanczos_iterations,
                    density_vectors=observer.plan.size.density_vectors,
                    loss_scale=scale / accumulated,
                    closure=None if replayed is None else _evaluated(replayed),
                    differentiable=None if replayed is None else _twice_differentiable(replayed),
                    rerun=DIFFERENTIABLE_KERNELS if replayed is None else _told(replayed),
                    identify=identify,
                    name_of=lambda tensor: observer.describe(tensor)[0],
                    surface_seconds=self._seconds_for_surface(phase, replayed),
                )
                settled = result.consistency is not None and result.consistency < SETTLED
                open_still = result.method == DOUBLE_BACKWARD and not settled
                if tape is not None and open_still and time.monotonic() < deadline:
                    factor = scale / accumulated
                    off = off_the_loss(tape, loss, parameters, factor, deadline=deadline)
                    if off is not None:
                        result = replace(result, consistency=off)
            except CurvatureUnavailable as reason:
                observer.measuring.skip(f"curvature at the {phase}", str(reason))
                return
        self.results.append(result)

    def _seconds_for_surface(self, phase: str, tape: Tape | None) -> float | None:
        """How long a plane of the loss surface may take; None where there is none to be."""
        observer = self._observer
        if phase != "end":
            return None
        if tape is None and observer.plan.wanted(SURFACE):
            observer.measuring.skip(SURFACE, "the loss cannot be evaluated at other parameters")
            return None
        if not observer.pace.admits(SURFACE):
            return None
        return observer.pace.deadline(SURFACE) - time.monotonic()


def _exact(tape: Tape | None, loss: torch.Tensor) -> Tape | None:
    """``tape`` where it gives the script's own loss to the bit."""
    if tape is None:
        return None
    try:
        with torch.no_grad():
            again = tape.loss()
    except TapeUnavailable:
        return None
    return tape if torch.equal(again, loss.detach()) else None


def _evaluated(tape: Tape) -> Callable[[], torch.Tensor]:
    """The loss at whatever the parameters hold, finely enough for differences."""
    change = _made_smooth(tape)
    return (lambda: tape.loss(change=change)) if change.any else tape.loss


def _twice_differentiable(tape: Tape) -> Callable[[], torch.Tensor]:
    change = replace(_made_smooth(tape), twice_differentiable=True)
    return lambda: tape.loss(change=change)


def _made_smooth(tape: Tape) -> Change:
    """What has to change for derivatives.

    In half precision a short way changes the loss by less than its rounding, and what a scaler
    multiplied leaves its range in a second derivative. Dropout inside fused attention cannot be
    applied by other kernels: then all of it is left out.
    """
    single = torch.float32 if tape.in_half_precision else None
    return Change(dtype=single, dropout=not tape.drops_inside_attention)


def _told(tape: Tape) -> str:
    """What the re-run of a loss is made with, in words."""
    from convlint.gpu_probes.curvature.choice import DIFFERENTIABLE_KERNELS, SINGLE_PRECISION

    kernels = SINGLE_PRECISION if tape.in_half_precision else DIFFERENTIABLE_KERNELS
    return f"{kernels}, without dropout" if tape.drops_inside_attention else kernels
