"""What the parent asks of the probing child, and the files through which the child answers."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

# Held before the script's writes are redirected, so that the answer itself always reaches the disk.
_open = open
_replace = os.replace


@dataclass(frozen=True)
class ProbeSettings:
    """One probe: the script with its arguments, the horizon and what is allowed.

    ``directory`` is private to this probe and removed by the parent; ``budget`` is in seconds from
    the start of the child; ``tier`` says what is measured within it, ``without`` names
    measurements left out all the same, ``also`` those made whatever the tier. ``seed`` None leaves the random state as it is.
    ``module`` is the name of a module to run instead, ``code`` a file with the code of a notebook.
    ``parent`` is the process that waits for the answer; ``ranks`` says whether torchrun started us,
    ``memory_limit`` is in bytes, 0 for none. ``isolate`` says how writes are held back: ``overlay``
    (mounted over the working directory), ``patches`` of what writes alone, or ``auto``.
    """

    script: str
    arguments: tuple[str, ...]
    directory: str
    steps: int = 100
    hold: int = 8
    budget: float = 60.0
    device: str = "auto"
    allow_writes: bool = False
    allow_network: bool = False
    seed: int | None = 0
    tier: str = "standard"
    without: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    module: str = ""
    code: str = ""
    parent: int = 0
    ranks: bool = False
    memory_limit: int = 0
    isolate: str = "auto"

    @staticmethod
    def read(path: str) -> ProbeSettings:
        """Decode the settings the parent wrote."""
        with _open(path, encoding="utf-8") as file:
            stored = json.load(file)
        known = {field.name for field in fields(ProbeSettings)}
        stored = {name: value for name, value in stored.items() if name in known}
        listed = {name: tuple(stored.get(name, ())) for name in ("arguments", "without", "also")}
        return ProbeSettings(**{**stored, **listed})

    def encode(self) -> str:
        """The settings as JSON text."""
        return json.dumps(asdict(self))


ISOLATIONS = ("auto", "overlay", "patches")

SETTINGS_FILE = "settings.json"
PROGRESS_FILE = "progress.jsonl"
ANSWER_FILE = "answer.json"
SCRATCH_DIRECTORY = "t"
SHADOW_DIRECTORY = "w"
READS_DIRECTORY = "r"


class Channel:
    """The way from the child to the parent: progress lines and one answer, never the stdout.

    Only a process that ``leads`` tells of its progress.
    """

    def __init__(self, directory: str, leads: bool = True) -> None:
        self._directory = directory
        file = Path(directory) / PROGRESS_FILE if leads else os.devnull
        self._progress = _open(file, "a", encoding="utf-8", buffering=1)

    def progress(self, phase: str, done: int, total: int) -> None:
        """Tell the parent how far a phase is."""
        self._progress.write(json.dumps([phase, done, total]) + "\n")

    def observations(self, observations: Any) -> None:
        """Hand over the result: a dataclass of ``convlint.gpu_probes.observations``."""
        self._answer({"observations": finite(asdict(observations))})

    def failure(self, message: str) -> None:
        """Say in one line why there is no result."""
        self._answer({"failure": message})

    def _answer(self, answer: dict[str, Any]) -> None:
        # Written aside and renamed, so that the parent never reads half an answer.
        target = Path(self._directory) / ANSWER_FILE
        unfinished = f"{target}.{os.getpid()}"
        with _open(unfinished, "w", encoding="utf-8") as file:
            json.dump(answer, file, allow_nan=False)
        _replace(unfinished, target)


def finite(value: Any) -> Any:
    """``value`` with every NaN or infinity replaced by None and every leaf made plain JSON."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        plain = {str(key): finite(item) for key, item in value.items()}
        if None in (plain.get("ci") or ()):
            # An interval with an infinite end is no interval.
            plain["ci"] = None
        return plain
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return finite(asdict(value))
    return finite(value.item()) if hasattr(value, "item") else str(value)
