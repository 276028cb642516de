"""Scripts that update their parameters themselves, without an optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.gpu_probes.attach.optimizer_watch import is_sharded

if TYPE_CHECKING:
    import torch

# Parameters of which one element each tells whether the script moves them itself.
_LEAVES_COMPARED = 16


class UpdatesByHand:
    """Notices at backward passes that parameters moved while no optimizer stepped."""

    def __init__(self) -> None:
        self.updates = 0
        """Backward passes that found the parameters moved."""
        self._fingerprint: list[complex] | None = None
        self._unused: list[int] = []

    def moved(self, leaves: dict[int, torch.Tensor], backward: int) -> bool:
        """Whether the parameters moved since the last backward pass; this one has number
        ``backward``."""
        whole = [leaf for leaf in leaves.values() if not is_sharded(leaf)]
        first = whole[:_LEAVES_COMPARED]
        fingerprint = [complex(leaf.detach().reshape(-1)[0]) for leaf in first if leaf.numel()]
        before, self._fingerprint = self._fingerprint, fingerprint
        if before is None or fingerprint == before or len(fingerprint) != len(before):
            self._unused.append(backward)
            return False
        self.updates += 1
        return True

    def take(self, backward: int) -> list[int]:
        """The backward passes behind the update just noticed; ``backward`` is the first after."""
        used, self._unused = self._unused, [backward]
        return used
