"""How long this rank works for itself from a step to the next backward pass.

That is the time that makes ranks wait for each other: its batch and its forward pass, its sleep and
its disk. Not counted is what says nothing of the script: our own work, the wait for a processor that
other programs have, and the wait for the other ranks where the forward pass exchanges something.
"""

from __future__ import annotations

import functools
import os
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

# Steps of which the time is kept.
_STEPS_KEPT = 256
_NANOSECOND = 1e-9

# Held before the script's writes are redirected.
_open_descriptor = os.open
_read_at = os.pread if hasattr(os, "pread") else None


class ProcessorWait:
    """The seconds that the main thread was ready to run and other programs had the processors.

    Linux tells them (``schedstat`` of a thread, second figure, nanoseconds); elsewhere they are 0.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._file: int | None = None
        thread = threading.main_thread().native_id
        try:
            # Opened once: to open it takes as long as a small operation of the script.
            self._file = _open_descriptor(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY)
        except OSError:
            return

    def seconds(self) -> float:
        """All of them so far; what was last read where nothing more can be read."""
        if self._file is None or _read_at is None:
            return self._seconds
        try:
            self._seconds = int(_read_at(self._file, 96, 0).split()[1]) * _NANOSECOND
        except (OSError, ValueError, IndexError):
            # A script may close every descriptor.
            self._file = None
        return self._seconds


class OwnTime:
    """The clock of one rank, and what it showed in every step.

    ``recording`` gives the seconds that the recording of tapes took so far; ``clock`` the time and
    ``waited`` the part of it spent waiting for a processor, all in seconds.
    """

    def __init__(
        self,
        recording: Callable[[], float],
        clock: Callable[[], float] = time.perf_counter,
        waited: Callable[[], float] | None = None,
    ) -> None:
        self._recording = recording
        self._clock = clock
        self._waited = ProcessorWait().seconds if waited is None else waited
        self._measured = self._exchanged = 0.0
        self._depth = 0
        self._own: list[float] = []
        self._device: list[tuple[torch.cuda.Event, torch.cuda.Event] | None] = []
        self._steps: list[float] = []
        self._since: float | None = None
        self._mark: torch.cuda.Event | None = None
        self._last_step: float | None = None

    def begin(self) -> float | None:
        """A measurement or an exchange with other ranks begins; what to give back at its end."""
        self._depth += 1
        return self._unhindered() if self._depth == 1 else None

    def measured(self, since: float | None) -> None:
        """The measurement begun at ``since`` is over."""
        self._measured += self._end(since)

    def exchanged(self, since: float | None) -> None:
        """An exchange is over: a part of the step, and not of what is this rank's own."""
        self._exchanged += self._end(since)

    def stepped(self) -> None:
        """A real step is over, and what we had to do after it."""
        now = self._unhindered()
        if self._last_step is not None and len(self._steps) < _STEPS_KEPT:
            self._steps.append(now - self._last_step - self._measured)
        self._last_step = now - self._measured
        self._since = now - self._measured - self._exchanged
        self._mark = _mark_on_device()

    def back_propagating(self) -> None:
        """A backward pass begins, in which ranks of data parallelism wait for each other."""
        if self._since is None or len(self._own) == _STEPS_KEPT:
            return
        own = self._unhindered() - self._measured - self._exchanged - self._since
        self._own.append(max(0.0, own))
        mark = None if self._mark is None else _mark_on_device()
        self._device.append(None if self._mark is None or mark is None else (self._mark, mark))
        self._since = self._mark = None

    def own_seconds(self) -> list[float]:
        """Those of every step, oldest first.

        On a GPU the lesser of two: a process that reads its loss waits there for work that another
        one leaves to the device, and a device may be busy while its process prepares more.
        """
        return [
            own if marks is None else min(own, _elapsed(*marks))
            for own, marks in zip(self._own, self._device, strict=True)
        ]

    def step_seconds(self) -> float | None:
        """The median from one step to the next, what this rank waits for the others included."""
        return statistics.median(self._steps) if self._steps else None

    def follow_exchanges(self) -> None:
        """Wrap what waits for other ranks on the way to a loss, wherever it is called from."""
        import torch

        if not torch.distributed.is_available():
            return
        for owner, names in (
            (torch.distributed.Work, ("wait",)),
            # DistributedDataParallel sends the buffers of the first rank before a forward pass.
            (torch.distributed, ("_broadcast_coalesced", "barrier", "monitored_barrier")),
        ):
            for name in names:
                setattr(owner, name, self._followed(getattr(owner, name)))

    def _followed(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def exchange(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return original(*args, **kwargs)
            since = self.begin()
            try:
                return original(*args, **kwargs)
            finally:
                self.exchanged(since)

        return exchange

    def _unhindered(self) -> float:
        waited, before = self._waited(), -1.0
        while waited != before:
            # A wait that came between the two readings would be in one of them alone.
            clock, before, waited = self._clock(), waited, self._waited()
        return clock - waited - self._recording()

    def _end(self, since: float | None) -> float:
        self._depth -= 1
        return 0.0 if since is None else self._unhindered() - since


def _mark_on_device() -> torch.cuda.Event | None:
    """A place in the device's queue of work; None on the CPU, and while a graph is captured."""
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # untyped in torch
        return None
    if torch.cuda.is_current_stream_capturing():
        return None
    mark = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # as above
    mark.record()
    return mark


def _elapsed(start: torch.cuda.Event, end: torch.cuda.Event) -> float:
    end.synchronize()
    milliseconds: float = start.elapsed_time(end)
    return milliseconds / 1000
