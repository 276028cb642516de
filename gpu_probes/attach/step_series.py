"""Per-step telemetry: loss, gradient norm, learning rate and time of the real steps."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.observations import Series

if TYPE_CHECKING:
    from convlint.gpu_probes.attach.measuring import Measuring


class StepSeries:
    """Keeps scalars on their device until the end, so that no step waits for a transfer."""

    def __init__(self, measuring: Measuring) -> None:
        self._measuring = measuring
        self._values: dict[int, torch.Tensor] = {}
        self._initial: list[torch.Tensor] = []
        self._loss: list[list[torch.Tensor]] = []
        self._norm: list[torch.Tensor | None] = []
        self._rate: list[float | None] = []
        self._seconds: list[float] = []
        self._coming_norm: torch.Tensor | None = None
        self._clock: float | None = None
        self._own = 0.0

    def back_propagated(self, backward: int, value: torch.Tensor, at_start: bool) -> None:
        """One loss given to backward; ``at_start`` when the parameters are still the initial."""
        if self._clock is None or at_start:
            self._start_clock()
        # A clone: the script may add into the very tensor afterwards.
        self._values[backward] = value.clone()
        if at_start:
            self._initial.append(self._values[backward])

    def gradient_norm(self, norm: torch.Tensor) -> None:
        """The global gradient norm just before the coming step; the first one counts."""
        if self._coming_norm is None:
            self._coming_norm = norm

    def stepped(self, backwards: list[int], rate: float | None) -> None:
        """A real step used up these backward passes."""
        self._loss.append([self._values[b] for b in backwards if b in self._values])
        newest = max(self._values, default=0)
        self._values = {b: v for b, v in self._values.items() if b > newest - 64}
        self._norm.append(self._coming_norm)
        self._coming_norm = None
        self._rate.append(rate)
        started = time.perf_counter() if self._clock is None else self._clock
        own = self._measuring.seconds - self._own
        self._seconds.append(max(0.0, time.perf_counter() - started - own))
        self._start_clock()

    def _start_clock(self) -> None:
        # The first step is timed from its backward pass on: before it there is loading.
        self._clock, self._own = time.perf_counter(), self._measuring.seconds

    def initial_losses(self) -> list[float]:
        """The losses back-propagated at the initial parameters."""
        return [float(value) for value in self._initial]

    def learning_rates(self) -> tuple[float | None, ...]:
        """The rate of every real step."""
        return tuple(self._rate)

    def results(self) -> Series:
        """The aligned series, with None for what is not finite or was not seen."""
        return Series(
            loss=tuple(
                _finite(sum(float(value) for value in values)) if values else None
                for values in self._loss
            ),
            gradient_norm=tuple(None if n is None else _finite(float(n)) for n in self._norm),
            learning_rate=tuple(self._rate),
            seconds=tuple(self._seconds),
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
