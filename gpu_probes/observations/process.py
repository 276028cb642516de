"""The script's process and its plan: the device, its memory, and how long it means to train."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """Where the script's tensors lived and what measured them.

    ``statistics_backend`` is ``cupy`` or ``torch``.
    """

    kind: str
    name: str
    torch_version: str
    python_version: str
    statistics_backend: str
    threads: int = 0


@dataclass(frozen=True)
class PeakMemory:
    """Most memory the script's process held, in bytes, with what the probe itself kept in it.

    ``host`` is its resident set (workers apart), ``device`` what Torch's allocator gave out on the
    GPU in use. None where it is not known.
    """

    host: int | None = None
    device: int | None = None


@dataclass(frozen=True)
class Plan:
    """How long the script means to train, as its own variables and its loader tell it.

    ``epochs`` and ``steps`` are integers under such names in the frames that train, None where
    there is none or several differ; ``batches_per_epoch`` is the length of the loader that was
    iterated when the first step came.
    """

    epochs: int | None = None
    steps: int | None = None
    batches_per_epoch: int | None = None
