"""Runs the script as ``python script.py`` would, and concludes the probe however it ends."""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import os
import platform
import re
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from convlint.gpu_probes.attach.environment import (
    die_with_parent,
    exempt_directories,
    limit_memory,
    prepare_environment,
    seed_framework,
    seed_random_state,
)
from convlint.gpu_probes.attach.files_read import FilesRead
from convlint.gpu_probes.attach.guard import guard_network, guard_writes
from convlint.gpu_probes.attach.held_libraries import hold_library_writes, hold_torch_writes
from convlint.gpu_probes.attach.held_writes import hold_writes
from convlint.gpu_probes.attach.launcher import layer_of_launcher
from convlint.gpu_probes.attach.loaded_sources import loaded_sources
from convlint.gpu_probes.attach.overlay import (
    Overlay,
    OverlayUnavailable,
    cover_working_directory,
)
from convlint.gpu_probes.attach.phases import first_step_patience
from convlint.gpu_probes.attach.places import is_user_code, place_of, user_place
from convlint.gpu_probes.attach.program import NoProgram, execute, read_program
from convlint.gpu_probes.attach.ranks import rank_of_this_process
from convlint.gpu_probes.attach.settings import (
    SCRATCH_DIRECTORY,
    SHADOW_DIRECTORY,
    Channel,
    ProbeSettings,
)
from convlint.gpu_probes.attach.shadow_tree import ShadowTree
from convlint.gpu_probes.observations import Device, Observations, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from convlint.gpu_probes.attach.observer import Observer

# How long after the budget a step in progress may still reach its end, as a share and in seconds.
_GRACE_SHARE = 0.2
_GRACE_SECONDS = 5.0
_WATCH_INTERVAL = 0.2
# How long a rank that crashed waits for the first one to tell of its own end, and how long one
# that did not waits for the answer.
_CRASH_SECONDS = 3.0
_FOLLOW_SECONDS = 600.0
# Our own way out; the script's is followed.
_end_process = os._exit
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function right after a module was first imported."""

    def __init__(self, callbacks: dict[str, Callable[[ModuleType], None]]) -> None:
        self._callbacks = callbacks

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Let the other finders find the module, and hook its loader."""
        if fullname not in self._callbacks:
            return None
        callback = self._callbacks.pop(fullname)
        for finder in sys.meta_path:
            found = None if finder is self else finder.find_spec(fullname, path, target)
            if found is not None and found.loader is not None:
                _call_after_execution(found.loader, callback)
                return found
        return None


def _call_after_execution(
    loader: importlib.abc.Loader, callback: Callable[[ModuleType], None]
) -> None:
    execute = loader.exec_module

    def execute_then_call(module: ModuleType) -> None:
        execute(module)
        callback(module)

    loader.exec_module = execute_then_call  # type: ignore[method-assign]


