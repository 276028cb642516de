"""The border between the script's computation and ours.

Everything the probe computes happens inside :meth:`Measuring.section`: no gradients recorded,
autocast and the script's default device off, our own hooks silent, the time not charged to the
script, and a failure costs the one measurement instead of the run.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from convlint.gpu_probes.attach.environment import machine_is_busy
from convlint.gpu_probes.observations import Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.gpu_probes.attach.own_time import OwnTime

NO_MEMORY = "the device has not enough memory for it beside the training"

# Seconds a look at the load of the machine serves.
_LOAD_LASTS = 1.0


class Measuring:
    """Runs measurements beside the script without leaving a trace in it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Wall time spent in measurements so far."""
        self.own_time: OwnTime | None = None
        """The clock of this rank, where several train together."""
        self._inside = False
        self.back_propagating = False
        """Whether the script's own backward pass is running."""
        self._process = os.getpid()
        self._thread = threading.main_thread().ident
        self._failed: dict[str, str] = {}
        self._busy = False
        self._busy_until = 0.0
        self._cuda = torch.cuda.is_available()
        self._devices = ["cpu", *(["cuda"] if self._cuda else [])]

    @property
    def idle(self) -> bool:
        """Whether a hook that fires now belongs to the script's own training.

        False inside a measurement, in a worker process, in another thread, while the script
        records a graph of its own with ``torch.jit.trace``, captures one for CUDA (a look at a
        value would spoil it) or transforms a function (``vmap``, ``torch.func.grad``: its tensors
        have no memory), and in what runs inside a backward pass (the forward and backward passes
        of checkpointing).
        """
        return not self.back_propagating and self.stepping

    @property
    def stepping(self) -> bool:
        """The same for optimizers, whose steps a hook may make inside the backward pass."""
        return (
            not self._inside
            and os.getpid() == self._process
            and threading.get_ident() == self._thread
            and torch._C._get_tracing_state() is None
            and torch._C._functorch.peek_interpreter_stack() is None
            and not self.capturing
        )

    @property
    def capturing(self) -> bool:
        """Whether what the script asks of CUDA is being captured as a graph instead of computed."""
        return (
            self._cuda
            and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # untyped in torch
            and torch.cuda.is_current_stream_capturing()
        )

    @property
    def in_another_thread(self) -> bool:
        """Whether this is the script's own work in a thread that is not followed."""
        return threading.get_ident() != self._thread and os.getpid() == self._process

    def skip(self, measurement: str, reason: str) -> None:
        """Remember why ``measurement`` is missing; the first reason stays."""
        self._failed.setdefault(measurement, reason)

    def skipped(self) -> tuple[Skipped, ...]:
        """What was not measured, and why."""
        return tuple(Skipped(name, reason) for name, reason in self._failed.items())

    @contextmanager
    def section(self, measurement: str, *, gradients: bool = False) -> Iterator[None]:
        """Run the body as ``measurement``; an exception ends it and marks it skipped.

        ``gradients`` leaves gradient recording on, for measurements that differentiate.
        """
        outer = self._inside
        self._inside = True
        began = self.own_time.begin() if self.own_time is not None else None
        started = time.perf_counter()
        recording = torch.is_grad_enabled()
        threads = 0 if outer else self._threads_for_the_load(started)
        try:
            # Hundreds of times a step: nothing is entered that changes nothing.
            if threads:
                torch.set_num_threads(1)
            if recording and not gradients:
                torch.set_grad_enabled(False)
            casting = [device for device in self._devices if torch.is_autocast_enabled(device)]
            # `torch.set_default_device` and modes of the script's own would change our tensors.
            modes = not outer and torch._C._len_torch_function_stack() > 0
            if casting or modes:
                with ExitStack() as stack:
                    if modes:
                        stack.enter_context(torch._C.DisableTorchFunction())
                    for device in casting:
                        stack.enter_context(torch.autocast(device, enabled=False))
                    yield
            else:
                yield
        except torch.cuda.OutOfMemoryError:
            self.skip(measurement, NO_MEMORY)
        except Exception as error:
            text = str(error).strip().splitlines()
            self.skip(measurement, f"{type(error).__name__}: {text[0] if text else ''}")
        finally:
            if recording and not gradients:
                torch.set_grad_enabled(True)
            if threads:
                torch.set_num_threads(threads)
            self._inside = outer
            if not outer:
                self.seconds += time.perf_counter() - started
            if self.own_time is not None:
                self.own_time.measured(began)

    def _threads_for_the_load(self, now: float) -> int:
        """How many threads to give back after a measurement with one, 0 where all may work.

        Threads that wait for each other's turn on a busy machine slow small operations down many
        times. The script's own operations keep their threads, which decide the order of their sums.
        """
        if now >= self._busy_until:
            self._busy, self._busy_until = machine_is_busy(), now + _LOAD_LASTS
        threads = torch.get_num_threads() if self._busy else 1
        return 0 if threads == 1 else threads


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Put the generators of Python, NumPy and torch (every CUDA device in use) back afterwards."""
    python_state = random.getstate()
    numpy: Any = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy is not None else None
    torch_state = torch.get_rng_state()
    cuda = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # untyped in torch
    cuda_states = torch.cuda.get_rng_state_all() if cuda else []
    try:
        yield
    finally:
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda:
            torch.cuda.set_rng_state_all(cuda_states)
