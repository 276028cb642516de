"""One of several processes under torchrun: what each saw, compared by the first.

Every process runs the same probe. The first one reports; the others leave their fingerprints in
the probe's directory and wait. Nothing is sent through the script's process group, so the ranks
stay as much in step as the script keeps them.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlint.gpu_probes.attach.own_time import OwnTime
from convlint.gpu_probes.attach.settings import ANSWER_FILE
from convlint.gpu_probes.observations import Place, Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch

# First batches of which a fingerprint is kept.
_BATCHES_KEPT = 8
# How long the first rank waits for the others: those that train in step are there at the same time,
# those that do not take on a busy machine longer by a share of the time so far, within the budget.
_GATHER_SECONDS = 10.0
_GATHER_SHARE = 0.5
_POLL_SECONDS = 0.05
# Differing tensors named in the result.
_NAMED = 8


@dataclass
class Fingerprints:
    """What one rank saw, small enough to compare."""

    parameters: dict[str, str] = field(default_factory=dict)
    gradients: dict[str, str] = field(default_factory=dict)
    batches: list[str] = field(default_factory=list)
    sharded: int = 0
    step_seconds: float | None = None
    own_seconds: list[float] = field(default_factory=list)
    error: str = ""
    place: dict[str, Any] | None = None
    ended: float = 0.0
    """Seconds since the epoch."""


class RankWatch:
    """Takes the fingerprints of this rank; does nothing without ``rank``.

    ``describe`` names a parameter that a loss was seen to reach, and answers None of another;
    ``recording`` gives the seconds that the recording of tapes took so far.
    """

    def __init__(
        self,
        rank: int | None,
        directory: str,
        describe: Callable[[torch.Tensor], str | None],
        recording: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._rank = rank
        self._directory = Path(directory)
        self._describe = describe
        self.own = Fingerprints()
        self._left: list[Fingerprints] | None = None
        self.own_time = None if rank is None else OwnTime(recording)

    @property
    def active(self) -> bool:
        """Whether there are other ranks."""
        return self._rank is not None

    @property
    def count(self) -> int:
        """How many processes train together."""
        return _world_size() if self.active else 1

    def batch(self, tensors: Iterable[torch.Tensor]) -> None:
        """A batch enters the model."""
        if self.active and len(self.own.batches) < _BATCHES_KEPT:
            self.own.batches.append("".join(map(fingerprint, tensors)))

    def back_propagating(self) -> None:
        """A backward pass begins."""
        if self.own_time is not None:
            self.own_time.back_propagating()

    def stepped(self) -> None:
        """A real step was made."""
        if self.own_time is not None:
            self.own_time.stepped()

    def before_update(self, parameters: Iterable[torch.Tensor]) -> None:
        """The gradients of the first real step are complete."""
        if self.active and not self.own.gradients:
            for name, parameter in self._named(parameters):
                if parameter.grad is not None and not held_in_parts(parameter):
                    self.own.gradients[name] = fingerprint(parameter.grad)

    def after_update(self, parameters: Iterable[torch.Tensor]) -> None:
        """The first real step was made."""
        if self.active and not self.own.parameters:
            named = list(self._named(parameters))
            whole = [(name, tensor) for name, tensor in named if not held_in_parts(tensor)]
            self.own.parameters = {name: fingerprint(tensor) for name, tensor in whole}
            self.own.sharded = len(named) - len(whole)

    def leave(self, error: str, place: Place | None) -> None:
        """Write down what this rank saw, for the first one to read."""
        self._time()
        self.own.error, self.own.ended = error, time.time()
        self.own.place = None if place is None else asdict(place)
        unfinished = self._directory / f"rank{self._rank}.unfinished"
        unfinished.write_text(json.dumps(vars(self.own)), encoding="utf-8")
        unfinished.rename(self._file(self._rank or 0))

    def compare(self, elapsed: float = 0.0, budget: float = 0.0) -> Ranks | None:
        """Everything the ranks left, compared; None when this is the only process.

        ``elapsed`` seconds of the ``budget`` are gone.
        """
        if not self.active:
            return None
        self._time()
        patience = min(_GATHER_SHARE * elapsed, budget - elapsed)
        seen = [self.own, *self._others(max(_GATHER_SECONDS, patience))]
        count = _world_size()
        stepped = [prints for prints in seen if prints.parameters or prints.sharded]
        batches = [prints.batches for prints in seen if prints.batches]
        return Ranks(
            count=count,
            answered=len(seen),
            compared=len(set.intersection(*(set(p.parameters) for p in stepped)))
            if len(stepped) > 1
            else 0,
            sharded=self.own.sharded,
            parameters_differ=_differing([prints.parameters for prints in stepped]),
            gradients_differ=_differing([prints.gradients for prints in stepped]),
            same_batches=_all_equal(batches) if len(batches) > 1 else None,
            step_seconds=tuple(prints.step_seconds for prints in seen),
            batches_compared=min(map(len, batches)) if len(batches) > 1 else 0,
            own_seconds=tuple(tuple(prints.own_seconds) for prints in seen),
        )

    def earlier_error(self, ended: float) -> tuple[str, Place | None] | None:
        """How another rank crashed before ``ended``: what this one died of followed from that."""
        crashed = [prints for prints in self._others() if prints.error and prints.ended < ended]
        if not crashed:
            return None
        first = min(crashed, key=lambda prints: prints.ended)
        return first.error, None if first.place is None else Place(**first.place)

    def _others(self, patience: float = _GATHER_SECONDS) -> list[Fingerprints]:
        """What the other ranks left, those included that leave it within ``patience`` seconds."""
        if self._left is None:
            files = [self._file(rank) for rank in range(1, _world_size())]
            deadline = time.monotonic() + patience
            while not all(file.exists() for file in files) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            self._left = [
                Fingerprints(**json.loads(file.read_text(encoding="utf-8")))
                for file in files
                if file.exists()
            ]
        return self._left

    def _time(self) -> None:
        if self.own_time is not None:
            self.own.step_seconds = self.own_time.step_seconds()
            self.own.own_seconds = self.own_time.own_seconds()

    def await_answer(self, seconds: float) -> bool:
        """Wait until a rank has answered; whether one has."""
        deadline = time.monotonic() + seconds
        answer = self._directory / ANSWER_FILE
        while not answer.exists() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return answer.exists()

    def _file(self, rank: int) -> Path:
        return self._directory / f"rank{rank}.json"

    def _named(self, parameters: Iterable[torch.Tensor]) -> Iterable[tuple[str, torch.Tensor]]:
        """The model's own: an optimizer may hold copies that each rank has a part of (ZeRO)."""
        for position, parameter in enumerate(parameters):
            name = self._describe(parameter)
            if name is not None:
                yield f"{position}: {name}", parameter


