"""Keeps what probes have measured, so that an unchanged script need not be run again.

One file holds one run. Its name begins with the digest of the *question*: the command, the tier
and bounds, the interpreter, the machine and its GPUs, convlint itself. The run inside says which
sources, libraries and files it rests on (``convlint.run_inputs``); it answers the question again
only when all of them are as they were.

Nothing here is needed to be right: what cannot be read or written is done without. Files appear
whole, by renaming, so any number of processes may use one store.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from convlint.gpu_probes.observations import Observations
from convlint.run_inputs import RunInputs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from convlint.targets import Target

LAYOUT = "1"
"""Runs of another layout are left to the versions that read them."""

KEPT_FOR = 30 * 86_400
"""Seconds after which a run nobody asked for again is dropped."""

RUNS_KEPT = 64
"""A run with curves, spectra and layers takes some 20 KB compressed."""

_ENVIRONMENT = (
    "CUBLAS", "CUDA_", "HF_", "MKL_", "NCCL_", "NVIDIA_", "OMP_", "OPENBLAS_", "PYTHON", "PYTORCH_",
    "TORCH",
)  # fmt: skip
"""Beginnings of the names of variables that change what is computed."""

_GPUS = Path("/proc/driver/nvidia")


class KeptRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run: ``measured_at`` is when it began, in seconds since 1970."""

    measured_at: float
    inputs: RunInputs
    observations: Observations


def question_of(target: Target, run: Mapping[str, Any]) -> str:
    """A digest of everything a run depends on that is known before it.

    ``run`` are the options of ``convlint.launch.run_probe`` that say what is measured.
    """
    from convlint.memory import installation_stamp

    interpreter = shutil.which(target.python or sys.executable) or ""
    parts = (
        LAYOUT,
        installation_stamp(),
        os.getcwd(),  # noqa: PTH109 - as the script sees it, links and all
        repr(target),
        repr(sorted(run.items())),
        # Not its own name: an environment has one interpreter under several.
        str(Path(interpreter).parent),
        *_files(Path(interpreter).resolve(), Path(interpreter).parent.parent / "pyvenv.cfg"),
        platform.node(),
        platform.platform(),
        str(os.cpu_count()),
        str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0),
        *_gpus(),
        *(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(_ENVIRONMENT)),
    )
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()


def is_complete(seen: Observations) -> bool:
    """Whether a run ended in a way that makes it worth keeping.

    One whose budget ended it within few steps was held up by a slow start or a busy machine; the
    next may do better.
    """
    from convlint.audit import FEWEST_STEPS

    if seen.stopped == "budget":
        return seen.steps >= FEWEST_STEPS
    return seen.stopped in ("steps", "finished")


class RunStore:
    """The runs kept in ``directory``, the cache of a project. No method raises."""

    def __init__(self, directory: Path, question: str) -> None:
        self._cache = directory
        self._directory = directory / f"runs-{LAYOUT}"
        self._question = question[:32]

    def recall(self) -> KeptRun | None:
        """The newest run that answers the question and rests on nothing that has changed."""
        found = [run for file in self._own_files() if (run := _read(file)) is not None]
        found.sort(key=lambda run: run.measured_at, reverse=True)
        return next((run for run in found if run.inputs.unchanged()), None)

    def keep(self, run: KeptRun) -> None:
        """Keep a run, in place of one on the same sources."""
        name = hashlib.sha256(msgspec.json.encode(run.inputs)).hexdigest()[:16]
        data = zlib.compress(msgspec.json.encode(run), 6)
        with contextlib.suppress(OSError):
            self._make()
            descriptor, unfinished = tempfile.mkstemp(dir=self._directory, prefix=".")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                Path(unfinished).replace(self._directory / f"{self._question}-{name}")
            except OSError:
                Path(unfinished).unlink(missing_ok=True)
                raise
            self._forget_old()

    def _own_files(self) -> list[Path]:
        try:
            return [
                Path(entry.path)
                for entry in os.scandir(self._directory)
                if entry.name.startswith(self._question)
            ]
        except OSError:
            return []

    def _make(self) -> None:
        from convlint.report_store import make_directory

        make_directory(self._cache, self._directory)

    def _forget_old(self) -> None:
        """Remove runs that are old or too many, and what killed processes left unfinished."""
        aged = sorted(
            ((entry.stat().st_mtime, entry.path) for entry in os.scandir(self._directory)),
            reverse=True,
        )
        oldest = time.time() - KEPT_FOR
        for position, (modified, path) in enumerate(aged):
            if position >= RUNS_KEPT or modified < oldest:
                Path(path).unlink(missing_ok=True)


def _read(file: Path) -> KeptRun | None:
    try:
        return msgspec.json.decode(zlib.decompress(file.read_bytes()), type=KeptRun)
    except (OSError, zlib.error, msgspec.DecodeError):
        return None


def _files(*paths: Path) -> list[str]:
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append(f"{path} {status.st_size} {status.st_mtime_ns}")
    return found


def _gpus() -> list[str]:
    """The driver and the models of NVIDIA's cards, as the kernel tells them."""
    if not _GPUS.is_dir():
        return []
    found = []
    for file in (_GPUS / "version", *sorted(_GPUS.glob("gpus/*/information"))):
        with contextlib.suppress(OSError):
            found.append(file.read_text(encoding="utf-8", errors="replace"))
    return found
