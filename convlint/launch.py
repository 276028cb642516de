"""Runs a training script in a child process and brings home what the probe saw."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from convlint.errors import UserError
from convlint.gpu_probes.attach.settings import (
    ANSWER_FILE,
    PROGRESS_FILE,
    READS_DIRECTORY,
    SCRATCH_DIRECTORY,
    SETTINGS_FILE,
    SHADOW_DIRECTORY,
    ProbeSettings,
)
from convlint.gpu_probes.measurements import CURVATURE, REMEDIES, TIERS, budget_of, steps_of
from convlint.gpu_probes.observations import Observations
from convlint.processes import MARK, end_processes, free_memory, memory_of
from convlint.run_inputs import inputs_of
from convlint.sources import NOTEBOOK_SUFFIX, decode, read_file
from convlint.targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from convlint.run_inputs import RunInputs


# The child stops itself at its budget; one that cannot is stopped after this much longer.
_PATIENCE_SHARE = 0.5
_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 0.05
_MEMORY_SECONDS = 0.25
# Of the memory that is free: the rest keeps the machine, and us, out of the kernel's hands.
_MEMORY_SHARE = 0.9
_SCRIPT_OUTPUTS = ("discard", "stderr")


class ProbeError(Exception):
    """The probe has no result; the message is the one line the user must read."""


def run_probe(
    script: str | Target,
    arguments: Sequence[str] = (),
    *,
    tier: str = "standard",
    steps: int | None = None,
    hold: int | None = None,
    budget: float | None = None,
    device: str = "auto",
    python: str | None = None,
    allow_writes: bool = False,
    isolate: str = "auto",
    allow_network: bool = False,
    seed: int | None = 0,
    curvature: bool = True,
    remedies: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
    script_output: str = "discard",
    memory_limit: float | None = None,
    on_inputs: Callable[[RunInputs], None] | None = None,
) -> Observations:
    """Run ``script`` unmodified for a short horizon and return what was measured.

    ``script`` is a file, a notebook, or a ``Target`` (``convlint.targets.target_of`` makes one of
    a command line); a target brings its own arguments and interpreter.

    The first ``hold`` batches are seen at unchanged parameters, then up to ``steps`` optimizer
    steps are made within ``budget`` seconds. ``tier`` (``quick``, ``standard``, ``deep``) says what
    is measured, and gives the three numbers not given here; ``curvature`` False leaves the
    curvature out at any tier, ``remedies`` tries changes of the run at any. ``device`` is ``auto``, ``cpu``, ``cuda`` or
    ``cuda:n``; ``python`` an interpreter with torch (convlint need not be installed there).
    ``progress`` is called with a phase (``hold``, ``run``, ``curvature``), steps done and steps
    planned. What the script prints is dropped or, with ``script_output="stderr"``, sent to our
    standard error, never to our standard output. Unless ``allow_writes``, its files go to a
    temporary directory that is removed; ``isolate`` ``overlay`` or ``auto`` also covers the working
    directory (where the system allows it), against writes that no Python function makes. Unless
    ``allow_network``, it reaches no other machine once training has begun. ``memory_limit`` is in GiB, for the script and all its
    workers together; by default nine tenths of what is free. ``on_inputs`` is told what the run
    rests on.

    A script that crashes, exits or never trains still gives observations (``stopped`` says so).
    Raises ``ProbeError`` when there is nothing to observe: no such file, a syntax error, no such
    device or interpreter, a child that was killed or took too much memory. On KeyboardInterrupt
    the child is gone before the exception goes on.
    """
    if tier not in TIERS:
        raise ProbeError(f"--tier {tier}: choose {', '.join(TIERS)}")
    size = TIERS[tier]
    steps = steps_of(tier, remedies) if steps is None else steps
    hold = size.hold if hold is None else hold
    budget = budget_of(tier, remedies) if budget is None else budget
    target = script if isinstance(script, Target) else Target(script, tuple(arguments))
    _require(target, device, script_output, steps, budget)
    directory = tempfile.mkdtemp(prefix="convlint-")
    try:
        for name in (SCRATCH_DIRECTORY, SHADOW_DIRECTORY, READS_DIRECTORY):
            (Path(directory) / name).mkdir()
        limit = _limit(memory_limit)
        settings = ProbeSettings(
            script=target.script,
            arguments=target.arguments,
            directory=directory,
            steps=steps,
            hold=hold,
            budget=budget,
            device=device,
            allow_writes=allow_writes,
            isolate=isolate,
            allow_network=allow_network,
            seed=seed,
            tier=tier,
            without=() if curvature else CURVATURE,
            also=(REMEDIES,) if remedies else (),
            module=target.module,
            code=_code_of_notebook(target.script, directory),
            parent=os.getpid(),
            ranks=target.torchrun is not None,
            memory_limit=limit or 0,
        )
        interpreter = python or target.python or sys.executable
        answer = _converse(settings, _command(target, interpreter), progress, script_output, limit)
        if on_inputs is not None and "observations" in answer:
            sources = answer["observations"]["loaded_files"]
            on_inputs(inputs_of(Path(directory) / READS_DIRECTORY, sources))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if "failure" in answer:
        raise ProbeError(answer["failure"])
    try:
        observations = msgspec.convert(answer["observations"], Observations)
    except msgspec.ValidationError as error:
        raise ProbeError(f"{target.shown}: the probe's answer cannot be read: {error}") from error
    from convlint.curves.run import with_curves

    return with_curves(observations)


def _require(target: Target, device: str, script_output: str, steps: int, budget: float) -> None:
    path = Path(target.script)
    if not target.module:
        if not path.exists():
            raise ProbeError(f"{target.script}: no such file")
        if not path.is_file():
            raise ProbeError(f"{target.script}: not a file; give the training script itself")
    index = device.removeprefix("cuda:")
    if device not in ("auto", "cpu", "cuda") and not (device != index and index.isdecimal()):
        raise ProbeError(f"--device {device}: choose auto, cpu, cuda or cuda:N")
    if script_output not in _SCRIPT_OUTPUTS:
        raise ProbeError(f"script output {script_output}: choose {' or '.join(_SCRIPT_OUTPUTS)}")
    if steps < 1 or budget <= 0:
        raise ProbeError("the number of steps and the budget must be positive")


def _code_of_notebook(script: str, directory: str) -> str:
    """The file that holds the code of a notebook, all cells in order; nothing for other files."""
    if not script.endswith(NOTEBOOK_SUFFIX):
        return ""
    try:
        text = decode(read_file(Path(script)), script)
    except UserError as error:
        raise ProbeError(str(error)) from None
    code = Path(directory) / "cells.py"
    code.write_text(text, encoding="utf-8")
    return str(code)


def _limit(gibibytes: float | None) -> int | None:
    """Bytes the script may use; None where neither the user nor the system says."""
    if gibibytes is not None:
        return int(gibibytes * 2**30)
    free = free_memory()
    return None if free is None else int(_MEMORY_SHARE * free)


def _converse(
    settings: ProbeSettings,
    command: list[str],
    progress: Callable[[str, int, int], None] | None,
    script_output: str,
    limit: int | None,
) -> dict[str, Any]:
    """Start the child, follow its progress, and return its answer with the child gone."""
    directory = Path(settings.directory)
    settings_path = directory / SETTINGS_FILE
    settings_path.write_text(settings.encode(), encoding="utf-8")
    child = _start(command, settings.directory, script_output)
    patience = max(_PATIENCE_SECONDS, _PATIENCE_SHARE * settings.budget)
    deadline = time.monotonic() + settings.budget + patience
    memory_due = time.monotonic() + _MEMORY_SECONDS
    follow = _ProgressFollower(directory / PROGRESS_FILE, progress)
    answer = directory / ANSWER_FILE
    try:
        while child.poll() is None and not answer.exists():
            now = time.monotonic()
            if now > deadline:
                raise ProbeError(
                    f"{settings.script}: no answer within {settings.budget + patience:.0f} s; "
                    "the script was stopped"
                )
            if limit is not None and now > memory_due:
                _require_memory(settings, limit)
                memory_due = time.monotonic() + _MEMORY_SECONDS
            time.sleep(_POLL_SECONDS)
            follow()
        if answer.exists():
            _await_end(child)
    finally:
        _end(child, settings.directory)
    follow()
    if not answer.exists():
        raise ProbeError(f"{settings.script}: {_death(child.returncode)}")
    decoded: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return decoded


def _require_memory(settings: ProbeSettings, limit: int) -> None:
    used = memory_of(settings.directory, limit)
    if used > limit:
        raise ProbeError(
            f"{settings.script}: the script and its workers hold {used / 2**30:.1f} GiB of memory, "
            f"more than the {limit / 2**30:.1f} GiB allowed; it was stopped (see --memory-limit)"
        )


def _command(target: Target, python: str) -> list[str]:
    from convlint import __file__ as convlint_file
    from convlint import gpu_probes

    probes = str(Path(gpu_probes.__path__[0]).resolve())
    child = [
        str(Path(probes) / "attach" / "child.py"),
        SETTINGS_FILE,
        str(Path(convlint_file).resolve().parent),
        probes,
    ]
    if target.torchrun is None:
        return [python, *target.python_options, *child]
    launcher = [*target.python_options, "-m", target.launcher_module, *target.torchrun]
    return [python, *child, *launcher, *child]


def _start(command: list[str], directory: str, script_output: str) -> subprocess.Popen[bytes]:
    output: int | Any = subprocess.DEVNULL
    if script_output == "stderr":
        output = sys.__stderr__ if sys.__stderr__ is not None else subprocess.DEVNULL
    settings = str(Path(directory) / SETTINGS_FILE)
    try:
        return subprocess.Popen(
            [settings if word == SETTINGS_FILE else word for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, MARK: directory},
            # A group of its own: Ctrl-C reaches us alone, and the script's workers end with it.
            start_new_session=os.name == "posix",
        )
    except OSError as error:
        raise ProbeError(f"{command[0]}: cannot start: {error.strerror or error}") from error


class _ProgressFollower:
    """Reads what was appended to the progress file and passes it on."""

    def __init__(self, path: Path, progress: Callable[[str, int, int], None] | None) -> None:
        self._path = path
        self._progress = progress
        self._offset = 0

    def __call__(self) -> None:
        if self._progress is None or not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            lines = file.read()
        complete = lines.rfind(b"\n") + 1
        self._offset += complete
        for line in lines[:complete].splitlines():
            phase, done, total = json.loads(line)
            self._progress(phase, done, total)


def _await_end(child: subprocess.Popen[bytes]) -> None:
    """Give a child that has answered a moment to deliver what it printed."""
    try:
        child.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
        return


def _end(child: subprocess.Popen[bytes], directory: str) -> None:
    """Kill the child, every process of its group, and those that left it."""
    if os.name == "posix":
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            child.poll()
    if child.poll() is None:
        child.kill()
    child.wait()
    end_processes(directory)


def _death(status: int | None) -> str:
    if status is not None and status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the script's process died of {name}{hint}"
    return f"the probe ended with status {status} and no answer"