def held_in_parts(parameter: torch.Tensor) -> bool:
    """Whether this rank holds a part of ``parameter`` (FSDP, tensor parallelism)."""
    # The mark is that of torch's first FSDP, in which a part is a plain tensor.
    return hasattr(parameter, "to_local") or hasattr(parameter, "_fsdp_flattened")


def fingerprint(tensor: torch.Tensor) -> str:
    """The same text for the same bits; of a tensor in parts, for those of this rank's."""
    import torch

    if hasattr(tensor, "to_local"):
        tensor = tensor.to_local()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    whole = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.blake2b(whole.numpy().data, digest_size=12).hexdigest()


def _differing(tables: list[dict[str, str]]) -> tuple[str, ...]:
    """The names that all tables have, with fingerprints that are not the same in all.

    Ranks with other parameters hold other parts of one model (pipeline parallelism).
    """
    names = [name for name in (tables[0] if tables else ()) if all(name in t for t in tables)]
    differ = [name for name in names if len({table[name] for table in tables}) > 1]
    return tuple(name.partition(": ")[2] for name in differ[:_NAMED])


def _all_equal(lists: list[list[str]]) -> bool:
    shortest = min(len(entries) for entries in lists)
    return all(entries[:shortest] == lists[0][:shortest] for entries in lists)


def _world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank_of_this_process(distributed: bool) -> int | None:
    """The rank torchrun gave this process; None when it was not started so."""
    return int(os.environ.get("RANK", "0")) if distributed else None
