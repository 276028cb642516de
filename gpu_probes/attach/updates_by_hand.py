"""Scripts that update their parameters themselves, without an optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from convlint.gpu_probes.attach.optimizer_watch import is_sharded

if TYPE_CHECKING:
    import torch

# Parameters of which one element each tells whether the script moves them itself.
_LEAVES_COMPARED = 16
# Moves of parameters that an optimizer has, before its first step, that are none by hand:
# sharpness-aware minimisation evaluates a second time beside the parameters, and comes back.
_EXCUSED_MOVES = 2


class UpdatesByHand:
    """Notices at backward passes that parameters moved while no optimizer stepped."""

    def __init__(self) -> None:
        self.updates = 0
        """Backward passes that found the parameters moved."""
        self._before: list[_Seen] = []
        self._unused: list[int] = []
        self._excused = _EXCUSED_MOVES

    def moved(self, leaves: dict[int, torch.Tensor], backward: int, *, optimized: bool) -> bool:
        """Whether the script moved its parameters since the last backward pass; this one has
        number ``backward``. ``optimized`` says that an optimizer has these parameters."""
        whole = [leaf for leaf in leaves.values() if not is_sharded(leaf) and leaf.numel()]
        now = [_Seen.of(leaf) for leaf in whole[:_LEAVES_COMPARED]]
        before, self._before = self._before, now
        moved = _differ(before, now)
        if moved and optimized and self._excused:
            self._excused -= 1
            moved = False
        if not moved:
            self._unused.append(backward)
            return False
        self.updates += 1
        return True

    def take(self, backward: int) -> list[int]:
        """The backward passes behind the update just noticed; ``backward`` is the first after."""
        used, self._unused = self._unused, [backward]
        return used


class _Seen(NamedTuple):
    """One element of a leaf, which need not live on."""

    leaf: int
    shape: tuple[int, ...]
    value: complex

    @classmethod
    def of(cls, leaf: torch.Tensor) -> _Seen:
        """The first element."""
        return cls(id(leaf), tuple(leaf.shape), complex(leaf.detach().reshape(-1)[0]))


def _differ(before: list[_Seen], now: list[_Seen]) -> bool:
    """Whether leaves have other values: the same leaves, or new ones in the place of all of them.

    Two losses of one model share some of its leaves, and have others of their own.
    """
    earlier = {seen.leaf: seen for seen in before}
    shared = [(earlier[seen.leaf], seen) for seen in now if seen.leaf in earlier]
    if shared:
        return any(old != new for old, new in shared)
    if [seen.shape for seen in before] != [seen.shape for seen in now]:
        return False
    return any(old.value != new.value for old, new in zip(before, now, strict=True))
