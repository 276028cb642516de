"""Which measurement begins, and until when it may go on: the plan held against the clock."""

from __future__ import annotations

import statistics
import time
from collections import deque
from typing import TYPE_CHECKING

from convlint.gpu_probes.measurements import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.gpu_probes.attach.measuring import Measuring
    from convlint.gpu_probes.attach.settings import ProbeSettings

# Passes whose time is remembered: the last ones tell how fast the machine is now.
_PASSES_KEPT = 15


class Pacing:
    """Times the script's own iterations, and admits or refuses measurements by that.

    ``elapsed`` gives the seconds since the probe began.
    """

    def __init__(
        self, settings: ProbeSettings, measuring: Measuring, elapsed: Callable[[], float]
    ) -> None:
        self.plan = Plan(
            settings.tier,
            settings.budget,
            frozenset(settings.without),
            frozenset(settings.also),
        )
        self._measuring = measuring
        self._elapsed = elapsed
        self._passes: deque[float] = deque(maxlen=_PASSES_KEPT)
        self._last: tuple[float, float] | None = None

    def back_propagated(self) -> None:
        """One backward pass begins: the time since the one before is an iteration."""
        now, own = time.perf_counter(), self._measuring.seconds
        if self._last is not None:
            then, own_then = self._last
            self._passes.append(max(0.0, now - then - (own - own_then)))
        self._last = now, own

    @property
    def evaluation(self) -> float:
        """Seconds of one forward and backward pass of the script; 0 before two were seen."""
        return statistics.median(self._passes) if self._passes else 0.0

    def admits(self, name: str) -> bool:
        """Whether ``name`` is wanted and can be paid for; what cannot is noted as skipped."""
        if not self.plan.wanted(name):
            return False
        refusal = self.plan.refusal(name, self._elapsed(), self.evaluation)
        if refusal is not None:
            self._measuring.skip(name, refusal)
        return refusal is None

    def deadline(self, name: str) -> float:
        """The ``time.monotonic`` instant at which ``name`` must end."""
        return time.monotonic() + self.plan.seconds_for(name, self._elapsed())

    def note_left_out(self) -> None:
        """Note as skipped what the tier does not measure."""
        for name, reason in self.plan.left_out().items():
            self._measuring.skip(name, reason)
