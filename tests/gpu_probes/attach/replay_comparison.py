"""Compares what a probe recorded with what the script itself did."""

from __future__ import annotations

from typing import Any

import torch

from convlint.gpu_probes.attach.measuring import kept_random_state
from convlint.gpu_probes.tape.operations import TapeUnavailable
from convlint.gpu_probes.tape.trajectory import replay


class Comparison:
    """Replays every tape right after its backward pass, and all steps at the end."""

    def __init__(self, observer: Any) -> None:
        self.observer = observer
        self.backwards = 0
        self.same_losses = 0
        self.same_gradients = 0
        self.refusals: list[str] = []
        self._losses: list[tuple[float, int]] = []
        self._before: dict[int, torch.Tensor] = {}
        self._loss = torch.zeros(())
        before, after = observer.before_backward, observer.after_backward

        def before_backward(tensors: list[torch.Tensor]) -> None:
            before(tensors)
            self._note(tensors[0])

        def after_backward() -> None:
            after()
            with kept_random_state(), observer.measuring.section("compare", gradients=True):
                self._compare()

        observer.before_backward, observer.after_backward = before_backward, after_backward

    def _note(self, loss: torch.Tensor) -> None:
        self.backwards += 1
        self._loss = loss.detach()
        self._losses.append((float(self._loss.sum()), self.observer.steps))
        tape = self.observer.tapes.current
        self._before = {}
        for parameter in tape.parameters if tape is not None else ():
            if parameter.grad is not None:
                self._before[id(parameter)] = parameter.grad.detach().clone()

    def _compare(self) -> None:
        tape = self.observer.tapes.current
        if tape is None:
            self.refusals.append(self.observer.tapes.refusal)
            return
        try:
            loss, gradients = tape.gradients()
        except TapeUnavailable as refused:
            self.refusals.append(refused.reason)
            return
        self.same_losses += torch.equal(loss, self._loss)
        self.same_gradients += all(
            _same(parameter.grad, self._before.get(id(parameter)), gradient)
            for parameter, gradient in zip(tape.parameters, gradients, strict=True)
        )

    def result(self) -> dict[str, Any]:
        """The comparison of all steps, and the counts of the single ones."""
        tapes = self.observer.tapes
        outcome = {
            "backwards": self.backwards,
            "same_losses": self.same_losses,
            "same_gradients": self.same_gradients,
            "refusals": self.refusals,
            "steps": len(tapes.steps),
            "refusal": tapes.refusal,
        }
        if tapes.start is not None and tapes.steps:
            with self.observer.measuring.section("compare all", gradients=True):
                course = replay(tapes.start, tapes.steps)
            expected: dict[int, float] = {}
            for loss, step in self._losses:
                expected[step] = expected.get(step, 0.0) + loss
            scales = [step.loss_scale for step in tapes.steps]
            losses = [expected[step] / scale for step, scale in enumerate(scales)]
            outcome["same_trajectory"] = list(course.losses) == losses
            outcome["same_end"] = all(
                torch.equal(reached, parameter)
                for reached, parameter in zip(course.parameters, tapes.start.originals, strict=True)
            )
        return outcome


def _same(
    found: torch.Tensor | None, before: torch.Tensor | None, gradient: torch.Tensor | None
) -> bool:
    if found is None or gradient is None:
        return found is None and gradient is None
    return torch.equal(found, gradient if before is None else before + gradient)
