"""When the hold ends and when the probe does: batches and steps held against the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.gpu_probes.attach.environment import machine_is_busy

if TYPE_CHECKING:
    from convlint.gpu_probes.attach.observer import Observer

# The hold may take this share of the budget, curvature aside, and must end at that share of it,
# whatever imports and loading took.
_HOLD_SHARE = 0.3
_HOLD_ENDS = 0.7
# A forward pass takes about half as long as what comes after it.
_WHOLE_PASS = 1.5
# Beyond the budget a first real step may still be waited for: this share of it, and seconds at most.
_FIRST_STEP_SHARE = 0.5
_FIRST_STEP_SECONDS = 15.0


class Phases:
    """Ends the hold in time for real steps, and the probe in time for its budget."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.hold_is_over = False
        self._training_since: float | None = None
        self._backward_began = 0.0

    def before_backward(self) -> None:
        """A backward pass begins."""
        self._backward_began = self._observer.probe.seconds()
        if self._training_since is None:
            self._training_since = self._backward_began

    def end_hold_when_due(self) -> None:
        """After a withheld step: is there enough of them, or time for no more?"""
        observer = self._observer
        now, budget = observer.probe.seconds(), observer.settings.budget
        training = now - (self._training_since or now) - observer.curvature.seconds
        spent = training > _HOLD_SHARE * budget or now > _HOLD_ENDS * budget
        # One more held batch must leave time for a real step.
        spent = spent or now + 2 * self._iteration(now) > budget
        # Ranks that ended their holds at different batches would no longer be in step.
        spent = spent and not observer.ranks.active
        if observer.held >= observer.settings.hold or spent:
            busy = ", on a machine busy with other work" if machine_is_busy() else ""
            self.end_hold(
                f"ended after {observer.held} batches, {training:.0f} s of the budget{busy}"
            )

    def end_hold(self, reason: str) -> None:
        """Let the next batch be the first real one.

        The phase itself changes at the next backward pass, so that a scheduler called after the
        last withheld step is withheld too.
        """
        observer = self._observer
        if observer.phase == "run" or self.hold_is_over:
            return
        self.hold_is_over = True
        if observer.held < observer.settings.hold:
            observer.measuring.skip("hold", reason)
        if observer.held:
            observer.optimizers.clear_gradients()
            self.close_window()
        if observer.curvature.awaited() is not None:
            observer.follow_next_backward()

    def close_window(self) -> None:
        """The initial parameters are gone: what is measured at them is complete."""
        observer = self._observer
        observer.window_open = False
        for flow in observer.forward.flows.values():
            flow.active = False
        observer.losses.close()

    def stop_at_budget(self) -> None:
        """End the probe when its time is up; before the first real step, when none would fit."""
        observer = self._observer
        now, budget = observer.probe.seconds(), observer.settings.budget
        if now < budget:
            return
        if self.may_await_first_step():
            self.end_hold(f"ended after {observer.held} batches, when the budget was used up")
            if now + self._iteration(now) < budget + first_step_patience(budget):
                return
        observer.probe.conclude("budget")

    def may_await_first_step(self) -> bool:
        """Whether the script trains and no real step was made yet, which is worth a wait."""
        observer = self._observer
        return observer.backwards > 0 and observer.steps == 0 and not observer.ranks.active

    def stop_without_optimizer(self) -> None:
        """Scripts that update parameters by hand are stopped by their backward passes.

        Those of a closure are evaluations of a step in progress, which may be many.
        """
        observer = self._observer
        settings = observer.settings
        enough = (
            observer.by_hand.updates >= settings.steps
            or observer.backwards >= settings.steps + settings.hold
        )
        if observer.steps_seen() == 0 and enough and not observer.optimizers.in_step:
            observer.measuring.skip("update ratio", "no optimizer of torch stepped")
            if not observer.curvature.results:
                observer.measuring.skip("curvature", "no optimizer of torch stepped")
            observer.probe.conclude("steps")
        if observer.steps_seen() == 0:
            self.stop_at_budget()

    def _iteration(self, now: float) -> float:
        """Seconds a batch takes, our measurements included, by the last one."""
        return max(
            self._observer.pace.evaluation, _WHOLE_PASS * max(0.0, now - self._backward_began)
        )


def first_step_patience(budget: float) -> float:
    """Seconds beyond ``budget`` that a first real step is waited for."""
    return min(_FIRST_STEP_SHARE * budget, _FIRST_STEP_SECONDS)