class Probe:
    """One probe in this process: the settings, the observer once torch is there, and the end."""

    def __init__(self, settings: ProbeSettings) -> None:
        self.settings = settings
        self.script = str(Path(settings.script).resolve())
        self.rank = rank_of_this_process(settings.ranks)
        # Ranks that nobody seeds draw differently; one seed for all would hide what that does.
        self.seed = None if settings.seed is None else settings.seed + (self.rank or 0)
        self.channel = Channel(settings.directory, leads=not self.rank)
        self.started = time.monotonic()
        self.observer: Observer | None = None
        self.tree: ShadowTree | None = None
        self.overlay: Overlay | None = None
        self._process = os.getpid()
        self._concluding = threading.Lock()

    def conclude(self, stopped: str, error: str = "", place: Place | None = None) -> NoReturn:
        """Hand the observations to the parent and end the process, whatever the script holds.

        The script's own ``finally`` blocks and exit handlers do not run.
        """
        if self.elsewhere():
            _end_process(0)
        self._concluding.acquire()
        if self.rank == 0 and error and self.observer is not None:
            earlier = self.observer.ranks.earlier_error(time.time())
            error, place = earlier or (error, place)
        elif self.rank:
            if error:
                error = f"on rank {self.rank}: {error}"
            self._follow(stopped, error, place)
        try:
            if self.observer is None:
                seen = self._without_torch(stopped, error, place)
            else:
                seen = self.observer.observations(stopped, error, place, self._held_back())
            self.channel.observations(seen)
        except Exception as failure:  # an answer must reach the parent whatever went wrong here
            reason = f"{type(failure).__name__}: {failure}".splitlines()[0]
            self.channel.failure(f"{self.settings.script}: the probe itself failed: {reason}")
        self.exit()

    def elsewhere(self) -> bool:
        """Whether this is a process that the script forked."""
        return os.getpid() != self._process

    def _follow(self, stopped: str, error: str, place: Place | None) -> None:
        """Leave the answer to the first rank, unless this one crashed and the first one did not."""
        if self.observer is not None:
            self.observer.leave_ranks(error, place)
            waits = _CRASH_SECONDS if error else _FOLLOW_SECONDS
            answered = self.observer.ranks.await_answer(waits)
        else:
            time.sleep(_CRASH_SECONDS)
            answered = stopped != "crashed"
        if answered or not error:
            self.exit()

    def exit(self) -> NoReturn:
        """End the process now, with everything printed so far delivered."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                continue
        _end_process(0)

    def seconds(self) -> float:
        """Seconds since the probe started."""
        return time.monotonic() - self.started

    def trains(self) -> bool:
        """Whether a backward pass was seen."""
        return self.observer is not None and self.observer.backwards > 0

    def network_refused(self, host: str) -> None:
        """The script was not let through to another machine."""
        if self.observer is not None:
            self.observer.measuring.skip(f"connection to {host}", "no network once training began")

    def attach(self, torch: ModuleType) -> None:
        """Hook torch, just imported."""
        from convlint.gpu_probes.attach.framework_hooks import install_hooks
        from convlint.gpu_probes.attach.observer import Observer

        if self.tree is not None:
            hold_torch_writes(self.tree, torch)
        if self.seed is not None:
            seed_framework(self.seed, torch)
        if self.settings.device.startswith("cuda") and not torch.cuda.is_available():
            self.channel.failure(f"--device {self.settings.device}: torch sees no CUDA device")
            self.exit()
        self.observer = Observer(self)
        install_hooks(self.observer)
        # The many objects of torch and our own stay to the end. Were they looked through whenever
        # what we keep of the steps makes Python search all objects for garbage, steps would wait.
        gc.freeze()

    def _held_back(self) -> tuple[str, ...]:
        held = dict(self.tree.held) if self.tree is not None else {}
        if self.overlay is not None:
            held.update(dict.fromkeys(self.overlay.written()))
        return tuple(held)

    def _without_torch(self, stopped: str, error: str, place: Place | None) -> Observations:
        return Observations(
            script=self.settings.script,
            arguments=self.settings.arguments,
            device=Device("cpu", "", "", platform.python_version(), "none"),
            stopped=stopped,
            held=0,
            steps=0,
            seconds=self.seconds(),
            error=error,
            error_place=place,
            writes_held_back=self._held_back(),
            loaded_files=loaded_sources(self.script),
        )

    def watch(self) -> None:
        """Conclude the probe from outside when the budget is spent or the parent is gone."""
        deadline = self.settings.budget
        grace = max(_GRACE_SECONDS, _GRACE_SHARE * self.settings.budget)
        parent = os.getppid()
        while True:
            time.sleep(_WATCH_INTERVAL)
            if os.getppid() != parent or not _lives(self.settings.parent):
                # Nobody is left to read the answer or to clear up after it.
                shutil.rmtree(self.settings.directory, ignore_errors=True)
                _end_process(1)
            if self.seconds() < deadline:
                continue
            # A training loop stops itself at its next step; a script that hangs does not.
            seen = self.observer
            first = seen is not None and seen.phases.may_await_first_step()
            training = first or (seen is not None and seen.steps_seen() > 0)
            wait = max(grace, first_step_patience(deadline)) if first else grace
            if not training or self.seconds() > deadline + wait:
                self.conclude("budget")


def _lives(process: int) -> bool:
    """Whether the process exists, as far as can be told (0 is none in particular)."""
    if not process or os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def run(settings_path: str) -> NoReturn:
    """Probe the script the settings name. Never returns: the process ends with the answer."""
    probe = Probe(ProbeSettings.read(settings_path))
    settings = probe.settings
    scratch = str(Path(settings.directory) / SCRATCH_DIRECTORY)
    die_with_parent(os.getppid())
    try:
        code = read_program(settings)
    except NoProgram as refusal:
        probe.channel.failure(str(refusal))
        probe.exit()
    _isolate(probe)
    prepare_environment(settings.device, scratch)
    limit_memory(settings.memory_limit)
    if probe.seed is not None:
        seed_random_state(probe.seed)
    callbacks: dict[str, Callable[[ModuleType], None]] = {"torch": probe.attach}
    if not settings.allow_writes:
        shadow = str(Path(settings.directory) / SHADOW_DIRECTORY)
        probe.tree = tree = ShadowTree(
            shadow, exempt_directories(settings.directory), shared=settings.ranks
        )
        hold_writes(tree)
        guard_writes(tree)
        callbacks.update(hold_library_writes(tree))
    FilesRead(settings.directory).watch()
    if not settings.allow_network:
        guard_network(probe.trains, probe.network_refused)
    for name in [name for name in callbacks if name in sys.modules]:
        callbacks.pop(name)(sys.modules[name])
    sys.meta_path.insert(0, AfterImport(callbacks))
    _follow_exits(probe)
    threading.Thread(target=probe.watch, name="convlint-watchdog", daemon=True).start()
    _execute(probe, code)


def _isolate(probe: Probe) -> None:
    """Put the layer that takes all writes over the working directory, where there can be one.

    Ranks share files, so they share the layer that their launcher was started in.
    """
    settings = probe.settings
    if settings.allow_writes or settings.isolate == "patches":
        return
    if settings.ranks:
        probe.overlay = layer_of_launcher()
        return
    try:
        probe.overlay = cover_working_directory(
            settings.directory, exempt_directories(settings.directory)
        )
    except OverlayUnavailable as refused:
        if settings.isolate == "overlay":
            probe.channel.failure(f"--isolate overlay: {refused.reason}")
            probe.exit()


def _execute(probe: Probe, code: Any) -> NoReturn:
    try:
        execute(probe.settings, code)
    except NoProgram as refusal:
        probe.channel.failure(str(refusal))
        probe.exit()
    except SystemExit as exit_request:
        _conclude_exit(probe, exit_request)
    except BaseException as error:
        message, place = _described(error)
        probe.conclude("crashed", message, place)
    _conclude_end(probe)


def _conclude_end(probe: Probe) -> NoReturn:
    trained = probe.observer is not None and probe.observer.backwards > 0
    probe.conclude("finished" if trained else "no-training")


def _conclude_exit(probe: Probe, exit_request: SystemExit) -> NoReturn:
    _conclude_call(probe, "sys.exit", exit_request.code, _described(exit_request)[1])


def _follow_exits(probe: Probe) -> None:
    """Conclude the probe where the script ends its process without any handler."""

    def end(status: int) -> NoReturn:
        if probe.elsewhere():
            _end_process(status)
        _conclude_call(probe, "os._exit", status, user_place())

    os._exit = end


def _conclude_call(probe: Probe, function: str, status: object, place: Place | None) -> NoReturn:
    trained = probe.observer is not None and probe.observer.backwards > 0
    if status in (None, 0) and trained:
        probe.conclude("finished")
    said = status.strip().splitlines() if isinstance(status, str) else []
    detail = f": {said[0]}" if said else f" with status {0 if status is None else status}"
    probe.conclude("exited", f"the script called {function}{detail}", place)


def _described(error: BaseException) -> tuple[str, Place | None]:
    """One line for an exception of the script, and the innermost line of its own code."""
    text = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()
    message = text[-1] if isinstance(error, SyntaxError) and text else (text or [""])[0]
    message = _TERMINAL_CODES.sub("", message)
    place = None
    for frame in traceback.extract_tb(error.__traceback__):
        if is_user_code(frame.filename):
            place = place_of(frame.filename, frame.lineno or 1, frame.name)
    if isinstance(error, SyntaxError) and error.filename:
        place = place_of(error.filename, error.lineno or 1, "")
    return message, place
