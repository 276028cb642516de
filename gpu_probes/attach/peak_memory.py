"""The most memory the process has held so far."""

from __future__ import annotations

import sys

import torch

from convlint.gpu_probes.observations import PeakMemory

_KIBIBYTE = 1024


def peak_memory(device: torch.device) -> PeakMemory:
    """Peak resident memory of this process, and of Torch's allocator on ``device`` if it is CUDA."""
    allocated = None
    if device.type == "cuda":
        allocated = torch.cuda.max_memory_allocated(device)
    return PeakMemory(host=_resident(), device=allocated)


def _resident() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KIBIBYTE
